package relay

import (
	"cmp"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"slices"

	"github.com/kvip/kvip/pkg/quorum"
)

// Flow is a TCP connection that a host has: its address and port there, and the other end.
type Flow struct {
	VIP    netip.Addr
	Remote netip.AddrPort
	Port   uint16
}

// compare orders flows.
func (f Flow) compare(g Flow) int {
	return cmp.Or(f.VIP.Compare(g.VIP), f.Remote.Compare(g.Remote), cmp.Compare(f.Port, g.Port))
}

// distinct returns the flows in order, without repetitions.
func distinct(flows []Flow) []Flow {
	flows = slices.Clone(flows)
	slices.SortFunc(flows, Flow.compare)
	return slices.Compact(flows)
}

// ordered returns distinct flows, at most maxListed.
func ordered(flows []Flow) []Flow {
	flows = distinct(flows)
	return flows[:min(len(flows), maxListed)]
}

// maxListed limits the connections that a host names to others. A host that has more is served
// rightly only while it is the last holder, to which packets of unknown connections go.
const maxListed = 4096

// A payload is the host's hardware address (6 bytes), an address as bytes after its length (1
// byte), and flows: the other end's address, its port and the port at the host, in network byte
// order.
const payloadHead = 6 + 1

var errPayload = errors.New("not a list of connections")

// Encode returns the connections of a host as payloads for datagrams, one at least.
func Encode(mac net.HardwareAddr, flows []Flow) (payloads []string) {
	if len(mac) != 6 {
		return nil
	}
	var b []byte
	var vip netip.Addr
	end := func() {
		if b != nil {
			payloads = append(payloads, string(b))
		}
	}
	for _, f := range ordered(flows) {
		remote := f.Remote.Addr().Unmap()
		if remote.Is4() != f.VIP.Is4() {
			continue
		}
		if size := f.VIP.BitLen()/8 + 4; b == nil || f.VIP != vip || len(b)+size > quorum.MaxPayload {
			end()
			vip = f.VIP
			b = append(slices.Clone([]byte(mac)), byte(vip.BitLen()/8))
			b = append(b, vip.AsSlice()...)
		}
		b = append(b, remote.AsSlice()...)
		b = binary.BigEndian.AppendUint16(b, f.Remote.Port())
		b = binary.BigEndian.AppendUint16(b, f.Port)
	}
	if b == nil {
		b = append(slices.Clone([]byte(mac)), 0)
	}
	end()
	return payloads
}

// decode returns what a payload has.
func decode(payload string) (mac net.HardwareAddr, flows []Flow, err error) {
	b := []byte(payload)
	group := len(b) > 0 && b[0]&1 != 0 // it has no connections
	if len(b) < payloadHead || len(b) > quorum.MaxPayload || group {
		return nil, nil, errPayload
	}
	mac, size, b := net.HardwareAddr(b[:6]), int(b[6]), b[payloadHead:]
	if size == 0 && len(b) == 0 {
		return mac, nil, nil
	}
	if size != 4 && size != 16 || len(b) < size || (len(b)-size)%(size+4) != 0 {
		return nil, nil, errPayload
	}
	vip, _ := netip.AddrFromSlice(b[:size])
	for b = b[size:]; len(b) > 0; b = b[size+4:] {
		remote, _ := netip.AddrFromSlice(b[:size])
		flows = append(flows, Flow{
			VIP: vip, Remote: netip.AddrPortFrom(remote, binary.BigEndian.Uint16(b[size:])),
			Port: binary.BigEndian.Uint16(b[size+2:]),
		})
	}
	return mac, flows, nil
}
