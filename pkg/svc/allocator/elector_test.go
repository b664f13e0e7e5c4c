package allocator

import (
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/svc"
	"github.com/kvip/kvip/test/fakeapi"
	"github.com/kvip/kvip/test/fakeapi/fakecluster"
)

// putLeaderLease writes the allocator's Lease as another program does.
func (r *fixture) putLeaderLease(holder string, seconds int32, annotation string) {
	r.T.Helper()
	l := coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{}}}
	if annotation != "" {
		l.Annotations[svc.AnnotationLeader] = annotation
	}
	l.Spec.HolderIdentity, l.Spec.LeaseDurationSeconds = &holder, &seconds
	before := r.cache.LeaderLease()
	r.Put(fakecluster.LeasePath(fakecluster.LeaseName), l)
	r.Eventually("the watch shows it", func() bool {
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
	r.Lease(fakecluster.LeaseName, &l)
	if *l.Spec.HolderIdentity != "x" || *l.Spec.LeaseDurationSeconds != 5 ||
		*l.Spec.LeaseTransitions != 1 || l.Spec.AcquireTime == nil ||
		l.Annotations[svc.AnnotationLeader] != "kvip:x" {
		t.Errorf("the Lease is %+v", l)
	}
	term, _ := k.IsLeader()
	version := l.ResourceVersion
	k.reconcile(t.Context())
	if r.Lease(fakecluster.LeaseName, &l); l.ResourceVersion != version {
		t.Error("it is renewed before its interval")
	}
	for range 20 {
		r.advance(time.Second)
		r.elect(k)
	}
	if now, _ := k.IsLeader(); now != term || k.state.last.holder != "x" || k.ForeignHolder() != "" {
		t.Errorf("term %d, holder %s", now, k.state.last.holder)
	}
	if r.Lease(fakecluster.LeaseName, &l); *l.Spec.LeaseTransitions != 1 {
		t.Errorf("%d transitions", *l.Spec.LeaseTransitions)
	}
}

// A watch that does not show the new Lease yet does not end leadership.
func TestALaggingWatchKeepsTheLeader(t *testing.T) {
	r := newFixture(t)
	r.Server.StallWatches(true)
	k := r.elector("x")
	for range 10 {
		k.reconcile(t.Context())
		if !r.isLeader(k) {
			t.Fatalf("leadership is lost\n%s", r.Log)
		}
		r.advance(time.Second)
	}
	r.Server.StallWatches(false)
	r.observed(k)
	if k.reconcile(t.Context()); !r.isLeader(k) {
		t.Error("leadership is lost")
	}
}

// E1: in an outage leadership ends by itself. It continues after the outage if no other node
// acquired the Lease.
func TestE1AnOutageEndsLeadership(t *testing.T) {
	r := newFixture(t)
	k := r.elector("x")
	r.elect(k)
	r.Server.Deny(fakeapi.DenyRule{Method: "PUT", Code: 503})
	for range 5 {
		r.advance(time.Second)
		k.reconcile(t.Context())
	}
	if r.isLeader(k) {
		t.Error("E1: leader beyond its duration")
	}
	r.Server.Deny()
	r.elect(k)
}

// E2: of two candidates only one becomes the leader.
func TestE2TwoCandidates(t *testing.T) {
	r := newFixture(t)
	x, y := r.elector("x"), r.elector("y")
	r.elect(x)
	y.reconcile(t.Context())
	if r.isLeader(y) {
		t.Fatal("both are leaders")
	}
	r.advance(5*time.Second + 1)
	y.reconcile(t.Context())
	r.observed(y)
	x.reconcile(t.Context())
	if !r.isLeader(y) || r.isLeader(x) {
		t.Errorf("x leads: %v, y leads: %v", r.isLeader(x), r.isLeader(y))
	}
	before, _ := y.IsLeader()
	y.release(t.Context())
	r.Eventually("the release is seen", func() bool { return r.cache.LeaderLease().Holder == "" })
	r.elect(x)
	if r.isLeader(y) || before == 0 {
		t.Error("the former leader still leads")
	}
}

// E3: the elector detects a deleted Lease, and waits as after silence.
func TestE3ADeletedLease(t *testing.T) {
	r := newFixture(t)
	k := r.elector("x")
	r.elect(k)
	r.Store.Delete(fakecluster.LeasePath(fakecluster.LeaseName))
	r.Eventually("the deletion is seen", func() bool { return r.cache.LeaderLease() == nil })
	r.advance(time.Second)
	if k.reconcile(t.Context()); r.isLeader(k) {
		t.Fatal("leader without a Lease")
	}
	k.reconcile(t.Context())
	r.advance(5*time.Second + 1)
	r.elect(k)
}

// S9: while another program renews the Lease, it is the holder. Then the elector acquires the
// Lease.
func TestS9AForeignHolderIsRespected(t *testing.T) {
	r := newFixture(t)
	k := r.elector("x")
	r.putLeaderLease("kube-vip-node", 15, "")
	k.reconcile(t.Context())
	if k.ForeignHolder() != "kube-vip-node" || r.isLeader(k) {
		t.Fatalf("foreign %q", k.ForeignHolder())
	}
	r.advance(10 * time.Second)
	// it keeps annotations that it does not know
	r.putLeaderLease("kube-vip-node", 15, "kvip:another-pod")
	k.reconcile(t.Context())
	r.advance(15 * time.Second)
	if k.reconcile(t.Context()); k.ForeignHolder() == "" || r.isLeader(k) {
		t.Fatal("acquired within its duration")
	}
	r.advance(1)
	r.elect(k)
	if k.ForeignHolder() != "" {
		t.Error("the holder is still foreign")
	}
}

func TestAnIneligibleNodeAcquiresNothing(t *testing.T) {
	r := newFixture(t)
	k := r.elector("x")
	k.cfg.Eligible = func() bool { return false }
	k.reconcile(t.Context())
	if r.isLeader(k) || r.cache.LeaderLease() != nil {
		t.Error("it acquired the Lease")
	}
	k.release(t.Context())
	if r.Server.RequestCount("PUT", fakecluster.LeaseName) > 0 {
		t.Error("it released a Lease that it did not hold")
	}
}

// Without a required field, NewLeaderElector returns an error.
func TestNewLeaderElectorValidates(t *testing.T) {
	r := newFixture(t)
	valid := r.elector("x").cfg
	valid.Clock, valid.Log, valid.Eligible, valid.OnFailure = nil, nil, nil, nil
	if e, err := NewLeaderElector(valid); err != nil || e.cfg.Clock() == 0 || !e.cfg.Eligible() {
		t.Errorf("a minimal configuration: %v", err)
	}
	for name, remove := range map[string]func(*LeaderElectorConfig){
		"Namespace": func(c *LeaderElectorConfig) { c.Namespace = "" },
		"Name":      func(c *LeaderElectorConfig) { c.Name = "" },
		"Identity":  func(c *LeaderElectorConfig) { c.Identity = "" },
		"Cache":     func(c *LeaderElectorConfig) { c.Cache = nil },
		"Router":    func(c *LeaderElectorConfig) { c.Router = nil },
		"Duration":  func(c *LeaderElectorConfig) { c.Duration = nil },
		"Interval":  func(c *LeaderElectorConfig) { c.Interval = nil },
	} {
		cfg := valid
		remove(&cfg)
		if _, err := NewLeaderElector(cfg); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("without %s: %v", name, err)
		}
	}
}

// An orderly hand-over: the release of one elector makes the Lease free for the next one at once.
func TestAHandOverTakesNoWait(t *testing.T) {
	r := newFixture(t)
	x, y := r.elector("x"), r.elector("y")
	r.elect(x)
	y.reconcile(t.Context())
	stopX, before := r.Run(x.Run), r.clock()
	stopX()
	r.Eventually("the release is seen", func() bool { return r.cache.LeaderLease().Holder == "" })
	y.reconcile(t.Context())
	if !r.isLeader(y) || r.clock() != before {
		t.Errorf("the next elector leads: %v", r.isLeader(y))
	}
}
