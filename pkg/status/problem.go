package status

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kvip/kvip/pkg/election"
)

// expired reports whether the lease has run out by this machine's clock.
func (l Lease) expired() bool { return l.Age > l.Duration }

// judge says why the addresses are not with exactly one node, or "". Lease and agents are asked one
// after the other, so that a move in between can look like trouble once.
func (r Report) problem() string {
	var owners []string
	for _, n := range r.Nodes {
		if n.Agent != nil && n.Agent.Owned {
			owners = append(owners, n.label())
		}
	}
	lease := fmt.Sprintf("lease %s/%s", r.Lease.Namespace, r.Lease.Name)
	switch holder := r.Lease.Holder; {
	case len(owners) > 1:
		return strings.Join(owners, " and ") + " have the address at the same time"
	case !r.Lease.Exists && len(owners) == 1:
		return fmt.Sprintf("%s does not exist, and %s has the address: does it use another lease (--lease-name, --namespace)?", lease, owners[0])
	case !r.Lease.Exists:
		return "nobody holds the address: " + lease + " does not exist"
	case holder == "" && len(owners) == 0:
		return "nobody holds the address: " + lease + " is released"
	case holder == "":
		return fmt.Sprintf("%s is released, and %s has the address", lease, owners[0])
	case r.Lease.expired() && len(owners) == 0:
		return fmt.Sprintf("nobody holds the address: the lease of %s has run out", holder)
	case len(owners) == 1 && owners[0] != holder:
		return fmt.Sprintf("%s has the lease, and %s has the address", holder, owners[0])
	case len(owners) == 0 && r.answers(holder):
		return fmt.Sprintf("nobody has the address: %s has the lease, but not the address", holder)
	}
	return ""
}

// answers reports whether the agent of a node answers.
func (r Report) answers(node string) bool {
	return slices.ContainsFunc(r.Nodes, func(n Node) bool { return n.Name == node && n.Agent != nil })
}

// setNames gives nodes without an agent that answers their names: those that the cluster says, and
// of the names in the lease the only one that is left to the only node without. Unseen are the names in
// the lease that no node has then.
func (r *Report) setNames(byAddress map[string]string) {
	var without []int
	taken := map[string]bool{}
	for i, n := range r.Nodes {
		if n.Name == "" {
			r.Nodes[i].Name = byAddress[ipOf(n.Address)]
		}
		if taken[r.Nodes[i].Name] = true; r.Nodes[i].Name == "" {
			without = append(without, i)
		}
	}
	for _, name := range r.names() {
		if !taken[name] {
			r.Unseen = append(r.Unseen, name)
		}
	}
	if len(without) == 1 && len(r.Unseen) == 1 && len(byAddress) == 0 {
		r.Nodes[without[0]].Name, r.Unseen = r.Unseen[0], nil
	}
}

// names returns the nodes that the lease names: its holder, and those of the last transitions.
func (r *Report) names() []string {
	all := []string{r.Lease.Holder}
	for _, x := range r.Transitions {
		all = append(all, election.NodeName(x.From), election.NodeName(x.To))
	}
	slices.Sort(all)
	return slices.DeleteFunc(slices.Compact(all), func(name string) bool { return name == "" })
}
