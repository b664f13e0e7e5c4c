package status

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kvip/kvip/pkg/election"
)

// expired reports whether the lease has expired by this host's clock.
func (l Lease) expired() bool { return l.Age > l.Duration }

// problem returns why the VIPs are not on exactly one node, or "". Lease and agents are read one
// after the other, so a move in between can look like a problem.
func (r Report) problem() string {
	var owners []string
	for _, n := range r.Nodes {
		if n.Agent != nil && n.Agent.Owned {
			owners = append(owners, n.label())
		}
	}
	const none = "no node holds the address: "
	lease := fmt.Sprintf("lease %s/%s", r.Lease.Namespace, r.Lease.Name)
	switch holder := r.Lease.Holder; {
	case len(owners) > 1:
		return strings.Join(owners, " and ") + " have the address at the same time"
	case !r.Lease.Exists && len(owners) == 1:
		return fmt.Sprintf("%s does not exist, and %s has the address: does it use another lease "+
			"(--lease-name, --namespace)?", lease, owners[0])
	case !r.Lease.Exists:
		return none + lease + " does not exist"
	case holder == "" && len(owners) == 0:
		return none + lease + " is released"
	case holder == "":
		return fmt.Sprintf("%s is released, and %s has the address", lease, owners[0])
	case r.Lease.expired() && len(owners) == 0:
		return fmt.Sprintf(none+"the lease of %s has expired", holder)
	case len(owners) == 1 && owners[0] != holder:
		return fmt.Sprintf("%s has the lease, and %s has the address", holder, owners[0])
	case len(owners) == 0 && r.answers(holder):
		return fmt.Sprintf("no node has the address: %s has the lease, but not the address", holder)
	}
	return ""
}

// answers reports whether the agent of a node answers.
func (r Report) answers(node string) bool {
	return slices.ContainsFunc(r.Nodes, func(n Node) bool {
		return n.Name == node && n.Agent != nil
	})
}

// setNames names the nodes whose agents do not answer, by the cluster's Nodes. Without them, if one
// node has no name and one name of the lease has no node, they belong together. Unseen are the
// names of the lease that remain.
func (r *Report) setNames(byAddress map[string]string) {
	var unnamed []int
	used := map[string]bool{}
	for i, n := range r.Nodes {
		if n.Name == "" {
			r.Nodes[i].Name = byAddress[ipOf(n.Address)]
		}
		if used[r.Nodes[i].Name] = true; r.Nodes[i].Name == "" {
			unnamed = append(unnamed, i)
		}
	}
	for _, name := range r.leaseNames() {
		if !used[name] {
			r.Unseen = append(r.Unseen, name)
		}
	}
	if len(unnamed) == 1 && len(r.Unseen) == 1 && len(byAddress) == 0 {
		r.Nodes[unnamed[0]].Name, r.Unseen = r.Unseen[0], nil
	}
}

// leaseNames returns the nodes that the lease names: the holder, and those of the transitions.
func (r *Report) leaseNames() []string {
	all := []string{r.Lease.Holder}
	for _, x := range r.Transitions {
		all = append(all, election.NodeName(x.From), election.NodeName(x.To))
	}
	slices.Sort(all)
	return slices.DeleteFunc(slices.Compact(all), func(name string) bool { return name == "" })
}
