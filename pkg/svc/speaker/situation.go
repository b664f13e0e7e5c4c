package speaker

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/kvip/kvip/pkg/election"
	"github.com/kvip/kvip/pkg/ipam"
	"github.com/kvip/kvip/pkg/liveness"
	"github.com/kvip/kvip/pkg/nftfilter"
	"github.com/kvip/kvip/pkg/placement"
	"github.com/kvip/kvip/pkg/svc"
)

// situation is all that placement depends on, at one instant. Nothing of it comes from this agent's flags: all
// nodes must decide alike.
type situation struct {
	self       string
	verdict    liveness.View
	nodes      []placement.Node
	tenants    map[netip.Addr][]*svc.Service // who uses each address of the ledger, the oldest first
	endpoints  map[svc.Backend]placement.Endpoints
	interfaces map[string]string     // by namespace; "" for all others
	control    map[netip.Addr]string // the control plane's addresses, and the node that has each
}

// survey reads the catalogue.
func (a *Speaker) survey(verdict liveness.View) situation {
	c := a.cfg.Cache
	s := situation{
		self: a.cfg.Node, verdict: verdict, endpoints: c.Endpoints(), interfaces: c.Interfaces(),
		tenants: map[netip.Addr][]*svc.Service{}, control: map[netip.Addr]string{},
	}
	services := map[ipam.Owner]*svc.Service{}
	for _, one := range c.Services() {
		if one.Announceable {
			services[one.Owner()] = one
		}
	}
	for _, addr := range a.cfg.ControlPlane {
		s.control[addr] = ""
	}
	for addr, holders := range c.Ledger() {
		if ipam.WithControlPlane(holders) {
			s.control[addr] = "" // whether or not a Lease lists it now
		}
		for _, h := range holders {
			if one := services[h.Owner]; one != nil {
				s.tenants[addr] = append(s.tenants[addr], one)
			}
		}
		bySeniority(s.tenants[addr])
	}
	s.nodes = nodesOf(c, verdict)
	s.findHolders(c.Leases())
	return s
}

// findHolders says which node has each of the control plane's addresses: the one that says so itself, if it is alive, else
// the holder of the election, which need not serve Services, else the one that said so last.
func (s situation) findHolders(leases []*svc.Lease) {
	alive := map[string]bool{}
	for _, n := range s.nodes {
		alive[n.Name] = n.Alive
	}
	note := func(addr netip.Addr, node string) { s.control[addr] = cmp.Or(s.control[addr], node) }
	said := func(byAlive bool) {
		for _, l := range leases {
			for _, addr := range l.Info.ControlPlane {
				if alive[l.Info.Node] == byAlive {
					note(addr, l.Info.Node)
				}
			}
		}
	}
	said(true)
	for _, l := range leases {
		for _, a := range l.ControlPlane {
			note(a.Addr(), election.NodeName(l.Holder))
		}
	}
	said(false)
}

// bySeniority sorts the Services that share an address: the oldest decides where they differ.
func bySeniority(tenants []*svc.Service) {
	if len(tenants) > 1 {
		slices.SortFunc(tenants, func(a, b *svc.Service) int {
			return cmp.Or(a.Created.Compare(b.Created), strings.Compare(string(a.Owner()), string(b.Owner())))
		})
	}
}

// nodesOf joins what the API says of each announcing node with what its Lease says.
func nodesOf(c *svc.Cache, verdict liveness.View) []placement.Node {
	known := c.Nodes()
	var nodes []placement.Node
	for _, l := range c.Leases() {
		if l.Role != svc.RoleNode || l.Info.Node == "" {
			continue
		}
		n := placement.Node{
			Name: l.Info.Node, Links: l.Info.PlacementLinks(), Selected: l.Info.Selected, Unavailable: l.Info.Unavailable, FailedAddresses: l.Info.FailedAddresses,
		}
		_, n.Alive = slices.BinarySearch(verdict.Alive, n.Name)
		if object := known[n.Name]; object != nil {
			n.Cordoned, n.Excluded, n.NotReady, n.NoNetwork = object.Cordoned, object.Excluded, object.NotReady, object.NoNetwork
		} else {
			n.Alive = false // the Node was deleted: what its kvip says does not count any more
		}
		nodes = append(nodes, n)
	}
	slices.SortFunc(nodes, func(a, b placement.Node) int { return cmp.Compare(a.Name, b.Name) })
	return nodes
}

// AddressOwner are what is to be placed.
func (s situation) addresses() []placement.Address {
	list := make([]placement.Address, 0, len(s.tenants))
	for addr := range s.tenants {
		list = append(list, s.address(addr))
	}
	return list
}

func (s situation) address(addr netip.Addr) placement.Address {
	a := placement.Address{Addr: addr}
	for i, one := range s.tenants[addr] {
		if i == 0 {
			a.Link = s.link(one)
		}
		if one.Local {
			a.Local = append(a.Local, s.endpoints[svc.Backend{Owner: one.Owner(), Family: ipam.FamilyOf(addr)}])
		} else {
			a.Cluster = true
		}
	}
	if holder, shared := s.control[addr]; shared {
		a.Holder = &holder
	}
	return a
}

// link is the name or pattern of the links that a Service asks for, itself or by its namespace.
func (s situation) link(one *svc.Service) string {
	return cmp.Or(one.Link, s.interfaces[one.Namespace], s.interfaces[""])
}

// ports are what may be reached at an address from outside (S5), in order.
func (s situation) ports(addr netip.Addr) []nftfilter.Port {
	var list []nftfilter.Port
	for _, one := range s.tenants[addr] {
		for _, p := range one.Request.Ports {
			list = append(list, nftfilter.Port{Addr: addr, Protocol: p.Protocol, Port: p.Number})
		}
	}
	slices.SortFunc(list, func(a, b nftfilter.Port) int {
		return cmp.Or(strings.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port))
	})
	return list
}

// cannotCarry is why a node cannot carry an address, "" if it can or nobody knows.
func (s situation) cannotCarry(node string, addr netip.Addr) string {
	for i := range s.nodes {
		if s.nodes[i].Name == node {
			return s.nodes[i].FailureFor(addr)
		}
	}
	return ""
}
