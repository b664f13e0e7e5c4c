package speaker

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/arp"
	"github.com/kvip/kvip/pkg/liveness"
	"github.com/kvip/kvip/pkg/svc"
	"github.com/kvip/kvip/test/fakeapi"
	"github.com/kvip/kvip/test/fakeapi/fakecluster"
)

const ownLease = "kvip-services-node-me"

// S1: the Lease says what the others need to know, and belongs to its Node.
func TestTheLeaseOfANode(t *testing.T) {
	r := newRig(t)
	r.turn()
	r.beat()
	var l coordinationv1.Lease
	if !r.Lease(ownLease, &l) || *l.Spec.HolderIdentity != "me_boot" || *l.Spec.LeaseDurationSeconds != 5 || l.Labels[svc.LabelRole] != svc.RoleNode {
		t.Fatalf("the Lease is %+v", l)
	}
	info := svc.ReadLease(&l).Info
	if info.Node != "me" || info.StatusPort != 9 || len(info.Links) != 1 || info.Links[0].MAC != ownMAC.String() || len(info.Links[0].Subnets) != 2 {
		t.Errorf("it tells %+v", info)
	}
	if o := l.OwnerReferences; len(o) != 1 || o[0].Kind != "Node" || o[0].Name != "me" || o[0].UID != r.cat.Node("me").UID {
		t.Errorf("it belongs to %+v", o)
	}
	if v := r.heart.View(); !v.Fresh || !slices.Equal(v.Alive, []string{"me"}) || r.heart.Problem() != "" {
		t.Errorf("verdict %+v, problem %q", v, r.heart.Problem())
	}
}

// S1: the interval grows with the nodes that announce; the dead and those that left cost nothing.
func TestPaceByNumberOfNodes(t *testing.T) {
	seen := func(n int, left bool) (all []liveness.Observation) {
		for range n {
			all = append(all, liveness.Observation{Released: left})
		}
		return all
	}
	for _, row := range []struct {
		name  string
		alive int
		seen  []liveness.Observation
		want  int
	}{
		{"nobody yet", 0, nil, 1}, {"before a verdict all Leases count", 0, seen(40, false), 40}, {"but those that left", 0, append(seen(40, true), seen(2, false)...), 2},
		{"after it the living", 3, seen(40, false), 3},
	} {
		if got := announcing(liveness.View{Alive: make([]string, row.alive)}, row.seen); got != row.want {
			t.Errorf("%s: %d", row.name, got)
		}
	}
}

// S2: renewals that are not seen back make no view fresh.
func TestFreshOnlyWhenSeenBack(t *testing.T) {
	r := newRig(t)
	r.turn()
	r.Server.Blind(true)
	r.heart.renew(t.Context())
	r.heart.look()
	if r.heart.View().Fresh {
		t.Error("fresh, and nothing was seen back")
	}
	r.Server.Blind(false)
	r.Eventually("it is seen back", func() bool { return r.cat.Lease(ownLease) != nil })
	r.heart.look()
	if !r.heart.View().Fresh {
		t.Error("seen back, and not fresh")
	}
}

// S2: watches that stay open and show nothing are left for another API server.
func TestABlindServerIsLeft(t *testing.T) {
	r := newRig(t)
	r.turn()
	r.beat()
	r.Server.Blind(true)
	watches := r.Server.Watches()
	for range 14 {
		r.pass(time.Second)
		r.heart.renew(t.Context())
		r.heart.look()
	}
	r.Eventually("the watches begin anew", func() bool { return r.Server.Watches() > watches })
	if r.Log.Count("reading everything anew") != 1 {
		t.Errorf("the log says\n%s", r.Log)
	}
}

func TestOutageAndReturn(t *testing.T) {
	r := newRig(t)
	r.turn()
	r.beat()
	r.Server.Deny(fakeapi.Denial{Method: http.MethodPut, Code: 503})
	last := r.clock()
	for n := range 12 {
		r.now.Store(int64(max(r.clock(), r.heart.due)))
		r.heart.renew(t.Context())
		if pause := r.heart.due - r.clock(); pause <= 0 || pause > liveness.Duration(1)/4 { // S2: less than the duration
			t.Fatalf("attempt %d: the next is due in %v", n, pause)
		}
	}
	if r.heart.View().Fresh || !strings.Contains(r.heart.Problem(), "denied by the test") || r.clock() < last+5*time.Second {
		t.Errorf("fresh %v, problem %q after %v", r.heart.View().Fresh, r.heart.Problem(), r.clock()-last)
	}
	if r.Log.Count("cannot renew the Lease") != 1 {
		t.Errorf("it is not told once:\n%s", r.Log)
	}
	r.Server.Deny()
	r.beat()
	if !r.heart.View().Fresh || r.heart.Problem() != "" || r.heart.misses != 0 {
		t.Errorf("after the outage: fresh %v, problem %q", r.heart.View().Fresh, r.heart.Problem())
	}
}

