package arp

import (
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/assignment"
	"github.com/kvip/kvip/pkg/link"
	"github.com/kvip/kvip/test/testutil"
)

// TestServiceFrames: addresses of Services are announced with the frames of the control plane, and
// all frames are counted.
func TestServiceFrames(t *testing.T) {
	g := newSegment()
	var mu sync.Mutex
	var kinds []string
	a := newAnnouncer(t, g, func(cfg *Config) {
		cfg.Sent = func(addr netip.Addr, kind string) {
			mu.Lock()
			defer mu.Unlock()
			kinds = append(kinds, addr.String()+" "+kind)
		}
	})
	run(t, a, g)
	a.Set([]assignment.Assignment{announced(netip.MustParseAddr("::ffff:192.0.2.10")),
		announced(vip6)})
	for _, want := range [][]byte{wireRequest, wireReply, wireNA} {
		testutil.Eventually(t, "the frame", func() bool {
			g.mu.Lock()
			defer g.mu.Unlock()
			return slices.ContainsFunc(g.sent, func(b []byte) bool { return slices.Equal(b, want) })
		})
	}
	mu.Lock()
	defer mu.Unlock()
	for _, want := range []string{"192.0.2.10 arp-request", "192.0.2.10 arp-reply",
		"2001:db8::10 na"} {
		if !slices.Contains(kinds, want) {
			t.Errorf("%s was not counted: %q", want, kinds)
		}
	}
}

// TestOneQueueForAllLinks: each link and family has a socket while an address needs it.
func TestOneQueueForAllLinks(t *testing.T) {
	g := newSegment()
	a := newAnnouncer(t, g, nil)
	run(t, a, g)
	other := link.Link{Index: 8, Name: "eth8", MAC: mac1}
	addr1, addr2 := netip.MustParseAddr("192.0.2.11"), netip.MustParseAddr("192.0.2.12")
	noLink := assignment.Assignment{Addr: netip.MustParseAddr("192.0.2.13"),
		State: assignment.Announced}
	on := func(l link.Link, addr netip.Addr) assignment.Assignment {
		return assignment.Assignment{Addr: addr, Link: l, State: assignment.Announced}
	}
	if _, opens, _ := g.count(); opens != 0 {
		t.Fatalf("%d sockets without an address", opens)
	}
	a.Set([]assignment.Assignment{announced(vip4), announced(addr1), on(other, addr2), announced(vip6),
		noLink})
	testutil.Eventually(t, "3 sockets", g.isOpen(3))
	for _, addr := range []netip.Addr{vip4, addr1, addr2, vip6} {
		testutil.Eventually(t, "an announcement", g.hasAnnounced(addr))
	}
	a.Set([]assignment.Assignment{announced(vip4)})
	testutil.Eventually(t, "1 socket", g.isOpen(1))
	g.set(func() { g.sent = nil })
	a.Set([]assignment.Assignment{on(other, vip4)}) // another link: a burst there
	testutil.Eventually(t, "announced there", g.hasAnnounced(vip4))
	testutil.Eventually(t, "1 socket", g.isOpen(1))
	a.Set(nil)
	testutil.Eventually(t, "no socket", g.isOpen(0))
}

// TestS8SetIsSynchronous: when Set has returned, no frame leaves of an address that was removed or
// is Silent. One that is Announced again gets a burst.
func TestS8SetIsSynchronous(t *testing.T) {
	g := newSegment()
	a := newAnnouncer(t, g, nil)
	run(t, a, g)
	var all, quiet []assignment.Assignment
	for i := range 300 {
		all, quiet = append(all, announced(nth(i))), append(quiet, silent(nth(i)))
	}
	for round := range 20 {
		a.Set(all)
		time.Sleep(time.Millisecond)
		a.Set([][]assignment.Assignment{nil, quiet}[round%2])
		after := g.sentDuring(func() {
			a.wake.Notify()
			time.Sleep(12 * time.Millisecond) // more than a pause of the rate limiter
		})
		if after != 0 {
			t.Fatalf("%d frames after Set", after)
		}
	}
	g.set(func() { g.sent = nil })
	a.Set(all)
	testutil.Eventually(t, "all of them", func() bool {
		seen := map[netip.Addr]bool{}
		for _, addr := range g.announced() {
			seen[addr] = true
		}
		return len(seen) == len(all)
	})
}

