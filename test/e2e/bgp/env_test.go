package bgp

import (
	"bytes"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kvip/kvip/test/lab/bgplab"
	"github.com/kvip/kvip/test/lab/cluster"
	"github.com/kvip/kvip/test/lab/netlab"
	"github.com/kvip/kvip/test/lab/routerlab"
)

// patience bounds how long a story waits for anything. It measures nothing.
const patience = 60 * time.Second

// env is one test: an agent on each node, a sampler, and probes of the addresses from behind each
// router.
type env struct {
	*bgplab.Lab
	t       *testing.T
	kvip    string
	sampler *bgplab.Sampler
	probes  []*bgplab.Probe
	began   time.Time
	read    map[string]int64 // what the logs of the nodes' agents had before
}

// newEnv has kvip on every node with the arguments of a manifest that was just printed, and waits
// until both routers use all nodes. Agents of the test before are used again.
func newEnv(t *testing.T, flags ...string) *env {
	t.Helper()
	s := &env{Lab: needLab(t), t: t, kvip: shared.kvip, read: map[string]int64{}}
	want := s.Flags(flags...)
	if slices.Equal(shared.agents, want) {
		for _, n := range s.Nodes {
			if info, err := os.Stat(n.Log("kvip")); err == nil {
				s.read[n.Name] = info.Size()
			}
		}
		s.begin()
		return s
	}
	need(t)
	for _, n := range s.Nodes {
		if err := os.Remove(n.Log("kvip")); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	manifest := s.manifest(want)
	s.begin(func() {
		for _, n := range s.Nodes {
			_, err := n.RunManifest(s.kvip, manifest)
			s.must(err)
		}
	})
	shared.agents = want
	return s
}

// begin starts sampler and probes, and waits until both routers use all nodes. starts are called
// once the sampler runs.
func (s *env) begin(starts ...func()) {
	s.t.Helper()
	s.sampler = s.Sample()
	s.t.Cleanup(s.finish)
	for _, start := range starts {
		start()
	}
	s.waitVia("cp1", "cp2", "cp3")
	for _, r := range s.Routers {
		for _, vip := range []netip.Addr{cluster.RoutedVIP4, cluster.RoutedVIP6} {
			p, err := bgplab.StartProbe(r, vip)
			s.must(err)
			s.probes = append(s.probes, p)
		}
	}
	s.wait("the probes to be answered", s.answering)
	s.began = time.Now()
}

func (s *env) answering() bool {
	return !slices.ContainsFunc(s.probes, func(p *bgplab.Probe) bool { return !p.Answering() })
}

// manifest returns what `kvip manifest pod` prints.
func (s *env) manifest(flags []string) []byte {
	s.t.Helper()
	cmd := exec.Command(s.kvip, append([]string{"manifest", "pod"}, flags...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	manifest, err := cmd.Output()
	if err != nil {
		s.t.Fatalf("%s: %v\n%s", cmd, err, &stderr)
	}
	return manifest
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
			s.t.Fatalf("timed out waiting for %s", what)
		}
	}
}

// waitVia waits until both routers send packets to exactly these nodes.
func (s *env) waitVia(nodes ...string) {
	s.t.Helper()
	s.wait("both routers to use "+strings.Join(nodes, ", "), func() bool {
		for _, r := range s.Routers {
			via, err := s.Via(r)
			s.must(err)
			if !slices.Equal(via, nodes) {
				return false
			}
		}
		return true
	})
}

// others are the names of all nodes but one.
func (s *env) others(but *cluster.Node) (names []string) {
	for _, n := range s.Nodes {
		if n != but {
			names = append(names, n.Name)
		}
	}
	return names
}

// has reports whether a node has the addresses.
func (s *env) has(n *cluster.Node) bool {
	s.t.Helper()
	has, err := bgplab.HasAddresses(n)
	s.must(err)
	return has
}

// worse reports whether a router has a path of a node that every other one wins against.
func (s *env) worse(r *bgplab.Router, n *cluster.Node) bool {
	s.t.Helper()
	routes, err := r.Routes()
	s.must(err)
	return slices.ContainsFunc(routes, func(p routerlab.Route) bool {
		return p.Neighbor == n.Host.Addr(true) && len(p.ASPath) == 4 &&
			slices.Contains(p.Communities, "65535:0")
	})
}

// startClient starts a client of the API servers behind a router.
func (s *env) startClient(r *bgplab.Router, path string) *netlab.Client {
	s.t.Helper()
	tls, err := s.TLS()
	s.must(err)
	client, err := netlab.StartClient(netlab.ClientConfig{
		Host: r.Client, Target: netip.AddrPortFrom(cluster.RoutedVIP4, cluster.Port), TLS: tls,
		Path: path,
	})
	s.must(err)
	s.t.Cleanup(client.Stop)
	return client
}

// settle waits until every probe that was sent so far had its time.
func (s *env) settle() { time.Sleep(1200 * time.Millisecond) }

// lossless asserts that no probe was lost since the beginning.
func (s *env) lossless(what string) {
	s.t.Helper()
	s.settle()
	for i, p := range s.probes {
		lost, sent := p.Loss(s.began)
		if lost > 0 || sent == 0 {
			s.t.Errorf("%s: probe %d lost %d of %d packets, gap %v", what, i, lost, sent, p.Gap(s.began))
		}
	}
}

// finish asserts what must hold at the end of every story. The agents run on, unless it failed.
func (s *env) finish() {
	for _, p := range s.probes {
		p.Stop()
	}
	s.checkLogs()
	samples, faults, err := s.sampler.Stop()
	if err != nil {
		s.t.Error(err)
	}
	if samples == 0 {
		s.t.Error("the sampler saw nothing")
	}
	for _, f := range faults {
		s.t.Error(f)
	}
	if s.t.Failed() {
		shared.agents = nil
		s.endAgents()
	}
	if s.t.Failed() || os.Getenv("KVIP_EVIDENCE") != "" {
		s.saveArtifacts()
	}
}

// endAgents ends all agents at once.
func (s *env) endAgents() {
	var leaving sync.WaitGroup
	for _, n := range s.Nodes {
		leaving.Go(func() {
			if err := n.TerminateAgent(15 * time.Second); err != nil {
				s.t.Error(err)
			}
		})
	}
	leaving.Wait()
}

// checkLogs fails the test if an agent has reported a data race, or has crashed.
func (s *env) checkLogs() {
	for _, n := range s.Nodes {
		log := s.logOf(n)
		for _, complaint := range []string{"WARNING: DATA RACE", "\npanic: ", "\nfatal error: "} {
			if strings.Contains(log, complaint) {
				s.t.Errorf("the agent on %s reports%s", n.Name, complaint)
			}
		}
	}
}

// logOf is what the node's agents have written since the beginning of the story.
func (s *env) logOf(n *cluster.Node) string {
	text, err := os.ReadFile(n.Log("kvip"))
	if err != nil {
		return ""
	}
	return string(text[min(s.read[n.Name], int64(len(text))):])
}

// saveArtifacts saves the logs of the agents.
func (s *env) saveArtifacts() {
	dir := filepath.Join("..", "..", "artifacts", strings.ReplaceAll(s.t.Name(), "/", "-"))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		s.t.Log(err)
		return
	}
	for _, n := range s.Nodes {
		_ = os.WriteFile(filepath.Join(dir, n.Name+".kvip.log"), []byte(s.logOf(n)), 0o644)
	}
	s.t.Logf("evidence in %s", dir)
}
