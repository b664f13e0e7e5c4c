package arp

import (
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/bpf"

	"github.com/kvip/kvip/pkg/assignment"
	"github.com/kvip/kvip/pkg/link"
	"github.com/kvip/kvip/test/testutil"
)

func TestFirstFramesLeaveBeforeSetReturns(t *testing.T) {
	g := newSegment()
	var kinds []string
	c := ready(t, g, func(cfg *Config) {
		cfg.Sent = func(vip netip.Addr, kind string) { kinds = append(kinds, vip.String()+" "+kind) }
	})
	c.Start()
	c.Stop()
	g.mu.Lock()
	defer g.mu.Unlock()
	want := [][]byte{wireRequest, wireReply, wireNA}
	if !slices.EqualFunc(g.sent, want, slices.Equal) {
		t.Errorf("sent %x", g.sent)
	}
	if want := []string{"192.0.2.10 arp-request", "192.0.2.10 arp-reply",
		"2001:db8::10 na"}; !slices.Equal(kinds, want) {
		t.Errorf("counted %q", kinds)
	}
}

// TestFirstFramesOfMostAddresses: nothing limits the first frames of the control plane.
func TestFirstFramesOfMostAddresses(t *testing.T) {
	g := newSegment()
	c := ready(t, g, nil)
	for i := range 256 {
		c.vips = append(c.vips, netip.AddrFrom4([4]byte{10, 0, 1, byte(i)}))
	}
	if sent := g.sentDuring(c.Start); sent < 3+2*256 {
		t.Errorf("%d frames when Set returned", sent)
	}
}

// TestSetOpensTheSockets: a take-over just after the link appeared does not wait for Run or for the
// pause after a failure.
func TestSetOpensTheSockets(t *testing.T) {
	g := newSegment()
	g.refuse = errNotAllowed
	c := newControlPlane(t, g, nil)
	run(t, c.Announcer, g)
	c.SetLink(testLink)
	testutil.Eventually(t, "several attempts",
		func() bool { _, opens, _ := g.count(); return opens > 6 })
	g.set(func() { g.refuse = nil })
	if sent := g.sentDuring(c.Start); sent < 3 {
		t.Errorf("%d frames when Set returned", sent)
	}
}

func TestBurstAndPeriod(t *testing.T) {
	g := newSegment()
	c := ready(t, g, func(cfg *Config) { cfg.Pacing.Interval = 20 * time.Millisecond })
	c.Start()
	testutil.Eventually(t, "the burst and ten periods",
		func() bool { sent, _, _ := g.count(); return sent >= 3*(6+10) })
}

// TestStopIsSynchronous: no frame leaves after an address became Silent, whatever was due.
func TestStopIsSynchronous(t *testing.T) {
	g := newSegment()
	c := ready(t, g, nil)
	for range 50 {
		c.Start()
		time.Sleep(time.Millisecond)
		c.Stop()
		after := g.sentDuring(func() { c.wake.Notify(); time.Sleep(2 * time.Millisecond) })
		if after != 0 {
			t.Fatalf("%d frames after the addresses became silent", after)
		}
	}
}

// TestE4Fence: MayAnnounce is asked before every single frame, and none leaves while it reports
// false. Here it allows the first frame only, then none, then all.
func TestE4Fence(t *testing.T) {
	g := newSegment()
	var asked, allow atomic.Int64
	allow.Store(1)
	c := ready(t, g, func(cfg *Config) {
		cfg.MayAnnounce = func(netip.Addr) bool { asked.Add(1); return allow.Add(-1) >= 0 }
	})
	c.Start()
	if sent, _, _ := g.count(); sent != 1 || asked.Load() != 3 {
		t.Fatalf("%d frames, asked %d times; want 1 and 3", sent, asked.Load())
	}
	testutil.Eventually(t, "it is asked again", func() bool { return asked.Load() >= 6 })
	if sent, _, _ := g.count(); sent != 1 {
		t.Fatalf("%d frames although the fence forbids them", sent)
	}
	allow.Store(1 << 40)
	testutil.Eventually(t, "frames again", func() bool { sent, _, _ := g.count(); return sent > 1 })
}

// TestE4FenceOfOneAddress: each address has its own fence, and probes have none.
func TestE4FenceOfOneAddress(t *testing.T) {
	g := newSegment()
	c := ready(t, g, func(cfg *Config) {
		cfg.MayAnnounce = func(addr netip.Addr) bool { return addr == vip6 }
	})
	if sent := g.sentDuring(c.Start); sent != 1 || !g.hasAnnounced(vip6)() {
		t.Errorf("%d frames of %v, want one of %v", sent, g.announced(), vip6)
	}
	if _, err := c.Probe(t.Context(), c.vips, 0); err != nil {
		t.Error(err)
	}
	if sent, _, _ := g.count(); sent < 1+6 {
		t.Errorf("%d frames after a probe", sent)
	}
}

