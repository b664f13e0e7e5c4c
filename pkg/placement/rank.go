package placement

import (
	"net/netip"
	"path"
	"slices"
)

// rank orders eligible nodes, the best first. Only the lowest rank that occurs is chosen from. Each
// level weighs more than all levels above it in this list together.
type rank int64

const (
	excludedRank    rank = 1 << iota
	cordonedRank         // S7
	terminatingRank      // times the Services for which the node has only terminating endpoints
)

const (
	noNetworkRank rank = terminatingRank << 16
	notReadyRank  rank = noNetworkRank << 1
	// unservedRank and above: one bit for each Local Service that the node does not serve.
	unservedRank rank = notReadyRank << 1
	cannotRank   rank = unservedRank << maxRanked
	// fallbackRank: the address is in no subnet of the node, and in one of other nodes.
	fallbackRank rank = cannotRank << 1
)

// maxRanked is the number of Local Services at one address that a rank distinguishes. Newer ones
// are ignored.
const maxRanked = 16

// levels are the parts of a rank, the heaviest first, and the reason that each gives against a
// node.
var levels = [...]struct {
	mask rank
	why  Reason
}{
	{fallbackRank, ReasonNoSubnet},
	{cannotRank, ReasonCannotCarry},
	{cannotRank - unservedRank, ReasonNoLocalEndpoint},
	{notReadyRank, ReasonNotReady},
	{noNetworkRank, ReasonNoNetwork},
	{noNetworkRank - terminatingRank, ReasonTerminating},
	{cordonedRank, ReasonCordoned},
	{excludedRank, ReasonExcluded},
}

// assess returns the rank of n for a and the link to use, or why n is not eligible. Checks are in
// the order of progress.
func assess(a *Address, n candidate) (rank, string, Reason) {
	if !n.Alive {
		return 0, "", ReasonNotAlive
	}
	link, bits, why := fittingLink(a, n.Node)
	if why != "" {
		return 0, "", why
	}
	r := n.state
	if bits < 0 && a.Link == "" && !n.Selected {
		r += fallbackRank
	}
	if n.Unavailable == "" && n.FailureFor(a.Addr) != "" {
		r += cannotRank
	}
	if len(a.Local) > 0 {
		unserved, serves := localRank(a, n.Name)
		if !serves {
			return 0, "", ReasonNoLocalEndpoint
		}
		r += unserved
	}
	return r, link, ""
}

// rank returns the rank of the node's state, which is the same for all addresses.
func (n *Node) rank() (r rank) {
	for _, state := range [...]struct {
		holds bool
		rank  rank
	}{
		{n.Excluded, excludedRank}, {n.Cordoned, cordonedRank}, {n.NoNetwork, noNetworkRank},
		{n.NotReady, notReadyRank}, {n.Unavailable != "", cannotRank},
	} {
		if state.holds {
			r += state.rank
		}
	}
	return r
}

// FailureFor returns why the node cannot carry an address at present, or "".
func (n *Node) FailureFor(addr netip.Addr) string {
	if n.Unavailable != "" || len(n.FailedAddresses) == 0 {
		return n.Unavailable
	}
	return n.FailedAddresses[addr.Unmap()]
}

// localRank reports whether a node serves at least one of the Services at an address, and ranks it
// by those that it does not serve, or only with terminating endpoints.
func localRank(a *Address, node string) (r rank, serves bool) {
	serves = a.Cluster
	for i, endpoints := range a.Local {
		readiness := endpoints[node]
		serves = serves || readiness != 0
		switch {
		case i >= maxRanked:
		case readiness == 0:
			r += unservedRank << (min(len(a.Local), maxRanked) - 1 - i) // the oldest weighs most
		case readiness == ServingTerminating:
			r += terminatingRank
		}
	}
	return r, serves
}

// fittingLink returns the link with the longest subnet that contains the address, the first by
// name among equals, and the length of that subnet. Links that the address names, or else the
// node's configuration selects, need no such subnet: then the length is -1.
func fittingLink(a *Address, n *Node) (string, int, Reason) {
	best, bits, why := "", -1, ReasonNoLink
	for i := range n.Links {
		l := &n.Links[i]
		if a.Link != "" && !l.named(a.Link) || a.Link == "" && n.Selected && !l.Selected {
			continue
		}
		length := longestSubnet(l, a.Addr.Unmap())
		if length < 0 && a.Link == "" && !l.Selected {
			if best == "" {
				why = ReasonNoSubnet
			}
			continue
		}
		if best == "" || length > bits || length == bits && l.Name < best {
			best, bits, why = l.Name, length, ""
		}
	}
	return best, bits, why
}

// named reports whether a pattern matches one of the link's names.
func (l *Link) named(pattern string) bool {
	return Matches(pattern, l.Name) || slices.ContainsFunc(l.Names, func(name string) bool {
		return Matches(pattern, name)
	})
}

// Matches reports whether a name or shell pattern ("eth*") matches the name of a link. A malformed
// pattern, like "eth[", is a name.
func Matches(pattern, name string) bool {
	if pattern == name {
		return true
	}
	ok, err := path.Match(pattern, name)
	return err == nil && ok
}

// longestSubnet returns the length of the longest subnet of l that contains addr, or -1.
func longestSubnet(l *Link, addr netip.Addr) int {
	longest := -1
	for _, s := range l.Subnets {
		if s.Bits() > longest && !s.IsSingleIP() && s.Contains(addr) {
			longest = s.Bits()
		}
	}
	return longest
}
