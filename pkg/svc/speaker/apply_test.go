package speaker

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kvip/kvip/pkg/ipam"
	"github.com/kvip/kvip/pkg/placement"
	"github.com/kvip/kvip/pkg/vip"
)

// What the kernel refuses is not announced, delays no other address, and is retried.
func TestARefusedAddressIsRetried(t *testing.T) {
	f := newFixture(t)
	f.kernel.FailAddress(vip4, errTest)
	f.assign(vip4, "a/web")
	f.assign(vip6, "b/web")
	f.reconcile()
	f.renew()
	f.expect("protect [10.0.0.100 fd00::100], add fd00::100, announce fd00::100")
	f.expect("")
	if got := f.speaker.Report("").Problem; !strings.Contains(got, errTest.Error()) {
		t.Errorf("problem %q", got)
	}
	f.kernel.FailAddress(vip4, nil)
	f.advance(resyncInterval)
	f.expect("protect [10.0.0.100 fd00::100], add 10.0.0.100, announce 10.0.0.100")
	if got := f.speaker.Report("").Problem; got != "" {
		t.Errorf("problem %q", got)
	}
	if f.logged("cannot serve all addresses") != 1 {
		t.Errorf("not logged once:\n%s", f.Log)
	}
}

// If the kernel does not list its addresses, nothing new is announced.
func TestWithoutAListOfAddressesNothingNewComes(t *testing.T) {
	f := newFixture(t)
	f.reconcile()
	f.renew()
	f.assign(vip4, "a/web")
	f.kernel.Fail(vip.OpList, errTest)
	f.expect("protect [10.0.0.100]")
	f.kernel.Fail(vip.OpList, nil)
	f.advance(resyncInterval)
	f.expect("protect [10.0.0.100], add 10.0.0.100, announce 10.0.0.100")
}

// S5: a filter that could not be written is written as soon as it can be.
func TestAFilterThatFailsIsRetried(t *testing.T) {
	f := newFixture(t)
	f.filter.err = errTest
	f.assign(vip4, "a/web")
	f.start()
	f.filter.err = nil
	f.advance(resyncInterval)
	f.reconcile()
	f.advance(filterInterval)
	f.renew()
	f.reconcile()
	if !f.filter.protects(vip4) {
		t.Errorf("S5: the filter has %+v", f.filter.want)
	}
}

// S5: an address that the filter does not protect is not put on the host.
func TestWithoutTheFilterNothingNewComes(t *testing.T) {
	f := newFixture(t)
	f.ownVIP4()
	f.filter.err = errTest
	f.assign(vip6, "b/web")
	f.expect("protect [10.0.0.100 fd00::100]")
	f.expect("")
	f.advance(retries.Min)
	f.expect("protect [10.0.0.100 fd00::100]")
	problem := f.speaker.Report("").Problem
	if f.kernel.Has(vip6) || !f.kernel.Has(vip4) || !strings.Contains(problem, errTest.Error()) {
		t.Errorf("has %v: %v, problem %q", vip6, f.kernel.Has(vip6), problem)
	}
	f.filter.err = nil
	f.advance(2 * retries.Min)
	f.renew()
	f.expect("protect [10.0.0.100 fd00::100], add fd00::100, announce fd00::100")
}

// S5: a new port opens as soon as the filter can be written.
func TestANewPortWaitsForTheFilter(t *testing.T) {
	f := newFixture(t)
	f.ownVIP4()
	f.filter.err = errTest
	f.PutService("a/web", func(s *corev1.Service) {
		s.Spec.Ports = append(s.Spec.Ports,
			corev1.ServicePort{Protocol: corev1.ProtocolTCP, Port: 443})
	})
	f.Eventually("the port is seen", func() bool {
		return len(f.cache.Services()[0].Request.Ports) == 2
	})
	f.expect("protect [10.0.0.100]")
	f.filter.err = nil
	f.advance(retries.Min)
	f.expect("protect [10.0.0.100]")
	if len(f.filter.want) != 1 || len(f.filter.want[0].Ports) != 2 {
		t.Errorf("after a second the filter allows %v", f.filter.want)
	}
}

