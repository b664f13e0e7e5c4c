package speaker

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kvip/kvip/pkg/ipam"
	"github.com/kvip/kvip/pkg/placement"
	"github.com/kvip/kvip/pkg/svc"
	"github.com/kvip/kvip/test/fakeapi/fakecluster"
)

func nobodys(netip.Addr) bool { return false }

func TestFailuresAreRetriedMoreAndMoreSeldom(t *testing.T) {
	a, now := newAbilities(), time.Hour
	var pauses []time.Duration
	for range 8 {
		a.failed(vip4, errTest, now)
		if !a.waits(vip4, now) || a.waits(vip6, now) {
			t.Fatal("the address that failed is to wait, and no other")
		}
		at := a.next(now, func(netip.Addr) bool { return true })
		pauses = append(pauses, at-now)
		now = at
		if a.waits(vip4, now) {
			t.Fatal("it waits for longer than it says")
		}
	}
	if want := "[1s 2s 4s 8s 16s 30s 30s 30s]"; fmt.Sprint(pauses) != want {
		t.Errorf("pauses %v, want %s", pauses, want)
	}
	a.works(vip4)
	if a.waits(vip4, now) || !a.fine() || a.problem(now, nobodys) != "" || a.next(now, nobodys) != 0 {
		t.Errorf("it works, and there is %q", a.problem(now, nobodys))
	}
}

// What a node could not carry is told to the others for a time that grows with each failure, so that the address
// does not come back to fail again and again.
func TestAFailureIsToldForAWhile(t *testing.T) {
	a, now := newAbilities(), time.Hour
	for _, hold := range []time.Duration{5, 10, 20, 40, 60, 60} {
		a.failed(vip4, errTest, now)
		_, failed := a.told(now+hold*time.Minute-1, nobodys)
		_, over := a.told(now+hold*time.Minute, nobodys)
		if len(failed) != 1 || failed[vip4] != errTest.Error() || len(over) != 0 {
			t.Errorf("for %v: %v, then %v", hold*time.Minute, failed, over)
		}
		now += hold * time.Minute
	}
	if _, failed := a.told(now, func(netip.Addr) bool { return true }); len(failed) != 1 {
		t.Error("it is this node's and fails still, and is not told")
	}
}

// What failed once and is over is no problem any more, and is forgotten some time after that.
func TestAFailureThatIsOver(t *testing.T) {
	a, now := newAbilities(), time.Hour
	a.failed(vip4, errTest, now)
	if a.problem(now+firstHold-1, nobodys) == "" || a.problem(now+firstHold, nobodys) != "" {
		t.Errorf("the page says %q, and then %q", a.problem(now+firstHold-1, nobodys), a.problem(now+firstHold, nobodys))
	}
	if a.problem(now+firstHold, func(netip.Addr) bool { return true }) == "" {
		t.Error("it is this node's and fails still, and the page does not say so")
	}
	now += firstHold + lastHold
	a.forget(now, func(netip.Addr) bool { return true })
	if a.forget(now-1, nobodys); a.fine() {
		t.Error("how long it failed is forgotten")
	}
	if a.forget(now, nobodys); !a.fine() {
		t.Error("it is remembered for ever")
	}
}

func TestWhatAllAddressesNeed(t *testing.T) {
	a, now := newAbilities(), time.Hour
	a.hostFailed("filter", errTest, now)
	if cannot, _ := a.told(now+tellAfter-1, nobodys); cannot != "" {
		t.Errorf("told at once: %s", cannot)
	}
	if cannot, _ := a.told(now+tellAfter, nobodys); cannot != errTest.Error() || a.next(now+2*time.Second, nobodys) > now+tellAfter {
		t.Errorf("after %v it is %q", tellAfter, cannot)
	}
	a.hostWorks("filter")
	if cannot, _ := a.told(now+tellAfter, nobodys); cannot != "" {
		t.Errorf("it works: %q", cannot)
	}
	addr := vip4
	for range mostFaults + 1 {
		a.failed(addr, errTest, now)
		addr = addr.Next()
	}
	if cannot, failed := a.told(now, nobodys); !strings.Contains(cannot, "65 addresses fail, among them 10.0.0.100") || failed != nil {
		t.Errorf("many addresses fail: %q, %v", cannot, failed)
	}
}

