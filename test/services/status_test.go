package services

import (
	"testing"

	"github.com/kvip/kvip/test/svclab"
)

// TestStatusCommand asks `kvip status service` on a node that announces nothing who announces a Service, since
// when, and why that one, or why none.
func TestStatusCommand(t *testing.T) {
	s := begin(t)
	addr := s.create("web")
	n := s.owner(addr)
	asker := s.Nodes[0]
	if asker == n {
		asker = s.Nodes[1]
	}
	says := func(service string, words ...string) {
		t.Helper()
		var out string
		s.wait("kvip status service "+service, func() bool {
			out = s.run(asker, "status", "service", service)
			return svclab.ContainsAll(out, words...)
		})
		t.Log("\n" + out)
	}
	says("web", "default/web", addr.String()+" announced by "+n.Name+" on eth0 since", "highest rank", "cp1, cp2, cp3", "Allocated")
	s.ok(s.Create(s.ctx, "local", svclab.Local))
	s.addresses("local", 1)
	s.told("local", "NoLocalEndpoint")
	says("local", "announced by nobody", "no ready endpoint")
	s.ok(s.Create(s.ctx, "wrong", svclab.Annotate("kvip.dev/addresses", "192.0.2.1")))
	s.told("wrong", "OutsidePools")
	says("wrong", "OutsidePools", "192.0.2.1")
	s.ok(s.Create(s.ctx, "foreign", svclab.Class("example.com/x")))
	says("foreign", "Not served", "example.com/x")
	s.ok(n.Agent().Kill())
	says("web", "No answer", n.Name)
}
