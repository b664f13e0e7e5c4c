package serve

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/kvip/kvip/pkg/filter"
	"github.com/kvip/kvip/pkg/ipam"
	"github.com/kvip/kvip/pkg/members"
	"github.com/kvip/kvip/pkg/place"
	"github.com/kvip/kvip/pkg/svc"
)

// situation is all that placement depends on, at one instant.
type situation struct {
	self       string
	verdict    members.Verdict
	nodes      []place.Node
	tenants    map[netip.Addr][]*svc.Service // who uses each address of the ledger
	endpoints  map[ipam.Owner]place.Endpoints
	interfaces map[string]string     // by namespace; "" for all others
	anywhere   string                // the interfaces of --services-interface
	control    map[netip.Addr]string // the control plane's addresses, and the node that has each
	controlled uint16                // the control plane's port there
}

// survey reads the catalogue.
func (a *Agent) survey(verdict members.Verdict) situation {
	c := a.cfg.Catalogue
	s := situation{
		self: a.cfg.Node, verdict: verdict, endpoints: c.Endpoints(), interfaces: c.Interfaces(), anywhere: a.cfg.Interface,
		tenants: map[netip.Addr][]*svc.Service{}, control: map[netip.Addr]string{}, controlled: uint16(a.cfg.Port),
	}
	services := map[ipam.Owner]*svc.Service{}
	for _, one := range c.Services() {
		if one.Ours {
			services[one.Owner()] = one
		}
	}
	for addr, holders := range c.Ledger() {
		for _, h := range holders {
			if one := services[h.Owner]; one != nil {
				s.tenants[addr] = append(s.tenants[addr], one)
			}
		}
	}
	for _, addr := range a.cfg.ControlPlane {
		s.control[addr] = ""
	}
	s.nodes = nodesOf(c, verdict, s.control)
	return s
}

// nodesOf joins what the API says of each announcing node with what its Lease says.
func nodesOf(c *svc.Catalogue, verdict members.Verdict, control map[netip.Addr]string) []place.Node {
	known := c.Nodes()
	var nodes []place.Node
	for _, l := range c.Leases() {
		if l.Role != svc.RoleNode || l.Info.Node == "" {
			continue
		}
		n := place.Node{Name: l.Info.Node, Links: l.Info.Placed()}
		_, n.Alive = slices.BinarySearch(verdict.Alive, n.Name)
		if object := known[n.Name]; object != nil {
			n.Cordoned, n.Excluded = object.Cordoned, object.Excluded
		} else {
			n.Alive = false // the Node was deleted: what its kvip says does not count any more
		}
		nodes = append(nodes, n)
		for _, addr := range l.Info.ControlPlane {
			if n.Alive || control[addr] == "" {
				control[addr] = n.Name
			}
		}
	}
	slices.SortFunc(nodes, func(a, b place.Node) int { return cmp.Compare(a.Name, b.Name) })
	return nodes
}

// addresses are what is to be placed.
func (s situation) addresses() []place.Address {
	list := make([]place.Address, 0, len(s.tenants))
	for addr := range s.tenants {
		list = append(list, s.address(addr))
	}
	return list
}

func (s situation) address(addr netip.Addr) place.Address {
	a := place.Address{Addr: addr, Link: s.anywhere}
	for _, one := range s.tenants[addr] {
		if one.Local {
			a.Local = append(a.Local, s.endpoints[one.Owner()])
		} else {
			a.Cluster = true
		}
		switch {
		case one.Link != "":
			a.Link = one.Link
		case s.interfaces[one.Namespace] != "":
			a.Link = s.interfaces[one.Namespace]
		case s.interfaces[""] != "":
			a.Link = s.interfaces[""]
		}
	}
	if holder, shared := s.control[addr]; shared {
		a.Holder = &holder
	}
	return a
}

// ports are what may be reached at an address from outside (S5).
func (s situation) ports(addr netip.Addr) []filter.Port {
	var list []filter.Port
	for _, one := range s.tenants[addr] {
		for _, p := range one.Request.Ports {
			list = append(list, filter.Port{Addr: addr, Protocol: p.Protocol, Port: p.Number})
		}
	}
	if _, shared := s.control[addr]; shared {
		list = append(list, filter.Port{Addr: addr, Protocol: "TCP", Port: s.controlled})
	}
	return list
}