// E8: an earlier boot of this node is waited for as long as its Lease lasts; another machine of its name for ever.
func TestATwin(t *testing.T) {
	r := newRig(t)
	r.turn()
	r.PutNodeLease(svc.NodeInfo{Node: "me"}, "me_other-boot", 5)
	try := func() { r.heart.renew(t.Context()) }
	try()
	if p := r.heart.Problem(); !strings.Contains(p, "me_other-boot has it") || strings.Contains(p, "another machine announces") {
		t.Errorf("at first: %q", p)
	}
	r.pass(3 * time.Second)
	r.PutNodeLease(svc.NodeInfo{Node: "me"}, "me_other-boot", 5)
	try()
	if p := r.heart.Problem(); !strings.Contains(p, "another machine announces Services under this node's name: me_other-boot") {
		t.Errorf("while it renews: %q", p)
	}
	r.pass(5 * time.Second)
	try()
	if r.heart.Problem() == "" {
		t.Error("taken within its duration")
	}
	r.pass(1)
	r.beat()
	if p := r.heart.Problem(); p != "" {
		t.Errorf("after its silence: %q", p)
	}
}

// A twin's Lease is not this node's to delete.
func TestLeaveSparesATwin(t *testing.T) {
	r := newRig(t)
	r.turn()
	r.PutNodeLease(svc.NodeInfo{Node: "me"}, "me_other-boot", 5)
	if err := r.agent.Release(t.Context()); err == nil {
		t.Error("it left what it did not have")
	}
	if !r.Lease(ownLease, &coordinationv1.Lease{}) {
		t.Error("the twin's Lease is gone")
	}
}

// Whatever becomes of the Lease, the next renewal but one has it.
func TestALeaseThatOthersChange(t *testing.T) {
	for name, change := range map[string]func(r *rig){
		"deleted": func(r *rig) { r.Store.Delete(fakecluster.LeasePath(ownLease)) },
		"edited":  func(r *rig) { r.PutNodeLease(svc.NodeInfo{Node: "me"}, "me_boot", 5) },
		"emptied": func(r *rig) { r.PutNodeLease(svc.NodeInfo{Node: "me"}, "", 5) },
		"unlabeled": func(r *rig) {
			r.Put(fakecluster.LeasePath(ownLease), coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{}})
		},
	} {
		r := newRig(t)
		r.turn()
		r.beat()
		change(r)
		r.heart.renew(t.Context())
		r.pass(time.Second)
		r.beat()
		if !r.heart.View().Fresh {
			t.Errorf("%s: not fresh: %q", name, r.heart.Problem())
		}
	}
}

// A change of what is told is written at once, and a node that knows nothing of itself writes nothing.
func TestInformIsWrittenAtOnce(t *testing.T) {
	r := newRig(t)
	if r.heart.isDue() || r.heart.next() != lookAgain {
		t.Errorf("without links it is due: %v, in %v", r.heart.isDue(), r.heart.next())
	}
	r.turn()
	r.beat()
	if r.heart.isDue() {
		t.Error("due right after a renewal")
	}
	info := r.heart.info
	r.heart.SetInfo(info)
	if r.heart.isDue() {
		t.Error("the same again is no change")
	}
	info.StatusPort++
	r.heart.SetInfo(info)
	if !r.heart.isDue() || len(r.heart.wake) != 1 {
		t.Error("a change is not due")
	}
}

// TestRunOfHeartAndAgent runs both as the program does, with a clock that goes.
func TestRunOfHeartAndAgent(t *testing.T) {
	r := newRig(t)
	began := time.Now()
	at := r.clock()
	r.heart.cfg.Clock = func() time.Duration { return at + time.Since(began) }
	r.agent.cfg.Clock = r.heart.cfg.Clock
	r.give(vip4, "a/web")
	stopHeart, stopAgent := r.Run(r.heart.Run), r.Run(r.agent.Run)
	r.Eventually("it serves", func() bool {
		all := r.agent.Report("a/web").Addresses
		return len(all) == 1 && all[0].State == "owned" && all[0].Node == "me" && slices.Equal(all[0].Eligible, []string{"me"})
	})
	if interval, duration := r.heart.Timing(); interval != time.Second || duration != 5*time.Second {
		t.Errorf("terms %v and %v", interval, duration)
	}
	if r.agent.LastReconcile() == 0 || r.agent.NotReady() != "" {
		t.Errorf("beat %v, ready %q", r.agent.LastReconcile(), r.agent.NotReady())
	}
	r.chorus.sightings <- arp.Conflict{VIP: vip4, MAC: noMAC, At: r.heart.cfg.Clock()}
	r.Eventually("it defends", func() bool { return strings.Contains(r.j.take(), "defend") })
	stopAgent()
	stopHeart()
	if !r.bulk.Has(vip4) { // S6: a restart leaves it
		t.Error("the address is gone with the agent")
	}
}