// S2: an address that fails does not cost a write of the filter each second. Peers learn of it and
// take the address.
func TestAnAddressThatFailsGoesToAnotherNode(t *testing.T) {
	f := newFixture(t)
	f.kernel.FailAddress(vip4, errTest)
	f.assign(vip4, "a/web")
	f.reconcile()
	f.renew()
	writes := 0
	for range 60 {
		f.renew()
		writes += strings.Count(f.reconcile(), "protect")
		f.advance(time.Second)
	}
	if writes > 8 {
		t.Errorf("the filter was written %d times in a minute", writes)
	}
	d, why := f.speaker.Placement(vip4)
	if d.Announced() || d.Reason != placement.ReasonCannotCarry {
		t.Errorf("placement %+v", d)
	}
	if !strings.Contains(why, "me reports: ") || !strings.Contains(why, errTest.Error()) {
		t.Errorf("explained as %q", why)
	}
	if own := f.ownLease(); !strings.Contains(own.FailedAddresses[vip4], errTest.Error()) {
		t.Errorf("the Lease has %+v", own)
	}
	f.addPeer("you", peerMAC)
	f.renew()
	f.reconcile()
	if d, _ := f.speaker.Placement(vip4); d.Node != "you" || !d.Announced() {
		t.Errorf("beside a node that works: %+v", d)
	}
}

// S2: the Lease of a node that cannot write its filter reports it, until it can.
func TestAHostThatCannotFilterReportsIt(t *testing.T) {
	f := newFixture(t)
	f.assign(vip4, "a/web")
	f.reconcile()
	f.renew()
	f.filter.err = errTest
	unavailable := func() string {
		f.renew()
		return f.ownLease().Unavailable
	}
	f.reconcile()
	if got := unavailable(); got != "" {
		t.Errorf("published at once: %s", got)
	}
	for range 4 {
		f.advance(time.Second)
		f.reconcile()
	}
	if got := unavailable(); !strings.Contains(got, errTest.Error()) {
		t.Errorf("the Lease has %q", got)
	}
	f.filter.err = nil
	f.advanceRunning(retries.Max)
	f.reconcile()
	if got := unavailable(); got != "" {
		t.Errorf("it works, and the Lease has %q", got)
	}
}

// S2: a node that is not ready, or has no network, has no address while another node can.
func TestANodeThatIsNotReady(t *testing.T) {
	for _, condition := range []corev1.NodeCondition{
		{Type: corev1.NodeReady, Status: corev1.ConditionFalse},
		{Type: corev1.NodeReady, Status: corev1.ConditionUnknown},
		{Type: corev1.NodeNetworkUnavailable, Status: corev1.ConditionTrue},
	} {
		f := newFixture(t)
		f.ownVIP4()
		f.PutNode("me", "10.0.0.1", func(n *corev1.Node) {
			n.Status.Conditions = []corev1.NodeCondition{condition}
		})
		f.Eventually("the condition is seen", func() bool {
			n := f.cache.Node("me")
			return n.NotReady || n.NoNetwork
		})
		f.expect("") // alone it goes on
		f.addPeer("you", peerMAC)
		f.advance(time.Second)
		f.renew()
		f.expect("silence 10.0.0.100")
		if d, _ := f.speaker.Placement(vip4); d.Node != "you" {
			t.Errorf("%s %s: %+v", condition.Type, condition.Status, d)
		}
	}
}

