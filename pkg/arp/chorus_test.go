package arp

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/bpf"
)

// newChorus returns a chorus on a segment; edit may change the config.
func newChorus(t *testing.T, g *segment, edit func(*ServiceConfig)) *ServiceAnnouncer {
	t.Helper()
	cfg := ServiceConfig{Log: slog.New(slog.DiscardHandler), Listen: g.listen}
	if edit != nil {
		edit(&cfg)
	}
	c, err := NewServiceAnnouncer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	c.linkLocal = func(int) netip.Addr { return linkAddr }
	c.ear.macs = func() ([]net.HardwareAddr, error) { return []net.HardwareAddr{mac1}, nil }
	return c
}

// sing runs the chorus until the test ends, and checks that it closes everything.
func sing(t *testing.T, c *ServiceAnnouncer, g *segment) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run returned %v", err)
			}
		case <-time.After(patience):
			t.Error("Run did not return")
		}
		if _, _, open := g.count(); open != 0 {
			t.Errorf("%d sockets left open", open)
		}
	})
}

// sentOf returns the announced addresses in the order of the frames, one for each frame.
func (g *segment) sentOf() (list []netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, b := range g.sent {
		if c, ok := decode(b); ok {
			list = append(list, c.addr)
		}
	}
	return list
}

func (g *segment) heard(addr netip.Addr) func() bool {
	return func() bool { return slices.Contains(g.sentOf(), addr) }
}

func voice(addr netip.Addr) Announcement { return Announcement{Addr: addr, Link: testLink} }

// TestChorusSpeaksTheSameFrames: what leaves is what a Speaker sends, and all of it is counted.
func TestChorusSpeaksTheSameFrames(t *testing.T) {
	g := newSegment()
	var mu sync.Mutex
	var kinds []string
	c := newChorus(t, g, func(cfg *ServiceConfig) {
		cfg.Sent = func(addr netip.Addr, kind string) {
			mu.Lock()
			defer mu.Unlock()
			kinds = append(kinds, addr.String()+" "+kind)
		}
	})
	sing(t, c, g)
	c.Set([]Announcement{voice(netip.MustParseAddr("::ffff:192.0.2.10")), voice(vip6)})
	for _, want := range [][]byte{wireRequest, wireReply, wireNA} {
		eventually(t, "the frame", func() bool {
			g.mu.Lock()
			defer g.mu.Unlock()
			return slices.ContainsFunc(g.sent, func(b []byte) bool { return slices.Equal(b, want) })
		})
	}
	mu.Lock()
	defer mu.Unlock()
	for _, want := range []string{"192.0.2.10 arp-request", "192.0.2.10 arp-reply", "2001:db8::10 na"} {
		if !slices.Contains(kinds, want) {
			t.Errorf("%s was not counted: %q", want, kinds)
		}
	}
}

// TestOneQueueForAllLinks: each link and family has a socket while somebody needs it.
func TestOneQueueForAllLinks(t *testing.T) {
	g := newSegment()
	c := newChorus(t, g, nil)
	sing(t, c, g)
	other := LinkRef{Index: 8, Name: "eth8", MAC: mac1}
	a, b := netip.MustParseAddr("192.0.2.11"), netip.MustParseAddr("192.0.2.12")
	open := func(n int) {
		t.Helper()
		eventually(t, "the sockets", func() bool { _, _, open := g.count(); return open == n })
	}
	if _, opens, _ := g.count(); opens != 0 {
		t.Fatalf("%d sockets for nobody", opens)
	}
	c.Set([]Announcement{voice(vip4), voice(a), {Addr: b, Link: other}, voice(vip6), {Addr: netip.MustParseAddr("192.0.2.13")}})
	open(3)
	for _, addr := range []netip.Addr{vip4, a, b, vip6} {
		eventually(t, "an announcement", g.heard(addr))
	}
	c.Set([]Announcement{voice(vip4)})
	open(1)
	c.Set([]Announcement{{Addr: vip4, Link: other}}) // another link: a burst there
	g.set(func() { g.sent = nil })
	eventually(t, "announced there", g.heard(vip4))
	open(1)
	c.Set(nil)
	open(0)
}

// TestSetIsSynchronous: S8, when Set has returned no frame of what is not wanted any more
// leaves, or of what is silent; what is no more silent gets a burst.
func TestSetIsSynchronous(t *testing.T) {
	g := newSegment()
	c := newChorus(t, g, nil)
	sing(t, c, g)
	var all []Announcement
	for i := range 300 {
		all = append(all, voice(nth(i)))
	}
	for round := range 20 {
		c.Set(all)
		time.Sleep(time.Millisecond)
		silent := slices.Clone(all)
		for i := range silent {
			silent[i].Silent = true
		}
		c.Set([][]Announcement{nil, silent}[round%2])
		before, _, _ := g.count()
		c.wake()
		time.Sleep(12 * time.Millisecond) // more than a pause of the queue
		if after, _, _ := g.count(); after != before {
			t.Fatalf("%d frames after Set", after-before)
		}
	}
	g.set(func() { g.sent = nil })
	c.Set(all)
	eventually(t, "all of them", func() bool {
		heard := map[netip.Addr]bool{}
		for _, addr := range g.sentOf() {
			heard[addr] = true
		}
		return len(heard) == len(all)
	})
}

