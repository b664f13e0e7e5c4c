package status

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/kvip/kvip/pkg/bgp"
)

// maxProblems is how many problems one sentence names.
const maxProblems = 3

// sentence joins problems.
func sentence(problems []string) string {
	if more := len(problems) - maxProblems; more > 0 {
		problems = append(slices.Clone(problems[:maxProblems]), fmt.Sprintf("%d more", more))
	}
	return strings.Join(problems, "; ")
}

// byBGP reports whether one of the agents announces the VIPs by BGP.
func byBGP(nodes []Node) bool {
	return slices.ContainsFunc(nodes, func(n Node) bool { return n.Agent.byBGP() })
}

// announcing returns the nodes that announce in a state.
func (r Report) announcing(state string) (names []string) {
	for _, n := range r.Nodes {
		if n.Agent.byBGP() && n.Agent.BGP.Announcement == state {
			names = append(names, n.label())
		}
	}
	return names
}

// bgpDegraded returns why all nodes that announce do so by the worse path, or "".
func (r Report) bgpDegraded() string {
	if len(r.announcing(stateAnnouncing)) > 0 {
		return ""
	}
	for _, n := range r.Nodes {
		if n.Agent.byBGP() && n.Agent.BGP.Announcement == stateWorse {
			return n.Agent.Reason
		}
	}
	return ""
}

// bgpProblem returns why not every node that is ready announces to all of its peers, or "". Several
// nodes that announce are right.
func (r Report) bgpProblem() string {
	var all []string
	if !slices.ContainsFunc(r.Nodes, func(n Node) bool { return n.Agent.announces() }) {
		all = append(all, "no node announces the address")
	}
	for _, n := range r.Nodes {
		if n.Agent != nil {
			all = append(all, n.bgpProblems()...)
		}
	}
	return sentence(all)
}

// bgpProblems returns what is wrong on one node, whose agent answers.
func (n Node) bgpProblems() (all []string) {
	a, node := n.Agent, n.label()
	if !a.byBGP() {
		if a.Owned {
			all = append(all, node+" has the address without BGP: give all agents the same --announce")
		}
		return all
	}
	if state := a.BGP.Announcement; n.Ready && state != stateAnnouncing {
		what := "does not announce the address"
		if state == stateWorse {
			what = "announces by the worse path"
		}
		why := a.Reason
		if why == "" {
			why = state
		}
		all = append(all, fmt.Sprintf("%s has a ready API server and %s: %s", node, what, why))
	}
	up := a.BGP.up()
	switch {
	case len(a.BGP.Sessions) == 0:
		return append(all, node+" has no BGP peers")
	case up == 0:
		return append(all, node+" has no BGP session: "+a.BGP.Sessions[0].why())
	}
	for _, s := range a.BGP.Sessions {
		if !s.established() {
			all = append(all, fmt.Sprintf("%s has no session with %s: %s", node, s.Peer, s.why()))
		}
	}
	if a.announces() {
		for _, family := range a.uncarried() {
			all = append(all, fmt.Sprintf("no session of %s carries a route of %s", node, family))
		}
	}
	return all
}

// why returns why a session is not established.
func (s Session) why() string {
	if s.Reason == "" {
		return "in state " + s.State
	}
	return s.Reason
}

// uncarried returns the families of the VIPs of which no peer has a route.
func (a *Agent) uncarried() (missing []string) {
	for _, f := range []bgp.Family{bgp.IPv4, bgp.IPv6} {
		name := FamilyName(f)
		wanted := slices.ContainsFunc(a.VIPs, func(text string) bool {
			addr, err := netip.ParseAddr(text)
			return err == nil && bgp.FamilyOf(addr) == f
		})
		carried := slices.ContainsFunc(a.BGP.Sessions, func(s Session) bool { return s.routes(name) > 0 })
		if wanted && !carried {
			missing = append(missing, name)
		}
	}
	return missing
}
