package arp

import (
	"flag"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"
)

var seed = flag.Uint64("queue.seed", 0, "runs the property tests of the queue with this seed alone")

// seeds returns the seeds of a property test. A failure prints its own.
func seeds(count int) []uint64 {
	if *seed != 0 {
		return []uint64{*seed}
	}
	list := make([]uint64, count)
	for i := range list {
		list[i] = rand.Uint64()
	}
	return list
}

func nth(i int) netip.Addr {
	if i%3 == 2 {
		return netip.AddrFrom16([16]byte{0x20, 1, 0x0d, 0xb8, 14: byte(i >> 8), 15: byte(i)})
	}
	return netip.AddrFrom4([4]byte{10, 20, byte(i >> 8), byte(i)})
}

// sent is one announcement of a simulated queue.
type sent struct {
	addr     netip.Addr
	at       time.Duration
	periodic bool
}

// sim runs a queue as a driver does that is sometimes late.
type sim struct {
	*queue
	now  time.Duration
	rng  *rand.Rand
	late time.Duration // at most
	log  []sent
}

func (s *sim) run(until time.Duration) {
	for s.now < until {
		for {
			e := s.head(s.now)
			periodic := e != nil && e.round == rounds
			addr, ok := s.take(s.now)
			if !ok {
				break
			}
			s.log = append(s.log, sent{addr, s.now, periodic})
		}
		next, ok := s.next(s.now)
		if !ok {
			next = until
		}
		if ok && next < s.now {
			next = s.now
		}
		if s.late > 0 {
			next += time.Duration(s.rng.Int64N(int64(s.late)))
		}
		s.now = min(max(next, s.now+1), until)
	}
}

// most returns the most frames in any window, half open, of those that count.
func most(log []sent, window time.Duration, counts func(sent) bool) int {
	peak, frames, first := 0, 0, 0
	cost := func(x sent) int {
		if !counts(x) {
			return 0
		}
		return (&entry{addr: x.addr}).frames()
	}
	for _, x := range log {
		for log[first].at <= x.at-window {
			frames -= cost(log[first])
			first++
		}
		frames += cost(x)
		peak = max(peak, frames)
	}
	return peak
}

func every(sent) bool      { return true }
func periodic(x sent) bool { return x.periodic }

// TestS8RateIsNeverExceeded adds, removes and defends addresses at random rates, with a driver that
// may be late: no second has more frames than allowed, and every address is announced.
func TestS8RateIsNeverExceeded(t *testing.T) {
	for _, seed := range seeds(40) {
		rng := rand.New(rand.NewPCG(seed, 0))
		idle := minRate + rng.IntN(300)
		burst := idle + rng.IntN(3000)
		s := &sim{queue: newQueue(Pacing{
			Interval: time.Duration(10+rng.IntN(300)) * time.Second, DefendInterval: time.Second,
			IdleRate: idle, BurstRate: burst,
		}), rng: rng, now: time.Duration(rng.Int64N(int64(time.Hour)))}
		if rng.IntN(2) == 0 {
			s.late = time.Duration(1+rng.IntN(30)) * time.Millisecond
		}
		wanted := map[netip.Addr]time.Duration{}
		for range 40 {
			for range rng.IntN(60) {
				addr := nth(rng.IntN(800))
				switch rng.IntN(4) {
				case 0:
					s.remove(addr)
					delete(wanted, addr)
				case 1:
					s.defend(addr, s.now)
				default:
					s.add(addr, s.now)
					wanted[addr] = s.now
				}
			}
			s.run(s.now + time.Duration(rng.IntN(1500))*time.Millisecond)
		}
		s.run(s.now + 5*time.Minute + time.Duration(4*800*rounds/burst)*time.Second)
		if peak := most(s.log, time.Second, every); peak > burst {
			t.Fatalf("-queue.seed=%d: %d frames in a second, want at most %d", seed, peak, burst)
		}
		if peak := most(s.log, time.Second, periodic); peak > idle {
			t.Fatalf("-queue.seed=%d: %d periodic frames in a second, want at most %d", seed, peak, idle)
		}
		last := map[netip.Addr]time.Duration{}
		for _, x := range s.log {
			last[x.addr] = x.at
		}
		for addr, since := range wanted {
			if at, ok := last[addr]; !ok || at < since+offsets[rounds-1] {
				t.Fatalf("-queue.seed=%d: %v, wanted since %v, was announced last at %v (%v)", seed, addr,
					since, at, ok)
			}
		}
		if len(s.entries) != len(wanted) || len(s.waiting) > len(wanted) {
			t.Fatalf("-queue.seed=%d: %d kept and %d waiting of %d addresses", seed, len(s.entries),
				len(s.waiting), len(wanted))
		}
	}
}

