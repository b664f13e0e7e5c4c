package election

import (
	"testing"
	"time"
)

// E1: an address that the kernel removed before the deadline is not a failure to own. The lease is
// kept, and a confirmed renewal brings the address back. E5: a winner that never owned leaves.
func TestExpiryIsNotAFailureToOwn(t *testing.T) {
	s := holding(t)
	s.play(t, "10.5s kernel manual", "13.3s api silent", "13.4s address lost", "13.5s owned expired")
	if st := s.m.Status(); st.State != Confirming || st.Reason != ReasonFenceExpired {
		t.Errorf("after the expiry: %+v", st)
	}
	s.play(t, "13.5s kernel obeys", "13.5s disowned confirmed", "14s api answers", "16s tick")
	if st := s.m.Status(); st.State != Holding || !st.Owned || st.Reason != ReasonRegained {
		t.Errorf("after the outage: %+v", st)
	}
	s.play(t, "16s kernel manual", "16.1s address lost", "16.2s owned failed", "17.5s tick")
	if st := s.m.Status(); st.State != Leaving || st.Reason != ReasonCannotOwn {
		t.Errorf("1 s after the kernel refused: %+v", st)
	}
}

// E5: an address that another program removes at once is added again five times a second at most.
// After a second of that the node leaves.
func TestAddressRemovedAgainAndAgain(t *testing.T) {
	s := holding(t)
	owns := s.count(Own)
	for now := seconds(11); now < seconds(12.5); now += time.Millisecond {
		s.clock = now
		s.stepNow(AddressLost{NodeAddress: true})
		s.passUntil(now)
	}
	if n := s.count(Own) - owns; n > 12 {
		t.Errorf("%d writes to the kernel in 1.5 s", n)
	}
	if st := s.m.Status(); st.Cause != ReasonAddressRemoved || st.State == Holding {
		t.Errorf("after 1.5 s: %+v", st)
	}
}

// E10: an address that was removed once is added again at once.
func TestAddressRemovedOnce(t *testing.T) {
	s := holding(t)
	for _, at := range []string{"11s", "13s", "15s"} {
		s.play(t, at+" tick")
		owns := s.count(Own)
		s.play(t, at+" address lost")
		if s.count(Own) != owns+1 {
			t.Errorf("at %s the address is not added again at once", at)
		}
	}
	if st := s.m.Status(); st.State != Holding {
		t.Errorf("status %+v", st)
	}
}

// E5: a node whose address is removed again and again backs off longer after each tenure, although
// each tenure began with the address on the link.
func TestBacksOffLongerWhileTheAddressIsRemoved(t *testing.T) {
	s := holding(t)
	for tenure := 1; tenure <= 4; tenure++ {
		for s.m.Status().State == Holding {
			s.passUntil(s.clock + 150*time.Millisecond)
			s.stepNow(AddressLost{NodeAddress: true})
		}
		wait, want := s.m.node.backoffEnd-s.clock, ownBackoff.After(tenure)
		if st := s.m.Status(); st.Cause != ReasonAddressRemoved || wait != want {
			t.Fatalf("tenure %d ended with %s and a backoff of %v, want %v", tenure, st.Cause, wait, want)
		}
		for s.m.Status().State != Holding {
			s.passUntil(s.clock + 100*time.Millisecond)
		}
	}
	s.passUntil(s.clock + 3*time.Second)
	if n := s.m.node.failures; n != 0 {
		t.Errorf("%d failures after three seconds without a removal", n)
	}
}

// E10: a flushed link has two seconds to get its own address back. Further reports that the address
// is missing, one for each notification that the kernel dropped, are not further removals. Once the
// node's own address is there, the wait ends.
func TestFlushReportedAgain(t *testing.T) {
	s := holding(t)
	lost := func(at string, nodeAddress bool) {
		t.Helper()
		s.play(t, at+" tick")
		s.stepNow(AddressLost{NodeAddress: nodeAddress})
	}
	for _, at := range []string{"11s", "11.6s", "12.2s", "12.8s"} {
		lost(at, false)
	}
	owns := s.count(Own)
	s.play(t, "12.9s tick")
	if st := s.m.Status(); st.State != Holding || s.count(Own) != owns {
		t.Errorf("while the link waits: %+v, written %d times", st, s.count(Own)-owns)
	}
	s.play(t, "13.1s tick")
	if s.count(Own) == owns {
		t.Error("2 s after the flush the address is not added again")
	}
	lost("20s", false)
	owns = s.count(Own)
	lost("20.1s", true)
	s.play(t, "20.5s tick")
	if s.count(Own) == owns {
		t.Error("the node's own address is there, and the address is not added again")
	}
}

// E9: an IPv6 write may take tenths of a second. A short renew interval does not make that a pause.
func TestShortStallIsNotAPause(t *testing.T) {
	m := mustNew(Config{ID: "a", Lease: 5 * time.Second, Renew: 200 * time.Millisecond})
	m.Step(Tick{}, time.Hour)
	m.state, m.tenure.term = Holding, 1
	m.tenure.confirmed = &write{sent: 2 * time.Hour, record: Record{Duration: 5 * time.Second}}
	m.lease.record = Record{Exists: true, Holder: "a", Term: 1}
	m.Step(Tick{}, time.Hour+900*time.Millisecond)
	if m.state != Holding {
		t.Errorf("state %s (%s) after a step 0.9 s late", m.state, m.reason)
	}
	m.Step(Tick{}, time.Hour+2*time.Second)
	if m.reason != ReasonPaused {
		t.Errorf("state %s (%s) after a step 1.1 s late", m.state, m.reason)
	}
}