// TestS3ConflictsOfManyAddresses: claims by others of Announced and of Silent addresses are
// reported. Claims by this host, and of other addresses, are ignored.
func TestS3ConflictsOfManyAddresses(t *testing.T) {
	for name, plain := range map[string]bool{"with SetBPF": false, "reopened": true} {
		t.Run(name, func(t *testing.T) {
			g := newSegment()
			a := newAnnouncer(t, g, func(cfg *Config) {
				if plain {
					cfg.Listen = g.listenPlain
				}
			})
			run(t, a, g)
			low, high := netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("192.0.2.200")
			a.Set([]assignment.Assignment{announced(low), announced(vip6)})
			testutil.Eventually(t, "open", g.isOpen(2))
			a.Set([]assignment.Assignment{announced(low), silent(vip4), announced(high), announced(vip6)})
			for _, addr := range []netip.Addr{vip4, high, low, vip6} {
				got := conflictOf(t, a, g, addr)
				if got.MAC.String() != mac2.String() || got.At <= 0 {
					t.Errorf("reported %+v", got)
				}
			}
			if slices.Contains(g.announced(), vip4) {
				t.Error("a silent address was announced")
			}
			a.Set(nil)
			for len(a.Conflicts()) > 0 {
				<-a.Conflicts()
			}
			a.conflicts.receive(from(mac2, wireRequest))
			if len(a.Conflicts()) != 0 {
				t.Errorf("an address that is not assigned is reported: %+v", <-a.Conflicts())
			}
		})
	}
}

// conflictOf has mac2 claim addr until that is reported, among claims that must not be.
func conflictOf(t *testing.T, a *Announcer, g *segment, addr netip.Addr) (got Conflict) {
	t.Helper()
	claim := func(addr netip.Addr, mac net.HardwareAddr) {
		frames, err := announcement(addr, mac, linkAddr)
		if err != nil {
			t.Fatal(err)
		}
		g.inject(frames[0].bytes)
	}
	testutil.Eventually(t, "a conflict", func() bool {
		claim(addr, mac1)
		claim(netip.MustParseAddr("192.0.2.77"), mac2)
		claim(addr, mac2)
		select {
		case got = <-a.Conflicts():
			return got.Addr == addr // or a late one of the address before
		case <-time.After(20 * time.Millisecond):
			return false
		}
	})
	return got
}

// TestS3DefendAnnouncesOnce: a defence is one announcement, at most once a second.
func TestS3DefendAnnouncesOnce(t *testing.T) {
	g := newSegment()
	clock := &fakeClock{now: time.Hour}
	a := newAnnouncer(t, g, func(cfg *Config) { cfg.Clock = clock.time })
	run(t, a, g)
	sent := func(n int) func() bool {
		return func() bool { sent, _, _ := g.count(); return sent == n }
	}
	a.Defend(vip4) // not assigned
	a.Set([]assignment.Assignment{announced(vip4)})
	testutil.Eventually(t, "the first frames", sent(2))
	clock.add(time.Minute) // beyond the burst
	a.wake.Notify()
	testutil.Eventually(t, "the last of the burst", sent(4))
	clock.add(time.Second)
	for range 5 {
		a.Defend(vip4)
	}
	testutil.Eventually(t, "the defence", sent(6))
	a.Defend(vip4)
	time.Sleep(5 * time.Millisecond)
	if !sent(6)() {
		n, _, _ := g.count()
		t.Errorf("%d frames; want no second defence in a second", n)
	}
}

// TestServiceSocketTrouble: reads and writes that fail lead to new sockets and a new burst of the
// addresses there.
func TestServiceSocketTrouble(t *testing.T) {
	for name, harm := range map[string]func(*segment){
		"read fails":  func(g *segment) { g.inject(errLinkDown) },
		"write fails": func(g *segment) { g.set(func() { g.write = errLinkGone }) },
		"open fails": func(g *segment) {
			g.set(func() { g.refuse = errNotAllowed })
			g.inject(errLinkDown)
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := newSegment()
			a := newAnnouncer(t, g, nil)
			run(t, a, g)
			a.Set([]assignment.Assignment{announced(vip4), announced(vip6)})
			testutil.Eventually(t, "open", g.isOpen(2))
			_, before, _ := g.count()
			harm(g)
			testutil.Eventually(t, "reopened",
				func() bool { _, opens, _ := g.count(); return opens > before })
			g.set(func() { g.write, g.refuse, g.sent = nil, nil, nil })
			testutil.Eventually(t, "announced again",
				func() bool { return g.hasAnnounced(vip4)() && g.hasAnnounced(vip6)() })
		})
	}
}
