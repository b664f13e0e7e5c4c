package speaker

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/liveness"
	"github.com/kvip/kvip/pkg/svc"
	"github.com/kvip/kvip/test/fakeapi"
	"github.com/kvip/kvip/test/fakeapi/fakecluster"
)

const ownLease = "kvip-services-node-me"

func TestNewNodeLeaseChecksItsConfig(t *testing.T) {
	f := newFixture(t)
	for name, unset := range map[string]func(c *NodeLeaseConfig){
		"Node":      func(c *NodeLeaseConfig) { c.Node = "" },
		"Identity":  func(c *NodeLeaseConfig) { c.Identity = "" },
		"Namespace": func(c *NodeLeaseConfig) { c.Namespace = "" },
		"Name":      func(c *NodeLeaseConfig) { c.Name = "" },
		"Cache":     func(c *NodeLeaseConfig) { c.Cache = nil },
		"Router":    func(c *NodeLeaseConfig) { c.Router = nil },
	} {
		c := f.lease.cfg
		unset(&c)
		if _, err := NewNodeLease(c); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("without %s: %v", name, err)
		}
	}
	c := f.lease.cfg
	c.Clock, c.Log, c.OnFailure = nil, nil, nil
	l, err := NewNodeLease(c)
	if err != nil {
		t.Fatal(err)
	}
	l.renewalFailed(errTest) // uses all three
	l.cfg.OnFailure("renew-node", errTest)
	if l.Problem() != errTest.Error() {
		t.Errorf("problem %q", l.Problem())
	}
}

// S1: the Lease has what other nodes need, and belongs to its Node.
func TestTheLeaseOfANode(t *testing.T) {
	f := newFixture(t)
	f.reconcile()
	f.renew()
	var l coordinationv1.Lease
	if !f.Lease(ownLease, &l) {
		t.Fatal("there is no Lease")
	}
	if *l.Spec.HolderIdentity != "me_boot" || *l.Spec.LeaseDurationSeconds != 5 ||
		l.Labels[svc.LabelRole] != svc.RoleNode {
		t.Errorf("the Lease is %+v", l)
	}
	info := svc.ReadLease(&l).Info
	if info.Node != "me" || info.StatusPort != 9 || len(info.Links) != 1 ||
		info.Links[0].MAC != ownMAC.String() || len(info.Links[0].Subnets) != 2 {
		t.Errorf("it reports %+v", info)
	}
	owners := l.OwnerReferences
	if len(owners) != 1 || owners[0].Kind != "Node" || owners[0].Name != "me" ||
		owners[0].UID != f.cache.Node("me").UID {
		t.Errorf("it belongs to %+v", owners)
	}
	view := f.lease.View()
	if !view.Fresh || !slices.Equal(view.Alive, []string{"me"}) || f.lease.Problem() != "" {
		t.Errorf("view %+v, problem %q", view, f.lease.Problem())
	}
}

// S1: the interval grows with the number of nodes that announce. Dead and released nodes do not
// count.
func TestCountNodes(t *testing.T) {
	leases := func(n int, released bool) (all []liveness.ObservedLease) {
		for range n {
			all = append(all, liveness.ObservedLease{Released: released})
		}
		return all
	}
	for _, row := range []struct {
		name   string
		alive  int
		leases []liveness.ObservedLease
		want   int
	}{
		{"none yet", 0, nil, 1},
		{"before a view all Leases", 0, leases(40, false), 40},
		{"but those released", 0, append(leases(40, true), leases(2, false)...), 2},
		{"after it the living", 3, leases(40, false), 3},
	} {
		view := liveness.View{Alive: make([]string, row.alive)}
		if got := countNodes(view, row.leases); got != row.want {
			t.Errorf("%s: %d, want %d", row.name, got, row.want)
		}
	}
}

