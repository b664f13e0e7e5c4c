package bgp

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"github.com/kvip/kvip/pkg/bfd"
)

// Defaults and limits of a PeerConfig.
const (
	DefaultPort            = 179
	DefaultHoldTime        = 9 * time.Second
	DefaultMaximumPrefixes = 1000
	DefaultMaxRetry        = 30 * time.Second
	DefaultConnectTimeout  = 5 * time.Second
	// MinHoldTime is the least hold time that RFC 4271 section 4.2 allows besides 0. A session with
	// 0 would outlive its node, and is refused.
	MinHoldTime = 3 * time.Second
	// MaxHoldTime is what the field of an OPEN can carry.
	MaxHoldTime = 65535 * time.Second
	// MinKeepalive is the least time between two KEEPALIVEs (RFC 4271 section 4.4).
	MinKeepalive = time.Second
	// MaxGracefulRestart limits the restart time (B9).
	MaxGracefulRestart = 30 * time.Second
	// MaxPassword is the longest password that the kernel takes (TCP_MD5SIG_MAXKEYLEN, linux/tcp.h).
	MaxPassword = 80
	// MaxPeers limits the peers of a Speaker.
	MaxPeers = 64
)

// PeerType is the relation of a peer's AS to the own one.
type PeerType uint8

// The types of peers.
const (
	ByNumber PeerType = iota // PeerConfig.PeerAS says which
	External                 // any AS but the own one
	Internal                 // the own AS
)

// PeerConfig describes a session. A change of what is in its OPEN or on its socket ends it and
// starts another one; other changes do not (B11).
type PeerConfig struct {
	// Name identifies the peer for people, as in the name of its BGPPeer. It is unique.
	Name string
	// LocalAS is the own AS. Required.
	LocalAS uint32
	// PeerAS is that of the peer. Required if Type is ByNumber, else 0.
	PeerAS uint32
	Type   PeerType
	// RouterID is the own BGP identifier, an IPv4 address (RFC 4271 section 4.2). Required.
	RouterID netip.Addr
	// Address is that of the peer, with a zone if it is link-local. Invalid: Discover finds it.
	Address netip.Addr
	// Port is the peer's TCP port; 0 means DefaultPort.
	Port uint16
	// Discover is how the address of a peer without Address is found, before each connection.
	Discover Discovery
	// Source is the own address; invalid: the kernel chooses.
	Source netip.Addr
	// SourceInterface binds the connection to an interface. Empty: the route decides.
	SourceInterface string
	// HoldTime is offered to the peer, in whole seconds; 0 means DefaultHoldTime. Keepalive is the
	// longest time between two messages; 0 means a third of the negotiated hold time, which also
	// limits it.
	HoldTime, Keepalive time.Duration
	// ConnectTimeout limits one attempt to connect; 0 means DefaultConnectTimeout.
	ConnectTimeout time.Duration
	// MaxRetry limits the pause between two attempts; 0 means DefaultMaxRetry (B14).
	MaxRetry time.Duration
	// Password authenticates the connection (RFC 2385). Empty: none.
	Password string
	// Unusable is why there must be no session, as when its password cannot be read (B12). Empty:
	// there is one.
	Unusable string
	// TTLSecurity sends packets with TTL 255 and drops what arrives with less (RFC 5082).
	TTLSecurity bool
	// Multihop is the TTL of packets to a peer that is not a neighbour. 0 means 1 for external peers
	// and 64 for internal ones, which may be anywhere. With more than 1, BFD is that of several hops.
	Multihop uint8
	// Families are those of the routes that the session carries, each at most once. None: that of
	// the session's addresses.
	Families []Family
	// GracefulRestart lets the peer keep the routes for this long if the session ends without a
	// notification (RFC 4724), in whole seconds up to MaxGracefulRestart. 0: it does not (B9).
	GracefulRestart time.Duration
	// MaximumPrefixes limits the routes of the session (B10); 0 means DefaultMaximumPrefixes.
	MaximumPrefixes int
	// NextHops replaces the next hop of a family; that of IPv4 may be one of IPv6 (RFC 8950).
	// Invalid: the session's own address, or one of the same interface.
	NextHops [families]netip.Addr
	// BFD watches the path to the peer. Nil: it is not watched.
	BFD *BFDConfig
}

