package placement

import "slices"

// Explain is Choose with the reason for each node, for people who ask.
func Explain(a Address, nodes []Node) Explanation {
	known := candidates(nodes)
	e := Explanation{Decision: choose(&a, known), Rejected: map[string]Reason{}}
	best := e.chosenRank(&a, known)
	for _, n := range known {
		if why := e.against(&a, n, best); why != "" {
			e.Rejected[n.Name] = why
		} else {
			e.Eligible = append(e.Eligible, n.Name)
		}
	}
	slices.Sort(e.Eligible)
	return e
}

// chosenRank is the rank of the chosen node, which all eligible ones share.
func (e *Explanation) chosenRank(a *Address, nodes []candidate) rank {
	for _, n := range nodes {
		if n.Name == e.Node {
			r, _, _ := assess(a, n)
			return r
		}
	}
	return 0
}

// against returns why n is not eligible, "" if it is.
func (e *Explanation) against(a *Address, n candidate, best rank) Reason {
	if a.Holder != nil {
		if n.Name == e.Node {
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

// levels are the parts of a rank, what weighs most first, and what they say against a node.
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
