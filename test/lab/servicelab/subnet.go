package servicelab

import (
	"fmt"
	"net/netip"
)

// WidePool are addresses for thousands of Services, in a subnet beside the lab's own, which has
// room for 254. No host has one of them.
const WidePool = "10.80.32.0/19"

// WidenSubnet puts nodes and client into the subnet of WidePool, until the lab ends, and returns
// the client's own address there.
func (l *Lab) WidenSubnet() (client netip.Addr, err error) {
	for i, h := range append(l.Hosts(), l.Client) {
		own := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 80, 0, byte(11 + i)}), 16)
		h.Addrs = append(h.Addrs, own) // so that it comes back when the host boots
		if err := h.AddAddr(own); err != nil {
			return client, fmt.Errorf("widen lab: %w", err)
		}
		client = own.Addr()
	}
	return client, nil
}
