package services

import (
	"bytes"
	"context"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/nftfilter"
	"github.com/kvip/kvip/test/lab/cluster"
	"github.com/kvip/kvip/test/lab/netlab"
	"github.com/kvip/kvip/test/lab/servicelab"
)

// TestSameAddressesAfterRestart ends all agents at once, by force: the next ones find in the ledger
// what each Service had, though lower addresses are free (S4).
func TestSameAddressesAfterRestart(t *testing.T) {
	s := newEnv(t)
	names := []string{"a", "b", "c", "d"}
	had := map[string]netip.Addr{}
	for _, name := range names {
		had[name] = s.create(name)
	}
	s.must(s.Delete(s.ctx, "a"))
	s.waitNoOwner(had["a"])
	for _, n := range s.Nodes {
		s.must(n.Agent().Kill())
	}
	for _, n := range s.Nodes {
		s.must(n.RestartAgent())
	}
	s.waitSettled(s.Nodes...)
	if addr := s.create("e"); addr != had["a"] {
		t.Errorf("the free address is %s, and e got %s", had["a"], addr)
	}
	for _, name := range names[1:] {
		s.expect(name, had[name].String())
		s.waitServed(had[name], servicelab.Port, s.owner(had[name]))
	}
}

// startListeners connects continuously to a port that must not be reachable at the address, and
// reports whether it was.
func (s *env) startListeners(addr netip.Addr) (reached func() int) {
	ctx, cancel := context.WithCancel(s.ctx)
	count := make(chan int, 1)
	go func() {
		n := 0
		for ctx.Err() == nil {
			if _, err := s.Request(addr, otherPort); err == nil {
				n++
			}
		}
		count <- n
	}()
	return func() int { cancel(); return <-count }
}

// TestAgentKilled kills an agent and starts it again (S6): its addresses are never gone, no other
// node takes them, and the packet filter stands all the while.
func TestAgentKilled(t *testing.T) {
	s := newEnv(t)
	addr := s.create("web")
	n := s.owner(addr)
	s.waitServed(addr, servicelab.Port, n)
	sampler, reached := s.sample(addr), s.startListeners(addr)
	for range 3 {
		s.must(n.Agent().Kill())
		if !s.filtered(n) {
			t.Errorf("the filter of %s went with its agent", n.Name)
		}
		s.must(n.RestartAgent())
		s.waitSettled(s.Nodes...)
	}
	s.waitServed(addr, servicelab.Port, n)
	if count := reached(); count > 0 {
		t.Errorf("port %d of %s was reached %d times", otherPort, addr, count)
	}
	s.checkStayed(sampler, n, addr)
}

// filtered reports whether the node has kvip's packet filter.
func (s *env) filtered(n *cluster.Node) (there bool) {
	s.t.Helper()
	s.must(n.Host.Do(func() (err error) {
		there, err = nftfilter.Installed()
		return err
	}))
	return there
}

// TestAgentRestarted ends an agent in order, as an upgrade does, and starts it again (S6): nothing
// moves. Its DaemonSet is there, and one that it cannot ask for counts as there.
func TestAgentRestarted(t *testing.T) {
	s := prepareEnv(t)
	s.daemonSet()
	s.startAll("--daemonset=kvip-services")
	addr := s.create("web")
	n := s.owner(addr)
	sampler := s.sample(addr)
	s.must(n.Agent().Terminate(patience))
	if !s.filtered(n) {
		t.Error("the filter went with the agent")
	}
	s.must(n.RestartAgent())
	s.waitSettled(s.Nodes...)
	s.waitServed(addr, servicelab.Port, n)
	s.checkStayed(sampler, n, addr)
}

// daemonSet makes the object that agents ask for when they end. No controller makes pods of it
// here.
func (s *env) daemonSet() {
	s.t.Helper()
	labels := map[string]string{"app": "kvip-services"}
	set := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Name: "kvip-services",
		Namespace: metav1.NamespaceSystem}}
	set.Spec.Selector = &metav1.LabelSelector{MatchLabels: labels}
	set.Spec.Template.Labels = labels
	set.Spec.Template.Spec.Containers = []corev1.Container{{Name: "kvip",
		Image: "localhost/kvip:test"}}
	_, err := s.Kube.AppsV1().DaemonSets(set.Namespace).Create(s.ctx, set, metav1.CreateOptions{})
	s.must(err)
}

// TestAgentLeaves ends agents for good (S6), because their node is cordoned or their DaemonSet is
// gone: they hand over while they still answer, and leave nothing behind.
func TestAgentLeaves(t *testing.T) {
	s := prepareEnv(t)
	s.daemonSet()
	s.startAll("--daemonset=kvip-services")
	addr := s.create("web")
	n := s.owner(addr)
	s.waitServed(addr, servicelab.Port, n)
	sampler := s.sample(addr)
	began := time.Now()
	s.must(s.Kube.AppsV1().DaemonSets(metav1.NamespaceSystem).Delete(s.ctx, "kvip-services",
		metav1.DeleteOptions{}))
	s.must(n.Agent().Terminate(patience))
	t.Logf("handed over in %v", time.Since(began).Round(time.Millisecond))
	s.nothingLeft(n)
	next := s.waitMoved(addr, n)
	s.checkAlwaysOwned(sampler)
	for _, other := range s.Nodes { // the last one has no node to hand over to
		if other != next && other != n {
			s.must(other.Agent().Terminate(patience))
			s.nothingLeft(other)
		}
	}
	s.must(next.Agent().Terminate(patience))
	s.nothingLeft(next)
	s.waitNoOwner(addr)
}

