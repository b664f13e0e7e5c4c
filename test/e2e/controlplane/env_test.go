package controlplane

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/test/lab/cluster"
	"github.com/kvip/kvip/test/lab/netlab"
)

// patience is how long a story waits for anything. It bounds loops; it measures nothing.
const patience = 60 * time.Second

// env is one test on the cluster: agents, a sampler, a client and a capture.
type env struct {
	t       *testing.T
	c       *cluster.Cluster
	kvip    string
	vips    []netip.Addr
	began   time.Time
	sampler *netlab.Sampler
	// unserved means that the API servers do not listen on the VIP, so that the address is
	// held but answers nothing.
	unserved bool
	// noAgents means that the agents were stopped on purpose, so their exit is right.
	noAgents bool
	// anyRights means that rights were taken away on purpose, or that an agent was to have no
	// token of its own: requests may be refused, and come from administrators.
	anyRights bool
	// audited is where the audit logs of the API servers ended when the story began.
	audited map[*cluster.Node]int64
	// after runs when the agents have ended.
	after []func()
}

// newEnv resets the cluster, starts kvip on every node with the arguments of a manifest
// that was just printed, and waits until the VIPs answer. Flags are those of
// `kvip manifest pod`; without --vip both families are used.
func newEnv(t *testing.T, flags ...string) *env {
	t.Helper()
	s := prepareEnv(t, flags...)
	for _, n := range s.c.Nodes {
		s.startAgent(n, flags...)
	}
	s.waitSettled()
	return s
}

// prepareEnv is begin without agents.
func prepareEnv(t *testing.T, flags ...string) *env {
	t.Helper()
	c, kvip := need(t)
	s := &env{t: t, c: c, kvip: kvip, vips: vipsOf(flags), audited: map[*cluster.Node]int64{}}
	for _, n := range c.Nodes { // what agents of earlier stories wrote proves nothing here
		if err := os.Remove(n.Log("kvip")); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		s.audited[n] = n.AuditOffset()
	}
	s.sample()
	return s
}

func vipsOf(flags []string) []netip.Addr {
	for _, f := range flags {
		if list, ok := strings.CutPrefix(f, "--vip="); ok {
			var vips []netip.Addr
			for text := range strings.SplitSeq(list, ",") {
				vips = append(vips, netip.MustParseAddr(text))
			}
			return vips
		}
	}
	return []netip.Addr{cluster.VIP4, cluster.VIP6}
}

func (s *env) sample() {
	t := s.t
	capture, err := s.c.Lab.StartCapture(2379, 2380)
	s.must(err)
	s.began = time.Now()
	s.sampler, err = s.c.Sample(s.vips...)
	s.must(err)
	t.Cleanup(func() {
		s.finish()
		keep := ""
		if t.Failed() || os.Getenv("KVIP_EVIDENCE") != "" { // set it to look at a test that passes
			keep = s.saveArtifacts()
		}
		if err := capture.Stop(keep); err != nil {
			t.Error(err)
		}
	})
}

// manifest prints the static pod's manifest as a user would.
func (s *env) manifest(flags ...string) []byte {
	s.t.Helper()
	args := append([]string{"manifest", "pod"}, flags...)
	if !slices.ContainsFunc(flags, func(f string) bool { return strings.HasPrefix(f, "--vip=") }) {
		args = append(args, "--vip="+s.vips[0].String()+","+s.vips[1].String())
	}
	cmd := exec.Command(s.kvip, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		s.t.Fatalf("%s: %v\n%s", cmd, err, &stderr)
	}
	return out
}

func (s *env) startAgent(n *cluster.Node, flags ...string) {
	s.t.Helper()
	_, err := n.RunManifest(s.kvip, s.manifest(flags...))
	s.must(err)
}

func (s *env) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// wait polls until ok, or fails the test.
func (s *env) wait(what string, ok func() bool) {
	s.t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("waited in vain for %s; holders: %v", what, s.holders())
		}
	}
}

// holders are the names of the nodes that have every VIP now.
func (s *env) holders() (names []string) {
	for _, n := range s.c.Nodes {
		all := true
		for _, v := range s.vips {
			all = all && slices.Contains(s.sampler.Holders(v), n.Host)
		}
		if all {
			names = append(names, n.Name)
		}
	}
	return names
}

// holder waits until exactly one node has the VIPs and returns it.
func (s *env) holder() *cluster.Node {
	s.t.Helper()
	s.wait("one holder", func() bool { return len(s.holders()) == 1 })
	return s.c.Node(s.holders()[0])
}

