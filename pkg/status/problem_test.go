package status

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// TestProblem: the VIPs are on exactly one node, or the reason is reported.
func TestProblem(t *testing.T) {
	for name, row := range map[string]struct {
		change func(r *Report)
		says   string // a part; empty: nothing is wrong
	}{
		"held":     {func(*Report) {}, ""},
		"degraded": {func(r *Report) { r.Degraded = "APIServerNotReady" }, ""},
		"released": {func(r *Report) { r.Lease.Holder, r.Nodes[0].Agent.Owned = "", false },
			"no node holds the address: lease kube-system/kvip is released"},
		"released, still there": {func(r *Report) { r.Lease.Holder = "" },
			"lease kube-system/kvip is released, and node-a has the address"},
		"no lease": {func(r *Report) { r.Lease.Exists, r.Nodes[0].Agent.Owned = false, false },
			"no node holds the address: lease kube-system/kvip does not exist"},
		"another lease": {func(r *Report) { r.Lease = Lease{Namespace: "kube-system", Name: "nope"} },
			"kube-system/nope does not exist, and node-a has the address: does it use another lease"},
		"two": {func(r *Report) { r.Nodes[2].Agent.Owned = true },
			"node-a and node-c have the address at the same time"},
		"all agents are dead": {func(r *Report) {
			for i := range r.Nodes {
				r.Nodes[i].Agent = nil
			}
			r.Lease.Age = time.Minute
		}, "no node holds the address: the lease of node-a has expired"},
		"the holder's agent does not answer": {func(r *Report) { r.Nodes[0].Agent = nil }, ""},
		"this machine's clock is ahead":      {func(r *Report) { r.Lease.Age = time.Hour }, ""},
		"the lease without the address": {func(r *Report) { r.Nodes[0].Agent.Owned = false },
			"node-a has the lease, but not the address"},
		"the lease here, the address there": {func(r *Report) { r.Lease.Holder = "node-b" },
			"node-b has the lease, and node-a has the address"},
	} {
		t.Run(name, func(t *testing.T) {
			r := held()
			row.change(&r)
			if got := r.problem(); !strings.Contains(got, row.says) || (got == "") != (row.says == "") {
				t.Errorf("says %q, want %q", got, row.says)
			}
		})
	}
}

// TestSetNames names the nodes whose agents do not answer.
func TestSetNames(t *testing.T) {
	for name, row := range map[string]struct {
		dead    []int
		cluster map[string]string
		names   []string
		unseen  []string
	}{
		"all answer":                {nil, nil, []string{"node-a", "node-b", "node-c"}, nil},
		"the only one that is left": {[]int{2}, nil, []string{"node-a", "node-b", "node-c"}, nil},
		"never in the lease":        {[]int{1}, nil, []string{"node-a", "", "node-c"}, nil},
		"two names for two nodes": {[]int{0, 2}, nil,
			[]string{"", "node-b", ""}, []string{"node-a", "node-c"}},
		"one name for two nodes": {[]int{1, 2}, nil, []string{"node-a", "", ""}, []string{"node-c"}},
		"named by the cluster": {[]int{0, 1, 2}, map[string]string{
			"10.0.0.1": "node-a", "10.0.0.2": "node-b", "10.0.0.3": "node-c",
		},
			[]string{"node-a", "node-b", "node-c"}, nil},
		"replaced by a new node": {[]int{2}, map[string]string{"10.0.0.3": "node-d"},
			[]string{"node-a", "node-b", "node-d"}, []string{"node-c"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := held()
			for _, i := range row.dead {
				r.Nodes[i].Agent, r.Nodes[i].Name = nil, ""
			}
			r.setNames(row.cluster)
			var names []string
			for _, n := range r.Nodes {
				names = append(names, n.Name)
			}
			if !slices.Equal(names, row.names) || !slices.Equal(r.Unseen, row.unseen) {
				t.Errorf("names %q, unseen %q", names, r.Unseen)
			}
		})
	}
}