// TestCordonedAgentLeaves ends the agent of a node that was cordoned an instant ago, as a drain of
// a node with a static pod does.
func TestCordonedAgentLeaves(t *testing.T) {
	s := newEnv(t)
	addr := s.create("web")
	n := s.owner(addr)
	sampler := s.sample(addr)
	s.must(s.Cordon(s.ctx, n.Name, true))
	s.wait("the agent to see the cordon", func() bool { // it does not ask the API when it exits
		r, err := s.Report(n, "web")
		return err == nil && len(r.Addresses) == 1 && r.Addresses[0].Node != n.Name
	})
	s.must(n.Agent().Terminate(patience))
	s.nothingLeft(n)
	s.waitMoved(addr, n)
	s.checkAlwaysOwned(sampler)
}

// checkAlwaysOwned fails the test if there was an instant at which no node had an address (S3).
func (s *env) checkAlwaysOwned(sampler *netlab.Sampler) {
	s.t.Helper()
	h := sampler.Window(time.Time{}, time.Time{})
	for _, c := range h.Timeline {
		if len(c.Holders) == 0 {
			s.t.Errorf("no node had %s at %s", c.VIP, c.At.Format("15:04:05.000"))
		}
	}
	if h.Samples == 0 {
		s.t.Error("the sampler saw nothing")
	}
}

// nothingLeft fails the test if anything of kvip is on the node, or its Lease in the cluster.
func (s *env) nothingLeft(n *cluster.Node) {
	s.t.Helper()
	for _, addr := range servicelab.AddressesOf(n.Host) {
		own := addr.IsLoopback() || addr.IsLinkLocalUnicast() ||
			slices.ContainsFunc(n.Host.Addrs, func(p netip.Prefix) bool { return p.Addr() == addr })
		if !own {
			s.t.Errorf("%s is left on %s", addr, n.Name)
		}
	}
	if s.filtered(n) {
		s.t.Errorf("the packet filter is left on %s", n.Name)
	}
	leases, err := s.Kube.CoordinationV1().Leases(metav1.NamespaceSystem).List(s.ctx,
		metav1.ListOptions{})
	s.must(err)
	for _, l := range leases.Items {
		if strings.HasSuffix(l.Name, "-node-"+n.Name) {
			s.t.Errorf("lease %s is left", l.Name)
		}
	}
}

// TestCleanup removes by hand what a killed agent left, also the packet filter (S6).
func TestCleanup(t *testing.T) {
	s := newSingleEnv(t)
	addr := s.create("web")
	n := s.owner(addr)
	s.must(n.Agent().Kill())
	if !s.filtered(n) || len(s.Holders(addr)) != 1 {
		t.Errorf("after SIGKILL: filtered %v, holders %v", s.filtered(n), s.Holders(addr))
	}
	out := s.run(n, "cleanup")
	if !servicelab.ContainsAll(out, addr.String(), "eth0", "nftables table inet kvip") {
		t.Errorf("kvip cleanup printed %q", out)
	}
	s.waitNoOwner(addr)
	if s.filtered(n) {
		t.Error("the filter is left")
	}
}

// run runs a kvip command in the node and returns what it printed; a failure ends the test.
func (s *env) run(n *cluster.Node, args ...string) string {
	s.t.Helper()
	return s.command(n, n.WithState(netlab.Command{Path: s.Kvip, Args: args}))
}

// command runs any command in the node and returns what it printed; a failure ends the test.
func (s *env) command(n *cluster.Node, command netlab.Command) string {
	s.t.Helper()
	var out, diagnostics bytes.Buffer
	command.Stdout, command.Output = &out, &diagnostics
	p, err := n.Host.Start(command)
	s.must(err)
	if err := p.Err(); err != nil {
		s.t.Fatalf("%s %v on %s: %v\n%s", command.Path, command.Args, n.Name, err, &diagnostics)
	}
	return out.String()
}

// TestS3FrozenSpeakerYields stops the processes of a node for longer than its Lease (S3): others
// take its addresses, and when it goes on it has no fresh view, yields at their announcement, and
// takes nothing back that way. The wire says the new owner at the end.
func TestS3FrozenSpeakerYields(t *testing.T) {
	s := prepareEnv(t)
	s.must(s.StartAgents(s.AllNodes()))
	s.waitSettled(s.AllNodes()...)
	addr := s.create("web")
	n := s.owner(addr)
	s.must(n.Agent().Freeze())
	s.wait("another node to take it", func() bool { return len(s.Holders(addr)) == 2 })
	// longer than a slow turn: the length of the pause is the test's subject
	time.Sleep(3 * time.Second)
	s.must(n.Agent().Thaw())
	s.waitSettled(s.AllNodes()...)
	// The rank decides again as soon as it is alive.
	s.wait(addr.String()+" to be on "+n.Name, func() bool { return s.owner(addr) == n })
	s.waitServed(addr, servicelab.Port, n)
	s.checkNoReport(addr, n)
}

// checkNoReport waits until every host of the lab with a neighbour entry for the address has that
// of its owner. The owner is not asked: it sends nothing there, and its kernel may remember who
// announced the address while it stood still.
func (s *env) checkNoReport(addr netip.Addr, owner *cluster.Node) {
	s.t.Helper()
	s.wait("all hosts to know the owner of "+addr.String(), func() bool {
		for _, h := range s.Lab.Lab.Hosts() {
			if h == owner.Host {
				continue
			}
			var out []byte
			s.must(h.Do(func() (err error) {
				out, err = exec.Command("ip", "neighbour", "show", addr.String()).Output()
				return err
			}))
			if strings.Contains(string(out), "lladdr") &&
				!strings.Contains(string(out), owner.Host.MAC.String()) {
				return false
			}
		}
		return true
	})
}
