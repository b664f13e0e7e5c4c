package controlplane

import (
	"testing"
	"time"

	"github.com/kvip/kvip/test/lab/cluster"
)

// fault is one way in which the holder fails.
type fault struct {
	name   string
	inject func(*cluster.Node) error
}

// survive injects a fault into the holder, waits until the VIP has moved, and heals it.
func (s *env) survive(f fault) {
	s.t.Helper()
	began := time.Now()
	old := s.holder()
	s.must(f.inject(old))
	next := s.waitMoved(old)
	s.t.Logf("%s: moved from %s to %s in %v", f.name, old.Name, next.Name,
		time.Since(began).Round(time.Millisecond))
	s.must(s.c.Heal(s.t.Context()))
	s.waitSettled()
}

// TestEachFault injects every fault of the benchmark's table into the holder, one after
// the other, and heals it: the VIP moves or comes back, and never has two holders.
func TestEachFault(t *testing.T) {
	s := newEnv(t)
	for _, n := range s.c.Nodes {
		n.API.ShutdownDelay = 2 * time.Second
		s.must(n.RestartAPI())
	}
	s.must(s.c.WaitReady(t.Context()))
	s.waitSettled()
	for _, f := range []fault{
		{"agent SIGTERM", func(n *cluster.Node) error { return n.Agent().SendTerm() }},
		{"API server killed", (*cluster.Node).KillAPI},
		{"API server hung", (*cluster.Node).FreezeAPI},
		{"API server SIGTERM", (*cluster.Node).TerminateAPI},
		{"etcd member killed", (*cluster.Node).KillEtcd},
		{"node off", (*cluster.Node).PowerOff},
		{"agent SIGKILL", func(n *cluster.Node) error { return n.Agent().Kill() }},
		{"agent SIGSTOP", func(n *cluster.Node) error { return n.Agent().Freeze() }},
	} {
		s.survive(f)
	}
}
