package controlplane

import (
	"encoding/json"
	"errors"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"github.com/kvip/kvip/pkg/status"
	"github.com/kvip/kvip/test/lab/cluster"
)

// TestStatus asks `kvip status` on every node, also on those whose API server is dead or
// hangs, and when there is no VIP at all.
func TestStatus(t *testing.T) {
	s := newEnv(t)
	old := s.holder()
	s.must(old.Agent().Terminate(patience))
	holder := s.waitMoved(old)
	s.must(old.RestartAgent())
	for _, n := range s.c.Nodes {
		s.waitReady(n)
	}
	s.checkEvents()
	s.waitEveryStatus(old, holder)
	s.must(old.KillAPI())
	s.waitEveryStatus(old, holder, old)
	for _, n := range s.c.Nodes {
		if n != old && n != holder {
			s.must(n.FreezeAPI())
			s.waitEveryStatus(old, holder, old, n)
		}
	}
	s.noAgents = true
	s.endAgents()
	s.waitNoHolder()
	out, diagnostics, err := s.runKvip(holder, "status", "-o", "json")
	var r status.Report
	s.must(json.Unmarshal([]byte(out), &r))
	if exitCode(err) != 3 || r.Lease.Holder != "" || !r.Lease.Exists || len(r.Nodes) == 0 ||
		!strings.Contains(diagnostics, "no node holds the address") {
		t.Errorf("without a holder: %v: %+v\n%s", err, r, diagnostics)
	}
	if out, _, err := s.runKvip(holder, "status"); exitCode(err) != 3 ||
		!containsAll(out, []string{"Holder:    none", "Problem:   no node", old.Name, holder.Name}) {
		t.Errorf("without a holder: %v\n%s", err, out)
	}
	out, diagnostics, err = s.runKvip(old, "status")
	if exitCode(err) != 1 || out != "" || !strings.Contains(diagnostics, "127.0.0.1:6443") {
		t.Errorf("without API server and agent: %v\nstdout %s\nstderr %s", err, out, diagnostics)
	}
}

// exitCode returns that of a command that ended with err; -1 if it did not end by itself.
func exitCode(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	return -1
}

// report is what `kvip status -o json` says on the node.
func (s *env) report(n *cluster.Node) (r status.Report) {
	s.t.Helper()
	out, diagnostics, err := s.runKvip(n, "status", "-o", "json")
	if err != nil {
		s.t.Fatalf("kvip status on %s: %v\n%s", n.Name, err, diagnostics)
	}
	s.must(json.Unmarshal([]byte(out), &r))
	return r
}

// waitEveryStatus compares what `kvip status` says on every node with what is: the VIP went
// from one node to the other, and the API servers of some nodes are dead.
func (s *env) waitEveryStatus(from, to *cluster.Node, dead ...*cluster.Node) {
	s.t.Helper()
	alive := map[string]bool{}
	for _, n := range s.c.Nodes {
		alive[n.Name] = true
	}
	for _, n := range dead {
		alive[n.Name] = false
	}
	for _, n := range s.c.Nodes {
		r := s.report(n)
		if r.Lease.Holder != to.Name || r.Lease.Term < 2 || r.Degraded != "" || len(r.Nodes) != 3 ||
			len(r.Transitions) < 2 {
			s.t.Fatalf("status on %s: %+v", n.Name, r)
		}
		if last := r.Transitions[len(r.Transitions)-1]; !strings.HasPrefix(last.From, from.Name+"_") ||
			!strings.HasPrefix(last.To, to.Name+"_") || last.Reason != "Shutdown" {
			s.t.Errorf("status on %s: last transition %+v", n.Name, last)
		}
		for _, node := range r.Nodes {
			if node.Agent == nil || node.Agent.Owned != (node.Name == to.Name) ||
				node.Ready != alive[node.Name] || node.Ready != (node.Problem == "") {
				s.t.Errorf("status on %s: %+v", n.Name, node)
			}
		}
		text, _, err := s.runKvip(n, "status")
		words := []string{"Holder:    " + to.Name, "Degraded:  no", "Shutdown", s.vips[0].String(), "cp1",
			"cp2", "cp3"}
		if err != nil || !containsAll(text, words) {
			s.t.Errorf("status on %s: %v\n%s", n.Name, err, text)
		}
	}
}

// TestCleanup kills the agent of the holder for good and has `kvip cleanup` remove what it
// left, and nothing else. Its lease is long, so that the kernel's fence is not faster.
func TestCleanup(t *testing.T) {
	s := prepareEnv(t)
	first, second := s.c.Nodes[0], s.c.Nodes[1]
	s.startAgent(first)
	s.waitSettled()
	s.startAgent(second, "--lease-duration=60s")
	s.waitReady(second)
	s.must(first.Agent().Terminate(patience))
	if h := s.waitMoved(first); h != second {
		t.Fatalf("moved to %s", h.Name)
	}
	foreign := netip.MustParsePrefix("192.0.2.7/32")
	s.must(second.Host.AddAddr(foreign))
	defer func() { s.must(second.Host.DelAddr(foreign)) }()
	s.must(second.Agent().Kill())
	before := s.runIP(second.Host, "-oneline", "address")
	for i, args := range [][]string{{"cleanup", "--vip=" + s.vips[0].String()}, {"cleanup"},
		{"cleanup"}} {
		out, diagnostics, err := s.runKvip(second, args...)
		want := "nothing to remove: this host has no address or table of kvip\n"
		if i < len(s.vips) {
			vip := s.vips[i].String()
			want = vip + " from eth0\nnftables table netdev kvip-fence-" +
				strings.ReplaceAll(vip, ":", "-") + "\n"
		}
		if err != nil || out != want {
			t.Errorf("kvip %v: %v, printed %q, want %q\n%s", args, err, out, want, diagnostics)
		}
	}
	if want, after := withoutLines(before, s.vips),
		s.runIP(second.Host, "-oneline", "address"); after != want {
		t.Errorf("addresses after cleanup:\n%s\nwant\n%s", after, want)
	}
	s.noAgents = true
}

// withoutLines leaves out the lines that name an address.
func withoutLines(text string, addresses []netip.Addr) string {
	var kept strings.Builder
	for line := range strings.Lines(text) {
		named := false
		for _, a := range addresses {
			named = named || strings.Contains(line, " "+a.String()+"/")
		}
		if !named {
			kept.WriteString(line)
		}
	}
	return kept.String()
}