// BFDConfig describes a peer's BFD session, see bfd.SessionConfig.
type BFDConfig struct {
	bfd.Timers
	// MinTTL is the least TTL that is accepted from a peer that is several hops away, 1 to 255; 0
	// means bfd.DefaultMinTTL. It is ignored without Multihop.
	MinTTL int
}

// Discovery finds the address of a peer. It is a value that can be compared.
type Discovery struct {
	// Gateway asks for the gateway of the default route of Family.
	Gateway bool
	Family  Family
	// Interface asks for the router that is the only one on a link: its link-local address.
	Interface string
}

// Enabled reports whether there is a way to find an address.
func (d Discovery) Enabled() bool { return d.Gateway || d.Interface != "" }

// Validate returns what is wrong, and fills in defaults.
func (c *PeerConfig) Validate() error {
	c.setDefaults()
	if c.Name == "" {
		return errors.New("configure BGP peer: Name is required")
	}
	for _, check := range []func() error{c.checkPeer, c.checkAddresses, c.checkTimes, c.checkPath} {
		if err := check(); err != nil {
			return fmt.Errorf("configure BGP peer %s: %w", c.Name, err)
		}
	}
	return nil
}

// setDefaults fills in defaults, and makes equal what means the same.
func (c *PeerConfig) setDefaults() {
	c.Port = cmp.Or(c.Port, DefaultPort)
	c.HoldTime = cmp.Or(c.HoldTime, DefaultHoldTime)
	c.MaxRetry = cmp.Or(c.MaxRetry, DefaultMaxRetry)
	c.ConnectTimeout = cmp.Or(c.ConnectTimeout, DefaultConnectTimeout)
	c.MaximumPrefixes = cmp.Or(c.MaximumPrefixes, DefaultMaximumPrefixes)
	c.Address, c.Source = c.Address.Unmap(), c.Source.Unmap()
	c.Families = slices.Clone(c.Families)
	slices.Sort(c.Families)
	if len(c.Families) == 0 {
		c.Families = nil
	}
}

// checkPeer checks who the peer is, and what the session carries.
func (c *PeerConfig) checkPeer() error {
	switch {
	case c.LocalAS == 0:
		return errors.New("LocalAS is required")
	case c.Type > Internal:
		return fmt.Errorf("there is no type %d of peers", c.Type)
	case (c.Type == ByNumber) != (c.PeerAS != 0):
		return errors.New("either PeerAS or a type is required")
	case !c.RouterID.Is4() || c.RouterID.IsUnspecified():
		return fmt.Errorf("router ID %v: want an IPv4 address other than 0.0.0.0", c.RouterID)
	case c.MaximumPrefixes < 0:
		return fmt.Errorf("maximum of prefixes %d: want a positive number", c.MaximumPrefixes)
	}
	for i, f := range c.Families {
		if f >= families || i > 0 && f == c.Families[i-1] {
			return fmt.Errorf("families %v: want each of %v and %v once at most", c.Families, IPv4, IPv6)
		}
	}
	return nil
}

// checkAddresses checks addresses of the session, and next hops.
func (c *PeerConfig) checkAddresses() error {
	switch {
	case c.Address.IsValid() == c.Discover.Enabled():
		return errors.New("either an address or a way to discover it is required")
	case c.Address.IsValid() && (c.Address.IsUnspecified() || c.Address.IsMulticast()):
		return fmt.Errorf("address %v: want that of a host", c.Address)
	case c.Address.IsLinkLocalUnicast() && c.Address.Is6() && c.Address.Zone() == "":
		return fmt.Errorf("link-local address %v needs its interface", c.Address)
	case c.Source.IsValid() && c.Address.IsValid() && c.Source.Is4() != c.Address.Is4():
		return fmt.Errorf("source %v and address %v are of two families", c.Source, c.Address)
	}
	for f, hop := range c.NextHops {
		if hop.IsValid() && (hop.Is4In6() || hop.IsUnspecified() || hop.IsMulticast() ||
			Family(f) == IPv6 && hop.Is4()) {
			return fmt.Errorf("next hop %v of %v: want the address of a host", hop, Family(f))
		}
	}
	return nil
}