func TestStartBeforeLinkAndRun(t *testing.T) {
	g := newSegment()
	c := newControlPlane(t, g, nil)
	c.Start()
	run(t, c.Announcer, g)
	time.Sleep(5 * time.Millisecond)
	if sent, opens, _ := g.count(); sent != 0 || opens != 0 {
		t.Fatalf("%d frames, %d sockets without a link", sent, opens)
	}
	c.SetLink(testLink)
	testutil.Eventually(t, "the announcement",
		func() bool { sent, _, _ := g.count(); return sent >= 3 })
}

// TestSocketTrouble: reads and writes that fail lead to new sockets and a new burst.
func TestSocketTrouble(t *testing.T) {
	for name, harm := range map[string]func(*segment){
		"read fails":  func(g *segment) { g.inject(errLinkDown) },
		"write fails": func(g *segment) { g.set(func() { g.write = errLinkGone }) },
		"open fails": func(g *segment) {
			g.set(func() { g.refuse = errNotAllowed })
			g.inject(errLinkDown)
		},
		"two reads fail": func(g *segment) { g.inject(errLinkDown); g.inject(errLinkDown) },
		"one family only": func(g *segment) {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.open[0].in <- errLinkDown
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := newSegment()
			c := ready(t, g, nil)
			c.Start()
			_, before, _ := g.count()
			harm(g)
			testutil.Eventually(t, "reopened",
				func() bool { _, opens, _ := g.count(); return opens > before })
			g.set(func() { g.write, g.refuse = nil, nil })
			sent, _, _ := g.count()
			testutil.Eventually(t, "announced again", func() bool {
				now, _, open := g.count()
				return open == 2 && now >= sent+3 && g.hasAnnounced(vip4)() && g.hasAnnounced(vip6)()
			})
		})
	}
}

func TestFullSendBufferClosesNothing(t *testing.T) {
	g := newSegment()
	g.write = errQueueFull
	c := ready(t, g, nil)
	c.Start()
	if _, opens, open := g.count(); open != 2 || opens != 2 {
		t.Errorf("%d open of %d opened", open, opens)
	}
}

// TestReopenBackoff: a socket that keeps failing is retried ever more slowly, to a limit, and the
// first failure of a series is reported.
func TestReopenBackoff(t *testing.T) {
	s := &linkSocket{}
	var pauses []time.Duration
	for i := range 7 {
		if first := s.failed(time.Hour); first != (i == 0) {
			t.Errorf("failure %d is reported: %v", i, first)
		}
		pauses = append(pauses, s.retry-time.Hour)
	}
	const ms = time.Millisecond
	if want := []time.Duration{50 * ms, 100 * ms, 200 * ms, 400 * ms, 800 * ms, 1000 * ms,
		1000 * ms}; !slices.Equal(pauses, want) {
		t.Errorf("pauses %v", pauses)
	}
	s.conn, s.opened = plainConn{}, time.Hour
	if first := s.failed(time.Hour + time.Second); first {
		t.Error("a socket that was open for a second began a new series of failures")
	}
	if first := s.failed(time.Hour + 3*time.Second); !first ||
		s.retry != time.Hour+3*time.Second+50*ms {
		t.Errorf("after 3 s without a failure: first %v, retry %v", first, s.retry)
	}
}

func TestNewLinkIsAnnouncedOn(t *testing.T) {
	g := newSegment()
	c := ready(t, g, nil)
	c.Start()
	c.SetLink(testLink) // the same: nothing happens
	if sent, opens, _ := g.count(); opens != 2 || sent != 3 {
		t.Fatalf("%d frames and %d sockets opened for one link", sent, opens)
	}
	c.SetLink(link.Link{}) // it is removed
	testutil.Eventually(t, "closed", g.isOpen(0))
	c.SetLink(link.Link{Index: 8, Name: "eth7", MAC: mac2}) // and re-created
	testutil.Eventually(t, "an announcement of the new MAC", func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		last := g.sent[len(g.sent)-1]
		return slices.Equal(last[6:12], mac2)
	})
}

func TestLinkWithoutEthernetAddress(t *testing.T) {
	g := newSegment()
	c := newControlPlane(t, g, nil)
	run(t, c.Announcer, g)
	c.SetLink(link.Link{Index: 1, Name: "lo"})
	c.Start()
	if sent, opens, _ := g.count(); sent != 0 || opens != 0 {
		t.Errorf("%d frames, %d sockets", sent, opens)
	}
}

// TestDefendAtMostOnceInTenSeconds: RFC 5227 2.4 (b), E9, for each address on its own, and also
// if the announcement was stopped and started meanwhile.
func TestDefendAtMostOnceInTenSeconds(t *testing.T) {
	g := newSegment()
	clock := &fakeClock{now: time.Hour}
	c := ready(t, g, func(cfg *Config) { cfg.Clock = clock.time })
	for i, step := range []struct {
		do   func()
		want int // frames
	}{
		{func() { c.Defend(vip4) }, 0}, // nothing is announced
		{c.Start, 3},
		{func() { c.Defend(vip4) }, 2},
		{func() { c.Defend(vip4) }, 0},
		{func() { c.Defend(vip6) }, 1},
		{func() { c.Defend(netip.MustParseAddr("192.0.2.99")) }, 0}, // not assigned
		{func() { c.Stop(); c.Start() }, 3},
		{func() { c.Defend(vip4) }, 0},
		{func() { c.Stop(); clock.add(11 * time.Second); c.Defend(vip4) }, 0},
		{c.Start, 3},
		{func() { c.Defend(netip.AddrFrom16(vip4.As16())) }, 2}, // in IPv6 form
	} {
		if got := g.sentDuring(step.do); got != step.want {
			t.Errorf("step %d: %d frames, want %d", i, got, step.want)
		}
	}
}

