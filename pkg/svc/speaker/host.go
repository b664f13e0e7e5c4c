package speaker

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/kvip/kvip/pkg/link"
	"github.com/kvip/kvip/pkg/placement"
	"github.com/kvip/kvip/pkg/svc"
)

// routesInterval is the time between two readings of the links if a Fallback may depend on routes,
// which change without a link event.
const routesInterval = 10 * time.Second

// host is what is known of this host's links.
type host struct {
	cfg          *Config
	recorder     *recorder
	links        map[string]link.Network // by name; nil before the first reading
	loopback     link.Link               // of routed addresses
	unread       bool                    // the last reading failed, or there was none
	controlPlane []netip.Addr            // the control plane's virtual IPs on this host
	info         svc.NodeInfo            // without faults; Node is empty before the first reading
	refreshAt    time.Duration
}

func newHost(cfg *Config, r *recorder) *host { return &host{cfg: cfg, recorder: r, unread: true} }

// link returns a link of this host.
func (h *host) link(name string) (link.Link, bool) {
	if name == placement.Loopback {
		return h.loopback, h.loopback.Index != 0
	}
	n, ok := h.links[name]
	return n.Link, ok
}

// refreshDue reports whether the links are to be read without an event.
func (h *host) refreshDue(now time.Duration) bool {
	if h.cfg.Fallback == nil || now < h.refreshAt {
		return false
	}
	h.refreshAt = now + routesInterval
	return true
}

// relevant reports whether a link event has something new, given whether this node has the
// event's address. The kernel reports an address whenever its lifetime is extended.
func (h *host) relevant(ev link.Event, have bool) bool {
	switch ev.Kind {
	case link.AddrAdded:
		return !have && !slices.Contains(h.controlPlane, ev.Addr)
	case link.AddrRemoved:
		return have || slices.Contains(h.controlPlane, ev.Addr) ||
			!ev.Addr.Is6() || !ev.Addr.IsLinkLocalUnicast()
	}
	return true
}

// read reads the links and the control plane's addresses. After an error both stay as they were.
func (h *host) read() error {
	h.unread = true
	networks, err := h.cfg.Networks()
	if err != nil {
		return fmt.Errorf("read the links of this host: %w", err)
	}
	controlPlane, err := h.cfg.HostControlPlane()
	if err != nil {
		return fmt.Errorf("read the control plane's addresses of this host: %w", err)
	}
	if h.loopback, err = h.cfg.Loopback(); err != nil {
		return fmt.Errorf("read the loopback interface of this host: %w", err)
	}
	h.unread, h.controlPlane = false, controlPlane
	h.links = make(map[string]link.Network, len(networks))
	for _, n := range networks {
		h.links[n.Name] = n
	}
	h.info = h.describe(networks)
	none := h.info.Selected &&
		!slices.ContainsFunc(h.info.Links, func(l svc.LinkInfo) bool { return l.Selected })
	h.recorder.noLink(none)
	return nil
}

// describe returns what the node's Lease reports of the links. A Lease has room for a limited
// number of them: selected links come first, then those with a subnet.
func (h *host) describe(networks []link.Network) svc.NodeInfo {
	info := svc.NodeInfo{
		Node: h.cfg.Node, StatusPort: h.cfg.StatusPort, Links: []svc.LinkInfo{},
		Selected: h.cfg.Interface != "", ControlPlane: h.controlPlane,
	}
	for _, n := range networks {
		l := svc.LinkInfo{
			Name: n.Name, Names: n.Names, MAC: n.MAC.String(), Subnets: n.Subnets,
			Selected: h.selects(n),
		}
		if n.Pod && !l.Selected {
			continue // it leads to a pod of this node only
		}
		info.Links = append(info.Links, l)
		info.Addresses = append(info.Addresses, n.Addresses...)
	}
	slices.SortStableFunc(info.Links, func(a, b svc.LinkInfo) int { return linkRank(a) - linkRank(b) })
	return info
}

// selects reports whether this node's configuration selects a link for Services.
func (h *host) selects(n link.Network) bool {
	if h.cfg.Interface == "" {
		return h.cfg.Fallback != nil && h.cfg.Fallback(n)
	}
	return slices.ContainsFunc(append([]string{n.Name}, n.Names...), func(name string) bool {
		return placement.Matches(h.cfg.Interface, name)
	})
}

func linkRank(l svc.LinkInfo) int {
	switch {
	case l.Selected:
		return 0
	case len(l.Subnets) > 0:
		return 1
	}
	return 2
}
