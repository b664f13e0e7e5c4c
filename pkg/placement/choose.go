package placement

import (
	"encoding/binary"
	"net/netip"

	"github.com/cespare/xxhash/v2"
)

// candidate is a node with what is the same for all addresses: the hash of its name, and its state.
type candidate struct {
	*Node
	hash  uint64
	state rank
}

// Choose returns where one address belongs: among the eligible nodes of the best rank, the one
// with the highest weight. The order of nodes does not matter.
func Choose(a Address, nodes []Node) Decision {
	return choose(&a, candidates(nodes))
}

// All is Choose for many addresses. It needs no memory for each pair of address and node.
// Of several entries for one address the last counts.
func All(addresses []Address, nodes []Node) map[netip.Addr]Decision {
	known := candidates(nodes)
	decisions := make(map[netip.Addr]Decision, len(addresses))
	for i := range addresses {
		decisions[addresses[i].Addr] = choose(&addresses[i], known)
	}
	return decisions
}

func candidates(nodes []Node) []candidate {
	known := make([]candidate, len(nodes))
	for i := range nodes {
		known[i] = candidate{&nodes[i], xxhash.Sum64String(nodes[i].Name), nodes[i].state()}
	}
	return known
}

func choose(a *Address, nodes []candidate) Decision {
	if a.Holder != nil {
		return held(a, nodes)
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
		best.Reason = refusal(a, nodes)
	case bestRank&cannotRank != 0:
		best.Reason = ReasonCannotCarry
	}
	return best
}

// held follows the election of the control-plane VIP: the address is on its holder in any case.
func held(a *Address, nodes []candidate) Decision {
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

// refusal is the most useful single reason why no node is eligible: that of the node that came closest.
func refusal(a *Address, nodes []candidate) Reason {
	closest := ReasonNoNode
	for _, n := range nodes {
		_, _, why := assess(a, n)
		if closest == ReasonNoNode || progress(why) > progress(closest) {
			closest = why
		}
	}
	if closest == ReasonWrongHost {
		return ReasonHostUnknown
	}
	return closest
}

// hash gives an IPv4 address the same value in both of its forms.
func hash(addr netip.Addr) uint64 {
	b := addr.As16()
	return xxhash.Sum64(b[:])
}

// weight is the highest for the node that should have the address. Hashing the two hashes once more makes the
// weights of one address independent of each other, and those of one node, too.
func weight(node, addr uint64) uint64 {
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:8], node)
	binary.LittleEndian.PutUint64(b[8:], addr)
	return xxhash.Sum64(b[:])
}
