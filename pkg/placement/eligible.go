package placement

import (
	"net/netip"
	"path"
	"slices"
)

// rank orders eligible nodes, lower first; only the lowest rank that occurs is chosen from. What stands higher in this
// list weighs less than all below it together.
type rank int64

const (
	excludedRank    rank = 1 << iota
	cordonedRank         // S7
	terminatingRank      // times the number of Services for which the node has only terminating endpoints
)

const (
	noNetworkRank rank = terminatingRank << 16
	notReadyRank  rank = noNetworkRank << 1
	unservedRank  rank = notReadyRank << 1 // and above: one bit for each Local Service that the node does not serve
	cannotRank    rank = unservedRank << maxRanked
	fallbackRank  rank = cannotRank << 1 // the address is in no subnet of the node, and in one of others
)

// maxRanked is how many Local Services at one address are told apart in a rank. The newer ones have no say.
const maxRanked = 16

// assess says what n is worth for a, and the link to use there, or why it is not eligible. The checks go from
// what is least particular to this address to what is most, see progress.
func assess(a *Address, n candidate) (rank, string, Reason) {
	switch {
	case a.Host != "" && a.Host != n.Name:
		return 0, "", ReasonWrongHost
	case !n.Alive:
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
	if n.Unavailable == "" && len(n.FailedAddresses) > 0 && n.FailureFor(a.Addr) != "" {
		r += cannotRank
	}
	if len(a.Local) > 0 {
		served, ok := serves(a, n.Name)
		if !ok {
			return 0, "", ReasonNoLocalEndpoint
		}
		r += served
	}
	return r, link, ""
}

// state is what the state of the node is worth, for all addresses.
func (n *Node) state() (r rank) {
	for _, state := range [...]struct {
		holds bool
		rank  rank
	}{
		{n.Excluded, excludedRank}, {n.Cordoned, cordonedRank}, {n.NoNetwork, noNetworkRank}, {n.NotReady, notReadyRank},
		{n.Unavailable != "", cannotRank},
	} {
		if state.holds {
			r += state.rank
		}
	}
	return r
}

// FailureFor is why the node cannot carry an address at present, "" if it can.
func (n *Node) FailureFor(addr netip.Addr) string {
	if n.Unavailable != "" || len(n.FailedAddresses) == 0 {
		return n.Unavailable
	}
	return n.FailedAddresses[addr.Unmap()]
}

// progress is how close to eligible a node came that was rejected for why.
func progress(why Reason) int {
	switch why {
	case ReasonWrongHost:
		return 1
	case ReasonNotAlive:
		return 2
	case ReasonNoLink:
		return 3
	case ReasonNoSubnet:
		return 4
	default:
		return 5
	}
}

// serves reports whether a node serves one of the Services at the address, and ranks it by those that it does not
// serve and those of which it has only terminating endpoints.
func serves(a *Address, node string) (r rank, ok bool) {
	ok = a.Cluster
	for i, endpoints := range a.Local {
		readiness := endpoints[node]
		ok = ok || readiness != 0
		switch {
		case i >= maxRanked:
		case readiness == 0:
			r += unservedRank << (min(len(a.Local), maxRanked) - 1 - i) // the oldest weighs most
		case readiness == ServingTerminating:
			r += terminatingRank
		}
	}
	return r, ok
}

// fittingLink returns the link with the longest subnet that contains the address, and the first by name among
// equals, and that length. Links that the address names, or else the node's configuration selects, need no such
// subnet: the length is then -1.
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

// named reports whether a pattern is, or matches, one of the link's names.
func (l *Link) named(pattern string) bool {
	return Matches(pattern, l.Name) || slices.ContainsFunc(l.Names, func(name string) bool { return Matches(pattern, name) })
}

// Matches reports whether a name or shell pattern ("eth*") is that of a link. A pattern that is none, like
// "eth[", is a name.
func Matches(pattern, name string) bool {
	if pattern == name {
		return true
	}
	ok, err := path.Match(pattern, name)
	return err == nil && ok
}

// longestSubnet returns the length of the longest subnet of l that contains addr, -1 if none does.
func longestSubnet(l *Link, addr netip.Addr) int {
	longest := -1
	for _, s := range l.Subnets {
		if s.Bits() > longest && !s.IsSingleIP() && s.Contains(addr) {
			longest = s.Bits()
		}
	}
	return longest
}
