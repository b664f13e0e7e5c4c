package allocator

import (
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/svc"
	"github.com/kvip/kvip/test/fakeapi"
	"github.com/kvip/kvip/test/fakeapi/fakecluster"
)

// putSeat writes the Lease of the seat as another program does.
func (r *fixture) putLeaderLease(holder string, seconds int32, annotation string) {
	r.T.Helper()
	l := coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{}}}
	if annotation != "" {
		l.Annotations[svc.AnnotationLeader] = annotation
	}
	l.Spec.HolderIdentity, l.Spec.LeaseDurationSeconds = &holder, &seconds
	before := r.cache.LeaderLease()
	r.Put(fakecluster.LeasePath(fakecluster.Seat), l)
	r.Eventually("it is seen", func() bool {
		return r.cache.LeaderLease() != nil && (before == nil || svc.Newer(r.cache.LeaderLease(), before))
	})
}

func (r *fixture) isLeader(k *LeaderElector) bool {
	_, held := k.IsLeader()
	return held
}

func TestTheLeaseIsAcquiredAndRenewed(t *testing.T) {
	r := newFixture(t)
	k := r.elector("x")
	r.elect(k)
	var l coordinationv1.Lease
	r.Lease(fakecluster.Seat, &l)
	if *l.Spec.HolderIdentity != "x" || *l.Spec.LeaseDurationSeconds != 5 || *l.Spec.LeaseTransitions != 1 || l.Spec.AcquireTime == nil || l.Annotations[svc.AnnotationLeader] != "kvip:x" {
		t.Errorf("the Lease is %+v", l)
	}
	term, _ := k.IsLeader()
	version := l.ResourceVersion
	k.reconcile(t.Context())
	if r.Lease(fakecluster.Seat, &l); l.ResourceVersion != version {
		t.Error("it is renewed before its interval")
	}
	for range 20 {
		r.advance(time.Second)
		r.elect(k)
	}
	if now, _ := k.IsLeader(); now != term || k.state.last.holder != "x" || k.ForeignHolder() != "" {
		t.Errorf("term %d, holder %s", now, k.state.last.holder)
	}
	if r.Lease(fakecluster.Seat, &l); *l.Spec.LeaseTransitions != 1 {
		t.Errorf("%d transitions", *l.Spec.LeaseTransitions)
	}
}

// A watch that does not show the new Lease yet does not cost the seat.
func TestALaggingWatchKeepsTheLeader(t *testing.T) {
	r := newFixture(t)
	r.Server.Blind(true)
	k := r.elector("x")
	for range 10 {
		k.reconcile(t.Context())
		if !r.isLeader(k) {
			t.Fatalf("the seat is lost\n%s", r.Log)
		}
		r.advance(time.Second)
	}
	r.Server.Blind(false)
	r.observed(k)
	if k.reconcile(t.Context()); !r.isLeader(k) {
		t.Error("the seat is lost")
	}
}

// E1: in an outage the hold ends by itself, and goes on after it if nobody else came.
func TestE1AnOutageEndsLeadership(t *testing.T) {
	r := newFixture(t)
	k := r.elector("x")
	r.elect(k)
	r.Server.Deny(fakeapi.Denial{Method: "PUT", Code: 503})
	for range 5 {
		r.advance(time.Second)
		k.reconcile(t.Context())
	}
	if r.isLeader(k) {
		t.Error("E1: held beyond its duration")
	}
	r.Server.Deny()
	r.elect(k)
}

// E2: two that want it do not both get it.
func TestE2TwoCandidates(t *testing.T) {
	r := newFixture(t)
	x, y := r.elector("x"), r.elector("y")
	r.elect(x)
	y.reconcile(t.Context())
	if r.isLeader(y) {
		t.Fatal("both hold")
	}
	r.advance(5*time.Second + 1)
	y.reconcile(t.Context())
	r.observed(y)
	x.reconcile(t.Context())
	if !r.isLeader(y) || r.isLeader(x) {
		t.Errorf("x holds: %v, y holds: %v", r.isLeader(x), r.isLeader(y))
	}
	before, _ := y.IsLeader()
	y.release(t.Context())
	r.Eventually("the release is seen", func() bool { return r.cache.LeaderLease().Holder == "" })
	r.elect(x)
	if r.isLeader(y) || before == 0 {
		t.Error("who left holds")
	}
}

// A Lease that is deleted is found out, and waited for as silence is (E3).
func TestE3ADeletedLease(t *testing.T) {
	r := newFixture(t)
	k := r.elector("x")
	r.elect(k)
	r.Store.Delete(fakecluster.LeasePath(fakecluster.Seat))
	r.Eventually("the deletion is seen", func() bool { return r.cache.LeaderLease() == nil })
	r.advance(time.Second)
	if k.reconcile(t.Context()); r.isLeader(k) {
		t.Fatal("held without a Lease")
	}
	k.reconcile(t.Context())
	r.advance(5*time.Second + 1)
	r.elect(k)
}

// S9: while another program renews it the seat is its own; then it is taken over.
func TestS9AForeignHolderIsRespected(t *testing.T) {
	r := newFixture(t)
	k := r.elector("x")
	r.putLeaderLease("kube-vip-node", 15, "")
	k.reconcile(t.Context())
	if k.ForeignHolder() != "kube-vip-node" || r.isLeader(k) {
		t.Fatalf("foreign %q", k.ForeignHolder())
	}
	r.advance(10 * time.Second)
	r.putLeaderLease("kube-vip-node", 15, "kvip:somebody-else") // it keeps annotations that it does not know
	k.reconcile(t.Context())
	r.advance(15 * time.Second)
	if k.reconcile(t.Context()); k.ForeignHolder() == "" || r.isLeader(k) {
		t.Fatal("taken within its duration")
	}
	r.advance(1)
	r.elect(k)
	if k.ForeignHolder() != "" {
		t.Error("it is another's still")
	}
}

func TestAnIneligibleNodeAcquiresNothing(t *testing.T) {
	r := newFixture(t)
	k := r.elector("x")
	k.cfg.Eligible = func() bool { return false }
	k.reconcile(t.Context())
	if r.isLeader(k) || r.cache.LeaderLease() != nil {
		t.Error("it took the seat")
	}
	k.release(t.Context())
	if r.Server.Count("PUT", fakecluster.Seat) > 0 {
		t.Error("it left what it did not have")
	}
}
