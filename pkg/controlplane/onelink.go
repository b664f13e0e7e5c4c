package controlplane

import (
	"fmt"
	"net/netip"

	"github.com/kvip/kvip/pkg/link"
)

// checkOneLink returns an error if a host has links other than one, an index, in the subnet of an
// address; with index 0, if it has several. The host would answer for the address on each of them
// (arp_ignore of the kernel's ip-sysctl), and a fence is on one.
func checkOneLink(host []link.HostAddr, one int, vips []netip.Addr) error {
	for _, vip := range vips {
		only := one
		for _, h := range host {
			switch {
			case h.Prefix.IsSingleIP() || !h.Prefix.Masked().Contains(vip):
			case only == 0:
				only = h.Index
			case h.Index != only:
				return fmt.Errorf("link %s has %v, and another link is in the subnet of %s as well: "+
					"the host would answer for it on both", h.Link, h.Prefix, vip)
			}
		}
	}
	return nil
}