// S5: an address that cannot be removed from the host stays protected, and removal is retried.
func TestWhatCannotBeRemovedStaysProtected(t *testing.T) {
	for name, fail := range map[string]func(*fixture, error){
		"the address": func(f *fixture, err error) { f.kernel.FailAddress(vip4, err) },
		"the listing": func(f *fixture, err error) { f.kernel.Fail(vip.OpList, err) },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.ownVIP4()
			fail(f, errTest)
			f.PutLedger("0", ipam.Ledger{})
			f.Eventually("the ledger is empty", func() bool { return len(f.cache.Ledger()) == 0 })
			for range 40 {
				f.reconcile()
				if !f.kernel.Has(vip4) || !f.filter.protects(vip4) || len(f.announcer.announced) > 0 {
					t.Fatalf("present %v, protected %v, announced %v", f.kernel.Has(vip4),
						addresses(f.filter.want), f.announcer.announced)
				}
				f.advance(time.Second)
				f.renew()
			}
			_, failed := f.speaker.applier.faults.published(f.clock())
			if len(failed) > 0 {
				t.Errorf("peers get a report that this node cannot carry %v", failed)
			}
			fail(f, nil)
			f.advanceRunning(retries.Max)
			if f.reconcile(); f.kernel.Has(vip4) {
				t.Error("it is not removed as soon as it can be")
			}
			f.advanceRunning(filterInterval)
			if f.reconcile(); len(addresses(f.filter.want)) > 0 {
				t.Errorf("protected are %v", addresses(f.filter.want))
			}
		})
	}
}

// An address counts as released once it is gone, and as acquired when it comes.
func TestChangesAreRecordedWhenTheyHappen(t *testing.T) {
	f := newFixture(t)
	metrics := &countingMetrics{moved: map[string]int{}}
	f.speaker.cfg.Metrics = metrics
	recorded := func(what string, acquired, released int) {
		t.Helper()
		if metrics.moved["acquired"] != acquired || metrics.moved["released"] != released ||
			f.logged("announcing address") != acquired || f.logged("released address") != released {
			t.Errorf("%s: counted %v, want %d and %d\n%s", what, metrics.moved, acquired, released, f.Log)
		}
	}
	f.ownVIP4()
	recorded("it came", 1, 0)
	f.kernel.FailAddress(vip4, errTest)
	f.PutLedger("0", ipam.Ledger{})
	f.Eventually("the ledger is empty", func() bool { return len(f.cache.Ledger()) == 0 })
	for range 3 {
		f.reconcile()
		f.advance(time.Second)
		f.renew()
	}
	recorded("it cannot be removed", 1, 0)
	f.kernel.FailAddress(vip4, nil)
	f.reconcile()
	recorded("it is gone", 1, 1)
	f.assign(vip4, "a/web")
	f.reconcile()
	recorded("it came again", 2, 1)
	f.kernel.Remove(vip4) // by another program, and the kernel refuses it from now on
	f.kernel.FailAddress(vip4, errTest)
	for range 3 {
		f.speaker.dirty = true
		f.reconcile()
	}
	recorded("it is refused", 2, 2)
	f.kernel.FailAddress(vip4, nil)
	f.advance(retries.Min)
	f.reconcile()
	recorded("it came for the third time", 3, 2)
}

// A failure is logged once, whatever else fails with it.
func TestFailuresAreLoggedOnce(t *testing.T) {
	f := newFixture(t)
	f.reconcile()
	f.renew()
	const count = 8
	addr := vip4
	for i := range 120 {
		if i < count {
			f.kernel.FailAddress(addr, errTest)
			f.assign(addr, fmt.Sprintf("a/web%d", i))
			addr = addr.Next()
		}
		f.renew()
		f.reconcile()
		f.advance(time.Second)
	}
	if n := f.logged("cannot serve all addresses"); n == 0 || n > count {
		t.Errorf("%d addresses fail, and that was logged %d times", count, n)
	}
}

// S5: if this process is killed, no element of the filter expires before its address.
func TestTheFilterOutlivesTheAddresses(t *testing.T) {
	got := FilterTimeout(vip.DefaultServiceLifetime)
	if got < vip.DefaultServiceLifetime+filterInterval {
		t.Errorf("elements live for %v, addresses for %v after a refresh up to %v later",
			got, vip.DefaultServiceLifetime, filterInterval)
	}
}

// S5: until a fresh view has decided, the filter of an earlier process stays as it is.
func TestTheFilterOfAnEarlierProcessStays(t *testing.T) {
	f := newFixture(t)
	f.ownVIP4()
	f.restart()
	f.reconcile()
	for range 2 {
		f.advanceRunning(filterInterval)
		if got := f.reconcile(); strings.Contains(got, "protect") {
			t.Errorf("the filter was written: %s", got)
		}
	}
}
