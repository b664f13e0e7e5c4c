package bgp

import (
	"fmt"
	"slices"
	"time"

	codec "github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

// Capabilities are what a peer offers in its OPEN (RFC 5492).
type Capabilities struct {
	// Families that it can carry (RFC 4760). Without the capability it is IPv4.
	Families [families]bool
	// FourOctetAS: AS numbers have four octets (RFC 6793).
	FourOctetAS bool
	// IPv4OverIPv6: routes of IPv4 may have a next hop of IPv6 (RFC 8950).
	IPv4OverIPv6 bool
	// Refresh: it may ask for all routes again (RFC 2918).
	Refresh bool
	// HardReset: it knows that notification (RFC 8538 section 2).
	HardReset bool
}

// transAS stands for an AS number of more than two octets (RFC 6793 section 9).
const transAS = 23456

const (
	version       = 4 // of BGP
	maxTwoOctetAS = 0xffff
)

// open returns the OPEN of a session. restarting sets the bit of RFC 4724 that asks the peer to
// keep its routes of the previous session.
func (c PeerConfig) open(families []Family, restarting bool) (*codec.BGPMessage, error) {
	var list []codec.ParameterCapabilityInterface
	for _, f := range families {
		list = append(list, codec.NewCapMultiProtocol(f.wire()))
	}
	list = append(list, codec.NewCapRouteRefresh(), codec.NewCapFourOctetASNumber(c.LocalAS))
	if slices.Contains(families, IPv4) {
		list = append(list, codec.NewCapExtendedNexthop([]*codec.CapExtendedNexthopTuple{
			codec.NewCapExtendedNexthopTuple(codec.RF_IPv4_UC, codec.AFI_IP6),
		}))
	}
	if c.GracefulRestart > 0 {
		var kept []*codec.CapGracefulRestartTuple
		for _, f := range families {
			kept = append(kept, codec.NewCapGracefulRestartTuple(f.wire(), true))
		}
		list = append(list, codec.NewCapGracefulRestart(restarting, true,
			uint16(c.GracefulRestart/time.Second), kept))
	}
	as := uint16(transAS)
	if c.LocalAS <= maxTwoOctetAS {
		as = uint16(c.LocalAS)
	}
	m, err := codec.NewBGPOpenMessage(as, uint16(c.HoldTime/time.Second), c.RouterID,
		[]codec.OptionParameterInterface{codec.NewOptionParameterCapability(list)})
	if err != nil {
		return nil, fmt.Errorf("encode OPEN: %w", err)
	}
	return m, nil
}

// decodeOpen converts an OPEN.
func decodeOpen(body *codec.BGPOpen) Message {
	open := Open{Version: body.Version, AS: uint32(body.MyAS), HoldTime: body.HoldTime,
		ID: body.ID.As4()}
	multiprotocol := false
	for _, parameter := range body.OptParams {
		p, ok := parameter.(*codec.OptionParameterCapability)
		if !ok { // RFC 4271 section 6.2: such as the authentication that RFC 4271 removed
			return Malformed{Notification{Code: codeOpen, Subcode: 4}, "unknown optional parameter"}
		}
		for _, capability := range p.Capability {
			if mp, ok := capability.(*codec.CapMultiProtocol); ok {
				multiprotocol = true
				if f, ok := familyOf(mp.CapValue.Afi(), mp.CapValue.Safi()); ok {
					open.Families[f] = true
				}
			}
			open.take(capability)
		}
	}
	if !multiprotocol {
		open.Families[IPv4] = true
	}
	return open
}

// take records a capability other than that of families.
func (o *Open) take(capability codec.ParameterCapabilityInterface) {
	switch c := capability.(type) {
	case *codec.CapFourOctetASNumber:
		o.FourOctetAS, o.AS = true, c.CapValue
	case *codec.CapRouteRefresh:
		o.Refresh = true
	case *codec.CapGracefulRestart:
		const notification = 0x4
		o.HardReset = c.Flags&notification != 0
	case *codec.CapExtendedNexthop:
		for _, t := range c.Tuples {
			f, ok := familyOf(t.NLRIAFI, uint8(t.NLRISAFI))
			o.IPv4OverIPv6 = o.IPv4OverIPv6 || ok && f == IPv4 && t.NexthopAFI == codec.AFI_IP6
		}
	}
}

// agreed is what both sides of a session have agreed on.
type agreed struct {
	Capabilities
	PeerAS   uint32
	Internal bool
	HoldTime time.Duration
	// Keepalive is the longest time between two messages of this side.
	Keepalive time.Duration
}

// agree compares a peer's OPEN with the configuration (RFC 4271 section 6.2). families are those
// of the own OPEN. It returns the Malformed that refuses it, nil if it is acceptable.
func (c PeerConfig) agree(o Open, families []Family) (agreed, *Malformed) {
	if refusal := c.refuse(o); refusal != nil {
		return agreed{}, refusal
	}
	a := agreed{Capabilities: o.Capabilities, PeerAS: o.AS, Internal: c.internal(o.AS)}
	common := false
	for f := range a.Families {
		a.Families[f] = a.Families[f] && slices.Contains(families, Family(f))
		common = common || a.Families[f]
	}
	if !common {
		var missing []codec.ParameterCapabilityInterface
		for _, f := range families {
			missing = append(missing, codec.NewCapMultiProtocol(f.wire()))
		}
		return agreed{}, lacks(missing, "the peer carries none of the families %v", families)
	}
	a.HoldTime = min(c.HoldTime, time.Duration(o.HoldTime)*time.Second)
	a.Keepalive = c.keepalive(a.HoldTime)
	return a, nil
}

// refuse returns what makes an OPEN unacceptable, except for its families.
func (c PeerConfig) refuse(o Open) *Malformed {
	wrong := func(subcode uint8, format string, args ...any) *Malformed {
		return &Malformed{Notification{Code: codeOpen, Subcode: subcode}, fmt.Sprintf(format, args...)}
	}
	internal := c.internal(o.AS)
	switch {
	case o.Version != version:
		refusal := wrong(openVersion, "the peer speaks version %d of BGP", o.Version)
		refusal.Data = []byte{0, version}
		return refusal
	case o.AS == 0: // RFC 7607
		return wrong(openPeerAS, "the peer is in AS 0, which does not exist")
	case c.Type == ByNumber && o.AS != c.PeerAS:
		return wrong(openPeerAS, "the peer is in AS %d, and %d is configured", o.AS, c.PeerAS)
	case c.Type == External && internal:
		return wrong(openPeerAS, "the peer is in the own AS %d, and external is configured", o.AS)
	case c.Type == Internal && !internal:
		return wrong(openPeerAS, "the peer is in AS %d, and internal is configured", o.AS)
	case o.ID == [4]byte{}: // RFC 6286 section 2.1
		return wrong(openID, "the peer has router ID 0.0.0.0")
	case internal && o.ID == c.RouterID.As4(): // RFC 6286 section 2.2
		return wrong(openID, "the peer has the own router ID %v", c.RouterID)
	case o.HoldTime < uint16(MinHoldTime/time.Second):
		return wrong(openHoldTime, "the peer offers a hold time of %d s: want at least %v", o.HoldTime,
			MinHoldTime)
	case c.LocalAS > maxTwoOctetAS && !o.FourOctetAS:
		return lacks([]codec.ParameterCapabilityInterface{codec.NewCapFourOctetASNumber(c.LocalAS)},
			"the peer does not know AS numbers of four octets, as %d", c.LocalAS)
	}
	return nil
}

// lacks refuses a peer that has not the capabilities that a session needs. The notification has
// them as its data (RFC 5492 section 5).
func lacks(missing []codec.ParameterCapabilityInterface, format string, args ...any) *Malformed {
	n := Notification{Code: codeOpen, Subcode: openCapability}
	for _, capability := range missing {
		if data, err := capability.Serialize(); err == nil {
			n.Data = append(n.Data, data...)
		}
	}
	return &Malformed{n, fmt.Sprintf(format, args...)}
}

// keepalive returns the longest time between two messages, given the negotiated hold time.
func (c PeerConfig) keepalive(hold time.Duration) time.Duration {
	if c.Keepalive > 0 {
		return min(c.Keepalive, hold/3)
	}
	return hold / 3 // RFC 4271 section 4.4
}
