package arp

import (
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// ready runs a speaker that has its link and its sockets.
func ready(t *testing.T, g *segment, edit func(*Config)) *VIPAnnouncer {
	t.Helper()
	s := newSpeaker(t, g, edit)
	s.SetLink(testLink)
	run(t, s, g)
	eventually(t, "two sockets open", func() bool { _, _, open := g.count(); return open == 2 })
	return s
}

func TestFirstFramesLeaveInsideStart(t *testing.T) {
	g := newSegment()
	var kinds []string
	s := ready(t, g, func(c *Config) {
		c.Sent = func(vip netip.Addr, kind string) { kinds = append(kinds, vip.String()+" "+kind) }
	})
	s.Start(always)
	s.Stop()
	g.mu.Lock()
	defer g.mu.Unlock()
	want := [][]byte{wireRequest, wireReply, wireNA}
	if !slices.EqualFunc(g.sent, want, slices.Equal) {
		t.Errorf("sent %x", g.sent)
	}
	if want := []string{"192.0.2.10 arp-request", "192.0.2.10 arp-reply", "2001:db8::10 na"}; !slices.Equal(kinds, want) {
		t.Errorf("counted %q", kinds)
	}
}

// TestStartOpensTheSockets: a take-over just after the link appeared does not wait for
// Run to come round.
func TestStartOpensTheSockets(t *testing.T) {
	g := newSegment()
	g.refuse = errNotAllowed
	s := newSpeaker(t, g, nil)
	run(t, s, g)
	s.SetLink(testLink)
	eventually(t, "an attempt", func() bool { _, opens, _ := g.count(); return opens > 0 })
	g.set(func() { g.refuse = nil })
	s.Start(always)
	if sent, _, _ := g.count(); sent < 3 {
		t.Errorf("%d frames when Start returned", sent)
	}
}

func TestBurstAndPeriod(t *testing.T) {
	g := newSegment()
	s := ready(t, g, func(c *Config) { c.VIPs = []netip.Addr{vip4, vip6}; c.Interval = 20 * time.Millisecond })
	s.Start(always)
	eventually(t, "the burst and ten periods", func() bool { sent, _, _ := g.count(); return sent >= 3*(6+10) })
}

// TestStopIsSynchronous: after Stop no frame leaves, whatever was due.
func TestStopIsSynchronous(t *testing.T) {
	g := newSegment()
	s := ready(t, g, nil)
	for range 50 {
		s.Start(always)
		time.Sleep(time.Millisecond)
		s.Stop()
		before, _, _ := g.count()
		s.wake()
		time.Sleep(2 * time.Millisecond)
		if after, _, _ := g.count(); after != before {
			t.Fatalf("%d frames after Stop", after-before)
		}
	}
}

// TestFence: until is asked before every single frame, and none leaves while it says no
// (E4). Here it says yes to the first frame only, then to none, then to all.
func TestFence(t *testing.T) {
	g := newSegment()
	s := ready(t, g, nil)
	var asked, allow atomic.Int64
	allow.Store(1)
	s.Start(func() bool { asked.Add(1); return allow.Add(-1) >= 0 })
	if sent, _, _ := g.count(); sent != 1 || asked.Load() != 3 {
		t.Fatalf("%d frames, asked %d times; want 1 and 3", sent, asked.Load())
	}
	eventually(t, "it is asked again", func() bool { return asked.Load() >= 6 })
	if sent, _, _ := g.count(); sent != 1 {
		t.Fatalf("%d frames although the fence said no", sent)
	}
	allow.Store(1 << 40)
	eventually(t, "frames again", func() bool { sent, _, _ := g.count(); return sent > 1 })
}

func TestStartBeforeLinkAndRun(t *testing.T) {
	g := newSegment()
	s := newSpeaker(t, g, nil)
	s.Start(always)
	run(t, s, g)
	time.Sleep(5 * time.Millisecond)
	if sent, opens, _ := g.count(); sent != 0 || opens != 0 {
		t.Fatalf("%d frames, %d sockets without a link", sent, opens)
	}
	s.SetLink(testLink)
	eventually(t, "the announcement", func() bool { sent, _, _ := g.count(); return sent >= 3 })
}

// TestSocketTrouble: reads and writes that fail lead to new sockets and a new burst.
func TestSocketTrouble(t *testing.T) {
	for name, harm := range map[string]func(*segment){
		"read fails":      func(g *segment) { g.inject(errLinkDown) },
		"write fails":     func(g *segment) { g.set(func() { g.write = errLinkGone }) },
		"open fails":      func(g *segment) { g.set(func() { g.refuse = errNotAllowed }); g.inject(errLinkDown) },
		"both read at it": func(g *segment) { g.inject(errLinkDown); g.inject(errLinkDown) },
	} {
		t.Run(name, func(t *testing.T) {
			g := newSegment()
			s := ready(t, g, nil)
			s.Start(always)
			_, before, _ := g.count()
			harm(g)
			eventually(t, "opened again", func() bool { _, opens, _ := g.count(); return opens > before })
			g.set(func() { g.write, g.refuse = nil, nil })
			sent, _, _ := g.count()
			eventually(t, "announced again", func() bool { now, _, open := g.count(); return open == 2 && now >= sent+3 })
		})
	}
}

func TestFullQueueClosesNothing(t *testing.T) {
	g := newSegment()
	g.write = errQueueFull
	s := ready(t, g, nil)
	s.Start(always)
	if _, opens, open := g.count(); open != 2 || opens != 2 {
		t.Errorf("%d open of %d opened", open, opens)
	}
}

// TestBackoffIsCapped: trouble that lasts is retried ever more slowly, to a limit.
func TestBackoffIsCapped(t *testing.T) {
	g := newSegment()
	s := newSpeaker(t, g, nil)
	s.link = testLink
	var waits []time.Duration
	for range 7 {
		s.trouble(errLinkDown)
		waits = append(waits, s.backoff)
	}
	const ms = time.Millisecond
	if want := []time.Duration{50 * ms, 100 * ms, 200 * ms, 400 * ms, 800 * ms, 1000 * ms, 1000 * ms}; !slices.Equal(waits, want) {
		t.Errorf("waits %v", waits)
	}
}

func TestNewLinkIsAnnouncedOn(t *testing.T) {
	g := newSegment()
	s := ready(t, g, nil)
	s.Start(always)
	s.SetLink(testLink) // the same: nothing happens
	if _, opens, _ := g.count(); opens != 2 {
		t.Fatalf("%d sockets opened for one link", opens)
	}
	s.SetLink(LinkRef{}) // it is gone
	eventually(t, "closed", func() bool { _, _, open := g.count(); return open == 0 })
	s.SetLink(LinkRef{Index: 8, Name: "eth7", MAC: mac2}) // and made anew
	eventually(t, "an announcement of the new MAC", func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		last := g.sent[len(g.sent)-1]
		return slices.Equal(last[6:12], mac2)
	})
}

