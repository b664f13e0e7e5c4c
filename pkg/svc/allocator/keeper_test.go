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
func (r *rig) putSeat(holder string, seconds int32, annotation string) {
	r.T.Helper()
	l := coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{}}}
	if annotation != "" {
		l.Annotations[svc.AnnotationLeader] = annotation
	}
	l.Spec.HolderIdentity, l.Spec.LeaseDurationSeconds = &holder, &seconds
	before := r.cat.LeaderLease()
	r.Put(fakecluster.LeasePath(fakecluster.Seat), l)
	r.Eventually("it is seen", func() bool {
		return r.cat.LeaderLease() != nil && (before == nil || svc.Newer(r.cat.LeaderLease(), before))
	})
}

func (r *rig) held(k *LeaderElector) bool {
	_, held := k.IsLeader()
	return held
}

func TestASeatIsTakenAndRenewed(t *testing.T) {
	r := newRig(t)
	k := r.keeper("x")
	r.sit(k)
	var l coordinationv1.Lease
	r.Lease(fakecluster.Seat, &l)
	if *l.Spec.HolderIdentity != "x" || *l.Spec.LeaseDurationSeconds != 5 || *l.Spec.LeaseTransitions != 1 || l.Spec.AcquireTime == nil || l.Annotations[svc.AnnotationLeader] != "kvip:x" {
		t.Errorf("the Lease is %+v", l)
	}
	term, _ := k.IsLeader()
	version := l.ResourceVersion
	k.turn(t.Context())
	if r.Lease(fakecluster.Seat, &l); l.ResourceVersion != version {
		t.Error("it is renewed before its interval")
	}
	for range 20 {
		r.pass(time.Second)
		r.sit(k)
	}
	if now, _ := k.IsLeader(); now != term || k.Holder() != "x" || k.ForeignHolder() != "" {
		t.Errorf("term %d, holder %s", now, k.Holder())
	}
	if r.Lease(fakecluster.Seat, &l); *l.Spec.LeaseTransitions != 1 {
		t.Errorf("%d transitions", *l.Spec.LeaseTransitions)
	}
}

// A watch that does not show the new Lease yet does not cost the seat.
func TestAWatchThatLagsCostsNoSeat(t *testing.T) {
	r := newRig(t)
	r.Server.Blind(true)
	k := r.keeper("x")
	for range 10 {
		k.turn(t.Context())
		if !r.held(k) {
			t.Fatalf("the seat is lost\n%s", r.Log)
		}
		r.pass(time.Second)
	}
	r.Server.Blind(false)
	r.seen(k)
	if k.turn(t.Context()); !r.held(k) {
		t.Error("the seat is lost")
	}
}

// E1: in an outage the hold ends by itself, and goes on after it if nobody else came.
func TestAnOutageOfTheSeat(t *testing.T) {
	r := newRig(t)
	k := r.keeper("x")
	r.sit(k)
	r.Server.Deny(fakeapi.Denial{Method: "PUT", Code: 503})
	for range 5 {
		r.pass(time.Second)
		k.turn(t.Context())
	}
	if r.held(k) {
		t.Error("E1: held beyond its duration")
	}
	r.Server.Deny()
	r.sit(k)
}

// E2: two that want it do not both get it.
func TestTwoThatWantTheSeat(t *testing.T) {
	r := newRig(t)
	x, y := r.keeper("x"), r.keeper("y")
	r.sit(x)
	y.turn(t.Context())
	if r.held(y) {
		t.Fatal("both hold")
	}
	r.pass(5*time.Second + 1)
	y.turn(t.Context())
	r.seen(y)
	x.turn(t.Context())
	if !r.held(y) || r.held(x) {
		t.Errorf("x holds: %v, y holds: %v", r.held(x), r.held(y))
	}
	before, _ := y.IsLeader()
	y.leave(t.Context())
	r.Eventually("the release is seen", func() bool { return r.cat.LeaderLease().Holder == "" })
	r.sit(x)
	if r.held(y) || before == 0 {
		t.Error("who left holds")
	}
}

// A Lease that is deleted is found out, and waited for as silence is (E3).
func TestASeatThatIsDeleted(t *testing.T) {
	r := newRig(t)
	k := r.keeper("x")
	r.sit(k)
	r.Store.Delete(fakecluster.LeasePath(fakecluster.Seat))
	r.Eventually("the deletion is seen", func() bool { return r.cat.LeaderLease() == nil })
	r.pass(time.Second)
	if k.turn(t.Context()); r.held(k) {
		t.Fatal("held without a Lease")
	}
	k.turn(t.Context())
	r.pass(5*time.Second + 1)
	r.sit(k)
}

// S9: while another program renews it the seat is its own; then it is taken over.
func TestAnotherProgramsSeat(t *testing.T) {
	r := newRig(t)
	k := r.keeper("x")
	r.putSeat("kube-vip-node", 15, "")
	k.turn(t.Context())
	if k.ForeignHolder() != "kube-vip-node" || r.held(k) {
		t.Fatalf("foreign %q", k.ForeignHolder())
	}
	r.pass(10 * time.Second)
	r.putSeat("kube-vip-node", 15, "kvip:somebody-else") // it keeps annotations that it does not know
	k.turn(t.Context())
	r.pass(15 * time.Second)
	if k.turn(t.Context()); k.ForeignHolder() == "" || r.held(k) {
		t.Fatal("taken within its duration")
	}
	r.pass(1)
	r.sit(k)
	if k.ForeignHolder() != "" {
		t.Error("it is another's still")
	}
}

func TestWhoIsNotEligibleTakesNothing(t *testing.T) {
	r := newRig(t)
	k := r.keeper("x")
	k.cfg.Eligible = func() bool { return false }
	k.turn(t.Context())
	if r.held(k) || r.cat.LeaderLease() != nil {
		t.Error("it took the seat")
	}
	k.leave(t.Context())
	if r.Server.Count("PUT", fakecluster.Seat) > 0 {
		t.Error("it left what it did not have")
	}
}