// TestChorusHears: S3, claims by others of what is announced and of what is silent; our own,
// and those of addresses that are not ours, are ignored.
func TestChorusHears(t *testing.T) {
	for name, plain := range map[string]bool{"with SetBPF": false, "opened again": true} {
		t.Run(name, func(t *testing.T) {
			g := newSegment()
			c := newChorus(t, g, func(cfg *ServiceConfig) {
				if plain {
					cfg.Listen = func(l LinkRef, etherType uint16, filter []bpf.RawInstruction) (Conn, error) {
						conn, err := g.listen(l, etherType, filter)
						return struct{ Conn }{conn}, err
					}
				}
			})
			sing(t, c, g)
			low, high := netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("192.0.2.200")
			c.Set([]Announcement{voice(low), voice(vip6)})
			eventually(t, "open", func() bool { _, _, open := g.count(); return open == 2 })
			// The span grows, and its ends are heard; between them only what is ours.
			c.Set([]Announcement{voice(low), {Addr: vip4, Link: testLink, Silent: true}, voice(high), voice(vip6)})
			claim := func(addr netip.Addr, mac net.HardwareAddr) {
				frames, err := announcement(addr, mac, linkAddr)
				if err != nil {
					t.Fatal(err)
				}
				g.inject(frames[0].bytes)
			}
			for _, addr := range []netip.Addr{vip4, high, low, vip6} {
				var got Conflict
				eventually(t, "a sighting", func() bool {
					claim(addr, mac1)
					claim(netip.MustParseAddr("192.0.2.77"), mac2)
					claim(addr, mac2)
					select {
					case got = <-c.Sightings():
						return got.VIP == addr // or a late one of the address before
					case <-time.After(20 * time.Millisecond):
						return false
					}
				})
				if got.MAC.String() != mac2.String() || got.At <= 0 {
					t.Errorf("saw %+v", got)
				}
			}
			if slices.Contains(g.sentOf(), vip4) {
				t.Error("a silent voice speaks")
			}
			c.Set(nil)
			for len(c.Sightings()) > 0 {
				<-c.Sightings()
			}
			c.ear.hear(from(mac2, wireRequest))
			if len(c.Sightings()) != 0 {
				t.Errorf("nobody's address is seen: %+v", <-c.Sightings())
			}
		})
	}
}

// TestChorusDefends: S3.
func TestChorusDefends(t *testing.T) {
	g := newSegment()
	var mu sync.Mutex
	now := time.Hour
	c := newChorus(t, g, func(cfg *ServiceConfig) {
		cfg.Clock = func() time.Duration { mu.Lock(); defer mu.Unlock(); return now }
	})
	sing(t, c, g)
	c.Defend(vip4) // nobody
	c.Set([]Announcement{voice(vip4)})
	eventually(t, "the first frames", func() bool { sent, _, _ := g.count(); return sent == 2 })
	mu.Lock()
	now += time.Minute // beyond the burst
	mu.Unlock()
	c.wake()
	eventually(t, "the last of the burst", func() bool { sent, _, _ := g.count(); return sent == 4 })
	mu.Lock()
	now += time.Second
	mu.Unlock()
	for range 5 {
		c.Defend(vip4)
	}
	eventually(t, "the defence", func() bool { sent, _, _ := g.count(); return sent == 6 })
	c.Defend(vip4)
	time.Sleep(5 * time.Millisecond)
	if sent, _, _ := g.count(); sent != 6 {
		t.Errorf("%d frames; want no second defence in a second", sent)
	}
}

// TestChorusTrouble: reads and writes that fail lead to new sockets and a new burst of those
// that stand there, and nobody else is disturbed.
func TestChorusTrouble(t *testing.T) {
	for name, harm := range map[string]func(*segment){
		"read fails":  func(g *segment) { g.inject(errLinkDown) },
		"write fails": func(g *segment) { g.set(func() { g.write = errLinkGone }) },
		"open fails":  func(g *segment) { g.set(func() { g.refuse = errNotAllowed }); g.inject(errLinkDown) },
	} {
		t.Run(name, func(t *testing.T) {
			g := newSegment()
			c := newChorus(t, g, nil)
			sing(t, c, g)
			c.Set([]Announcement{voice(vip4), voice(vip6)})
			eventually(t, "open", func() bool { _, _, open := g.count(); return open == 2 })
			_, before, _ := g.count()
			harm(g)
			eventually(t, "opened again", func() bool { _, opens, _ := g.count(); return opens > before })
			g.set(func() { g.write, g.refuse, g.sent = nil, nil, nil })
			eventually(t, "announced again", func() bool { return g.heard(vip4)() && g.heard(vip6)() })
		})
	}
}

