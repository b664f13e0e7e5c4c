package place

import (
	"net/netip"
	"path"
)

// rank orders eligible nodes, lower first; only the lowest rank that occurs is chosen from. The number of Services for which
// the node has only terminating endpoints weighs most, then a cordon (S7), then the label.
type rank int

const (
	excludedRank rank = 1 << iota
	cordonedRank
	terminatingRank // times the number of Services
)

// assess says what n is worth for a, and the link to use there, or why it is not eligible. The checks go from
// what is least particular to this address to what is most, see progress.
func assess(a *Address, n *Node) (rank, string, Reason) {
	switch {
	case a.Host != "" && a.Host != n.Name:
		return 0, "", ReasonWrongHost
	case !n.Alive:
		return 0, "", ReasonNotAlive
	}
	link, why := fittingLink(a, n)
	if why != "" {
		return 0, "", why
	}
	terminating, ok := serves(a, n.Name)
	if !ok {
		return 0, "", ReasonNoLocalEndpoint
	}
	r := terminatingRank * rank(terminating)
	if n.Cordoned {
		r += cordonedRank
	}
	if n.Excluded {
		r += excludedRank
	}
	return r, link, ""
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

// serves says whether a node has an endpoint of every Service that has any, and of how many only terminating ones.
func serves(a *Address, node string) (terminating int, ok bool) {
	useful := a.Cluster || len(a.Local) == 0
	for _, endpoints := range a.Local {
		switch endpoints[node] {
		case Ready:
			useful = true
		case ServingTerminating:
			useful = true
			terminating++
		default:
			if endpoints.anywhere() {
				return 0, false
			}
		}
	}
	return terminating, useful
}

func (e Endpoints) anywhere() bool {
	for _, r := range e {
		if r == Ready || r == ServingTerminating {
			return true
		}
	}
	return false
}

// fittingLink returns the link with the longest subnet that contains the address, and the first by name among
// equals. Links that a pattern allows need no such subnet.
func fittingLink(a *Address, n *Node) (string, Reason) {
	best, bits, why := "", -1, ReasonNoLink
	for i := range n.Links {
		l := &n.Links[i]
		if a.Link != "" && !matches(a.Link, l.Name) {
			continue
		}
		length := longestSubnet(l, a.Addr.Unmap())
		if length < 0 && a.Link == "" {
			if best == "" {
				why = ReasonNoSubnet
			}
			continue
		}
		if best == "" || length > bits || length == bits && l.Name < best {
			best, bits, why = l.Name, length, ""
		}
	}
	return best, why
}

// matches takes a pattern that is none, like "eth[", as a name.
func matches(pattern, name string) bool {
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
