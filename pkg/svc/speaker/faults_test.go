package speaker

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/vip"
)

func TestFailuresBackOff(t *testing.T) {
	f, now := newFaults(), time.Hour
	f.chosen = map[netip.Addr]bool{vip4: true}
	var pauses []time.Duration
	for range 8 {
		f.fail(vip4, errTest, now)
		if !f.backingOff(vip4, now) || f.backingOff(vip6, now) {
			t.Fatal("the address that failed is to wait, and no other")
		}
		at := f.nextEvent(now)
		pauses = append(pauses, at-now)
		now = at
		if f.backingOff(vip4, now) {
			t.Fatal("it waits longer than announced")
		}
	}
	if want := "[1s 2s 4s 8s 16s 30s 30s 30s]"; fmt.Sprint(pauses) != want {
		t.Errorf("pauses %v, want %s", pauses, want)
	}
	f.clear(vip4)
	if f.backingOff(vip4, now) || !f.none() || f.summary(now) != "" || f.nextEvent(now) != 0 {
		t.Errorf("after a success: %q", f.summary(now))
	}
}

// S2: a failed address is reported to peers for a time that grows with each failure, so that it
// does not come back to fail again and again.
func TestAFailureIsPublishedForAWhile(t *testing.T) {
	f, now := newFaults(), time.Hour
	for _, minutes := range []time.Duration{5, 10, 20, 40, 60, 60} {
		hold := minutes * time.Minute
		f.fail(vip4, errTest, now)
		_, failed := f.published(now + hold - 1)
		_, after := f.published(now + hold)
		if len(failed) != 1 || failed[vip4] != errTest.Error() || len(after) != 0 {
			t.Errorf("for %v: %v, then %v", hold, failed, after)
		}
		now += hold
	}
	f.chosen = map[netip.Addr]bool{vip4: true}
	if _, failed := f.published(now); len(failed) != 1 {
		t.Error("an address that this node is to have still fails, and is not published")
	}
}

// A failure that is over is no problem any more, and is forgotten some time after that.
func TestAFailureThatIsOver(t *testing.T) {
	f, now := newFaults(), time.Hour
	f.fail(vip4, errTest, now)
	if f.summary(now+minHold-1) == "" || f.summary(now+minHold) != "" {
		t.Errorf("summary %q, then %q", f.summary(now+minHold-1), f.summary(now+minHold))
	}
	f.chosen = map[netip.Addr]bool{vip4: true}
	if f.summary(now+minHold) == "" {
		t.Error("an address that this node is to have still fails, and the summary omits it")
	}
	now += minHold + maxHold
	f.expire(now)
	f.chosen = nil
	if f.expire(now - 1); f.none() {
		t.Error("the fault is forgotten too early")
	}
	if f.expire(now); !f.none() {
		t.Error("the fault is never forgotten")
	}
}

// S2: a fault of what all addresses need is published if it lasts.
func TestAFaultOfTheHost(t *testing.T) {
	f, now := newFaults(), time.Hour
	retryAt := f.failHost(filterFault, errTest, now)
	if retryAt != now+retries.Min || !f.hostBackingOff(filterFault, now) {
		t.Errorf("retry at %v", retryAt)
	}
	if f.hostBackingOff(addressesFault, now) || f.hostBackingOff(filterFault, retryAt) {
		t.Error("it waits for something else, or too long")
	}
	if got, _ := f.published(now + publishAfter - 1); got != "" {
		t.Errorf("published at once: %s", got)
	}
	if got, _ := f.published(now + publishAfter); got != errTest.Error() {
		t.Errorf("after %v: %q", publishAfter, got)
	}
	if at := f.nextEvent(now + 2*time.Second); at > now+publishAfter {
		t.Errorf("the next event is at %v", at)
	}
	if !strings.Contains(f.summary(now), errTest.Error()) || f.none() {
		t.Errorf("summary %q", f.summary(now))
	}
	f.clearHost(filterFault)
	if got, _ := f.published(now + publishAfter); got != "" {
		t.Errorf("after a success: %q", got)
	}
}

// S2: many failing addresses count as a fault of the node, and take little room in its Lease.
func TestManyFaults(t *testing.T) {
	f, now := newFaults(), time.Hour
	addr := vip4
	for i := range maxFaults + 1 {
		f.fail(addr, fmt.Errorf("failure %02d", i), now)
		addr = addr.Next()
	}
	got, failed := f.published(now)
	const want = "65 addresses fail, among them 10.0.0.100: failure 00"
	if failed != nil || got != want {
		t.Errorf("published %q, %v", got, failed)
	}
	summary := f.summary(now)
	if !strings.HasSuffix(summary, "; and 1 more") || strings.Count(summary, ";") != maxFaults {
		t.Errorf("summary %q", summary)
	}
}

func TestAnyNew(t *testing.T) {
	f := newFaults()
	failures := []*vip.AddressError{{Address: vip.Address{Addr: vip4}, Err: errTest}}
	if f.anyNew(nil) || !f.anyNew(failures) {
		t.Error("a first failure is not new, or none is")
	}
	f.fail(vip4, errTest, time.Hour)
	if f.anyNew(failures) {
		t.Error("a second failure is new")
	}
}

// An address that is not this node's any more is an event when it has to be reported to peers.
func TestNextEventOfAnAddressThatLeft(t *testing.T) {
	f, now := newFaults(), time.Hour
	f.fail(vip4, errTest, now)
	if at := f.nextEvent(now); at != now+minHold {
		t.Errorf("the next event is at %v, want %v", at, now+minHold)
	}
	if at := f.nextEvent(now + minHold); at != 0 {
		t.Errorf("after the hold there is an event at %v", at)
	}
}
