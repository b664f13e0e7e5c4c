package placement

import (
	"cmp"
	"slices"
)

// Loopback is the link of an address that routes lead to.
const Loopback = "lo"

// Server is a node that serves a routed address.
type Server struct {
	Node string
	// Worse is why routers shall use the node only if there is no better one (B5), or "".
	Worse Reason
}

// On returns the link on which a node has the address, and whether it has it. worse is why routers
// shall prefer other nodes.
func (d Decision) On(node string) (link string, worse Reason, has bool) {
	if !d.Routed {
		return d.Link, "", d.Node != "" && d.Node == node
	}
	i, found := slices.BinarySearchFunc(d.Servers, node, func(s Server, name string) int {
		return cmp.Compare(s.Node, name)
	})
	if !found {
		return "", "", false
	}
	return Loopback, d.Servers[i].Worse, true
}

// serve returns the nodes that serve a routed address: all that are eligible. The decision names
// the first of those that serve it well.
func serve(a *Address, nodes []candidate) Decision {
	d := Decision{Routed: true, Link: Loopback, Reason: ReasonRouted}
	for _, n := range nodes {
		worse, why := assessRouted(a, n)
		if why != "" {
			continue
		}
		d.Servers = append(d.Servers, Server{n.Name, worse})
	}
	slices.SortFunc(d.Servers, func(a, b Server) int { return cmp.Compare(a.Node, b.Node) })
	for _, s := range d.Servers {
		if s.Worse == "" {
			d.Node = s.Node
			return d
		}
	}
	if len(d.Servers) > 0 {
		d.Node = d.Servers[0].Node
		return d
	}
	return Decision{Routed: true, Reason: closestRouted(a, nodes)}
}

// assessRouted returns why a node serves a routed address worse than others, or why it does not
// serve it.
func assessRouted(a *Address, n candidate) (worse, why Reason) {
	switch {
	case !n.Alive:
		return "", ReasonNotAlive
	case slices.ContainsFunc(n.Links, func(l Link) bool {
		return longestSubnet(&l, a.Addr.Unmap()) >= 0
	}):
		return "", ReasonInSubnet
	case n.FailureFor(a.Addr) != "":
		return "", ReasonCannotCarry
	}
	if len(a.Local) > 0 && !a.Cluster {
		switch best(a.Local, n.Name) {
		case 0:
			return "", ReasonNoLocalEndpoint
		case ServingTerminating:
			return ReasonTerminating, ""
		}
	}
	for _, level := range levels {
		if n.state&level.mask != 0 {
			return level.why, ""
		}
	}
	return "", ""
}

// best returns the best readiness of the Services' endpoints on a node.
func best(services []Endpoints, node string) (readiness Readiness) {
	for _, endpoints := range services {
		switch r := endpoints[node]; {
		case r == Ready:
			return Ready
		case r != 0:
			readiness = r
		}
	}
	return readiness
}

// closestRouted returns the reason of the node that came closest to serving the address.
func closestRouted(a *Address, nodes []candidate) Reason {
	closest := ReasonNoNode
	order := []Reason{ReasonNoNode, ReasonNotAlive, ReasonInSubnet, ReasonCannotCarry,
		ReasonNoLocalEndpoint}
	for _, n := range nodes {
		if _, why := assessRouted(a, n); slices.Index(order, why) > slices.Index(order, closest) {
			closest = why
		}
	}
	return closest
}

// explainRouted is Explain for a routed address. Nodes that serve it worse are eligible.
func explainRouted(a *Address, nodes []candidate) Explanation {
	e := Explanation{Decision: serve(a, nodes), Rejected: map[string]Reason{}}
	for _, n := range nodes {
		if _, why := assessRouted(a, n); why != "" {
			e.Rejected[n.Name] = why
		} else {
			e.Eligible = append(e.Eligible, n.Name)
		}
	}
	slices.Sort(e.Eligible)
	return e
}