// S1: only Leases of nodes count for liveness.
func TestObservedLeases(t *testing.T) {
	lease := func(role, node, holder string) *svc.Lease {
		return &svc.Lease{
			ObjectMeta: metav1.ObjectMeta{ResourceVersion: "7"}, Role: role, Holder: holder,
			Duration: 5 * time.Second, Info: svc.NodeInfo{Node: node},
		}
	}
	got := observedLeases([]*svc.Lease{
		lease(svc.RoleNode, "a", "a_boot"), lease(svc.RoleControlPlane, "b", "b_boot"),
		lease(svc.RoleNode, "c", ""),
	})
	want := []liveness.ObservedLease{
		{Node: "a", Version: "7", Duration: 5 * time.Second},
		{Node: "c", Version: "7", Duration: 5 * time.Second, Released: true},
	}
	if !slices.Equal(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// S2: renewals that are not seen back make no view fresh.
func TestFreshOnlyWhenSeenBack(t *testing.T) {
	f := newFixture(t)
	f.reconcile()
	f.Server.StallWatches(true)
	f.lease.renew(t.Context())
	f.lease.refresh()
	if f.lease.View().Fresh {
		t.Error("fresh, and no renewal was seen back")
	}
	f.Server.StallWatches(false)
	f.Eventually("it is seen back", func() bool { return f.cache.Lease(ownLease) != nil })
	f.lease.refresh()
	if !f.lease.View().Fresh {
		t.Error("seen back, and not fresh")
	}
}

// S2: an API server whose watches stay open and show nothing is left for another one.
func TestAStuckWatchIsReplaced(t *testing.T) {
	f := newFixture(t)
	f.reconcile()
	f.renew()
	f.Server.StallWatches(true)
	watches := f.Server.WatchCount()
	for range 14 {
		f.advance(time.Second)
		f.lease.renew(t.Context())
		f.lease.refresh()
	}
	f.Eventually("there are new watches", func() bool { return f.Server.WatchCount() > watches })
	if f.logged("does not show them in its watch; resyncing") != 1 {
		t.Errorf("the log has\n%s", f.Log)
	}
}

// S2: failed renewals are retried within the duration, and logged once.
func TestOutageAndReturn(t *testing.T) {
	f := newFixture(t)
	failures := 0
	f.lease.cfg.OnFailure = func(op string, err error) {
		if op != "renew-node" || err == nil {
			t.Errorf("failure of %s: %v", op, err)
		}
		failures++
	}
	f.reconcile()
	f.renew()
	f.Server.Deny(fakeapi.DenyRule{Method: http.MethodPut, Code: 503})
	began := f.clock()
	for n := range 12 {
		f.now.Store(int64(max(f.clock(), f.lease.due)))
		f.lease.renew(t.Context())
		pause := f.lease.due - f.clock()
		if pause <= 0 || pause > liveness.Duration(1)/4 {
			t.Fatalf("attempt %d: the next one is due in %v", n, pause)
		}
	}
	if f.lease.View().Fresh || f.clock() < began+5*time.Second {
		t.Errorf("fresh %v after %v", f.lease.View().Fresh, f.clock()-began)
	}
	if !strings.Contains(f.lease.Problem(), "denied by the test") || failures != 12 {
		t.Errorf("problem %q, %d failures", f.lease.Problem(), failures)
	}
	if f.logged("renewal of the node's Lease failed") != 1 {
		t.Errorf("not logged once:\n%s", f.Log)
	}
	f.Server.Deny()
	f.renew()
	if !f.lease.View().Fresh || f.lease.Problem() != "" || f.lease.failures != 0 {
		t.Errorf("after the outage: fresh %v, problem %q", f.lease.View().Fresh, f.lease.Problem())
	}
}

// E8: a node waits for an earlier boot of its host for the duration of the Lease, and for another
// host with its name for as long as that renews.
func TestADuplicateNode(t *testing.T) {
	f := newFixture(t)
	f.reconcile()
	f.PutNodeLease(svc.NodeInfo{Node: "me"}, "me_other-boot", 5)
	renew := func() { f.lease.renew(t.Context()) }
	const duplicate = "another host uses this node's name: me_other-boot"
	renew()
	p := f.lease.Problem()
	if !strings.Contains(p, "held by me_other-boot") || strings.Contains(p, duplicate) {
		t.Errorf("at first: %q", p)
	}
	f.advance(3 * time.Second)
	f.PutNodeLease(svc.NodeInfo{Node: "me"}, "me_other-boot", 5)
	renew()
	if p := f.lease.Problem(); !strings.Contains(p, duplicate) {
		t.Errorf("while it renews: %q", p)
	}
	f.advance(5 * time.Second)
	renew()
	if f.lease.Problem() == "" {
		t.Error("the Lease was taken over within its duration")
	}
	f.advance(1)
	f.renew()
	if p := f.lease.Problem(); p != "" {
		t.Errorf("after its silence: %q", p)
	}
}

// Whatever others do to the Lease, this node has it after one failed renewal at most.
func TestALeaseThatOthersChange(t *testing.T) {
	for name, change := range map[string]func(f *fixture){
		"deleted": func(f *fixture) { f.Store.Delete(fakecluster.LeasePath(ownLease)) },
		"edited":  func(f *fixture) { f.PutNodeLease(svc.NodeInfo{Node: "me"}, "me_boot", 5) },
		"emptied": func(f *fixture) { f.PutNodeLease(svc.NodeInfo{Node: "me"}, "", 5) },
		"unlabeled": func(f *fixture) {
			f.Put(fakecluster.LeasePath(ownLease),
				coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{}})
		},
	} {
		f := newFixture(t)
		f.reconcile()
		f.renew()
		change(f)
		f.lease.renew(t.Context())
		f.advance(time.Second)
		f.renew()
		if !f.lease.View().Fresh {
			t.Errorf("%s: not fresh: %q", name, f.lease.Problem())
		}
	}
}

// A change of the info is written at once. A node without info writes nothing.
func TestNewInfoIsWrittenAtOnce(t *testing.T) {
	f := newFixture(t)
	if f.lease.renewalDue() || f.lease.wait() != resyncInterval {
		t.Errorf("without info: due %v, in %v", f.lease.renewalDue(), f.lease.wait())
	}
	f.reconcile()
	f.renew()
	if f.lease.renewalDue() {
		t.Error("due right after a renewal")
	}
	info := f.lease.info
	f.lease.SetInfo(info)
	if f.lease.renewalDue() {
		t.Error("equal info counts as a change")
	}
	info.StatusPort++
	f.lease.SetInfo(info)
	if !f.lease.renewalDue() || len(f.lease.wake) != 1 {
		t.Error("a change is not due")
	}
}

// S1: the loop waits for the next renewal, for the end of a fresh view at most, and at least 10 ms.
func TestWait(t *testing.T) {
	f := newFixture(t)
	f.reconcile()
	f.renew()
	if got := f.lease.wait(); got != liveness.Interval(1) {
		t.Errorf("after a renewal: %v, want %v", got, liveness.Interval(1))
	}
	f.advance(liveness.Interval(1))
	if got := f.lease.wait(); got != 10*time.Millisecond || !f.lease.renewalDue() {
		t.Errorf("when a renewal is due: %v", got)
	}
	f.lease.due = f.clock() + time.Hour
	f.lease.failures = 1 // the view does not move the next attempt
	if got := f.lease.wait(); got != liveness.Duration(1)-liveness.Interval(1) {
		t.Errorf("with a fresh view: %v", got)
	}
}

// Delete is idempotent, and Release and Delete tell which Lease failed.
func TestDeleteNodeLease(t *testing.T) {
	f := newFixture(t)
	f.reconcile()
	f.renew()
	for range 2 {
		if err := f.lease.Delete(t.Context()); err != nil {
			t.Error(err)
		}
	}
	f.Server.Close()
	for name, err := range map[string]error{
		"release": f.lease.Release(t.Context()), "delete": f.lease.Delete(t.Context()),
	} {
		if err == nil || !strings.HasPrefix(err.Error(), name+" lease "+ownLease) {
			t.Errorf("%s without an API server: %v", name, err)
		}
	}
}
