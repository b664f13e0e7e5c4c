package election

import (
	"strings"
	"testing"
	"time"
)

// holding returns a replay whose node has held since 10.31 s.
func holding(t testing.TB) *replay {
	t.Helper()
	s := &replay{}
	s.play(t, "node a", "10s link up aa", "10s health healthy", "10.1s lease holder=z term=6",
		"10.3s lease holder= term=6 proof=z/6/Shutdown", "10.4s tick")
	return s
}

func TestNewValidates(t *testing.T) {
	valid := Config{ID: "a", Lease: 5 * time.Second, Renew: time.Second}
	for _, c := range []struct {
		name   string
		change func(*Config)
		want   string // part of the error; empty: valid
	}{
		{"valid", func(*Config) {}, ""},
		{"renew interval of a third", func(c *Config) { c.Lease = 3 * time.Second }, ""},
		{"longest lease", func(c *Config) { c.Lease = MaxLease }, ""},
		{"leftover address", func(c *Config) { c.LeftoverLifetime = time.Second }, ""},
		{"no identity", func(c *Config) { c.ID = "" }, "configure election machine: ID is required"},
		{"no lease duration", func(c *Config) { c.Lease = 0 }, "lease duration 0s"},
		{"negative lease duration", func(c *Config) { c.Lease = -time.Second }, "lease duration -1s"},
		{"part of a second", func(c *Config) { c.Lease = 4500 * time.Millisecond }, "whole seconds"},
		{"too long a lease", func(c *Config) { c.Lease = MaxLease + time.Second }, "10m0s"},
		{"no renew interval", func(c *Config) { c.Renew = 0 }, "renew interval 0s"},
		{"long renew interval", func(c *Config) { c.Renew = 2 * time.Second }, "at most a third of 5s"},
		{"negative lifetime", func(c *Config) { c.LeftoverLifetime = -1 }, "must not be negative"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := valid
			c.change(&cfg)
			m, err := New(cfg)
			switch {
			case c.want == "" && err != nil:
				t.Errorf("unexpected error: %v", err)
			case c.want != "" && (err == nil || m != nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("machine %v and error %v, want no machine and %q", m, err, c.want)
			}
		})
	}
}

// E12: an API outage of five minutes causes neither an exit nor a storm of requests, and the
// address is owned again soon after. E1: during the outage it is removed.
func TestOutageOfFiveMinutes(t *testing.T) {
	s := holding(t)
	s.play(t, "11s api silent", "16s tick")
	if st := s.m.Status(); st.State != Confirming || st.Owned {
		t.Fatalf("5 s after the outage began: %+v", st)
	}
	before := len(s.sent)
	s.play(t, "311s tick")
	if got := len(s.sent) - before; got > 200 {
		t.Errorf("%d requests in 295 s", got)
	}
	if s.count(Exit) != 0 || s.count(Own) != 1 {
		t.Errorf("%d exits and %d owns, want none and the first", s.count(Exit), s.count(Own))
	}
	s.play(t, "311s api answers", "316s tick")
	if st := s.m.Status(); st.State != Holding || !st.Owned || st.Reason != ReasonRegained {
		t.Errorf("5 s after the outage ended: %+v", st)
	}
}

// E2: a write names the observation on which it builds, and at most one write is unanswered.
func TestOneWriteAtATime(t *testing.T) {
	s := holding(t)
	s.play(t, "11s api manual", "14s tick")
	if s.count(Renew) != 1 {
		t.Errorf("%d renewals while the first is unanswered", s.count(Renew))
	}
	if a, _ := s.find("renew"); a.Base.Version != s.server.Version || a.Base.Holder != "a" {
		t.Errorf("renewal builds on %+v, the lease is %+v", a.Base, s.server)
	}
}

