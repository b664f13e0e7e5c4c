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
	r := newRig(t)
	a, _ := r.seated("x")
	r.PutService("a/web")
	r.says(a, "a/web", "10.0.0.100 Allocated")
	r.Eventually("S4: the ledger says so", func() bool {
		got := r.cat.Ledger()[first]
		return len(got) == 1 && got[0].Owner == "a/web"
	})
	var s corev1.Service
	r.Service("a/web", &s)
	if mode := s.Status.LoadBalancer.Ingress[0].IPMode; mode == nil || *mode != corev1.LoadBalancerIPModeVIP {
		t.Errorf("the mode is %v", mode)
	}
	r.Store.Delete(fakecluster.ServicePath("a/web"))
	r.PutService("b/web")
	r.Eventually("the deletion is seen", func() bool { return len(r.cat.Services()) == 1 })
	r.says(a, "b/web", "10.0.0.100 Allocated")
	r.until(a, "the jobs are forgotten", a.writer.idle)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.figures.Services != 1 || len(r.figures.Pools) != 1 || r.figures.Pools[0].Usage.String() != "1/4" {
		t.Errorf("figures %+v", r.figures)
	}
}

func TestThePoolEnds(t *testing.T) {
	r := newRig(t)
	a, _ := r.seated("x")
	for i := range 5 {
		r.PutService(fmt.Sprintf("a/web%d", i))
	}
	r.Eventually("all are seen", func() bool { return len(r.cat.Services()) == 5 })
	r.says(a, "a/web4", "PoolExhausted")
	r.says(a, "a/web3", "10.0.0.103 Allocated")
	r.Eventually("each is told", func() bool { return r.Server.Count(http.MethodPost, "/namespaces/a/events") == 5 })
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.figures.Refused["PoolExhausted"] != 1 || r.figures.Services != 4 {
		t.Errorf("figures %+v", r.figures)
	}
}

// Each change is told by an Event once, however often it is decided.
func TestEventOnce(t *testing.T) {
	r := newRig(t)
	a, _ := r.seated("x")
	r.PutService("a/web")
	r.says(a, "a/web", "10.0.0.100 Allocated")
	r.Eventually("the Event is there", func() bool { return r.Server.Count(http.MethodPost, "/events") == 1 })
	for range 20 {
		r.look(a)
	}
	r.Never("it comes again", func() bool { return r.Server.Count(http.MethodPost, "/events") > 1 })
	if n := r.Server.Count(http.MethodPatch, "/services/web/status"); n != 1 {
		t.Errorf("%d writes of the status", n)
	}
}

func TestWithoutTheSeatNothingIsDone(t *testing.T) {
	r := newRig(t)
	a, _ := r.allocator("x")
	r.PutService("a/web")
	r.Eventually("it is seen", func() bool { return len(r.cat.Services()) == 1 })
	r.look(a)
	if r.Says("a/web") != "" || len(r.cat.Ledger()) > 0 || len(a.writer.jobs) > 0 {
		t.Errorf("it says %q", r.Says("a/web"))
	}
}

// S4: an allocator that was frozen can write nothing once another one has taken over, though it believes to hold.
func TestS4AFrozenAllocatorIsShutOut(t *testing.T) {
	r := newRig(t)
	a, k := r.seated("x")
	r.PutService("a/web")
	r.says(a, "a/web", "10.0.0.100 Allocated")
	r.pass(5*time.Second + 1)
	b, kb := r.allocator("y")
	kb.turn(t.Context()) // sees it for the first time
	r.pass(5*time.Second + 1)
	r.sit(kb)
	r.look(b)
	k.mu.Lock()
	k.seat.held, k.seat.sentAt = true, r.clock() // it has not noticed
	k.mu.Unlock()
	r.PutService("b/web")
	r.Eventually("it is seen", func() bool { return len(r.cat.Services()) == 2 })
	r.look(a)
	if r.Log.Count("the ledger is read again") != 1 || a.term != 0 {
		t.Errorf("S4: the frozen one has written\n%s", r.Log)
	}
	if n := r.cat.Ledger(); len(n) != 1 {
		t.Errorf("S4: the ledger says %v", n)
	}
}

// S4: who was frozen on the way to taking the ledger, and takes it from the one who has the seat now, writes nothing
// of what he believes.
func TestS4TakingTooLate(t *testing.T) {
	r := newRig(t)
	a, k := r.allocator("x")
	r.sit(k)
	term, _ := k.IsLeader()
	r.pass(time.Minute)
	if a.take(t.Context(), term) || a.term != 0 {
		t.Error("S4: it works with a ledger that it took without the seat")
	}
}

