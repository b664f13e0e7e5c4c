package election

import (
	"testing"
	"time"
)

// started is a script whose node holds since 10.31 s.
func started(t *testing.T) *script {
	t.Helper()
	s := &script{}
	for _, line := range []string{
		"node a", "10s link up aa", "10s health healthy", "10.1s lease holder=z term=6",
		"10.3s lease holder= term=6 proof=z/6/Shutdown", "10.4s tick",
	} {
		if err := s.line(line); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
	}
	return s
}

func (s *script) must(t *testing.T, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if err := s.line(line); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
	}
}

// count is how many actions of a kind were asked for so far.
func (s *script) count(k Kind) (n int) {
	for _, a := range s.sent {
		if a.Kind == k {
			n++
		}
	}
	return n
}

// E12: five minutes without an API server cause no exit and no storm, and the address is
// owned again soon after; E1: meanwhile it is gone.
func TestOutageOfFiveMinutes(t *testing.T) {
	s := started(t)
	s.must(t, "11s api silent", "16s tick")
	if st := s.m.Status(); st.State != Confirming || st.Owned {
		t.Fatalf("5 s after the API went: %+v", st)
	}
	asked := len(s.sent)
	s.must(t, "311s tick")
	if got := len(s.sent) - asked; got > 200 {
		t.Errorf("%d requests in 295 s", got)
	}
	if s.count(Exit) != 0 || s.count(Own) != 1 {
		t.Errorf("%d exits and %d owns, want none and the first", s.count(Exit), s.count(Own))
	}
	s.must(t, "311s api answers", "316s tick")
	if st := s.m.Status(); st.State != Holding || !st.Owned || st.Reason != ReasonRegained {
		t.Errorf("5 s after the API came back: %+v", st)
	}
}

// E1: an address that the kernel removed before the deadline is no failure to own: the lease
// is kept, and a confirmed renewal brings the address back. A winner that could never write
// it gives the lease up (E5).
func TestExpiredIsNoFailure(t *testing.T) {
	s := started(t)
	s.must(t, "10.5s kernel manual", "13.3s api silent", "13.4s address lost", "13.5s owned expired")
	if st := s.m.Status(); st.State != Confirming || st.Reason != ReasonFenceExpired {
		t.Errorf("after the expiry: %+v", st)
	}
	s.must(t, "13.5s kernel obeys", "13.5s disowned confirmed", "14s api answers", "16s tick")
	if st := s.m.Status(); st.State != Holding || !st.Owned || st.Reason != ReasonRegained {
		t.Errorf("after the API is back: %+v", st)
	}
	s.must(t, "16s kernel manual", "16.1s address lost", "16.2s owned failed", "17.5s tick")
	if st := s.m.Status(); st.State != Leaving || st.Reason != ReasonNotOwned {
		t.Errorf("1 s after the kernel refused: %+v", st)
	}
}

// A write that was applied and answered with a conflict counts as applied once the Lease
// shows it: otherwise a holder renews for ever without an address, and nobody else takes.
func TestConflictOfAnAppliedWrite(t *testing.T) {
	s := started(t)
	s.must(t, "11s api manual", "11.4s tick")
	renewal, err := s.request("renew")
	if err != nil {
		t.Fatal(err)
	}
	s.store(renewal.Record) // applied, and a copy of it is refused
	s.m.Step(Written{Seq: renewal.Seq, Outcome: OutcomeConflict}, seconds(11.41))
	if s.m.inflight.reading == 0 {
		t.Fatal("a conflict does not lead to a read")
	}
	s.m.Step(ReadDone{Seq: s.m.inflight.reading, OK: true, Record: s.server}, seconds(11.42))
	sent := renewal.Deadline - RequestTimeout(5*time.Second)
	if got, want := s.m.Status().Deadline, Deadline(sent, 5*time.Second); got != want {
		t.Errorf("deadline %v, want %v", got, want)
	}
}