// checkTimes checks times.
func (c *PeerConfig) checkTimes() error {
	switch {
	case c.HoldTime < MinHoldTime || c.HoldTime > MaxHoldTime || c.HoldTime%time.Second != 0:
		return fmt.Errorf("hold time %v: want whole seconds from %v to %v", c.HoldTime, MinHoldTime,
			MaxHoldTime)
	case c.Keepalive != 0 && (c.Keepalive < MinKeepalive || c.Keepalive > c.HoldTime/3):
		return fmt.Errorf("keepalive time %v: want %v to a third of the hold time %v", c.Keepalive,
			MinKeepalive, c.HoldTime)
	case c.MaxRetry < minRetry:
		return fmt.Errorf("longest pause between attempts %v: want at least %v", c.MaxRetry, minRetry)
	case c.ConnectTimeout < 0:
		return fmt.Errorf("connect timeout %v: want a positive time", c.ConnectTimeout)
	case c.GracefulRestart < 0 || c.GracefulRestart > MaxGracefulRestart ||
		c.GracefulRestart%time.Second != 0:
		return fmt.Errorf("graceful restart time %v: want whole seconds up to %v", c.GracefulRestart,
			MaxGracefulRestart)
	}
	return nil
}

// checkPath checks what protects the path to the peer, and watches it.
func (c *PeerConfig) checkPath() error {
	switch {
	case len(c.Password) > MaxPassword:
		return fmt.Errorf("the password has more than %d bytes", MaxPassword)
	case c.TTLSecurity && c.Multihop != 0:
		return errors.New("TTL security is for neighbours, and excludes multihop")
	case c.BFD != nil && (c.BFD.MinTTL < 0 || c.BFD.MinTTL > maxTTL):
		return fmt.Errorf("least TTL of BFD %d: want 1 to %d, or 0", c.BFD.MinTTL, maxTTL)
	}
	return nil
}

// sameSession reports whether the session of one configuration serves for the other (B11).
func (c PeerConfig) sameSession(other PeerConfig) bool {
	for _, p := range []*PeerConfig{&c, &other} {
		p.MaximumPrefixes, p.NextHops, p.BFD = 0, [families]netip.Addr{}, nil
		p.Keepalive, p.ConnectTimeout, p.MaxRetry = 0, 0, 0
	}
	return reflect.DeepEqual(c, other)
}

// SamePeer reports whether two configurations are of sessions with the same router: it has one
// session with an address of a node. Without a source the kernel chooses that address.
func (c PeerConfig) SamePeer(other PeerConfig) bool {
	port := func(p PeerConfig) uint16 { return cmp.Or(p.Port, DefaultPort) }
	return c.Address == other.Address && c.Discover == other.Discover && port(c) == port(other) &&
		(c.Source == other.Source || !c.Source.IsValid() || !other.Source.IsValid())
}

// internal reports whether the peer is in the own AS, given the AS of the peer's OPEN.
func (c PeerConfig) internal(peerAS uint32) bool { return peerAS == c.LocalAS }

// bfdConfig returns the configuration of the BFD session between two addresses.
func (c PeerConfig) bfdConfig(local, peer netip.Addr) bfd.SessionConfig {
	session := bfd.SessionConfig{
		Peer: peer, Local: local, Interface: c.SourceInterface, Multihop: c.Multihop > 1,
		Timers: c.BFD.Timers,
	}
	if session.Multihop {
		session.MinTTL = c.BFD.MinTTL
	}
	return session
}