// S5: what the filter does not protect is not put on the host, and the filter is tried again soon.
func TestWithoutTheFilterNothingNewComes(t *testing.T) {
	r := newRig(t)
	r.serving()
	r.table.fail = errTest
	r.give(vip6, "b/web")
	r.did("protect [10.0.0.100 fd00::100]")
	r.did("")
	r.pass(firstRetry)
	r.did("protect [10.0.0.100 fd00::100]")
	if r.bulk.Has(vip6) || !r.bulk.Has(vip4) || !strings.Contains(r.agent.Report("").Problem, errTest.Error()) {
		t.Errorf("has %v: %v, problem %q", vip6, r.bulk.Has(vip6), r.agent.Report("").Problem)
	}
	r.table.fail = nil
	r.pass(2 * firstRetry)
	r.beat()
	r.did("protect [10.0.0.100 fd00::100], own fd00::100, announce fd00::100")
}

// A port that could not be let through is let through as soon as the filter can be written.
func TestAPortThatTheFilterMissed(t *testing.T) {
	r := newRig(t)
	r.serving()
	r.table.fail = errTest
	r.PutService("a/web", func(s *corev1.Service) {
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Protocol: corev1.ProtocolTCP, Port: 443})
	})
	r.Eventually("the port is seen", func() bool { return len(r.cat.Services()[0].Request.Ports) == 2 })
	r.did("protect [10.0.0.100]")
	r.table.fail = nil
	r.pass(firstRetry)
	r.did("protect [10.0.0.100]")
	if len(r.table.want.Ports) != 2 {
		t.Errorf("after a second it lets through %v", r.table.want.Ports)
	}
}

// S2: an address that fails costs no write of the filter each second, and is told to the others, which take it.
func TestAnAddressThatFailsGoesToAnotherNode(t *testing.T) {
	r := newRig(t)
	r.bulk.Fail(vip4, errTest)
	r.give(vip4, "a/web")
	r.turn()
	r.beat()
	writes := 0
	for range 60 {
		r.beat()
		writes += strings.Count(r.turn(), "protect")
		r.pass(time.Second)
	}
	if writes > 8 {
		t.Errorf("the filter was written %d times in a minute", writes)
	}
	d, why := r.agent.Placement(vip4)
	if d.Announced() || d.Reason != placement.ReasonCannotCarry || !strings.Contains(why, "me says: ") || !strings.Contains(why, errTest.Error()) {
		t.Errorf("%+v: %s", d, why)
	}
	if own := r.cat.Lease(svc.NodeLease(fakecluster.Seat, "me")); !strings.Contains(own.Info.FailedAddresses[vip4], errTest.Error()) {
		t.Errorf("the Lease says %+v", own.Info)
	}
	r.peer("you", yourMAC)
	r.beat()
	r.turn()
	if d, _ := r.agent.Placement(vip4); d.Node != "you" || !d.Announced() {
		t.Errorf("beside a node that works: %+v", d)
	}
}

// S2: a node that can write no filter says so in its Lease; when it can again, that is gone.
func TestAHostThatCannotFilterSaysSo(t *testing.T) {
	r := newRig(t)
	r.give(vip4, "a/web")
	r.turn()
	r.beat()
	r.table.fail = errTest
	lease := func() string {
		r.beat()
		return r.cat.Lease(svc.NodeLease(fakecluster.Seat, "me")).Info.Unavailable
	}
	r.turn()
	if cannot := lease(); cannot != "" {
		t.Errorf("told at once: %s", cannot)
	}
	for range 4 {
		r.pass(time.Second)
		r.turn()
	}
	if cannot := lease(); !strings.Contains(cannot, errTest.Error()) {
		t.Errorf("the Lease says %q", cannot)
	}
	r.table.fail = nil
	r.pass(lastRetry)
	r.agent.beat.Store(int64(r.clock()))
	r.turn()
	if cannot := lease(); cannot != "" {
		t.Errorf("it works, and the Lease says %q", cannot)
	}
}