func TestLinkWithoutEthernetAddress(t *testing.T) {
	g := newSegment()
	s := newSpeaker(t, g, nil)
	run(t, s, g)
	s.SetLink(LinkRef{Index: 1, Name: "lo"})
	s.Start(always)
	if sent, opens, _ := g.count(); sent != 0 || opens != 0 {
		t.Errorf("%d frames, %d sockets", sent, opens)
	}
}

// TestDefendAtMostOnceInTenSeconds: RFC 5227 2.4 (b), E9, for each VIP on its own.
func TestDefendAtMostOnceInTenSeconds(t *testing.T) {
	g := newSegment()
	var mu sync.Mutex
	now := time.Hour
	tick := func(d time.Duration) { mu.Lock(); now += d; mu.Unlock() }
	s := ready(t, g, func(c *Config) {
		c.Clock = func() time.Duration { mu.Lock(); defer mu.Unlock(); return now }
	})
	frames := func(f func()) int {
		before, _, _ := g.count()
		f()
		after, _, _ := g.count()
		return after - before
	}
	for i, c := range []struct {
		do   func()
		want int
	}{
		{func() { s.Defend(vip4) }, 0}, // nothing is announced
		{func() { s.Start(always) }, 3},
		{func() { s.Defend(vip4) }, 2},
		{func() { s.Defend(vip4) }, 0},
		{func() { s.Defend(vip6) }, 1},
		{func() { s.Defend(netip.MustParseAddr("192.0.2.99")) }, 0}, // not ours
		{func() { s.Stop(); tick(11 * time.Second); s.Defend(vip4) }, 0},
		{func() { s.Start(always) }, 3},
		{func() { s.Defend(vip4) }, 2},
	} {
		if got := frames(c.do); got != c.want {
			t.Errorf("step %d: %d frames, want %d", i, got, c.want)
		}
	}
}

func TestNewRefusesBadConfig(t *testing.T) {
	many := slices.Repeat([]netip.Addr{vip4}, MaxVIPs+1)
	for name, cfg := range map[string]Config{
		"no VIP":       {},
		"too many":     {VIPs: many},
		"zero address": {VIPs: []netip.Addr{{}}},
		"unspecified":  {VIPs: []netip.Addr{netip.IPv6Unspecified()}},
		"multicast":    {VIPs: []netip.Addr{netip.MustParseAddr("224.0.0.1")}},
		"mapped":       {VIPs: []netip.Addr{netip.MustParseAddr("::ffff:192.0.2.1")}},
		"with a zone":  {VIPs: []netip.Addr{netip.MustParseAddr("fe80::1%eth0")}},
		"interval":     {VIPs: []netip.Addr{vip4}, Interval: -1},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	s, err := New(Config{VIPs: []netip.Addr{vip4}})
	if err != nil || s.cfg.Interval != DefaultInterval || s.cfg.Listen == nil || s.cfg.Clock == nil || s.cfg.Log == nil || s.cfg.Sent == nil {
		t.Errorf("defaults not filled in: %+v, %v", s, err)
	}
	if macs, err := hostMACs(); err != nil || slices.ContainsFunc(macs, func(m net.HardwareAddr) bool { return len(m) != 6 }) {
		t.Errorf("MACs of this host: %v, %v", macs, err)
	}
}