// Whoever removes the address at once is answered five times a second, and after a second of
// that the lease goes to another node (E5).
func TestAddressRemovedAgainAndAgain(t *testing.T) {
	s := started(t)
	owns := s.count(Own)
	for now := seconds(11); now < seconds(12.5); now += time.Millisecond {
		s.clock = now
		for _, a := range s.m.Step(AddressLost{NodeAddress: true}, now) {
			s.execute(a)
		}
		s.passUntil(now)
	}
	if n := s.count(Own) - owns; n > 12 {
		t.Errorf("%d writes to the kernel in 1.5 s", n)
	}
	if st := s.m.Status(); st.Cause != ReasonRemoved || st.State == Holding {
		t.Errorf("after 1.5 s: %+v", st)
	}
}

// A removal once in a while is answered at once.
func TestAddressRemovedOnce(t *testing.T) {
	s := started(t)
	for _, at := range []string{"11s", "13s", "15s"} {
		s.must(t, at+" tick")
		owns := s.count(Own)
		s.must(t, at+" address lost")
		if s.count(Own) != owns+1 {
			t.Errorf("at %s it is not put back at once", at)
		}
	}
	if st := s.m.Status(); st.State != Holding {
		t.Errorf("status %+v", st)
	}
}

// E9: an IPv6 write may take tenths of a second; a short renew interval makes that no pause.
func TestShortStallIsNoPause(t *testing.T) {
	m := mustNew(Config{ID: "a", Lease: 5 * time.Second, Renew: 200 * time.Millisecond})
	m.state, m.last, m.tenure.deadline = Holding, time.Hour, 2*time.Hour
	m.Step(Tick{}, time.Hour+900*time.Millisecond)
	if m.state != Holding {
		t.Errorf("state %s (%s) after a step 0.9 s late", m.state, m.reason)
	}
	m.Step(Tick{}, time.Hour+2*time.Second)
	if m.reason != ReasonPaused {
		t.Errorf("state %s (%s) after a step 1.1 s late", m.state, m.reason)
	}
}

// The answers to renewals that failed do not make later ones wait: any success ends the
// count of failures (E12).
func TestSuccessEndsPatience(t *testing.T) {
	s := started(t)
	s.must(t, "11s api silent", "13s api answers", "14s tick")
	if s.m.inflight.failures != 0 {
		t.Errorf("%d failures are still counted after a renewal was answered", s.m.inflight.failures)
	}
}

// E11: a request that got no answer makes the peers come first, also after they have answered.
func TestPeersComeFirstAfterSilence(t *testing.T) {
	s := started(t)
	s.must(t, "11s api silent", "12.2s api answers", "20s tick")
	failed := s.m.inflight.failedAt
	for _, a := range s.sent {
		at := a.Deadline - RequestTimeout(s.m.cfg.Lease)
		if want := at >= failed && at < failed+avoidFor; a.Kind == Renew && a.PreferPeers != want {
			t.Errorf("%s: via peers %v, want %v, after a failure at %v", a, a.PreferPeers, want, failed)
		}
	}
	if failed == 0 || s.count(Renew) < 7 {
		t.Errorf("a failure at %v, %d renewals", failed, s.count(Renew))
	}
}

// E2: a write names the observation it builds on, and one write is under way at a time.
func TestOneWriteAtATime(t *testing.T) {
	s := started(t)
	s.must(t, "11s api manual", "14s tick")
	if s.count(Renew) != 1 {
		t.Errorf("%d renewals while the first is unanswered", s.count(Renew))
	}
	if a, _ := s.request("renew"); a.Base.Version != s.server.Version || a.Base.Holder != "a" {
		t.Errorf("renewal builds on %+v, the lease is %+v", a.Base, s.server)
	}
}

// What is forgotten is bounded, whatever becomes of the answers.
func TestLostWritesAreBounded(t *testing.T) {
	s := started(t)
	s.must(t, "10.5s api manual", "10.6s kernel manual")
	for now := 11 * time.Second; now < 15*time.Second; now += 50 * time.Millisecond {
		s.m.Step(Written{Seq: s.m.inflight.seq, Outcome: OutcomeFailed}, now)
		s.m.Step(Tick{}, now)
	}
	if len(s.m.inflight.lost) > maxLost {
		t.Errorf("%d lost writes are remembered, want at most %d", len(s.m.inflight.lost), maxLost)
	}
}

