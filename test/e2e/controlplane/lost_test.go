package controlplane

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/test/lab/cluster"
)

// TestRightsLost runs agents that keep no token of their own. It takes the rights of the agents' group away while they run. The VIP goes with
// the fence, all say why and go on asking, and it is back with the rights.
func TestRightsLost(t *testing.T) {
	s := begin(t, "--kubeconfig=/etc/kubernetes/admin.conf", "--state-dir=")
	s.anyRights = true
	t.Cleanup(func() {
		if err := s.c.BindAdmins(context.Background()); err != nil {
			t.Error(err)
		}
	})
	s.ok(s.c.RevokeAdmins(t.Context()))
	s.nobody()
	for _, n := range s.c.Nodes {
		s.shows(n, "Forbidden", "forbidden")
	}
	s.ok(s.c.BindAdmins(t.Context()))
	s.settle()
	for _, n := range s.c.Nodes {
		s.ready(n)
	}
}

// shows waits until the agent tells of failing requests in its log, metrics and /readyz.
func (s *story) shows(n *cluster.Node, code, word string) {
	s.t.Helper()
	s.unready(n, word)
	s.logs(n, "level=WARN", "does not do what is asked", word)
	s.counts(n, "kvip_api_errors_total", `code="`+code+`"`)
}

// TestCredentials starts agents that keep no token of their own before there is a kubeconfig, gives them one whose certificate
// soon expires, and renews it twice. None of it ends a process, each trouble is told, and each
// change is noticed without a restart; a renewal in time moves nothing (E7, E11).
func TestCredentials(t *testing.T) {
	s := prepare(t)
	s.anyRights = true
	const name = "kvip.conf"
	write := func(lasts time.Duration) {
		for _, n := range s.c.Nodes {
			s.ok(n.WriteKubeconfig(name, lasts))
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
		s.shows(n, "NoCredentials", "no credentials yet")
	}
	write(8 * time.Second)
	for _, n := range s.c.Nodes {
		s.counts(n, "kvip_api_errors_total", `code="Unauthorized"`)
		s.unready(n, "Unauthorized")
	}
	s.nobody()
	write(time.Hour)
	s.settle()
	for _, n := range s.c.Nodes {
		s.ready(n)
		s.wait(n.Name+" to be content with its API server", func() bool { return s.view(n).Warning == "" })
	}
	holder, term, changes := s.holder(), s.view(s.holder()).Term, strings.Count(logOf(s, s.holder()), "credentials changed")
	write(2 * time.Hour)
	s.wait("the holder to read its kubeconfig again", func() bool {
		return strings.Count(logOf(s, holder), "credentials changed") > changes
	})
	s.settle()
	if s.holder() != holder || s.view(holder).Term != term {
		t.Errorf("a renewed certificate moved the VIP from %s to %s", holder.Name, s.holder().Name)
	}
}
