package services

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/svc"
	"github.com/kvip/kvip/test/lab/cluster"
	"github.com/kvip/kvip/test/lab/netlab"
	"github.com/kvip/kvip/test/lab/servicelab"
	"github.com/kvip/kvip/test/lab/wait"
)

const (
	// patience is how long a story waits for anything. It bounds loops; it measures nothing.
	patience = 60 * time.Second
	// otherPort is one that every node listens on and no Service has unless it asks for it.
	otherPort = 9090
)

// The addresses that most stories give out.
const (
	pool4 = "10.77.0.128/26"
	pool6 = "fd6b:7669:7000::8000/120"
)

// env is one test in the lab.
type env struct {
	*servicelab.Lab
	t   *testing.T
	ctx context.Context
}

// prepareEnv resets the lab and makes Nodes and a pool, and starts no agent.
func prepareEnv(t *testing.T) *env {
	t.Helper()
	s := &env{Lab: need(t), t: t, ctx: t.Context()}
	t.Cleanup(s.finish)
	s.must(s.RegisterNodes(s.ctx, s.AllNodes()...))
	s.must(s.Addresses(s.ctx, "main", pool4, pool6))
	return s
}

// newEnv does so, and starts an agent on each node of the control plane.
func newEnv(t *testing.T, flags ...string) *env {
	t.Helper()
	s := prepareEnv(t)
	s.startAll(flags...)
	return s
}

// newSingleEnv does so, and starts an agent on the first node only.
func newSingleEnv(t *testing.T, flags ...string) *env {
	t.Helper()
	s := prepareEnv(t)
	s.must(s.StartAgent(s.Nodes[0], flags...))
	s.waitSettled(s.Nodes[0])
	return s
}

func (s *env) startAll(flags ...string) {
	s.t.Helper()
	s.must(s.StartAgents(s.Nodes, flags...))
	s.waitSettled(s.Nodes...)
}

// waitSettled waits until every one of the nodes counts each of them as alive.
func (s *env) waitSettled(nodes ...*cluster.Node) {
	s.t.Helper()
	var names []string
	for _, n := range nodes {
		names = append(names, n.Name)
	}
	slices.Sort(names)
	for _, n := range nodes {
		s.wait(n.Name+" to see all others", func() bool {
			r, err := s.Report(n, "")
			return err == nil && r.Fresh && slices.Equal(r.Alive, names)
		})
	}
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
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	s.must(wait.For(ctx, what, ok))
}

// create makes a Service and waits for its only address.
func (s *env) create(name string, edits ...servicelab.Edit) netip.Addr {
	s.t.Helper()
	s.must(s.Create(s.ctx, name, edits...))
	return s.addresses(name, 1)[0]
}

// addresses waits until the Service's status has that many.
func (s *env) addresses(name string, count int) []netip.Addr {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	list, err := s.WaitIngress(ctx, name, count)
	s.must(err)
	return list
}

// owner waits until one node has the address, answers for it, and is reached there.
func (s *env) owner(addr netip.Addr) *cluster.Node {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	name, err := s.WaitOwner(ctx, addr)
	s.must(err)
	return s.Node(name)
}

// waitServed waits until a connection from the client to the address ends at one of the nodes.
func (s *env) waitServed(addr netip.Addr, port int, nodes ...*cluster.Node) {
	s.t.Helper()
	s.wait(addr.String()+" to be served", func() bool {
		name, err := s.Request(addr, port)
		return err == nil &&
			slices.ContainsFunc(nodes, func(n *cluster.Node) bool { return n.Name == name })
	})
}

// waitMoved waits until another node than old owns the address, and is reached.
func (s *env) waitMoved(addr netip.Addr, old *cluster.Node) *cluster.Node {
	s.t.Helper()
	s.wait(addr.String()+" to leave "+old.Name, func() bool {
		holders := s.Holders(addr)
		return len(holders) == 1 && holders[0] != old.Name
	})
	now := s.owner(addr)
	s.waitServed(addr, servicelab.Port, now)
	return now
}

// waitNoOwner waits until no node has the address.
func (s *env) waitNoOwner(addr netip.Addr) {
	s.t.Helper()
	s.wait(addr.String()+" to be gone", func() bool { return len(s.Holders(addr)) == 0 })
}