// A snapshot tells what people ask for: who holds, whether it is owned, until when, why.
func TestStatusFollowsTheTenure(t *testing.T) {
	s := started(t)
	st := s.m.Status()
	want := Status{State: Holding, Owned: true, Holder: "a", Term: 7, Seen: true, Age: st.Age, Deadline: seconds(14.8), Reason: ReasonReleased, Cause: ReasonReleased}
	if st != want {
		t.Errorf("status %+v, want %+v", st, want)
	}
	s.must(t, "10.5s shutdown now", "11s tick")
	if st := s.m.Status(); st.State != Stopped || st.Owned || st.Deadline != 0 || st.Reason != ReasonShutdown {
		t.Errorf("status after the exit: %+v", st)
	}
	if out := s.m.Step(Shutdown{}, s.clock); out != nil {
		t.Errorf("a stopped machine asks for %v", out)
	}
}

// A Standby says why it does not campaign.
func TestWaiting(t *testing.T) {
	ready := func() *Machine {
		m := mustNew(Config{ID: "a", Lease: 5 * time.Second, Renew: time.Second})
		m.now, m.lease.known, m.node.health, m.node.link, m.node.linkKnown = time.Minute, true, Health{Verdict: Healthy}, Link{Usable: true}, true
		m.lease.record, m.lease.changedAt = Record{Exists: true, Holder: "b"}, time.Minute
		return m
	}
	for want, change := range map[Reason]func(*Machine){
		ReasonHeldByOther:  func(*Machine) {},
		ReasonShutdown:     func(m *Machine) { m.node.shutdown = true },
		ReasonDirty:        func(m *Machine) { m.address.present = true },
		ReasonStarting:     func(m *Machine) { m.node.health = Health{Verdict: Unknown} },
		ReasonAPINotReady:  func(m *Machine) { m.node.health = Health{Verdict: NotReady} },
		ReasonAPIDead:      func(m *Machine) { m.node.health = Health{Verdict: Dead} },
		ReasonLinkDown:     func(m *Machine) { m.node.link.Usable = false },
		ReasonBackoff:      func(m *Machine) { m.node.backoffEnd = time.Hour },
		ReasonLeaseUnknown: func(m *Machine) { m.lease.known, m.address.present = false, true }, // E8: left alone, not stuck
		ReasonWaiting:      func(m *Machine) { m.lease.record.Holder = "" },
	} {
		m := ready()
		change(m)
		if got := m.standbyReason(); got != want {
			t.Errorf("waits because of %s, want %s", got, want)
		}
	}
}

// E3: a proof is the name and the term of the last holder seen, and nothing less.
func TestProves(t *testing.T) {
	last := lastHolder{id: "a", term: 7}
	for _, c := range []struct {
		name string
		r    Record
		last lastHolder
		want bool
	}{
		{"by the last holder", Record{Exists: true, Released: Proof{"a", 7, ReasonShutdown}}, last, true},
		{"by another", Record{Exists: true, Released: Proof{"b", 7, ReasonShutdown}}, last, false},
		{"of another term", Record{Exists: true, Released: Proof{"a", 6, ReasonShutdown}}, last, false},
		{"no proof", Record{Exists: true}, last, false},
		{"no holder was ever seen", Record{Exists: true}, lastHolder{}, false},
		{"held again", Record{Exists: true, Holder: "c", Released: Proof{"a", 7, ReasonShutdown}}, last, false},
		{"deleted", Record{Released: Proof{"a", 7, ReasonShutdown}}, last, false},
		{"never held for itself (E9)", Record{Exists: true, Released: Proof{"a", 7, ReasonAddressInUse}}, last, false},
	} {
		if got := c.r.proves(c.last); got != c.want {
			t.Errorf("%s: proves = %v, want %v", c.name, got, c.want)
		}
	}
}

