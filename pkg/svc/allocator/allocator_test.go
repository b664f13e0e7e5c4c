package allocator

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/kvip/kvip/pkg/ipam"
	"github.com/kvip/kvip/pkg/placement"
	"github.com/kvip/kvip/pkg/svc"
	"github.com/kvip/kvip/test/fakeapi"
	"github.com/kvip/kvip/test/fakeapi/fakecluster"
)

var first = netip.MustParseAddr("10.0.0.100")

// S4: reserved in the ledger first, then told; an address that is free again is given again.
func TestAServiceGetsItsAddress(t *testing.T) {
	r := newFixture(t)
	a, _ := r.leader("x")
	r.PutService("a/web")
	r.expect(a, "a/web", "10.0.0.100 Allocated")
	r.Eventually("S4: the ledger says so", func() bool {
		got := r.cache.Ledger()[first]
		return len(got) == 1 && got[0].Owner == "a/web"
	})
	var s corev1.Service
	r.Service("a/web", &s)
	if mode := s.Status.LoadBalancer.Ingress[0].IPMode; mode == nil || *mode != corev1.LoadBalancerIPModeVIP {
		t.Errorf("the mode is %v", mode)
	}
	r.Store.Delete(fakecluster.ServicePath("a/web"))
	r.PutService("b/web")
	r.Eventually("the deletion is seen", func() bool { return len(r.cache.Services()) == 1 })
	r.expect(a, "b/web", "10.0.0.100 Allocated")
	r.until(a, "the jobs are forgotten", a.queue.isEmpty)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stats.Services != 1 || len(r.stats.Pools) != 1 || r.stats.Pools[0].Usage.String() != "1/4" {
		t.Errorf("figures %+v", r.stats)
	}
}

func TestAnExhaustedPool(t *testing.T) {
	r := newFixture(t)
	a, _ := r.leader("x")
	for i := range 5 {
		r.PutService(fmt.Sprintf("a/web%d", i))
	}
	r.Eventually("all are seen", func() bool { return len(r.cache.Services()) == 5 })
	r.expect(a, "a/web4", "PoolExhausted")
	r.expect(a, "a/web3", "10.0.0.103 Allocated")
	r.Eventually("each is told", func() bool { return r.Server.Count(http.MethodPost, "/namespaces/a/events") == 5 })
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stats.Refused["PoolExhausted"] != 1 || r.stats.Services != 4 {
		t.Errorf("figures %+v", r.stats)
	}
}

// Each change is told by an Event once, however often it is decided.
func TestAnEventIsPostedOnce(t *testing.T) {
	r := newFixture(t)
	a, _ := r.leader("x")
	r.PutService("a/web")
	r.expect(a, "a/web", "10.0.0.100 Allocated")
	r.Eventually("the Event is there", func() bool { return r.Server.Count(http.MethodPost, "/events") == 1 })
	for range 20 {
		r.reconcile(a)
	}
	r.Never("it comes again", func() bool { return r.Server.Count(http.MethodPost, "/events") > 1 })
	if n := r.Server.Count(http.MethodPatch, "/services/web/status"); n != 1 {
		t.Errorf("%d writes of the status", n)
	}
}

func TestOnlyTheLeaderAllocates(t *testing.T) {
	r := newFixture(t)
	a, _ := r.allocator("x")
	r.PutService("a/web")
	r.Eventually("it is seen", func() bool { return len(r.cache.Services()) == 1 })
	r.reconcile(a)
	if r.Says("a/web") != "" || len(r.cache.Ledger()) > 0 || len(a.queue.writes) > 0 {
		t.Errorf("it says %q", r.Says("a/web"))
	}
}

// S4: an allocator that was frozen can write nothing once another one has taken over, though it
// believes to hold.
func TestS4APausedAllocatorIsFenced(t *testing.T) {
	r := newFixture(t)
	a, k := r.leader("x")
	r.PutService("a/web")
	r.expect(a, "a/web", "10.0.0.100 Allocated")
	r.advance(5*time.Second + 1)
	b, kb := r.allocator("y")
	kb.reconcile(t.Context()) // sees it for the first time
	r.advance(5*time.Second + 1)
	r.elect(kb)
	r.reconcile(b)
	k.mu.Lock()
	k.state.leading, k.state.sentAt = true, r.clock() // it has not noticed
	k.mu.Unlock()
	r.PutService("b/web")
	r.Eventually("it is seen", func() bool { return len(r.cache.Services()) == 2 })
	r.reconcile(a)
	if r.Log.Count("reading the ledger again") != 1 || a.term != 0 {
		t.Errorf("S4: the frozen one has written\n%s", r.Log)
	}
	if n := r.cache.Ledger(); len(n) != 1 {
		t.Errorf("S4: the ledger says %v", n)
	}
}

// S4: who was frozen on the way to taking the ledger, and takes it from the one who has the seat
// now, writes nothing of what he believes.
func TestS4LeadershipIsCheckedAfterAcquiring(t *testing.T) {
	r := newFixture(t)
	a, k := r.allocator("x")
	r.elect(k)
	term, _ := k.IsLeader()
	r.advance(time.Minute)
	if a.acquire(t.Context(), term) || a.term != 0 {
		t.Error("S4: it works with a ledger that it took without the seat")
	}
}

