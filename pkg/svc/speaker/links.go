package speaker

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/kvip/kvip/pkg/arp"
	"github.com/kvip/kvip/pkg/link"
	"github.com/kvip/kvip/pkg/placement"
	"github.com/kvip/kvip/pkg/svc"
)

// concerns says whether an event tells something new: an address that this node has is reported
// whenever its lifetime is renewed.
func (a *Speaker) concerns(ev link.Event) bool {
	_, ours := a.have[ev.Addr]
	switch ev.Kind {
	case link.AddrAdded:
		return !ours && !slices.Contains(a.control, ev.Addr)
	case link.AddrRemoved:
		return ours || !ev.Addr.Is6() || slices.Contains(a.control, ev.Addr) || !ev.Addr.IsLinkLocalUnicast()
	}
	return true
}

// relink reads the links anew after an event that concerns this agent, and says whether it did.
func (a *Speaker) relink(ev link.Event) bool {
	if !a.concerns(ev) {
		return false
	}
	a.dirty = true
	a.readLinks()
	return true
}

// readLinks reads this host's links and tells the others of them. What cannot be read stays as it was, and
// is read again with the next decision.
func (a *Speaker) readLinks() {
	networks, err := a.cfg.Networks()
	if a.unread = err != nil; a.unread {
		a.trouble(fmt.Errorf("read the links of this host: %w", err))
		return
	}
	a.links = make(map[string]link.Network, len(networks))
	for _, n := range networks {
		a.links[n.Name] = n
	}
	if here, err := a.cfg.HostControlPlane(); err == nil {
		a.control = here
	}
	a.info = a.describe(networks)
	a.warnOfNoLink()
	a.inform()
}

// warnOfNoLink says once that the configuration selects no link that this host has now.
func (a *Speaker) warnOfNoLink() {
	none := a.info.Selected && !slices.ContainsFunc(a.info.Links, func(l svc.LinkInfo) bool { return l.Selected })
	if none && !a.noLink {
		a.cfg.Log.Warn("no usable link is one of those for Services: this node announces none that names no other link", "links", a.cfg.Interface)
	}
	a.noLink = none
}

// describe is what the others are told of this host's links. Those that this agent's configuration selects come
// first, then those with a subnet: there may be more than a Lease may have.
func (a *Speaker) describe(networks []link.Network) svc.NodeInfo {
	info := svc.NodeInfo{
		Node: a.cfg.Node, StatusPort: a.cfg.StatusPort, Links: []svc.LinkInfo{}, Selected: a.cfg.Interface != "", ControlPlane: a.control,
	}
	for _, n := range networks {
		l := svc.LinkInfo{Name: n.Name, Names: n.Names, MAC: n.MAC.String(), Subnets: n.Subnets}
		l.Selected = a.selects(n)
		if n.Pod && !l.Selected {
			continue // it leads to a pod of this node alone
		}
		info.Links = append(info.Links, l)
		info.Addresses = append(info.Addresses, n.Addresses...)
	}
	slices.SortStableFunc(info.Links, func(a, b svc.LinkInfo) int { return worth(b) - worth(a) })
	return info
}

// selects reports whether this agent's configuration has a link take addresses whatever its subnets: as one of those
// for all addresses, or as the one for addresses that are in no subnet of this node.
func (a *Speaker) selects(n link.Network) bool {
	if a.cfg.Interface == "" {
		return a.cfg.Fallback != nil && a.cfg.Fallback(n)
	}
	return slices.ContainsFunc(append([]string{n.Name}, n.Names...), func(name string) bool { return placement.Matches(a.cfg.Interface, name) })
}

func worth(l svc.LinkInfo) int {
	switch {
	case l.Selected:
		return 2
	case len(l.Subnets) > 0:
		return 1
	}
	return 0
}

// inform tells the others of this host: its links, and what it cannot do.
func (a *Speaker) inform() {
	if a.info.Node == "" {
		return // nothing is known yet
	}
	info := a.info
	info.Unavailable, info.FailedAddresses = a.able.told(a.cfg.Clock(), a.isChosen)
	a.cfg.NodeLease.SetInfo(info.Bounded())
}

func (a *Speaker) isChosen(addr netip.Addr) bool { return a.chosen[addr] }

// linkRef finds a link of this host.
func (a *Speaker) linkRef(name string) (arp.LinkRef, bool) {
	n, ok := a.links[name]
	return arp.LinkRef{Index: n.Index, Name: n.Name, MAC: net.HardwareAddr(n.MAC)}, ok
}