// waitCondition waits until kvip's condition on the Service has that reason and a message with all
// the words.
func (s *env) waitCondition(name, reason string, words ...string) {
	s.t.Helper()
	var last string
	s.t.Cleanup(func() {
		if s.t.Failed() {
			s.t.Logf("condition of %s: %s", name, last)
		}
	})
	s.wait(name+" to have the condition "+reason, func() bool {
		c := s.condition(name)
		if c == nil {
			return false
		}
		last = string(c.Status) + " " + c.Reason + ": " + c.Message
		return c.Reason == reason && servicelab.ContainsAll(c.Message, words...)
	})
}

// condition is kvip's own on the Service; nil if there is none.
func (s *env) condition(name string) *metav1.Condition {
	object, err := s.Read(s.ctx, name)
	if err != nil {
		return nil
	}
	for i := range object.Status.Conditions {
		if object.Status.Conditions[i].Type == svc.Condition {
			return &object.Status.Conditions[i]
		}
	}
	return nil
}

// event waits for an Event about an object, with the reason and all the words.
func (s *env) event(kind, name, reason string, words ...string) {
	s.t.Helper()
	s.wait("an Event "+reason+" about "+name, func() bool {
		list, err := s.Events(s.ctx, kind, name)
		if err != nil {
			return false
		}
		for _, e := range list {
			if e.Reason == reason && servicelab.ContainsAll(e.Message, words...) {
				return true
			}
		}
		return false
	})
}

// countLogged reports whether an agent on the node has logged a line with all the words in this
// story.
func (s *env) countLogged(n *cluster.Node, words ...string) int {
	count := 0
	for line := range strings.Lines(s.LogOf(n)) {
		if servicelab.ContainsAll(line, words...) {
			count++
		}
	}
	return count
}

// waitLogged waits until it has.
func (s *env) waitLogged(n *cluster.Node, words ...string) {
	s.t.Helper()
	s.wait(n.Name+" to log "+strings.Join(words, ", "),
		func() bool { return s.countLogged(n, words...) > 0 })
}

// sample watches which nodes have up to four addresses, until the test ends.
func (s *env) sample(addrs ...netip.Addr) *netlab.Sampler {
	s.t.Helper()
	var hosts []*netlab.Host
	for _, n := range s.AllNodes() {
		hosts = append(hosts, n.Host)
	}
	sampler, err := s.Lab.Lab.Sample(addrs, hosts...)
	s.must(err)
	s.t.Cleanup(func() {
		if err := sampler.Stop(); err != nil {
			s.t.Error(err)
		}
	})
	return sampler
}

// checkStayed fails the test if an address was anywhere else than on the node since the sampler
// began.
func (s *env) checkStayed(sampler *netlab.Sampler, n *cluster.Node, addrs ...netip.Addr) {
	s.t.Helper()
	for _, c := range sampler.Window(time.Time{}, time.Time{}).Timeline {
		if slices.Contains(addrs, c.VIP) && !slices.Equal(c.Holders, []string{n.Name}) {
			s.t.Errorf("%s was on %v and not on %s alone at %s", c.VIP, c.Holders, n.Name,
				c.At.Format("15:04:05.000"))
		}
	}
}

// finish asserts what must hold at the end of every story, and keeps what explains a failure.
func (s *env) finish() {
	for _, n := range s.AllNodes() {
		for _, complaint := range []string{"WARNING: DATA RACE", "\npanic: ", "\nfatal error: "} {
			if _, what, found := strings.Cut("\n"+s.LogOf(n), complaint); found {
				s.t.Errorf("%s: %s %.4000s", n.Name, strings.TrimSpace(complaint), what)
			}
		}
	}
	if !s.t.Failed() {
		return
	}
	dir := filepath.Join("..", "..", "artifacts", strings.ReplaceAll(s.t.Name(), "/", "-"))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		s.t.Log(err)
		return
	}
	for _, n := range s.AllNodes() {
		_ = os.WriteFile(filepath.Join(dir, n.Name+".kvip.log"), []byte(s.LogOf(n)), 0o644)
		_, page, _ := s.Page(n, "/services")
		_ = os.WriteFile(filepath.Join(dir, n.Name+".services.json"), page, 0o644)
	}
	s.t.Logf("evidence in %s", dir)
}

// writeStatus writes an address into the status of a Service as another program would.
func (s *env) writeStatus(name, addr string) error {
	object, err := s.Read(s.ctx, name)
	if err != nil {
		return err
	}
	object.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: addr}}
	_, err = s.Kube.CoreV1().Services(object.Namespace).UpdateStatus(s.ctx, object,
		metav1.UpdateOptions{FieldManager: "other"})
	return err
}

// background is for what cleanups ask: by then a test's own context has ended.
var background = context.Background()