// A write that was applied although its answer was a conflict counts as applied once the Lease
// shows it. Otherwise a holder would renew for ever without an address.
func TestConflictOfAnAppliedWrite(t *testing.T) {
	s := holding(t)
	s.play(t, "11s api manual", "11.4s tick")
	renewal, err := s.find("renew")
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

// The memory of unanswered writes is limited.
func TestLostWritesAreBounded(t *testing.T) {
	s := holding(t)
	s.play(t, "10.5s api manual", "10.6s kernel manual")
	for now := 11 * time.Second; now < 15*time.Second; now += 50 * time.Millisecond {
		s.m.Step(Written{Seq: s.m.inflight.seq, Outcome: OutcomeFailed}, now)
		s.m.Step(Tick{}, now)
	}
	if n := len(s.m.inflight.lost); n > maxLost {
		t.Errorf("%d lost writes are remembered, want at most %d", n, maxLost)
	}
}

// A write that may still be applied and give another right is not forgotten for others (F1).
func TestLostWriteOfAnotherRightIsKept(t *testing.T) {
	var f inflight
	add := func(version uint64, voters string) {
		f.seq++
		w := write{seq: f.seq, base: version, sent: time.Duration(f.seq)}
		w.record = Record{Holder: "a", Seq: w.seq, Mark: Mark{Fast: true, Voters: voters}}
		w.record.stamp() // as send does
		f.pending = &w
		f.abandon(7)
	}
	add(6, "a,b,c")
	add(7, "a,b,d")
	for range 3 * maxLost {
		add(7, "a,b,c")
	}
	open := f.open(7)
	if len(f.lost) > maxLost || len(open) == 0 || open[0].record.Mark.Voters != "a,b,d" ||
		open[1].seq != 3 {
		t.Errorf("%d remembered, of them open %+v", len(f.lost), open)
	}
}

// The memory of hardware addresses is limited, the newest remain.
func TestRememberedMACsAreBounded(t *testing.T) {
	var l lease
	for i := range 3 * maxMACs {
		l.rememberMAC(string(rune('A' + i)))
		l.rememberMAC(string(rune('A' + i)))
		l.rememberMAC("")
	}
	if n := len(l.macs); n != maxMACs || l.macs[n-1] != string(rune('A'+3*maxMACs-1)) {
		t.Errorf("%d addresses, the last is %q", n, l.macs[n-1])
	}
}

// E12: any answered request resets the count of failures, so that later requests are not delayed.
func TestSuccessResetsTheRetryDelay(t *testing.T) {
	s := holding(t)
	s.play(t, "11s api silent", "13s api answers", "14s tick")
	if n := s.m.inflight.failures; n != 0 {
		t.Errorf("%d failures are still counted after a renewal was answered", n)
	}
}

// E11: requests prefer the peers after one got no answer, also after the peers have answered.
func TestPeersComeFirstAfterSilence(t *testing.T) {
	s := holding(t)
	s.play(t, "11s api silent", "12.2s api answers", "20s tick")
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

// E11: reads avoid an API server that does not serve, as writes do. A holder whose etcd member died
// would otherwise wait for it until the lease expires.
func TestReadsAvoidABadServer(t *testing.T) {
	for verdict, want := range map[Verdict]bool{
		Unknown: false, Healthy: false, NotReady: true, Dead: true,
	} {
		m := mustNew(Config{ID: "a", Lease: 5 * time.Second, Renew: time.Second})
		m.node.health, m.inflight.mustRead, m.now = Health{Verdict: verdict}, true, time.Minute
		m.advance()
		if len(m.out) != 1 || m.out[0].Kind != Read || m.out[0].PreferPeers != want {
			t.Errorf("verdict %d: %v, want a read with peers=%v", verdict, m.out, want)
		}
	}
}

// TestOvertakenReadCounts: an agent acknowledges beats after its first quorum read also if a newer
// state was observed while that read took long, since no other read follows (F3).
func TestOvertakenReadCounts(t *testing.T) {
	m := mustNew(Config{
		ID: "a", Lease: 5 * time.Second, Renew: time.Second, Window: 350 * time.Millisecond,
	})
	out := m.Step(Tick{}, seconds(1))
	if len(out) != 1 || out[0].Kind != Read {
		t.Fatalf("the first step emits %v", out)
	}
	lease := func(version uint64) Record {
		return Record{Exists: true, Version: version, Holder: "b", Term: int64(version)}
	}
	m.Step(Observed{Record: lease(8)}, seconds(2))
	m.Step(ReadDone{Seq: out[0].Seq, OK: true, Record: lease(7)}, seconds(2.5))
	if st := m.Status(); st.Slow != SlowStarting || st.Term != 8 {
		t.Errorf("before two seconds have passed: %+v", st)
	}
	m.Step(Tick{}, seconds(3.1))
	if st := m.Status(); st.Slow != "" || m.inflight.mustRead {
		t.Errorf("after two seconds: %+v", st)
	}
}

// The status of a tenure: holder, ownership, deadline, reason.
func TestStatusFollowsTheTenure(t *testing.T) {
	s := holding(t)
	st := s.m.Status()
	want := Status{
		State: Holding, Owned: true, Holder: "a", Term: 7, Seen: true, Age: st.Age,
		Deadline: seconds(14.8), Reason: ReasonReleased, Cause: ReasonReleased, Slow: st.Slow,
	}
	if st != want {
		t.Errorf("status %+v, want %+v", st, want)
	}
	s.play(t, "10.5s shutdown now", "11s tick")
	st = s.m.Status()
	if st.State != Stopped || st.Owned || st.Deadline != 0 || st.Reason != ReasonShutdown {
		t.Errorf("status after the exit: %+v", st)
	}
	if out := s.m.Step(Shutdown{}, s.clock); out != nil {
		t.Errorf("a stopped machine emits %v", out)
	}
}

func TestStandbyReason(t *testing.T) {
	for want, change := range map[Reason]func(*Machine){
		ReasonHeldByOther:       func(*Machine) {},
		ReasonShutdown:          func(m *Machine) { m.node.shutdown = true },
		ReasonAddressNotRemoved: func(m *Machine) { m.address.present = true },
		ReasonStarting:          func(m *Machine) { m.node.health = Health{Verdict: Unknown} },
		ReasonAPIServerNotReady: func(m *Machine) { m.node.health = Health{Verdict: NotReady} },
		ReasonAPIServerSlow: func(m *Machine) {
			m.node.health = Health{Verdict: NotReady, Slow: true}
		},
		ReasonAPIServerDead: func(m *Machine) { m.node.health = Health{Verdict: Dead} },
		ReasonLinkDown:      func(m *Machine) { m.node.link.Usable = false },
		ReasonBackingOff:    func(m *Machine) { m.node.backoffEnd = time.Hour },
		ReasonLeaseUnknown: func(m *Machine) { // the address must not be removed yet (E8)
			m.lease.known, m.address.present = false, true
		},
		ReasonWaitingForExpiry: func(m *Machine) { m.lease.record.Holder = "" },
	} {
		m := mustNew(Config{ID: "a", Lease: 5 * time.Second, Renew: time.Second})
		m.now = time.Minute
		m.node = node{health: Health{Verdict: Healthy}, link: Link{Usable: true}, linkKnown: true}
		m.lease = lease{known: true, record: Record{Exists: true, Holder: "b"}, changedAt: time.Minute}
		change(m)
		if got := m.standbyReason(); got != want {
			t.Errorf("reason %s, want %s", got, want)
		}
	}
}

// BenchmarkStep measures the events of a holder: ticks and confirmed renewals.
func BenchmarkStep(b *testing.B) {
	s := holding(b)
	now := s.clock
	b.ReportAllocs()
	for b.Loop() {
		now += 100 * time.Millisecond
		for _, a := range s.m.Step(Tick{}, now) {
			switch a.Kind {
			case Renew:
				s.m.Step(s.apply(a), now)
			case Own:
				s.m.Step(Owned{Seq: a.Seq, OK: true}, now)
			}
		}
	}
	if st := s.m.Status(); st.State != Holding {
		b.Fatalf("status %+v", st)
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
