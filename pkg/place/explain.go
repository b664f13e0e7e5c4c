package place

import "slices"

// Explain is Choose with the reason for each node, for people who ask.
func Explain(a Address, nodes []Node) Explanation {
	e := Explanation{Decision: Choose(a, nodes), Rejected: map[string]Reason{}}
	best := e.chosenRank(&a, nodes)
	for i := range nodes {
		n := &nodes[i]
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
func (e *Explanation) chosenRank(a *Address, nodes []Node) rank {
	for i := range nodes {
		if nodes[i].Name == e.Node {
			r, _, _ := assess(a, &nodes[i])
			return r
		}
	}
	return 0
}

// against returns why n is not eligible, "" if it is.
func (e *Explanation) against(a *Address, n *Node, best rank) Reason {
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
	case r/terminatingRank > best/terminatingRank:
		return ReasonTerminating
	case r&cordonedRank > best&cordonedRank:
		return ReasonCordoned
	default:
		return ReasonExcluded
	}
}
