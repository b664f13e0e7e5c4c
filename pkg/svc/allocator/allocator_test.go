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

// S4: the ledger has the address before the status. A released address is allocated again.
func TestAServiceGetsItsAddress(t *testing.T) {
	r := newFixture(t)
	a, _ := r.leader("x")
	r.PutService("a/web")
	r.expect(a, "a/web", "10.0.0.100 Allocated")
	r.Eventually("S4: the ledger has it", func() bool {
		got := r.cache.Ledger()[first]
		return len(got) == 1 && got[0].Service == "a/web"
	})
	var s corev1.Service
	r.Service("a/web", &s)
	if mode := s.Status.LoadBalancer.Ingress[0].IPMode; mode == nil ||
		*mode != corev1.LoadBalancerIPModeVIP {
		t.Errorf("the mode is %v", mode)
	}
	r.Store.Delete(fakecluster.ServicePath("a/web"))
	r.PutService("b/web")
	r.Eventually("the deletion is seen", func() bool { return len(r.cache.Services()) == 1 })
	r.expect(a, "b/web", "10.0.0.100 Allocated")
	r.until(a, "no write is left", a.queue.isEmpty)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stats.Services != 1 || len(r.stats.Pools) != 1 || r.stats.Pools[0].Usage.String() != "1/4" {
		t.Errorf("stats %+v", r.stats)
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
	r.Eventually("each has an Event",
		func() bool { return r.Server.RequestCount(http.MethodPost, "/namespaces/a/events") == 5 })
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stats.Refused["PoolExhausted"] != 1 || r.stats.Services != 4 {
		t.Errorf("stats %+v", r.stats)
	}
}

// Each change has one Event, however often it is reconciled.
func TestAnEventIsPostedOnce(t *testing.T) {
	r := newFixture(t)
	a, _ := r.leader("x")
	r.PutService("a/web")
	r.expect(a, "a/web", "10.0.0.100 Allocated")
	r.Eventually("the Event is there",
		func() bool { return r.Server.RequestCount(http.MethodPost, "/events") == 1 })
	for range 20 {
		r.reconcile(a)
	}
	r.Never("it comes again",
		func() bool { return r.Server.RequestCount(http.MethodPost, "/events") > 1 })
	if n := r.Server.RequestCount(http.MethodPatch, "/services/web/status"); n != 1 {
		t.Errorf("%d writes of the status", n)
	}
}

func TestOnlyTheLeaderAllocates(t *testing.T) {
	r := newFixture(t)
	a, _ := r.allocator("x")
	r.PutService("a/web")
	r.Eventually("the watch shows it", func() bool { return len(r.cache.Services()) == 1 })
	r.reconcile(a)
	if r.ServiceStatus("a/web") != "" || len(r.cache.Ledger()) > 0 || len(a.queue.writes) > 0 {
		t.Errorf("the status is %q", r.ServiceStatus("a/web"))
	}
}

// S4: a paused allocator writes nothing after another one has taken over, although it still thinks
// that it leads.
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
	r.Eventually("the watch shows it", func() bool { return len(r.cache.Services()) == 2 })
	r.reconcile(a)
	if r.Log.Count("ledger changed by another client; acquiring it again") != 1 || a.term != 0 {
		t.Errorf("S4: the paused allocator has written\n%s", r.Log)
	}
	if n := r.cache.Ledger(); len(n) != 1 {
		t.Errorf("S4: the ledger is %v", n)
	}
}

// S4: an allocator that was paused before it acquired the ledger, and is not the leader any more,
// does not use it.
func TestS4LeadershipIsCheckedAfterAcquiring(t *testing.T) {
	r := newFixture(t)
	a, k := r.allocator("x")
	r.elect(k)
	term, _ := k.IsLeader()
	r.advance(time.Minute)
	if a.acquire(t.Context(), term) || a.term != 0 {
		t.Error("S4: it uses a ledger that it acquired without leadership")
	}
}

