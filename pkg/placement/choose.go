package placement

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/cespare/xxhash/v2"
)

// candidate is a node with what is the same for all addresses: the hash of its name, and the rank
// of its state.
type candidate struct {
	*Node
	hash  uint64
	state rank
}

func candidates(nodes []Node) []candidate {
	list := make([]candidate, len(nodes))
	for i := range nodes {
		list[i] = candidate{&nodes[i], xxhash.Sum64String(nodes[i].Name), nodes[i].rank()}
	}
	return list
}

// Choose returns where an address belongs: among the eligible nodes of the best rank, on the one
// with the highest weight. The order of nodes does not matter.
func Choose(a Address, nodes []Node) Decision {
	return choose(&a, candidates(nodes))
}

// All is Choose for many addresses. It allocates nothing per pair of address and node. Of several
// entries for one address the last counts.
func All(addresses []Address, nodes []Node) map[netip.Addr]Decision {
	list := candidates(nodes)
	decisions := make(map[netip.Addr]Decision, len(addresses))
	for i := range addresses {
		decisions[addresses[i].Addr] = choose(&addresses[i], list)
	}
	return decisions
}

// Explain is Choose with the reason for each node.
func Explain(a Address, nodes []Node) Explanation {
	list := candidates(nodes)
	if a.Routed && a.Holder == nil {
		return explainRouted(&a, list)
	}
	e := Explanation{Decision: choose(&a, list), Rejected: map[string]Reason{}}
	var best rank // of the chosen node, which all eligible ones share
	for _, n := range list {
		if n.Name == e.Node {
			best, _, _ = assess(&a, n)
		}
	}
	for _, n := range list {
		if why := rejection(&a, n, e.Node, best); why != "" {
			e.Rejected[n.Name] = why
		} else {
			e.Eligible = append(e.Eligible, n.Name)
		}
	}
	slices.Sort(e.Eligible)
	return e
}

func choose(a *Address, nodes []candidate) Decision {
	switch {
	case a.Holder != nil:
		return onHolder(a, nodes)
	case a.Routed:
		return serve(a, nodes)
	}
	best := Decision{Reason: ReasonOnlyNode}
	var bestRank rank
	var bestWeight uint64
	key := hash(a.Addr)
	for _, n := range nodes {
		r, link, why := assess(a, n)
		if why != "" || best.Node != "" && r > bestRank {
			continue
		}
		w := weight(n.hash, key)
		switch {
		case best.Node == "" || r < bestRank:
			best = Decision{Node: n.Name, Link: link, Reason: ReasonOnlyNode}
		case w > bestWeight || w == bestWeight && n.Name < best.Node:
			best = Decision{Node: n.Name, Link: link, Reason: ReasonChosen}
		default:
			best.Reason = ReasonChosen
			continue
		}
		bestRank, bestWeight = r, w
	}
	switch {
	case best.Node == "":
		best.Reason = closestReason(a, nodes)
	case bestRank&cannotRank != 0:
		best.Reason = ReasonCannotCarry
	}
	return best
}

// onHolder places the control-plane VIP: on its holder in any case.
func onHolder(a *Address, nodes []candidate) Decision {
	if *a.Holder == "" {
		return Decision{Reason: ReasonNotHeld}
	}
	d := Decision{Node: *a.Holder, Reason: ReasonHolder}
	for _, n := range nodes {
		if n.Name == d.Node {
			d.Link, _, _ = fittingLink(a, n.Node)
		}
	}
	return d
}

// closestReason returns the most useful reason why no node is eligible: that of the node that came
// closest.
func closestReason(a *Address, nodes []candidate) Reason {
	closest := ReasonNoNode
	for _, n := range nodes {
		_, _, why := assess(a, n)
		if progress(why) > progress(closest) {
			closest = why
		}
	}
	return closest
}

// progress returns how many checks of assess a node passed that was rejected for why; -1 for
// another reason.
func progress(why Reason) int {
	return slices.Index([]Reason{ReasonNotAlive, ReasonNoLink, ReasonNoSubnet,
		ReasonNoLocalEndpoint}, why)
}

// rejection returns why n is not eligible beside chosen, which has rank best; "" if it is.
func rejection(a *Address, n candidate, chosen string, best rank) Reason {
	if a.Holder != nil {
		if n.Name == chosen {
			return ""
		}
		return ReasonNotHolder
	}
	r, _, why := assess(a, n)
	switch {
	case why != "":
		return why
	case r <= best:
		return ""
	}
	for _, level := range levels {
		if r&level.mask > best&level.mask {
			return level.why
		}
	}
	return ReasonExcluded
}

// hash returns the same value for both forms of an IPv4 address.
func hash(addr netip.Addr) uint64 {
	b := addr.As16()
	return xxhash.Sum64(b[:])
}

// weight is highest for the node that should have the address. Hashing the two hashes again makes
// the weights of one address independent of each other, and those of one node, too.
func weight(node, addr uint64) uint64 {
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:8], node)
	binary.LittleEndian.PutUint64(b[8:], addr)
	return xxhash.Sum64(b[:])
}
