package speaker

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/kvip/kvip/pkg/assignment"
	"github.com/kvip/kvip/pkg/bgp/policy"
	"github.com/kvip/kvip/pkg/election"
	"github.com/kvip/kvip/pkg/ipam"
	"github.com/kvip/kvip/pkg/liveness"
	"github.com/kvip/kvip/pkg/placement"
	"github.com/kvip/kvip/pkg/svc"
)

// snapshot is a consistent copy of the inputs of placement. All nodes must decide alike, so nothing
// of it comes from this node's flags (S2).
type snapshot struct {
	node       string
	view       liveness.View
	nodes      []placement.Node              // by name
	services   map[netip.Addr][]*svc.Service // by address of the ledger, the oldest first
	endpoints  map[svc.Backend]placement.Endpoints
	interfaces map[string]string // by namespace; "" for all others
	// controlPlane has the control plane's virtual IPs, and the node that holds each, "" if
	// unknown.
	controlPlane map[netip.Addr]string
	// routed has the pool of each address to which routes lead.
	routed map[netip.Addr]pool
}

// pool is what advertisements select addresses by.
type pool struct {
	name   string
	labels map[string]string
}

// takeSnapshot reads the cache.
func takeSnapshot(cfg *Config, view liveness.View) snapshot {
	c := cfg.Cache
	s := snapshot{
		node: cfg.Node, view: view, nodes: placementNodes(c, view),
		services: map[netip.Addr][]*svc.Service{}, endpoints: c.Endpoints(),
		interfaces: c.Interfaces(), controlPlane: map[netip.Addr]string{},
		routed: map[netip.Addr]pool{},
	}
	served := map[ipam.ServiceKey]*svc.Service{}
	for _, one := range c.Services() {
		if one.Announceable {
			served[one.Key()] = one
		}
	}
	for _, addr := range cfg.ControlPlane {
		s.controlPlane[addr] = ""
	}
	for addr, entries := range c.Ledger() {
		if ipam.WithControlPlane(entries) {
			s.controlPlane[addr] = "" // even if no Lease lists it at present
		}
		for _, e := range entries {
			if one := served[e.Service]; one != nil {
				s.services[addr] = append(s.services[addr], one)
			}
		}
		slices.SortFunc(s.services[addr], byAge)
		switch found := c.Announcement(addr); {
		case found.Pending:
			s.view.Fresh = false // nothing moves before the pools are known
		case found.BGP:
			s.routed[addr] = pool{found.Pool, found.Labels}
		}
	}
	s.findHolders(c.Leases())
	return s
}

// byAge orders Services that share an address: where they differ the oldest decides.
func byAge(a, b *svc.Service) int {
	return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.Key(), b.Key()))
}

// placementNodes joins the Node object of each announcing node with the node's Lease.
func placementNodes(c *svc.Cache, view liveness.View) []placement.Node {
	objects := c.Nodes()
	var nodes []placement.Node
	for _, l := range c.Leases() {
		if l.Role != svc.RoleNode || l.Info.Node == "" {
			continue
		}
		n := placement.Node{
			Name: l.Info.Node, Links: l.Info.PlacementLinks(), Selected: l.Info.Selected,
			Unavailable: l.Info.Unavailable, FailedAddresses: l.Info.FailedAddresses,
		}
		if object := objects[n.Name]; object != nil { // else it was deleted, and counts as dead
			_, n.Alive = slices.BinarySearch(view.Alive, n.Name)
			n.Cordoned, n.Excluded = object.Cordoned, object.Excluded
			n.NotReady, n.NoNetwork = object.NotReady, object.NoNetwork
		}
		nodes = append(nodes, n)
	}
	slices.SortFunc(nodes, func(a, b placement.Node) int { return cmp.Compare(a.Name, b.Name) })
	return nodes
}

// findHolders finds the node that holds each of the control plane's virtual IPs: the one whose own
// Lease lists it, if that node is alive; else the holder of the election, which need not serve
// Services; else the dead node that listed it last.
func (s snapshot) findHolders(leases []*svc.Lease) {
	alive := map[string]bool{}
	for _, n := range s.nodes {
		alive[n.Name] = n.Alive
	}
	set := func(addr netip.Addr, node string) {
		s.controlPlane[addr] = cmp.Or(s.controlPlane[addr], node)
	}
	setListed := func(byAlive bool) {
		for _, l := range leases {
			for _, addr := range l.Info.ControlPlane {
				if alive[l.Info.Node] == byAlive {
					set(addr, l.Info.Node)
				}
			}
		}
	}
	setListed(true)
	for _, l := range leases {
		for _, a := range l.ControlPlane {
			set(a.Addr(), election.NodeName(l.Holder))
		}
	}
	setListed(false)
}

// addresses returns what is to be placed.
func (s snapshot) addresses() []placement.Address {
	list := make([]placement.Address, 0, len(s.services))
	for addr := range s.services {
		list = append(list, s.address(addr))
	}
	return list
}

func (s snapshot) address(addr netip.Addr) placement.Address {
	a := placement.Address{Addr: addr}
	_, a.Routed = s.routed[addr]
	for i, one := range s.services[addr] {
		if i == 0 {
			a.Link = cmp.Or(one.Link, s.interfaces[one.Namespace], s.interfaces[""])
		}
		if one.Local {
			backend := svc.Backend{Service: one.Key(), Family: ipam.FamilyOf(addr)}
			a.Local = append(a.Local, s.endpoints[backend])
		} else {
			a.Cluster = true
		}
	}
	if holder, shared := s.controlPlane[addr]; shared {
		a.Holder = &holder
	}
	return a
}

// route returns what a routed address is announced by. worse is why routers shall prefer other
// nodes, or "".
func (s snapshot) route(addr netip.Addr, worse placement.Reason) policy.Address {
	p := s.routed[addr]
	r := policy.Address{
		Addr: addr, Pool: p.name, PoolLabels: p.labels, Worse: worse != "", WithoutEndpoints: true,
	}
	for _, one := range s.services[addr] {
		r.Services = append(r.Services, one.Labels)
		backend := svc.Backend{Service: one.Key(), Family: ipam.FamilyOf(addr)}
		for _, readiness := range s.endpoints[backend] {
			r.WithoutEndpoints = r.WithoutEndpoints && readiness == 0
		}
	}
	return r
}

// serviceNames returns the Services at an address as "namespace/name", the oldest first.
func (s snapshot) serviceNames(addr netip.Addr) []string {
	var list []string
	for _, one := range s.services[addr] {
		list = append(list, string(one.Key()))
	}
	return list
}

// ports returns the ports of the Services at an address (S5), in order.
func (s snapshot) ports(addr netip.Addr) []assignment.Port {
	var list []assignment.Port
	for _, one := range s.services[addr] {
		for _, p := range one.Request.Ports {
			list = append(list, assignment.Port{Protocol: p.Protocol, Port: p.Number})
		}
	}
	slices.SortFunc(list, func(a, b assignment.Port) int {
		return cmp.Or(strings.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port))
	})
	return list
}

// failureOf returns why a node cannot carry an address, or "".
func (s snapshot) failureOf(node string, addr netip.Addr) string {
	for i := range s.nodes {
		if s.nodes[i].Name == node {
			return s.nodes[i].FailureFor(addr)
		}
	}
	return ""
}
