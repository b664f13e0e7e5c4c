package controlplane

import (
	"testing"

	"github.com/kvip/kvip/test/lab/cluster"
)

// TestNoAnonymousAccess runs against API servers that answer nobody without credentials:
// kvip sends its own with the health probe too (E7).
func TestNoAnonymousAccess(t *testing.T) {
	s := prepare(t)
	s.restartAPIs(t.Context(), func(o *cluster.APIOptions) { o.NoAnonymous = true })
	s.startAll()
	s.settle()
	for _, n := range s.c.Nodes {
		s.ready(n)
		if v := s.view(n); v.Health != "healthy" || v.Warning != "" {
			t.Errorf("%s judges its API server %q, warning %q", n.Name, v.Health, v.Warning)
		}
	}
	s.moveByAPIDeath()
}

// TestNodeAddressOnly runs against API servers that do not listen on loopback: kvip finds
// them at the node's address, for its health probe (E7) and for the lease (E11). They do not
// listen on the VIP either, so it is held and answers nothing, and each agent says so (F4).
func TestNodeAddressOnly(t *testing.T) {
	s := prepare(t)
	s.unserved = true
	s.restartAPIs(t.Context(), func(o *cluster.APIOptions) { o.NodeAddressOnly = true })
	s.startAll()
	s.settle()
	for _, n := range s.c.Nodes {
		s.unready(n, "nothing listens on "+cluster.VIP4.String()+":6443")
	}
	old := s.holder()
	s.ok(old.KillAPI())
	s.unready(s.moved(old), "nothing listens on")
	s.unready(old, "APIServerDead")
}

// moveByAPIDeath kills the holder's API server, which is seen wherever it listened.
func (s *story) moveByAPIDeath() {
	s.t.Helper()
	old := s.holder()
	s.ok(old.KillAPI())
	s.ready(s.moved(old))
	s.unready(old, "APIServerDead")
}
