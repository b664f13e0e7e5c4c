package controlplane

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/test/lab/cluster"
)

// TestRightsLost runs agents that keep no token of their own. It takes the rights of the agents'
// group away while they run. The VIP goes with the fence, all say why and go on asking, and it is
// back with the rights.
func TestRightsLost(t *testing.T) {
	s := newEnv(t, "--kubeconfig=/etc/kubernetes/admin.conf", "--state-dir=")
	s.anyRights = true
	t.Cleanup(func() {
		if err := s.c.BindAdmins(context.Background()); err != nil {
			t.Error(err)
		}
	})
	s.must(s.c.RevokeAdmins(t.Context()))
	s.waitNoHolder()
	for _, n := range s.c.Nodes {
		s.waitStatus(n, "Forbidden", "forbidden")
	}
	s.must(s.c.BindAdmins(t.Context()))
	s.waitSettled()
	for _, n := range s.c.Nodes {
		s.waitReady(n)
	}
}

// waitStatus waits until the agent reports failing requests in its log, metrics and /readyz.
func (s *env) waitStatus(n *cluster.Node, code, word string) {
	s.t.Helper()
	s.waitUnready(n, word)
	s.waitLogged(n, "level=WARN", "API requests fail", word)
	s.waitMetric(n, "kvip_api_errors_total", `code="`+code+`"`)
}

// TestCredentials starts agents that keep no token of their own before there is a kubeconfig, gives
// them one whose certificate soon expires, and renews it twice. None of it ends a process, each
// problem is reported, and each change is noticed without a restart; a renewal in time moves
// nothing (E7, E11).
func TestCredentials(t *testing.T) {
	s := prepareEnv(t)
	s.anyRights = true
	const name = "kvip.conf"
	write := func(lasts time.Duration) {
		for _, n := range s.c.Nodes {
			s.must(n.WriteKubeconfig(name, lasts))
		}
	}
	t.Cleanup(func() {
		for _, n := range s.c.Nodes {
			if err := n.RemoveKubeconfig(name); err != nil {
				t.Error(err)
			}
		}
	})
	s.startAll("--kubeconfig=/etc/kubernetes/"+name, "--state-dir=")
	for _, n := range s.c.Nodes {
		s.waitStatus(n, "NoCredentials", "no credentials yet")
	}
	write(8 * time.Second)
	for _, n := range s.c.Nodes {
		s.waitMetric(n, "kvip_api_errors_total", `code="Unauthorized"`)
		s.waitUnready(n, "Unauthorized")
	}
	s.waitNoHolder()
	write(time.Hour)
	s.waitSettled()
	for _, n := range s.c.Nodes {
		s.waitReady(n)
		s.wait(n.Name+" to be content with its API server",
			func() bool { return s.agentStatus(n).Warning == "" })
	}
	holder, term, changes := s.holder(), s.agentStatus(s.holder()).Term,
		strings.Count(logOf(s, s.holder()), "credential files changed")
	write(2 * time.Hour)
	s.wait("the holder to read its kubeconfig again", func() bool {
		return strings.Count(logOf(s, holder), "credential files changed") > changes
	})
	s.waitSettled()
	if s.holder() != holder || s.agentStatus(holder).Term != term {
		t.Errorf("a renewed certificate moved the VIP from %s to %s", holder.Name, s.holder().Name)
	}
}
