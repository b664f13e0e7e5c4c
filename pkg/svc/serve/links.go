package serve

import (
	"fmt"
	"net"
	"slices"

	"github.com/kvip/kvip/pkg/arp"
	"github.com/kvip/kvip/pkg/link"
	"github.com/kvip/kvip/pkg/svc"
)

// concerns says whether an event tells something new: an address that this node has is reported
// whenever its lifetime is renewed.
func (a *Agent) concerns(ev link.Event) bool {
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
func (a *Agent) relink(ev link.Event) bool {
	if !a.concerns(ev) {
		return false
	}
	a.dirty = true
	a.readLinks()
	return true
}

// readLinks reads this host's links and tells the others of them. What cannot be read stays as it was, and
// is read again with the next decision.
func (a *Agent) readLinks() {
	networks, err := a.cfg.Networks()
	if a.unread = err != nil; a.unread {
		a.trouble(fmt.Errorf("read the links of this host: %w", err))
		return
	}
	info := svc.NodeInfo{Node: a.cfg.Node, Status: a.cfg.StatusPort, Links: []svc.LinkInfo{}}
	a.links = make(map[string]link.Network, len(networks))
	for _, n := range networks {
		a.links[n.Name] = n
		info.Links = append(info.Links, svc.LinkInfo{Name: n.Name, MAC: n.MAC.String(), Subnets: n.Subnets})
	}
	if here, err := a.cfg.ControlPlaneHere(); err == nil {
		info.ControlPlane, a.control = here, here
	}
	a.cfg.Heart.Inform(info)
}

// linkRef finds a link of this host.
func (a *Agent) linkRef(name string) (arp.LinkRef, bool) {
	n, ok := a.links[name]
	return arp.LinkRef{Index: n.Index, Name: n.Name, MAC: net.HardwareAddr(n.MAC)}, ok
}