// fakeClock is a clock that a test sets.
type fakeClock struct {
	mu  sync.Mutex
	now time.Duration
}

func (c *fakeClock) time() time.Duration { c.mu.Lock(); defer c.mu.Unlock(); return c.now }

func (c *fakeClock) add(d time.Duration) { c.mu.Lock(); defer c.mu.Unlock(); c.now += d }

func TestNewValidates(t *testing.T) {
	for name, p := range map[string]Pacing{
		"no interval":       {},
		"negative interval": {Interval: -1},
		"defend interval":   {Interval: time.Second, DefendInterval: -1},
		"idle rate":         {Interval: time.Second, IdleRate: 1},
		"negative rate":     {Interval: time.Second, BurstRate: -1},
		"burst below idle":  {Interval: time.Second, IdleRate: 100, BurstRate: 99},
	} {
		if _, err := New(Config{Pacing: p}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for _, p := range []Pacing{ControlPlanePacing(), ServicePacing(),
		{Interval: 1, IdleRate: 2, BurstRate: 2}} {
		a, err := New(Config{Pacing: p})
		if err != nil {
			t.Errorf("%+v: %v", p, err)
			continue
		}
		c := a.cfg
		if c.Listen == nil || c.Clock == nil || c.Log == nil || c.Sent == nil || !c.MayAnnounce(vip4) {
			t.Errorf("defaults are missing in %+v", c)
		}
	}
}

// TestSetIgnoresUnusableAddresses: they are logged and do not affect the others.
func TestSetIgnoresUnusableAddresses(t *testing.T) {
	g := newSegment()
	a := newAnnouncer(t, g, nil)
	run(t, a, g)
	lo := link.Link{Index: 1, Name: "lo"}
	a.Set([]assignment.Assignment{
		announced(netip.Addr{}), announced(netip.MustParseAddr("224.0.0.1")),
		announced(netip.MustParseAddr("fe80::1%eth0")),
		announced(netip.IPv6Unspecified()), announced(netip.MustParseAddr("127.0.0.1")),
		{Addr: nth(7), Link: lo, State: assignment.Announced},
		{Addr: nth(8), Link: testLink, State: 200},
		{Addr: nth(9), Link: testLink}, announced(vip4),
	})
	testutil.Eventually(t, "the good one", g.hasAnnounced(vip4))
	for _, addr := range g.announced() {
		if addr != vip4 {
			t.Errorf("announced %v", addr)
		}
	}
}

// TestLateSource: a link-local address that is added later is used from then on.
func TestLateSource(t *testing.T) {
	g := newSegment()
	clock := &fakeClock{now: time.Hour}
	a := newAnnouncer(t, g, func(cfg *Config) { cfg.Clock = clock.time })
	a.linkLocal = func(int) netip.Addr { return netip.Addr{} }
	var readers sync.WaitGroup
	step := func() []byte {
		clock.add(time.Second)
		a.step(&readers)
		g.mu.Lock()
		defer g.mu.Unlock()
		return g.sent[len(g.sent)-1]
	}
	a.Set([]assignment.Assignment{announced(vip6)})
	if b := step(); !slices.Equal(b[22:38], vip6.AsSlice()) {
		t.Errorf("without one the frame is from %x", b[22:38])
	}
	a.linkLocal = func(int) netip.Addr { return linkAddr }
	if b := step(); !slices.Equal(b[22:38], linkAddr.AsSlice()) {
		t.Errorf("with one the frame is from %x", b[22:38])
	}
	a.shutDown()
	readers.Wait()
}

// TestFiltersFollowTheAddresses: a filter is replaced when its program changes, and only then.
func TestFiltersFollowTheAddresses(t *testing.T) {
	g := newSegment()
	filters := 0
	a := newAnnouncer(t, g, func(cfg *Config) {
		cfg.Listen = func(l link.Link, etherType uint16, filter []bpf.RawInstruction) (Conn, error) {
			filters++
			return g.listenPlain(l, etherType, filter)
		}
	})
	run(t, a, g)
	var many []assignment.Assignment
	for i := range 1000 {
		many = append(many, silent(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})))
	}
	for i, c := range []struct {
		list []assignment.Assignment
		want int
	}{
		{many[:10], 1}, {many[:10], 1}, {many[:11], 2}, {many, 3},
		{append(slices.Clone(many[:500]), many[600:]...), 3}, {many[1:], 4}, {many[:10], 5},
	} {
		a.Set(c.list)
		if filters != c.want {
			t.Errorf("step %d: %d filters, want %d", i, filters, c.want)
		}
	}
}