// S4: on take-over, the address of a Service that the cache does not have yet is not allocated.
func TestS4AServiceMissingInTheCacheKeepsItsAddress(t *testing.T) {
	r := newFixture(t)
	r.Server.StallWatches(true) // the watch lags behind
	r.PutService("a/new")
	r.Server.StallWatches(false)
	r.Eventually("the watch shows it", func() bool { return len(r.cache.Services()) == 1 })
	r.PutLedger("0", ipam.Ledger{first: {{Service: "a/new"}}, first.Next(): {{Service: "a/gone"}}})
	r.Eventually("the ledger is seen", func() bool { return len(r.cache.Ledger()) == 2 })
	a, k := r.leader("x")
	term, _ := k.IsLeader()
	r.Server.StallWatches(true)
	r.PutService("b/newer")
	r.PutLedger("0", ipam.Ledger{first: {{Service: "a/new"}}, first.Next(): {{Service: "b/newer"}}})
	if a.acquire(t.Context(), term) {
		t.Error("S4: it reconciles without b/newer in the cache")
	}
	r.Server.StallWatches(false)
	r.expect(a, "b/newer", "10.0.0.101 Allocated")
	r.expect(a, "a/new", "10.0.0.100 Allocated")
}

// S4: an entry of the ledger whose owner cannot be a Service blocks nothing.
func TestInvalidOwnersInTheLedger(t *testing.T) {
	r := newFixture(t)
	l := ipam.Ledger{}
	for i, key := range []ipam.ServiceKey{"a", "a/", "/web", "a/b/c", "a/%2f", "a/..",
		ipam.ServiceKey("a/" + strings.Repeat("x", 50_000))} {
		l[netip.AddrFrom4([4]byte{10, 0, 0, byte(100 + i)})] = []ipam.Entry{{Service: key}}
	}
	r.PutLedger("0", l)
	r.PutService("a/web")
	r.Eventually("both are seen",
		func() bool { return len(r.cache.Services()) == 1 && len(r.cache.Ledger()) == len(l) })
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
		t.Errorf("without leadership the stats are %+v", r.stats)
	}
	r.mu.Unlock()
	b, _ := r.leader("y")
	r.PutService("b/web")
	r.expect(b, "b/web", "10.0.0.101 Allocated")
	r.expect(b, "a/web", "10.0.0.100 Allocated")
}

// A Service that no node announces keeps its address, and its condition has the reason.
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
	clear(r.reasons) // unknown, as after an outage: the condition stays
	r.mu.Unlock()
	for range 5 {
		r.advance(time.Second)
		r.elect(a.cfg.Elector)
		r.reconcile(a)
	}
	r.Never("the condition changes without a placement",
		func() bool { return r.ServiceStatus("a/web") != "10.0.0.100 NoSubnet" })
	r.mu.Lock()
	r.reasons[first] = placement.ReasonChosen
	r.mu.Unlock()
	r.expect(a, "a/web", "10.0.0.100 Allocated")
}

// Addresses of nodes are refused. The VIP can be shared with a key.
func TestReservedAddresses(t *testing.T) {
	r := newFixture(t)
	a, _ := r.leader("x")
	r.PutNodeLease(svc.NodeInfo{Node: "n1", ControlPlane: []netip.Addr{first}}, "n1", 5)
	r.Eventually("the watch shows it",
		func() bool { return len(a.controlPlaneVIPs(a.cfg.Cache.Leases())) == 1 })
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
	if entries := a.store.ledger()[first]; !ipam.WithControlPlane(entries) || len(entries) != 2 {
		t.Errorf("the ledger does not name the control plane: %v", entries)
	}
	r.Store.Delete(fakecluster.LeasePath(svc.NodeLease(fakecluster.LeaseName, "n1")))
	r.Eventually("the watch shows it", func() bool { return len(r.cache.Leases()) == 2 })
	if a.controlPlaneVIPs(a.cfg.Cache.Leases()); len(a.controlPlaneVIPs(a.cfg.Cache.Leases())) != 1 {
		t.Error("the VIP is forgotten at once")
	}
	r.advance(vipMaxAge + 1)
	if len(a.controlPlaneVIPs(a.cfg.Cache.Leases())) != 0 {
		t.Error("the VIP is never forgotten")
	}
}

