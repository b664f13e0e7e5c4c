package controlplane

import (
	"testing"

	"github.com/kvip/kvip/test/lab/cluster"
)

// TestNoAnonymousAccess runs against API servers that answer no request without credentials:
// kvip sends its own with the health probe too (E7).
func TestNoAnonymousAccess(t *testing.T) {
	s := prepareEnv(t)
	s.restartAPIs(t.Context(), func(o *cluster.APIOptions) { o.NoAnonymous = true })
	s.startAll()
	s.waitSettled()
	for _, n := range s.c.Nodes {
		s.waitReady(n)
		if v := s.agentStatus(n); v.Health != "healthy" || v.Warning != "" {
			t.Errorf("%s judges its API server %q, warning %q", n.Name, v.Health, v.Warning)
		}
	}
	s.moveByAPIDeath()
}

// TestNodeAddressOnly runs against API servers that do not listen on loopback: kvip finds
// them at the node's address, for its health probe (E7) and for the lease (E11). They do not
// listen on the VIP either, so it is held and answers nothing, and each agent says so (F4).
func TestNodeAddressOnly(t *testing.T) {
	s := prepareEnv(t)
	s.unserved = true
	s.restartAPIs(t.Context(), func(o *cluster.APIOptions) { o.NodeAddressOnly = true })
	s.startAll()
	s.waitSettled()
	for _, n := range s.c.Nodes {
		s.waitUnready(n, "nothing listens on "+cluster.VIP4.String()+":6443")
	}
	old := s.holder()
	s.must(old.KillAPI())
	s.waitUnready(s.waitMoved(old), "nothing listens on")
	s.waitUnready(old, "APIServerDead")
}

// moveByAPIDeath kills the holder's API server, which is seen wherever it listened.
func (s *env) moveByAPIDeath() {
	s.t.Helper()
	old := s.holder()
	s.must(old.KillAPI())
	s.waitReady(s.waitMoved(old))
	s.waitUnready(old, "APIServerDead")
}
