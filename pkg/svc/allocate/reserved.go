package allocate

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/kvip/kvip/pkg/ipam"
)

// rememberControlPlane is for how long an address counts as the control plane's after a node had it.
const rememberControlPlane = 10 * time.Minute

// reserved are the addresses of nodes, and those of the control plane, which can be shared.
func (a *Allocator) reserved() ipam.Reserved {
	all := ipam.Reserved{}
	for addr, node := range a.cfg.Catalogue.Reserved() {
		all[addr] = ipam.Reservation{Holder: "node " + node}
	}
	for _, addr := range a.controlPlane() {
		all[addr] = ipam.Reservation{Holder: "the control plane", Owner: ipam.ControlPlane, Ports: []ipam.Port{{Protocol: "TCP", Number: uint16(a.cfg.Port)}}}
	}
	return all
}

// controlPlane returns the virtual IPs that are configured, or that a node had a short time ago.
func (a *Allocator) controlPlane() []netip.Addr {
	now := a.cfg.Clock()
	for _, l := range a.cfg.Catalogue.Leases() {
		for _, addr := range l.Info.ControlPlane {
			a.seenCP[addr] = now
		}
	}
	maps.DeleteFunc(a.seenCP, func(_ netip.Addr, at time.Duration) bool { return now-at > rememberControlPlane })
	all := append(slices.Collect(maps.Keys(a.seenCP)), a.cfg.ControlPlane...)
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all)
}
