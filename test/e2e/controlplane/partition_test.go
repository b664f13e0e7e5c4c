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
		cut  func(s *env, n *cluster.Node) error
	}{
		{"BothWays", func(s *env, n *cluster.Node) error {
			return s.c.Lab.Partition(n.Host, s.c.Others(n)...)
		}},
		{"FromTheHolder", func(s *env, n *cluster.Node) error { return s.oneWay(n, true) }},
		{"ToTheHolder", func(s *env, n *cluster.Node) error { return s.oneWay(n, false) }},
		{"APIOnly", func(s *env, n *cluster.Node) error {
			return s.c.Lab.PartitionPorts(n.Host, []uint16{6443, 2379, 2380}, s.c.Others(n)...)
		}},
	} {
		t.Run(cut.name, func(t *testing.T) {
			s := newEnv(t)
			old := s.holder()
			s.must(cut.cut(s, old))
			s.wait("a holder on the other side", func() bool {
				return slices.ContainsFunc(s.holders(), func(name string) bool { return name != old.Name })
			})
			s.must(s.c.Lab.Heal())
			s.must(s.c.WaitReady(t.Context()))
		})
	}
}

// oneWay drops what the node sends to the other nodes, or what they send to it.
func (s *env) oneWay(n *cluster.Node, out bool) error {
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
	s := newEnv(t)
	for _, n := range s.c.Nodes {
		s.must(n.FreezeEtcd())
	}
	s.waitNoHolder()
	time.Sleep(30 * time.Second) // the length of the outage is the test's subject
	if h := s.holders(); len(h) > 0 {
		t.Errorf("%v hold without a confirmed renewal", h)
	}
	for _, n := range s.c.Nodes {
		s.must(n.ThawEtcd())
	}
	s.must(s.c.WaitReady(t.Context()))
}

// TestColdStart starts agents, etcd and API servers of all nodes in every order of nodes.
func TestColdStart(t *testing.T) {
	s := newEnv(t)
	for _, order := range [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
		for _, n := range s.c.Nodes {
			s.must(n.PowerOff())
		}
		s.waitNoHolder()
		for _, i := range order {
			n := s.c.Nodes[i]
			s.must(n.PowerOn())
			s.must(n.RestartAgent())
		}
		s.waitSettled()
	}
}

// TestFollowerRejoins restarts a whole follower 20 times: no node pre-empts a healthy holder.
func TestFollowerRejoins(t *testing.T) {
	s := newEnv(t)
	holder := s.holder()
	began := time.Now()
	for i := range 20 {
		followers := slices.DeleteFunc(slices.Clone(s.c.Nodes),
			func(n *cluster.Node) bool { return n == holder })
		n := followers[i%len(followers)]
		if i < 2 {
			s.must(n.PowerOff())
			s.must(n.PowerOn())
		} else {
			s.must(n.Agent().Kill())
		}
		<-n.Agent().Done()
		s.must(n.RestartAgent())
		s.must(n.WaitReady(t.Context()))
		s.wait("the agent on "+n.Name+" to stand by", func() bool { return s.isStandby(n) })
	}
	for _, c := range s.sampler.Window(began, time.Time{}).Timeline {
		if len(c.Holders) != 1 || c.Holders[0] != holder.Name {
			t.Errorf("at %s %s was on %v, not on %s", c.At.Format("15:04:05.000"), c.VIP, c.Holders,
				holder.Name)
		}
	}
}