// S4: an address of a Service that this node has not seen yet is not given away on taking over.
func TestS4AServiceMissingInTheCacheKeepsItsAddress(t *testing.T) {
	r := newFixture(t)
	r.Server.Blind(true) // the watch lags behind
	r.PutService("a/new")
	r.Server.Blind(false)
	r.Eventually("it is seen", func() bool { return len(r.cache.Services()) == 1 })
	r.PutLedger("0", ipam.Ledger{first: {{Owner: "a/new"}}, first.Next(): {{Owner: "a/gone"}}})
	r.Eventually("the ledger is seen", func() bool { return len(r.cache.Ledger()) == 2 })
	a, k := r.leader("x")
	term, _ := k.IsLeader()
	r.Server.Blind(true)
	r.PutService("b/newer")
	r.PutLedger("0", ipam.Ledger{first: {{Owner: "a/new"}}, first.Next(): {{Owner: "b/newer"}}})
	if a.acquire(t.Context(), term) {
		t.Error("S4: it decides without having seen b/newer")
	}
	r.Server.Blind(false)
	r.expect(a, "b/newer", "10.0.0.101 Allocated")
	r.expect(a, "a/new", "10.0.0.100 Allocated")
}

// S4: an entry of the ledger that names what can be no Service holds nobody up.
func TestInvalidOwnersInTheLedger(t *testing.T) {
	r := newFixture(t)
	l := ipam.Ledger{}
	for i, owner := range []ipam.Owner{"a", "a/", "/web", "a/b/c", "a/%2f", "a/..", ipam.Owner("a/" + strings.Repeat("x", 50_000))} {
		l[netip.AddrFrom4([4]byte{10, 0, 0, byte(100 + i)})] = []ipam.Holder{{Owner: owner}}
	}
	r.PutLedger("0", l)
	r.PutService("a/web")
	r.Eventually("both are seen", func() bool { return len(r.cache.Services()) == 1 && len(r.cache.Ledger()) == len(l) })
	a, _ := r.leader("x")
	r.expect(a, "a/web", "10.0.0.100 Allocated")
}

func TestAReleaseHandsOver(t *testing.T) {
	r := newFixture(t)
	a, k := r.leader("x")
	r.PutService("a/web")
	r.expect(a, "a/web", "10.0.0.100 Allocated")
	k.release(t.Context())
	r.Eventually("the release is seen", func() bool { return r.cache.LeaderLease().Holder == "" })
	r.reconcile(a)
	r.mu.Lock()
	if r.stats.Services != 0 || a.term != 0 {
		t.Errorf("without the seat it tells %+v", r.stats)
	}
	r.mu.Unlock()
	b, _ := r.leader("y")
	r.PutService("b/web")
	r.expect(b, "b/web", "10.0.0.101 Allocated")
	r.expect(b, "a/web", "10.0.0.100 Allocated")
}

// A Service that no node announces keeps its address, and says why nobody does.
func TestAnUnannouncedServiceKeepsItsAddress(t *testing.T) {
	r := newFixture(t)
	a, _ := r.leader("x")
	r.PutService("a/web")
	r.expect(a, "a/web", "10.0.0.100 Allocated")
	r.mu.Lock()
	r.reasons[first] = placement.ReasonNoSubnet
	r.mu.Unlock()
	r.expect(a, "a/web", "10.0.0.100 NoSubnet")
	r.mu.Lock()
	clear(r.reasons) // nobody knows, as after an outage: what was said stands
	r.mu.Unlock()
	for range 5 {
		r.advance(time.Second)
		r.elect(a.cfg.Elector)
		r.reconcile(a)
	}
	r.Never("the condition changes although nobody knows", func() bool { return r.Says("a/web") != "10.0.0.100 NoSubnet" })
	r.mu.Lock()
	r.reasons[first] = placement.ReasonChosen
	r.mu.Unlock()
	r.expect(a, "a/web", "10.0.0.100 Allocated")
}

// Addresses of nodes are refused, the control plane's can be shared with a key.
func TestReservedAddresses(t *testing.T) {
	r := newFixture(t)
	a, _ := r.leader("x")
	r.PutNodeLease(svc.NodeInfo{Node: "n1", ControlPlane: []netip.Addr{first}}, "n1", 5)
	r.Eventually("it is seen", func() bool { return len(a.controlPlaneVIPs(a.cfg.Cache.Leases())) == 1 })
	asks := func(addr, key string) func(*corev1.Service) {
		return func(s *corev1.Service) {
			s.Annotations = map[string]string{svc.AnnotationAddresses: addr, svc.AnnotationShare: key}
		}
	}
	r.PutPool("z", "10.0.0.1")
	r.PutService("a/node", asks("10.0.0.1", ""))
	r.PutService("a/control", asks("10.0.0.100", "k"))
	r.PutService("a/free")
	r.expect(a, "a/node", "NodeAddress")
	r.expect(a, "a/control", "10.0.0.100 Allocated")
	r.expect(a, "a/free", "10.0.0.101 Allocated")
	if holders := a.store.ledger()[first]; !ipam.WithControlPlane(holders) || len(holders) != 2 {
		t.Errorf("the ledger does not name the control plane: %v", holders)
	}
	r.Store.Delete(fakecluster.LeasePath(svc.NodeLease(fakecluster.Seat, "n1")))
	r.Eventually("it is seen", func() bool { return len(r.cache.Leases()) == 2 })
	if a.controlPlaneVIPs(a.cfg.Cache.Leases()); len(a.controlPlaneVIPs(a.cfg.Cache.Leases())) != 1 {
		t.Error("the control plane's address is forgotten at once")
	}
	r.advance(vipMaxAge + 1)
	if len(a.controlPlaneVIPs(a.cfg.Cache.Leases())) != 0 {
		t.Error("the control plane's address is remembered for ever")
	}
}