// TestS8OnceBeforeTwice: after a take-over every address is announced once before any is twice, in
// the order of their arrival, and each again after the longest lock of a neighbour's entry.
func TestS8OnceBeforeTwice(t *testing.T) {
	for _, n := range []int{1, 2, 10, 500, 5000} {
		s := &sim{queue: newQueue(ServicePacing()), now: time.Hour}
		for i := range n {
			s.add(nth(i), s.now)
		}
		s.run(s.now + 40*time.Second)
		announced, last := map[netip.Addr]int{}, map[netip.Addr]time.Duration{}
		first := map[netip.Addr]time.Duration{}
		for i, x := range s.log {
			if x.periodic {
				continue
			}
			if n > 100 && i < n && x.addr != nth(i) {
				t.Fatalf("%d addresses: number %d was %v", n, i, x.addr)
			}
			if announced[x.addr] == 0 {
				first[x.addr] = x.at
			} else if n > 100 && len(first) < n {
				t.Fatalf("%v is announced again, and only %d of %d were once", x.addr, len(first), n)
			}
			announced[x.addr]++
			last[x.addr] = x.at - first[x.addr]
		}
		for i := range n {
			if a := nth(i); announced[a] < 2 || announced[a] > rounds || last[a] < offsets[rounds-1] {
				t.Fatalf("%v of %d is announced %d times, last %v after its first", a, n, announced[a], last[a])
			}
			if n <= 10 && announced[nth(i)] != rounds {
				t.Fatalf("%v of %d is announced %d times in its burst", nth(i), n, announced[nth(i)])
			}
		}
	}
}

// TestS8FirstBeforeRepeats: a new address does not wait for the repeats of many others.
func TestS8FirstBeforeRepeats(t *testing.T) {
	s := &sim{queue: newQueue(ServicePacing()), now: time.Hour}
	for i := range 1500 {
		s.add(nth(i), s.now)
	}
	s.run(s.now + 1500*time.Millisecond)
	late := nth(4000)
	s.add(late, s.now)
	s.log = nil
	s.run(s.now + 50*time.Millisecond)
	if len(s.log) == 0 || s.log[0].addr != late {
		t.Errorf("first came %+v", s.log[:min(3, len(s.log))])
	}
}

// TestS8PeriodicOnesAreSpread: periodic announcements are spread evenly, also of addresses that
// were added at once, and each address gets one in each interval.
func TestS8PeriodicOnesAreSpread(t *testing.T) {
	for _, n := range []int{1, 7, 300, 5000} {
		interval := ServicePacing().Interval
		s := &sim{queue: newQueue(ServicePacing()), now: time.Hour}
		for i := range n {
			s.add(nth(i), s.now)
		}
		s.run(s.now + interval)
		s.log = nil
		s.run(s.now + 3*interval)
		count := map[netip.Addr]int{}
		for _, x := range s.log {
			count[x.addr]++
		}
		for i := range n {
			if got := count[nth(i)]; got < 2 || got > 4 {
				t.Fatalf("%v of %d is announced %d times in three intervals", nth(i), n, got)
			}
		}
		share := float64(5*n) / 3 * 10 / interval.Seconds() // frames: two of three are IPv4
		if peak := most(s.log, 10*time.Second, every); float64(peak) > 1.3*share+8 {
			t.Errorf("of %d addresses %d frames in 10 s; %.1f would be even", n, peak, share)
		}
	}
}

// TestS3DefendAtMostOnceASecond: a defence is one immediate announcement, at most one a second for
// each address.
func TestS3DefendAtMostOnceASecond(t *testing.T) {
	s := &sim{queue: newQueue(ServicePacing()), now: time.Hour}
	a, b := nth(0), nth(1)
	s.defend(a, s.now)
	s.run(s.now + 10*time.Second)
	if len(s.log) != 0 {
		t.Fatalf("not announced, and defended: %+v", s.log)
	}
	s.add(a, s.now)
	s.add(b, s.now)
	s.run(s.now + 10*time.Second)
	count := func(step string, d time.Duration, wantA, wantB int) {
		t.Helper()
		s.log = nil
		s.run(s.now + d)
		got := map[netip.Addr]int{}
		for _, x := range s.log {
			got[x.addr]++
		}
		if got[a] != wantA || got[b] != wantB {
			t.Errorf("%s: %v; want %d and %d", step, got, wantA, wantB)
		}
	}
	s.defend(a, s.now)
	s.defend(a, s.now)
	s.defend(b, s.now)
	count("both", 10*time.Millisecond, 1, 1)
	s.defend(a, s.now)
	count("too early", 900*time.Millisecond, 0, 0)
	s.now += 90 * time.Millisecond
	s.defend(a, s.now)
	count("a second later", 10*time.Millisecond, 1, 0)
	s.remove(a)
	s.defend(a, s.now+time.Minute)
	count("removed", time.Second, 0, 0)
	s.add(a, s.now)
	s.defend(a, s.now)
	count("new, it is announced anyway", 10*time.Millisecond, 1, 0)
	s.now += 2 * time.Second
	s.defend(a, s.now) // its next announcement waits to be sent
	count("in a burst", 10*time.Millisecond, 1, 0)
}