// S4: an address of a Service that this node has not seen yet is not given away on taking over.
func TestS4AServiceNotSeenYetKeepsItsAddress(t *testing.T) {
	r := newRig(t)
	r.Server.Blind(true) // the watch lags behind
	r.PutService("a/new")
	r.Server.Blind(false)
	r.Eventually("it is seen", func() bool { return len(r.cat.Services()) == 1 })
	r.PutLedger("0", ipam.Ledger{first: {{Owner: "a/new"}}, first.Next(): {{Owner: "a/gone"}}})
	r.Eventually("the ledger is seen", func() bool { return len(r.cat.Ledger()) == 2 })
	a, k := r.seated("x")
	term, _ := k.IsLeader()
	r.Server.Blind(true)
	r.PutService("b/newer")
	r.PutLedger("0", ipam.Ledger{first: {{Owner: "a/new"}}, first.Next(): {{Owner: "b/newer"}}})
	if a.take(t.Context(), term) {
		t.Error("S4: it decides without having seen b/newer")
	}
	r.Server.Blind(false)
	r.says(a, "b/newer", "10.0.0.101 Allocated")
	r.says(a, "a/new", "10.0.0.100 Allocated")
}

// S4: an entry of the ledger that names what can be no Service holds nobody up.
func TestTheLedgerNamesWhatIsNoService(t *testing.T) {
	r := newRig(t)
	l := ipam.Ledger{}
	for i, owner := range []ipam.Owner{"a", "a/", "/web", "a/b/c", "a/%2f", "a/..", ipam.Owner("a/" + strings.Repeat("x", 50_000))} {
		l[netip.AddrFrom4([4]byte{10, 0, 0, byte(100 + i)})] = []ipam.Holder{{Owner: owner}}
	}
	r.PutLedger("0", l)
	r.PutService("a/web")
	r.Eventually("both are seen", func() bool { return len(r.cat.Services()) == 1 && len(r.cat.Ledger()) == len(l) })
	a, _ := r.seated("x")
	r.says(a, "a/web", "10.0.0.100 Allocated")
}

func TestAReleasedSeatHandsOver(t *testing.T) {
	r := newRig(t)
	a, k := r.seated("x")
	r.PutService("a/web")
	r.says(a, "a/web", "10.0.0.100 Allocated")
	k.leave(t.Context())
	r.Eventually("the release is seen", func() bool { return r.cat.LeaderLease().Holder == "" })
	r.look(a)
	r.mu.Lock()
	if r.figures.Services != 0 || a.term != 0 {
		t.Errorf("without the seat it tells %+v", r.figures)
	}
	r.mu.Unlock()
	b, _ := r.seated("y")
	r.PutService("b/web")
	r.says(b, "b/web", "10.0.0.101 Allocated")
	r.says(b, "a/web", "10.0.0.100 Allocated")
}

// A Service that no node announces keeps its address, and says why nobody does.
func TestAnnouncedByNobody(t *testing.T) {
	r := newRig(t)
	a, _ := r.seated("x")
	r.PutService("a/web")
	r.says(a, "a/web", "10.0.0.100 Allocated")
	r.mu.Lock()
	r.reasons[first] = placement.ReasonNoSubnet
	r.mu.Unlock()
	r.says(a, "a/web", "10.0.0.100 NoSubnet")
	r.mu.Lock()
	clear(r.reasons) // nobody knows, as after an outage: what was said stands
	r.mu.Unlock()
	for range 5 {
		r.pass(time.Second)
		r.sit(a.cfg.Elector)
		r.look(a)
	}
	r.Never("the condition changes although nobody knows", func() bool { return r.Says("a/web") != "10.0.0.100 NoSubnet" })
	r.mu.Lock()
	r.reasons[first] = placement.ReasonChosen
	r.mu.Unlock()
	r.says(a, "a/web", "10.0.0.100 Allocated")
}

