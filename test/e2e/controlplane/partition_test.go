package controlplane

import (
	"slices"
	"testing"
	"time"

	"github.com/kvip/kvip/test/lab/cluster"
)

// TestPartitionOfTheHolder cuts the holder off from the other nodes: its fence ends (E1),
// one of the others takes over, and when the cut heals there is still one holder.
func TestPartitionOfTheHolder(t *testing.T) {
	for _, cut := range []struct {
		name string
		cut  func(s *story, n *cluster.Node) error
	}{
		{"BothWays", func(s *story, n *cluster.Node) error { return s.c.Lab.Partition(n.Host, s.c.Others(n)...) }},
		{"FromTheHolder", func(s *story, n *cluster.Node) error { return s.oneWay(n, true) }},
		{"ToTheHolder", func(s *story, n *cluster.Node) error { return s.oneWay(n, false) }},
		{"APIOnly", func(s *story, n *cluster.Node) error {
			return s.c.Lab.PartitionPorts(n.Host, []uint16{6443, 2379, 2380}, s.c.Others(n)...)
		}},
	} {
		t.Run(cut.name, func(t *testing.T) {
			s := begin(t)
			old := s.holder()
			s.ok(cut.cut(s, old))
			s.wait("a holder on the other side", func() bool {
				return slices.ContainsFunc(s.holders(), func(name string) bool { return name != old.Name })
			})
			s.ok(s.c.Lab.Heal())
			s.ok(s.c.WaitReady(t.Context()))
		})
	}
}

// oneWay drops what the node sends to the other nodes, or what they send to it.
func (s *story) oneWay(n *cluster.Node, out bool) error {
	for _, other := range s.c.Others(n) {
		from, to := n.Host, other
		if !out {
			from, to = other, n.Host
		}
		if err := s.c.Lab.Drop(from, to); err != nil {
			return err
		}
	}
	return nil
}

// TestEtcdStoppedEverywhere stops every etcd member for 30 s: the address goes with the
// fence (E6), no agent exits (E12), and it is back when etcd is.
func TestEtcdStoppedEverywhere(t *testing.T) {
	s := begin(t)
	for _, n := range s.c.Nodes {
		s.ok(n.FreezeEtcd())
	}
	s.nobody()
	time.Sleep(30 * time.Second) // the length of the outage is the test's subject
	if h := s.holders(); len(h) > 0 {
		t.Errorf("%v hold without a confirmed renewal", h)
	}
	for _, n := range s.c.Nodes {
		s.ok(n.ThawEtcd())
	}
	s.ok(s.c.WaitReady(t.Context()))
}

// TestColdStart starts agents, etcd and API servers of all nodes in every order of nodes.
func TestColdStart(t *testing.T) {
	s := begin(t)
	for _, order := range [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
		for _, n := range s.c.Nodes {
			s.ok(n.PowerOff())
		}
		s.nobody()
		for _, i := range order {
			n := s.c.Nodes[i]
			s.ok(n.PowerOn())
			s.ok(n.RestartAgent())
		}
		s.settle()
	}
}

// TestFollowerRejoins restarts a whole follower 20 times: nobody pre-empts a healthy holder.
func TestFollowerRejoins(t *testing.T) {
	s := begin(t)
	holder := s.holder()
	began := time.Now()
	for i := range 20 {
		followers := slices.DeleteFunc(slices.Clone(s.c.Nodes), func(n *cluster.Node) bool { return n == holder })
		n := followers[i%len(followers)]
		if i < 2 {
			s.ok(n.PowerOff())
			s.ok(n.PowerOn())
		} else {
			s.ok(n.Agent().Kill())
		}
		<-n.Agent().Done()
		s.ok(n.RestartAgent())
		s.ok(n.WaitReady(t.Context()))
		s.wait("the agent on "+n.Name+" to stand by", func() bool { return s.standsBy(n) })
	}
	for _, c := range s.sampler.Window(began, time.Time{}).Timeline {
		if len(c.Holders) != 1 || c.Holders[0] != holder.Name {
			t.Errorf("at %s %s was on %v, not on %s", c.At.Format("15:04:05.000"), c.VIP, c.Holders, holder.Name)
		}
	}
}