func TestRateLimiter(t *testing.T) {
	for _, rate := range []int{2, 3, 50, 199, 200, 201, 250, 2000, 2001, 12345} {
		r := newRateLimiter(rate)
		frames := 0
		for now := time.Duration(0); now < time.Second; now += 100 * time.Microsecond {
			for r.opens(now, 1) <= now {
				r.pass(now, 1)
				frames++
			}
		}
		if frames > rate || frames < rate*2/3 {
			t.Errorf("rate %d: %d frames in a second", rate, frames)
		}
	}
}

// TestNoRateLimit: the control plane has none.
func TestNoRateLimit(t *testing.T) {
	r := newRateLimiter(0)
	for range 1000 {
		if r.opens(5, 2) > 5 {
			t.Fatal("frames must wait")
		}
		r.pass(5, 2)
	}
}

// TestControlPlanePacing: a burst, then an announcement every 10 s. A defence is another burst.
func TestControlPlanePacing(t *testing.T) {
	s := &sim{queue: newQueue(ControlPlanePacing()), now: time.Hour}
	at := func() (list []time.Duration) {
		for _, x := range s.log {
			list = append(list, x.at-time.Hour)
		}
		s.log = nil
		return list
	}
	burst := offsets[:]
	a := nth(0)
	s.add(a, s.now)
	s.run(s.now + 25*time.Second)
	if got := at(); !slices.Equal(got,
		append(slices.Clone(burst), 12200*time.Millisecond, 22200*time.Millisecond)) {
		t.Errorf("announced at %v", got)
	}
	s.defend(a, s.now)
	s.run(s.now + 5*time.Second)
	if got := at(); len(got) != len(burst) || got[0] != 25*time.Second {
		t.Errorf("defended at %v, want a burst", got)
	}
	s.remove(a)
	s.add(a, s.now)
	s.run(s.now + 4*time.Second)
	at()
	s.defend(a, s.now)
	s.run(s.now + time.Second)
	if got := at(); len(got) != 0 {
		t.Errorf("defended again at %v, 9 s after the first time", got)
	}
}

// TestDefencesAreForgotten: a flood of conflicts does not fill the memory.
func TestDefencesAreForgotten(t *testing.T) {
	q := newQueue(ServicePacing())
	for i := range 5 * defendedMax {
		now := time.Hour + time.Duration(i)*10*time.Millisecond
		q.add(nth(i), now)
		q.defend(nth(i), now)
		q.remove(nth(i))
	}
	if len(q.defended) > defendedMax {
		t.Errorf("%d defences are remembered", len(q.defended))
	}
}

func TestNextOffset(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct{ elapsed, interval, want time.Duration }{
		{-1, 10 * time.Second, 0},
		{0, 10 * time.Second, 50 * ms},
		{49 * ms, 10 * time.Second, 50 * ms},
		{50 * ms, 10 * time.Second, 200 * ms},
		{51 * ms, 10 * time.Second, 200 * ms},
		{499 * ms, 10 * time.Second, 500 * ms},
		{500 * ms, 10 * time.Second, 1100 * ms},
		{2199 * ms, 10 * time.Second, 2200 * ms},
		{2200 * ms, 10 * time.Second, 12200 * ms},
		{12200 * ms, 10 * time.Second, 22200 * ms},
		{12200 * ms, time.Second, 13200 * ms},
		{12201 * ms, time.Second, 13200 * ms},
		{time.Hour, time.Second, time.Hour + 200*ms}, // after a long pause nothing is made up for
	} {
		if got := nextOffset(c.elapsed, c.interval); got != c.want {
			t.Errorf("nextOffset(%v, %v) = %v, want %v", c.elapsed, c.interval, got, c.want)
		}
	}
}

// TestNextOffsetAdvances: the next instant is always later, by at most an interval.
func TestNextOffsetAdvances(t *testing.T) {
	for elapsed := time.Duration(0); elapsed < time.Minute; elapsed += 7 * time.Millisecond {
		next := nextOffset(elapsed, 3*time.Second)
		if next <= elapsed || next > elapsed+3*time.Second {
			t.Fatalf("after %v comes %v", elapsed, next)
		}
	}
	if offsets[rounds-1] != burstLength {
		t.Errorf("a burst lasts %v, not %v", offsets[rounds-1], burstLength)
	}
}