func TestActionString(t *testing.T) {
	for want, a := range map[string]Action{
		"exit":                                  {Kind: Exit},
		"read seq=4 until=1s":                   {Kind: Read, Seq: 4, Deadline: time.Second},
		"own until=2.5s reason=Released":        {Kind: Own, Seq: 9, Deadline: seconds(2.5), Reason: ReasonReleased},
		"defend mac=aa":                         {Kind: Defend, MAC: "aa"},
		`renew seq=2 base=3 holder="a" term=4`:  {Kind: Renew, Seq: 2, Base: Record{Version: 3}, Record: Record{Holder: "a", Term: 4}},
		`release seq=2 base=3 holder="" term=4`: {Kind: Release, Seq: 2, Base: Record{Version: 3}, Record: Record{Term: 4}},
	} {
		if got := a.String(); got != want {
			t.Errorf("String() = %q, want %q", got, want)
		}
	}
	for k := Create; k <= Exit; k++ {
		if k.String() == "" {
			t.Errorf("kind %d has no name", k)
		}
	}
}

// E11: once the own API server is known not to serve, reads go past it as writes do. A
// holder whose etcd member died once waited there for its lease to expire.
func TestReadsAvoidABadServer(t *testing.T) {
	for verdict, want := range map[Verdict]bool{Unknown: false, Healthy: false, NotReady: true, Dead: true} {
		m := mustNew(Config{ID: "a", Lease: 5 * time.Second, Renew: time.Second})
		m.node.health, m.inflight.mustRead, m.now = Health{Verdict: verdict}, true, time.Minute
		m.advance()
		if len(m.out) != 1 || m.out[0].Kind != Read || m.out[0].PreferPeers != want {
			t.Errorf("verdict %d: %v, want a read with peers=%v", verdict, m.out, want)
		}
	}
}

// E5: who cannot keep the address on its link stays back for longer after each tenure, although
// each began with the address in its place.
func TestStaysBackLongerWhereTheAddressIsRemoved(t *testing.T) {
	s := started(t)
	for tenure := 1; tenure <= 4; tenure++ {
		for s.m.Status().State == Holding {
			s.passUntil(s.clock + 150*time.Millisecond)
			for _, a := range s.m.Step(AddressLost{NodeAddress: true}, s.clock) {
				s.execute(a)
			}
		}
		if st := s.m.Status(); st.Cause != ReasonRemoved || s.m.node.backoffEnd-s.clock != ownBackoff.After(tenure) {
			t.Fatalf("tenure %d ended with %s and %v of staying back, want %v", tenure, st.Cause, s.m.node.backoffEnd-s.clock, ownBackoff.After(tenure))
		}
		for s.m.Status().State != Holding {
			s.passUntil(s.clock + 100*time.Millisecond)
		}
	}
	s.passUntil(s.clock + 3*time.Second)
	if s.m.node.failures != 0 {
		t.Errorf("%d failures after three seconds of quiet", s.m.node.failures)
	}
}

// E10: a flushed link has two seconds to get its own address back. That the address is still missing, as
// each lost notice of the kernel makes the agent tell, is no other removal; and once the node's own
// address is there, nothing is waited for.
func TestFlushToldAgain(t *testing.T) {
	s := started(t)
	tell := func(at string, back bool) {
		t.Helper()
		s.must(t, at+" tick")
		for _, a := range s.m.Step(AddressLost{NodeAddress: back}, s.clock) {
			s.execute(a)
		}
	}
	for _, at := range []string{"11s", "11.6s", "12.2s", "12.8s"} {
		tell(at, false)
	}
	owns := s.count(Own)
	s.must(t, "12.9s tick")
	if st := s.m.Status(); st.State != Holding || s.count(Own) != owns {
		t.Errorf("while the link waits: %+v, written %d times", st, s.count(Own)-owns)
	}
	s.must(t, "13.1s tick")
	if s.count(Own) == owns {
		t.Error("2 s after the flush the address is not put back")
	}
	tell("20s", false)
	owns = s.count(Own)
	tell("20.1s", true)
	s.must(t, "20.5s tick")
	if s.count(Own) == owns {
		t.Error("the node's own address is there, and the address is not put back")
	}
}

func TestVerdictString(t *testing.T) {
	for v, want := range map[Verdict]string{
		Unknown: "unknown", Healthy: "healthy", NotReady: "not-ready", Dead: "dead", 99: "unknown",
	} {
		if got := v.String(); got != want {
			t.Errorf("verdict %d is %q, want %q", v, got, want)
		}
	}
}
