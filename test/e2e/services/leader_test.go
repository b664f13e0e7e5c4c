package services

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/test/lab/cluster"
	"github.com/kvip/kvip/test/lab/servicelab"
)

// watchAddresses follows every version of every Service's status, and remembers each address that
// two had at once.
type addressWatcher struct {
	mu    sync.Mutex
	has   map[netip.Addr]string
	of    map[string][]netip.Addr
	twice []string
	done  chan struct{}
}

func (s *env) watchAddresses() *addressWatcher {
	s.t.Helper()
	w := &addressWatcher{has: map[netip.Addr]string{}, of: map[string][]netip.Addr{},
		done: make(chan struct{})}
	kube, err := s.SlowClient()
	s.must(err)
	watch, err := kube.CoreV1().Services("").Watch(s.ctx, metav1.ListOptions{})
	s.must(err)
	s.t.Cleanup(func() { watch.Stop(); <-w.done })
	go func() {
		defer close(w.done)
		for event := range watch.ResultChan() {
			if object, ok := event.Object.(*corev1.Service); ok {
				w.observe(object, event.Type == "DELETED")
			}
		}
	}()
	return w
}

func (w *addressWatcher) observe(object *corev1.Service, deleted bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	name := object.Namespace + "/" + object.Name
	for _, addr := range w.of[name] {
		delete(w.has, addr)
	}
	delete(w.of, name)
	if deleted {
		return
	}
	for _, addr := range servicelab.IngressOf(object) {
		if other, taken := w.has[addr]; taken {
			w.twice = append(w.twice, fmt.Sprintf("%s: %s and %s", addr, other, name))
		}
		w.has[addr] = name
		w.of[name] = append(w.of[name], addr)
	}
}

// count is how many Services have an address.
func (w *addressWatcher) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.of)
}

// allocator waits until an agent is the leader and returns its node.
func (s *env) allocator() (n *cluster.Node) {
	s.t.Helper()
	s.wait("a node to give out addresses", func() bool {
		lease, err := s.Kube.CoordinationV1().Leases(metav1.NamespaceSystem).Get(s.ctx, "kvip-services",
			metav1.GetOptions{})
		if err != nil || lease.Spec.HolderIdentity == nil {
			return false
		}
		name, _, _ := strings.Cut(*lease.Spec.HolderIdentity, "_")
		n = s.Node(name)
		return n != nil
	})
	return n
}

// TestFrozenAllocator freezes the node that gives out addresses in the middle of its work, out of
// pools that overlap, until another one does it, and lets it go on while that is at work (S4): in
// no version of any status two Services ever have one address.
func TestFrozenAllocator(t *testing.T) {
	s := newEnv(t)
	s.must(s.Addresses(s.ctx, "main", "10.77.0.128-10.77.0.199"))
	s.must(s.Addresses(s.ctx, "also", "10.77.0.150-10.77.0.229"))
	dog := s.watchAddresses()
	made := 0
	burst := func(count int) {
		t.Helper()
		var group sync.WaitGroup
		failed := make(chan error, count)
		for range count {
			name := fmt.Sprintf("web-%d", made)
			group.Go(func() { failed <- s.Create(s.ctx, name) })
			made++
		}
		group.Wait()
		close(failed)
		for err := range failed {
			s.must(err)
		}
	}
	for range 2 {
		first := s.allocator()
		before := dog.count()
		burst(20)
		s.wait("some of them to have addresses", func() bool { return dog.count() > before })
		s.must(first.Agent().Freeze())
		s.wait("another node to give out addresses", func() bool { return s.allocator() != first })
		burst(10)
		s.must(first.Agent().Thaw())
		burst(10)
		s.wait("every Service to have an address", func() bool { return dog.count() == made })
		s.waitSettled(s.Nodes...)
	}
	dog.mu.Lock()
	defer dog.mu.Unlock()
	for _, text := range dog.twice {
		t.Errorf("allocated twice: %s", text)
	}
	if len(dog.has) != made {
		t.Errorf("%d Services have %d addresses", made, len(dog.has))
	}
}

// TestLeaderMoves ends the agent that gives out addresses, in order and by force: another one goes
// on, and no address changes.
func TestLeaderMoves(t *testing.T) {
	s := newEnv(t)
	had := map[string]netip.Addr{"first": s.create("first")}
	for i, end := range []func(*cluster.Agent) error{
		func(a *cluster.Agent) error { return a.Terminate(patience) },
		func(a *cluster.Agent) error { return a.Kill() },
	} {
		n := s.allocator()
		s.must(end(n.Agent()))
		name := fmt.Sprintf("web-%d", i)
		began := time.Now()
		had[name] = s.create(name)
		t.Logf("an address %v after the end of %s", time.Since(began).Round(time.Millisecond), n.Name)
		s.must(n.RestartAgent())
		s.waitSettled(s.Nodes...)
	}
	for name, addr := range had {
		s.expect(name, addr.String())
		s.waitServed(addr, servicelab.Port, s.owner(addr))
	}
}

// TestWithoutDefinition runs without the definition of IPPool: agents work, with what they know,
// and use pools as soon as there is one.
func TestWithoutDefinition(t *testing.T) {
	s := prepareEnv(t)
	s.must(s.UninstallPools(s.ctx))
	s.must(s.StartAgent(s.Nodes[0]))
	s.waitSettled(s.Nodes[0])
	s.must(s.Create(s.ctx, "web"))
	s.waitCondition("web", "NoPool")
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	s.must(s.InstallPools(ctx))
	s.must(s.Addresses(s.ctx, "main", pool4))
	addr := s.addresses("web", 1)[0]
	s.waitServed(addr, servicelab.Port, s.owner(addr))
}
