package vip

import (
	"net/netip"
	"slices"
)

// HostVIPs returns the control plane's virtual IPs on this host, sorted, whichever agent added them.
func HostVIPs() ([]netip.Addr, error) {
	marked, err := Netlink(nil).List()
	if err != nil {
		return nil, err
	}
	var all []netip.Addr
	for _, m := range marked {
		all = append(all, m.VIP)
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all), nil
}
