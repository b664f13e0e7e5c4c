package services

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/kvip/kvip/test/lab/cluster"
	"github.com/kvip/kvip/test/lab/netlab"
	"github.com/kvip/kvip/test/lab/servicelab"
)

const (
	// notAnnounced is the exit code of kvip status service if no node announces an address.
	notAnnounced = 3
	anyCode      = -1
)

// statusOf returns what kvip status service says of a Service on a node, and its exit code.
func (s *env) statusOf(n *cluster.Node, service string) (said string, code int) {
	s.t.Helper()
	var out, diagnostics bytes.Buffer
	p, err := n.Host.Start(n.WithState(netlab.Command{Path: s.Kvip,
		Args: []string{"status", "service", service}, Stdout: &out, Output: &diagnostics}))
	s.must(err)
	exit := (*exec.ExitError)(nil)
	if err := p.Err(); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else {
		s.must(err)
	}
	if code != 0 && code != notAnnounced {
		s.t.Fatalf("kvip status service %s on %s: %v\n%s", service, n.Name, p.Err(), &diagnostics)
	}
	return out.String(), code
}

// TestStatusCommand asks `kvip status service` on a node that announces nothing who announces a
// Service, since when, and why that one, or why none.
func TestStatusCommand(t *testing.T) {
	s := newEnv(t)
	addr := s.create("web")
	n := s.owner(addr)
	asker := s.Nodes[0]
	if asker == n {
		asker = s.Nodes[1]
	}
	says := func(service string, code int, words ...string) {
		t.Helper()
		var out string
		s.wait(fmt.Sprintf("kvip status service %s, exit code %d", service, code), func() bool {
			var got int
			out, got = s.statusOf(asker, service)
			return servicelab.ContainsAll(out, words...) && (got == code || code == anyCode)
		})
		t.Log("\n" + out)
	}
	says("web", 0, "default/web", addr.String()+" announced by "+n.Name+" on eth0 since",
		"highest weight", "cp1, cp2, cp3", "Allocated")
	s.must(s.Create(s.ctx, "local", servicelab.Local))
	s.addresses("local", 1)
	s.waitCondition("local", "NoLocalEndpoint")
	says("local", notAnnounced, "not announced", "no ready endpoint")
	s.wait("completion to offer it", func() bool { // it offers nothing where the API server takes long
		return strings.HasPrefix(s.run(asker, "__completeNoDesc", "status", "service", "l"), "local\n:")
	})
	s.must(s.Create(s.ctx, "wrong", servicelab.Annotate("kvip.dev/addresses", "192.0.2.1")))
	s.waitCondition("wrong", "OutsidePools")
	says("wrong", notAnnounced, "OutsidePools", "192.0.2.1")
	s.must(s.Create(s.ctx, "foreign", servicelab.Class("example.com/x")))
	says("foreign", notAnnounced, "Not served", "example.com/x")
	s.must(n.Agent().Kill())
	says("web", anyCode, "No answer", n.Name)
}