// S2: a node that is not ready, or whose network is not up, has no address while another is.
func TestANodeThatIsNotReady(t *testing.T) {
	for _, condition := range []corev1.NodeCondition{
		{Type: corev1.NodeReady, Status: corev1.ConditionFalse}, {Type: corev1.NodeReady, Status: corev1.ConditionUnknown},
		{Type: corev1.NodeNetworkUnavailable, Status: corev1.ConditionTrue},
	} {
		r := newRig(t)
		r.serving()
		r.PutNode("me", "10.0.0.1", func(n *corev1.Node) { n.Status.Conditions = []corev1.NodeCondition{condition} })
		r.Eventually("the condition is seen", func() bool { n := r.cat.Node("me"); return n.NotReady || n.NoNetwork })
		r.did("") // alone it serves on
		r.peer("you", yourMAC)
		r.pass(time.Second)
		r.beat()
		r.did("listen 10.0.0.100")
		if d, _ := r.agent.Placement(vip4); d.Node != "you" {
			t.Errorf("%s %s: %+v", condition.Type, condition.Status, d)
		}
	}
}

// Without marks in the kernel, what an earlier agent left is told by the ledger, once that is known (S6).
func TestAdoptionOnAKernelWithoutMarks(t *testing.T) {
	r := newRig(t)
	r.bulk.ForgetMarks()
	r.serving()
	r.restart()
	r.did("listen 10.0.0.100")
	r.pass(time.Second)
	r.beat()
	r.did("protect [10.0.0.100], announce 10.0.0.100")
	if r.agent.have[vip4].adopted || !r.bulk.Has(vip4) {
		t.Errorf("it has %+v", r.agent.have[vip4])
	}
}

// S5: an address that cannot be taken off the host stays protected until it is off, and that is tried again.
func TestWhatCannotBeRemovedStaysProtected(t *testing.T) {
	for name, fail := range map[string]func(*rig, error){
		"the address": func(r *rig, err error) { r.bulk.Fail(vip4, err) },
		"the listing": func(r *rig, err error) { r.bulk.FailListing(err) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.serving()
			fail(r, errTest)
			r.PutLedger("0", ipam.Ledger{})
			r.Eventually("it is gone from the ledger", func() bool { return len(r.cat.Ledger()) == 0 })
			for range 40 {
				r.turn()
				if !r.bulk.Has(vip4) || !slices.Contains(r.table.want.Addresses, vip4) || len(r.chorus.voices) > 0 {
					t.Fatalf("it is there: %v, protected are %v, announced %v", r.bulk.Has(vip4), r.table.want.Addresses, r.chorus.voices)
				}
				r.pass(time.Second)
				r.beat()
			}
			if _, failed := r.agent.able.told(r.clock(), r.agent.isChosen); len(failed) > 0 {
				t.Errorf("the others are told that it cannot carry %v", failed)
			}
			fail(r, nil)
			r.pass(lastRetry)
			r.agent.beat.Store(int64(r.clock()))
			if r.turn(); r.bulk.Has(vip4) {
				t.Error("it is not removed as soon as that can be")
			}
			r.pass(filterEvery)
			r.agent.beat.Store(int64(r.clock()))
			if r.turn(); len(r.table.want.Addresses) > 0 {
				t.Errorf("protected are %v", r.table.want.Addresses)
			}
		})
	}
}

// What fails is logged once, in whatever company it fails again.
func TestFailuresAreLoggedOnce(t *testing.T) {
	r := newRig(t)
	r.turn()
	r.beat()
	const count = 8
	addr := vip4
	for i := range 120 {
		if i < count {
			r.bulk.Fail(addr, errTest)
			r.give(addr, fmt.Sprintf("a/web%d", i))
			addr = addr.Next()
		}
		r.beat()
		r.turn()
		r.pass(time.Second)
	}
	if n := r.Log.Count("cannot serve all addresses"); n == 0 || n > count {
		t.Errorf("%d addresses fail, and that was logged %d times", count, n)
	}
}