func TestChorusLeavesOutWhatIsNoAddress(t *testing.T) {
	g := newSegment()
	c := newChorus(t, g, nil)
	sing(t, c, g)
	lo := LinkRef{Index: 1, Name: "lo"}
	c.Set([]Announcement{voice(netip.Addr{}), voice(netip.MustParseAddr("224.0.0.1")), voice(netip.MustParseAddr("fe80::1%eth0")),
		{Addr: nth(7), Link: lo}, voice(vip4)})
	eventually(t, "the good one", g.heard(vip4))
	for _, addr := range g.sentOf() {
		if addr != vip4 {
			t.Errorf("announced %v", addr)
		}
	}
}

// TestChorusLooksForItsSource: a link-local address that comes late is used from then on.
func TestChorusLooksForItsSource(t *testing.T) {
	g := newSegment()
	now := time.Hour
	c := newChorus(t, g, func(cfg *ServiceConfig) { cfg.Clock = func() time.Duration { return now } })
	c.linkLocal = func(int) netip.Addr { return netip.Addr{} }
	var readers sync.WaitGroup
	turn := func() []byte {
		now += time.Second
		c.turn(&readers)
		g.mu.Lock()
		defer g.mu.Unlock()
		return g.sent[len(g.sent)-1]
	}
	c.Set([]Announcement{voice(vip6)})
	if b := turn(); !slices.Equal(b[22:38], vip6.AsSlice()) {
		t.Errorf("without one the frame is from %x", b[22:38])
	}
	c.linkLocal = func(int) netip.Addr { return linkAddr }
	if b := turn(); !slices.Equal(b[22:38], linkAddr.AsSlice()) {
		t.Errorf("with one the frame is from %x", b[22:38])
	}
	c.shut()
	readers.Wait()
}

func TestNewChorusRefusesBadConfig(t *testing.T) {
	for name, cfg := range map[string]ServiceConfig{
		"interval": {Periodic: time.Millisecond}, "negative interval": {Periodic: -1}, "idle rate": {IdleRate: 1},
		"negative rate": {BurstRate: -1}, "burst below idle": {IdleRate: 100, BurstRate: 99},
	} {
		if _, err := NewServiceAnnouncer(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	c, err := NewServiceAnnouncer(ServiceConfig{})
	if err != nil || c.cfg.Periodic != DefaultPeriodic || c.cfg.IdleRate != DefaultIdleRate || c.cfg.BurstRate != DefaultBurstRate ||
		c.cfg.Log == nil || c.cfg.Clock == nil || c.cfg.Sent == nil || c.cfg.Listen == nil {
		t.Errorf("defaults: %+v, %v", c, err)
	}
}

// TestSpanFilter: two comparisons for any number of IPv4 addresses, every advertisement for
// IPv6.
func TestSpanFilter(t *testing.T) {
	below, above := netip.MustParseAddr("192.0.2.9"), netip.MustParseAddr("192.0.2.11")
	far := netip.MustParseAddr("203.0.113.1")
	for name, c := range map[string]struct {
		etherType uint16
		of        []netip.Addr
		frame     []byte
		pass      bool
	}{
		"alone":          {etherARP, []netip.Addr{vip4}, wireRequest, true},
		"between":        {etherARP, []netip.Addr{above, below}, wireReply, true},
		"lowest":         {etherARP, []netip.Addr{far, vip4}, wireRequest, true},
		"highest":        {etherARP, []netip.Addr{below, vip4}, wireRequest, true},
		"below":          {etherARP, []netip.Addr{above, far}, wireRequest, false},
		"above":          {etherARP, []netip.Addr{below}, wireRequest, false},
		"probe":          {etherARP, []netip.Addr{below, above}, wireARPProbe, false},
		"truncated":      {etherARP, []netip.Addr{vip4}, wireRequest[:30], false},
		"advertisement":  {etherIPv6, []netip.Addr{linkAddr}, wireNA, true},
		"solicitation":   {etherIPv6, []netip.Addr{vip6}, wireDAD, false},
		"not for ICMPv6": {etherIPv6, []netip.Addr{vip6}, patch(wireNA, 20, 17), false},
	} {
		var s span
		for _, a := range c.of {
			s = s.with(a)
		}
		raw, err := spanFilter(c.etherType, s)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		vm, err := virtual(raw)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if n, err := vm.Run(c.frame); err != nil || (n > 0) != c.pass {
			t.Errorf("%s: %d bytes pass, %v, want pass %v", name, n, err, c.pass)
		}
	}
}