// waitMoved waits until another node than old has the VIPs.
func (s *env) waitMoved(old *cluster.Node) *cluster.Node {
	s.t.Helper()
	s.wait("another holder than "+old.Name,
		func() bool { h := s.holders(); return len(h) == 1 && h[0] != old.Name })
	return s.holder()
}

// waitNoHolder waits until no node has any VIP.
func (s *env) waitNoHolder() {
	s.t.Helper()
	s.wait("no holder", func() bool {
		return !slices.ContainsFunc(s.vips,
			func(v netip.Addr) bool { return len(s.sampler.Holders(v)) > 0 })
	})
}

// waitSettled waits until each VIP is held and answered by the node that holds it.
func (s *env) waitSettled() {
	s.t.Helper()
	s.holder()
	if s.unserved {
		return
	}
	for _, v := range s.vips {
		client, err := s.c.StartClient(v)
		s.must(err)
		s.wait(v.String()+" to answer",
			func() bool {
				return answers(client.Requests(time.Now().Add(-200*time.Millisecond)), s.holders())
			})
		client.Stop()
	}
}

// answers reports whether the last request was answered by the one holder.
func answers(requests []netlab.Request, holders []string) bool {
	if len(requests) == 0 || len(holders) != 1 {
		return false
	}
	last := requests[len(requests)-1]
	return last.OK() && last.Server == holders[0]
}

// finish asserts what must hold at the end of every story.
func (s *env) finish() {
	t := s.t
	if !t.Failed() && !s.noAgents {
		s.waitSettled()
	}
	if !t.Failed() && !s.noAgents {
		var err error
		for range 3 { // each waits 2 s, which a busy machine can take
			if err = s.holder().Ready(context.Background()); err == nil {
				break
			}
		}
		if err != nil {
			t.Errorf("the VIP ended on a node that is not healthy: %v", err)
		}
		for _, n := range s.c.Nodes {
			if a := n.Agent(); a != nil && !a.Running() {
				t.Errorf("the agent on %s has exited: %v", n.Name, a.Err())
			}
		}
	}
	s.endAgents()
	s.checkRaces()
	s.checkRights()
	for _, f := range s.after {
		f()
	}
	if !t.Failed() {
		s.waitNoHolder()
	}
	s.checkNeverTwo()
}

// endAgents ends them all in order; what they leave is for the caller to look at.
func (s *env) endAgents() {
	for _, n := range s.c.Nodes {
		if err := n.TerminateAgent(10 * time.Second); err != nil {
			s.t.Error(err)
		}
	}
}

// checkNeverTwo is the property that every story asserts.
func (s *env) checkNeverTwo() {
	if err := s.sampler.Stop(); err != nil {
		s.t.Error(err)
	}
	h := s.sampler.Window(s.began, time.Time{})
	if h.Samples == 0 {
		s.t.Error("the sampler saw nothing")
	}
	if h.TwoHolders > 0 {
		s.t.Errorf("two holders that reach each other in %d of %d samples:\n%s", h.TwoHolders, h.Samples,
			timeline(h))
	}
	s.t.Logf("%d samples, longest gap %v, %d changes", h.Samples, h.MaxGap.Round(time.Millisecond),
		len(h.Timeline))
}

func timeline(h netlab.HolderReport) string {
	var b strings.Builder
	for _, c := range h.Timeline {
		fmt.Fprintf(&b, "%s %s %v\n", c.At.Format("15:04:05.000"), c.VIP, c.Holders)
	}
	return b.String()
}

// saveArtifacts saves the agents' logs of a failed test and returns where the capture goes.
func (s *env) saveArtifacts() string {
	dir := filepath.Join("..", "..", "artifacts", strings.ReplaceAll(s.t.Name(), "/", "-"))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		s.t.Log(err)
		return ""
	}
	for _, n := range s.c.Nodes {
		if log, err := os.ReadFile(n.Log("kvip")); err == nil {
			_ = os.WriteFile(filepath.Join(dir, n.Name+".kvip.log"), log, 0o644)
		}
	}
	h := s.sampler.Window(s.began, time.Time{})
	_ = os.WriteFile(filepath.Join(dir, "holders.txt"), []byte(timeline(h)), 0o644)
	s.t.Logf("evidence in %s", dir)
	return filepath.Join(dir, "lab.pcap")
}

// logOf is what the node's agent has written so far.
func logOf(s *env, n *cluster.Node) string {
	text, err := os.ReadFile(n.Log("kvip"))
	if err != nil {
		return ""
	}
	return string(text)
}