// Addresses of nodes are refused, the control plane's can be shared with a key.
func TestReservedAddresses(t *testing.T) {
	r := newRig(t)
	a, _ := r.seated("x")
	r.PutNodeLease(svc.NodeInfo{Node: "n1", ControlPlane: []netip.Addr{first}}, "n1", 5)
	r.Eventually("it is seen", func() bool { return len(a.controlPlaneAddresses()) == 1 })
	asks := func(addr, key string) func(*corev1.Service) {
		return func(s *corev1.Service) {
			s.Annotations = map[string]string{svc.AnnotationAddresses: addr, svc.AnnotationShare: key}
		}
	}
	r.PutPool("z", "10.0.0.1")
	r.PutService("a/node", asks("10.0.0.1", ""))
	r.PutService("a/control", asks("10.0.0.100", "k"))
	r.PutService("a/free")
	r.says(a, "a/node", "NodeAddress")
	r.says(a, "a/control", "10.0.0.100 Allocated")
	r.says(a, "a/free", "10.0.0.101 Allocated")
	if holders := a.cfg.Store.Ledger()[first]; !ipam.WithControlPlane(holders) || len(holders) != 2 {
		t.Errorf("the ledger does not name the control plane: %v", holders)
	}
	r.Store.Delete(fakecluster.LeasePath(svc.NodeLease(fakecluster.Seat, "n1")))
	r.Eventually("it is seen", func() bool { return len(r.cat.Leases()) == 2 })
	if a.controlPlaneAddresses(); len(a.controlPlaneAddresses()) != 1 {
		t.Error("the control plane's address is forgotten at once")
	}
	r.pass(rememberControlPlane + 1)
	if len(a.controlPlaneAddresses()) != 0 {
		t.Error("the control plane's address is remembered for ever")
	}
}

// TestRun runs allocators as the program does, with a clock that goes: the second takes over when the first ends.
func TestRun(t *testing.T) {
	r := newRig(t)
	began, at := time.Now(), r.clock()
	run := func(identity string) (stop func()) {
		a, k := r.allocator(identity)
		now := func() time.Duration { return at + time.Since(began) }
		k.cfg.Clock, a.cfg.Clock, a.writer.cfg.Clock = now, now, now
		a.writer.status.cfg.Clock, a.writer.status.events.cfg.Clock = now, now
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
func TestErrandsAreBounded(t *testing.T) {
	r := newRig(t)
	a, _ := r.allocator("x")
	for range 1000 {
		a.background(func(context.Context) {})
	}
	if len(a.errands) != cap(a.errands) {
		t.Errorf("%d of %d", len(a.errands), cap(a.errands))
	}
}

// When the API refuses the ledger's writes nothing is told to anybody.
func TestS4NothingIsToldThatIsNotReserved(t *testing.T) {
	r := newRig(t)
	a, k := r.seated("x")
	r.sit(k)
	r.look(a)
	r.Server.Deny(fakeapi.Denial{Method: http.MethodPut, Path: "-ledger-", Code: 503}, fakeapi.Denial{Method: http.MethodPost, Path: "/leases", Code: 503})
	r.PutService("a/web")
	r.Eventually("it is seen", func() bool { return len(r.cat.Services()) == 1 })
	for range 5 {
		r.look(a)
	}
	r.Never("S4: it is told", func() bool { return r.Says("a/web") != "" })
	if !strings.Contains(r.Log.String(), "cannot read or write the ledger") || slices.ContainsFunc(r.Server.Requests(), func(q fakeapi.Request) bool {
		return q.Method == http.MethodPatch && strings.Contains(q.Path, "/services/")
	}) {
		t.Errorf("the log says\n%s", r.Log)
	}
	r.Server.Deny()
	r.says(a, "a/web", "10.0.0.100 Allocated")
}

// An allocator looks when something has changed, a second later at what it could not write, and now and then anyway.
func TestLookingOnlyAtChanges(t *testing.T) {
	r := newRig(t)
	a, k := r.seated("x")
	r.PutService("a/web")
	r.says(a, "a/web", "10.0.0.100 Allocated")
	r.until(a, "all is written", func() bool { return a.writer.idle() && !a.unwritten })
	looks := func() bool {
		r.sit(k)
		return a.turn(t.Context())
	}
	if looks() {
		t.Error("it looks at nothing new")
	}
	r.PutService("b/web")
	r.Eventually("it is seen", func() bool { return len(r.cat.Services()) == 2 })
	if !looks() {
		t.Error("it does not look at a new Service")
	}
	r.says(a, "b/web", "10.0.0.101 Allocated")
	r.until(a, "all is written", func() bool { return a.writer.idle() && !a.unwritten })
	for r.clock()-a.basis.at < lookAnyway-time.Second {
		if r.pass(time.Second); looks() {
			t.Errorf("it looks after %v", r.clock()-a.basis.at)
		}
	}
	if r.pass(time.Second); !looks() {
		t.Error("it never looks by itself")
	}
	a.unwritten = true
	if r.pass(lookAgain - 1); looks() {
		t.Error("it tries at once again")
	}
	if r.pass(1); !looks() {
		t.Error("it does not try again")
	}
}
