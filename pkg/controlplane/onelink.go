package controlplane

import (
	"fmt"
	"net/netip"

	"github.com/kvip/kvip/pkg/link"
)

// checkOneLink returns an error if a host has another link than one, an index, in the subnet of an
// address, and other machines reach it there. The host would answer for the address on each of them
// (arp_ignore of the kernel's ip-sysctl), and a fence is on one.
func checkOneLink(host []link.HostAddr, one int, vips []netip.Addr) error {
	for _, vip := range vips {
		for _, h := range host {
			if h.Index == one || h.Isolated || h.Prefix.IsSingleIP() || !h.Prefix.Masked().Contains(vip) {
				continue
			}
			return fmt.Errorf("link %s with %v is in the subnet of %s as well: the host would answer "+
				"for it there too", h.Link, h.Prefix, vip)
		}
	}
	return nil
}