// TestRun runs allocators as the program does, with a clock that goes: the second takes over when
// the first ends.
func TestRun(t *testing.T) {
	r := newFixture(t)
	began, at := time.Now(), r.clock()
	run := func(identity string) (stop func()) {
		a, k := r.allocator(identity)
		now := func() time.Duration { return at + time.Since(began) }
		k.cfg.Clock, a.cfg.Clock, a.queue.cfg.Clock = now, now, now
		a.queue.client.cfg.Clock, a.events.cfg.Clock = now, now
		stopKeeper, stopAllocator := r.Run(k.Run), r.Run(a.Run)
		return func() {
			stopAllocator()
			stopKeeper()
		}
	}
	stop := run("x")
	r.PutService("a/web")
	r.Eventually("x gives it", func() bool { return r.Says("a/web") == "10.0.0.100 Allocated" })
	run("y")
	stop()
	r.PutService("b/web")
	r.Eventually("y goes on", func() bool { return r.Says("b/web") == "10.0.0.101 Allocated" })
	var l coordinationv1.Lease
	if r.Lease(fakecluster.Seat, &l); *l.Spec.HolderIdentity != "y" || l.Annotations[svc.AnnotationLeader] != "kvip:y" {
		t.Errorf("the seat is %+v", l)
	}
}

// An errand too many is dropped and no goroutine waits for it.
func TestTheBackgroundQueueIsBounded(t *testing.T) {
	r := newFixture(t)
	a, _ := r.allocator("x")
	for range 1000 {
		a.enqueue(func(context.Context) {})
	}
	if len(a.background) != cap(a.background) {
		t.Errorf("%d of %d", len(a.background), cap(a.background))
	}
}

// When the API refuses the ledger's writes nothing is told to anybody.
func TestS4NoStatusWithoutALedgerEntry(t *testing.T) {
	r := newFixture(t)
	a, k := r.leader("x")
	r.elect(k)
	r.reconcile(a)
	r.Server.Deny(fakeapi.Denial{Method: http.MethodPut, Path: "-ledger-", Code: 503}, fakeapi.Denial{Method: http.MethodPost, Path: "/leases", Code: 503})
	r.PutService("a/web")
	r.Eventually("it is seen", func() bool { return len(r.cache.Services()) == 1 })
	for range 5 {
		r.reconcile(a)
	}
	r.Never("S4: it is told", func() bool { return r.Says("a/web") != "" })
	if !strings.Contains(r.Log.String(), "cannot read or write the ledger") || slices.ContainsFunc(r.Server.Requests(), func(q fakeapi.Request) bool {
		return q.Method == http.MethodPatch && strings.Contains(q.Path, "/services/")
	}) {
		t.Errorf("the log says\n%s", r.Log)
	}
	r.Server.Deny()
	r.expect(a, "a/web", "10.0.0.100 Allocated")
}

// An allocator looks when something has changed, a second later at what it could not write, and now
// and then anyway.
func TestReconcileOnlyAfterChanges(t *testing.T) {
	r := newFixture(t)
	a, k := r.leader("x")
	r.PutService("a/web")
	r.expect(a, "a/web", "10.0.0.100 Allocated")
	r.until(a, "all is written", func() bool { return a.queue.isEmpty() && !a.unwritten })
	looks := func() bool {
		r.elect(k)
		return a.reconcile(t.Context())
	}
	if looks() {
		t.Error("it looks at nothing new")
	}
	r.PutService("b/web")
	r.Eventually("it is seen", func() bool { return len(r.cache.Services()) == 2 })
	if !looks() {
		t.Error("it does not look at a new Service")
	}
	r.expect(a, "b/web", "10.0.0.101 Allocated")
	r.until(a, "all is written", func() bool { return a.queue.isEmpty() && !a.unwritten })
	for r.clock()-a.reconciled.at < resyncInterval-time.Second {
		if r.advance(time.Second); looks() {
			t.Errorf("it looks after %v", r.clock()-a.reconciled.at)
		}
	}
	if r.advance(time.Second); !looks() {
		t.Error("it never looks by itself")
	}
	a.unwritten = true
	if r.advance(pollInterval - 1); looks() {
		t.Error("it tries at once again")
	}
	if r.advance(1); !looks() {
		t.Error("it does not try again")
	}
}