// TestRun runs allocators as the program does, by the real clock: the second takes over when the
// first ends.
func TestRun(t *testing.T) {
	r := newFixture(t)
	began, at := time.Now(), r.clock()
	run := func(identity string) (stop func()) {
		a, k := r.allocator(identity)
		now := func() time.Duration { return at + time.Since(began) }
		k.cfg.Clock, a.cfg.Clock, a.queue.cfg.Clock = now, now, now
		a.queue.client.cfg.Clock, a.events.cfg.Clock = now, now
		stopElector, stopAllocator := r.Run(k.Run), r.Run(a.Run)
		return func() {
			stopAllocator()
			stopElector()
		}
	}
	stop := run("x")
	r.PutService("a/web")
	r.Eventually("x allocates",
		func() bool { return r.ServiceStatus("a/web") == "10.0.0.100 Allocated" })
	run("y")
	stop()
	r.PutService("b/web")
	r.Eventually("y allocates",
		func() bool { return r.ServiceStatus("b/web") == "10.0.0.101 Allocated" })
	var l coordinationv1.Lease
	if r.Lease(fakecluster.LeaseName, &l); *l.Spec.HolderIdentity != "y" ||
		l.Annotations[svc.AnnotationLeader] != "kvip:y" {
		t.Errorf("the Lease is %+v", l)
	}
}

// A task beyond the bound is dropped, and no goroutine waits for it.
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

// S4: while the API refuses writes of the ledger, no status is written.
func TestS4NoStatusWithoutALedgerEntry(t *testing.T) {
	r := newFixture(t)
	a, k := r.leader("x")
	r.elect(k)
	r.reconcile(a)
	r.Server.Deny(fakeapi.DenyRule{Method: http.MethodPut, Path: "-ledger-", Code: 503},
		fakeapi.DenyRule{Method: http.MethodPost, Path: "/leases", Code: 503})
	r.PutService("a/web")
	r.Eventually("the watch shows it", func() bool { return len(r.cache.Services()) == 1 })
	for range 5 {
		r.reconcile(a)
	}
	r.Never("S4: the status is written", func() bool { return r.ServiceStatus("a/web") != "" })
	if !strings.Contains(r.Log.String(), "cannot read or write the ledger") ||
		slices.ContainsFunc(r.Server.Requests(), func(q fakeapi.Request) bool {
			return q.Method == http.MethodPatch && strings.Contains(q.Path, "/services/")
		}) {
		t.Errorf("log:\n%s", r.Log)
	}
	r.Server.Deny()
	r.expect(a, "a/web", "10.0.0.100 Allocated")
}

// An allocator reconciles after a change, after pollInterval if a write failed, and after
// resyncInterval in any case.
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
		t.Error("it reconciles without a change")
	}
	r.PutService("b/web")
	r.Eventually("the watch shows it", func() bool { return len(r.cache.Services()) == 2 })
	if !looks() {
		t.Error("it does not reconcile after a change")
	}
	r.expect(a, "b/web", "10.0.0.101 Allocated")
	r.until(a, "all is written", func() bool { return a.queue.isEmpty() && !a.unwritten })
	for r.clock()-a.reconciled.at < resyncInterval-time.Second {
		if r.advance(time.Second); looks() {
			t.Errorf("it reconciles after %v", r.clock()-a.reconciled.at)
		}
	}
	if r.advance(time.Second); !looks() {
		t.Error("it never reconciles without a change")
	}
	a.unwritten = true
	if r.advance(pollInterval - 1); looks() {
		t.Error("it repeats the write at once")
	}
	if r.advance(1); !looks() {
		t.Error("it does not repeat the write")
	}
}

// Without a required field, New returns an error.
func TestNewValidates(t *testing.T) {
	r := newFixture(t)
	valid := Config{Cache: r.cache, Elector: r.elector("x"), Router: r.Router, Node: "n1"}
	if a, err := New(valid); err != nil || a.cfg.Clock() == 0 || a.cfg.Log == nil {
		t.Errorf("a minimal configuration: %v", err)
	}
	for name, remove := range map[string]func(*Config){
		"Cache":   func(c *Config) { c.Cache = nil },
		"Elector": func(c *Config) { c.Elector = nil },
		"Router":  func(c *Config) { c.Router = nil },
		"Node":    func(c *Config) { c.Node = "" },
	} {
		cfg := valid
		remove(&cfg)
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("without %s: %v", name, err)
		}
	}
}
