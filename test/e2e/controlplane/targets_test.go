package controlplane

import (
	"net/netip"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/fence"
	"github.com/kvip/kvip/test/lab/cluster"
	"github.com/kvip/kvip/test/lab/netlab"
)

// fault is one way in which the holder fails.
type fault struct {
	name   string
	inject func(*cluster.Node) error
	// planned: the last holder may serve its connections while the next one relays their packets.
	planned bool
}

// survive injects a fault into the holder, waits until the VIP has moved, and heals it.
func (s *env) survive(f fault) {
	s.t.Helper()
	check := s.sampleSYN(f)
	began := time.Now()
	old := s.holder()
	s.must(f.inject(old))
	next := s.waitMoved(old)
	s.t.Logf("%s: moved from %s to %s in %v", f.name, old.Name, next.Name,
		time.Since(began).Round(time.Millisecond))
	s.must(s.c.Heal(s.t.Context()))
	s.waitSettled()
	check()
}

// sampleSYN asks all nodes for connections to the VIPs during a fault. check fails the test if two
// accepted one, but for the short time that a planned move leaves to clients that still send to the
// last holder (F11).
func (s *env) sampleSYN(f fault) (check func()) {
	s.t.Helper()
	const spare = 200 * time.Millisecond // of this machine
	samplers := map[netip.Addr]*netlab.SYNSampler{}
	for _, v := range s.vips {
		sampler, err := s.c.Lab.SampleSYN(s.c.Client, netip.AddrPortFrom(v, cluster.Port),
			s.c.Hosts()...)
		s.must(err)
		s.t.Cleanup(func() { _ = sampler.Stop() })
		samplers[v] = sampler
	}
	return func() {
		s.t.Helper()
		for v, sampler := range samplers {
			s.must(sampler.Stop())
			r := sampler.Window(time.Time{}, time.Time{})
			if len(r.Accepted) == 0 || r.Two > 0 && !f.planned || r.Longest > fence.Linger+spare {
				s.t.Errorf("%s: two nodes accepted connections to %s in %d of %d samples, for %v; %v",
					f.name, v, r.Two, r.Samples, r.Longest, r.Accepted)
			}
		}
	}
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
		{"agent SIGTERM", func(n *cluster.Node) error { return n.Agent().SendTerm() }, true},
		{"API server killed", (*cluster.Node).KillAPI, false},
		{"API server hung", (*cluster.Node).FreezeAPI, false},
		{"API server SIGTERM", (*cluster.Node).TerminateAPI, true},
		{"etcd member killed", (*cluster.Node).KillEtcd, true},
		{"node off", (*cluster.Node).PowerOff, false},
		{"agent SIGKILL", func(n *cluster.Node) error { return n.Agent().Kill() }, false},
		{"agent SIGSTOP", func(n *cluster.Node) error { return n.Agent().Freeze() }, false},
	} {
		s.survive(f)
	}
}
