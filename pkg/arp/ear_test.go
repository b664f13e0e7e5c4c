package arp

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// from returns a frame with the claimant's MAC mac1 replaced everywhere it stands.
func from(mac net.HardwareAddr, frame []byte) []byte {
	c := slices.Clone(frame)
	for i := 0; i+6 <= len(c); i++ {
		if slices.Equal(c[i:i+6], []byte(mac1)) {
			copy(c[i:], mac)
		}
	}
	return c
}

func TestSightings(t *testing.T) {
	g := newSegment()
	s := ready(t, g, nil)
	for _, c := range []struct {
		frame []byte
		vip   netip.Addr
	}{{from(mac2, wireRequest), vip4}, {from(mac2, wireNA), vip6}} {
		g.inject(from(mac1, c.frame)) // our own echo, in front: it must not be the one seen
		g.inject(c.frame)
		got := <-s.Sightings()
		if got.VIP != c.vip || got.MAC.String() != mac2.String() || got.At <= 0 {
			t.Errorf("saw %+v, want %v at %v", got, c.vip, mac2)
		}
	}
}

// TestOwnMACsAreNoStrangers: E9, frames with the MAC of any link of this host, even one
// that appeared just now, and frames that a link of ours forwarded, are ignored.
func TestOwnMACsAreNoStrangers(t *testing.T) {
	now := time.Hour
	e := newEar([]netip.Addr{vip4}, func() time.Duration { return now })
	var links []net.HardwareAddr
	e.macs = func() ([]net.HardwareAddr, error) { return links, nil }
	e.setLink(mac1)
	bridge := net.HardwareAddr{2, 0, 0, 0, 0, 9}
	links = append(links, bridge)
	e.hear(wireRequest)
	e.hear(from(bridge, wireRequest))
	e.hear(patch(from(mac2, wireRequest), 6, bridge...))
	if len(e.out) != 0 {
		t.Fatalf("own frame seen as %+v", <-e.out)
	}
	late := net.HardwareAddr{2, 0, 0, 0, 0, 10}
	links = append(links, late)
	now += refreshGap
	e.hear(from(late, wireRequest))
	if len(e.out) != 0 {
		t.Fatalf("frame of a new link seen as %+v", <-e.out)
	}
	e.macs = func() ([]net.HardwareAddr, error) { return nil, errors.New("no netlink") }
	now += refreshGap
	e.hear(from(mac2, wireRequest))
	if len(e.out) != 1 {
		t.Fatal("a stranger went unseen because the links could not be listed")
	}
}

// TestFloodNeverBlocks: nobody reads, and the reader of the socket goes on; claims by
// one MAC within a moment are one.
func TestFloodNeverBlocks(t *testing.T) {
	now := time.Hour
	e := newEar([]netip.Addr{vip4}, func() time.Duration { return now })
	e.macs = func() ([]net.HardwareAddr, error) { return nil, nil }
	e.hear(from(mac2, wireRequest))
	e.hear(from(mac2, wireReply))
	if len(e.out) != 1 {
		t.Fatalf("%d sightings of one claimant in one moment", len(e.out))
	}
	now += sightingGap
	e.hear(from(mac2, wireRequest))
	if len(e.out) != 2 {
		t.Fatalf("%d sightings after a moment", len(e.out))
	}
	for i := range 3 * recentMax {
		e.hear(from(net.HardwareAddr{6, 0, 0, 0, byte(i >> 8), byte(i)}, wireRequest))
	}
	if len(e.recent) > recentMax || len(e.out) != cap(e.out) {
		t.Errorf("%d remembered, %d waiting", len(e.recent), len(e.out))
	}
}

// TestNonsenseEndsNothing: frames too short or malformed get past the reader.
func TestNonsenseEndsNothing(t *testing.T) {
	g := newSegment()
	s := ready(t, g, nil)
	for cut := range len(wireRequest) {
		g.mu.Lock()
		for _, c := range g.open {
			c.in <- wireRequest[:cut] // past the filter
		}
		g.mu.Unlock()
		time.Sleep(10 * time.Microsecond)
	}
	g.inject(from(mac2, wireRequest))
	if got := <-s.Sightings(); got.VIP != vip4 {
		t.Errorf("saw %+v", got)
	}
	if _, opens, _ := g.count(); opens != 2 {
		t.Errorf("sockets opened %d times", opens)
	}
}

// neighbour answers probes for the VIPs as a host at mac that has them does.
func neighbour(mac net.HardwareAddr, vips ...netip.Addr) func([]byte) [][]byte {
	return func(b []byte) [][]byte {
		switch {
		case slices.Equal(b, wireARPProbe) && slices.Contains(vips, vip4):
			return [][]byte{from(mac, wireReply)}
		case slices.Equal(b, wireDAD) && slices.Contains(vips, vip6):
			return [][]byte{from(mac, wireNA)}
		}
		return nil
	}
}

func TestProbe(t *testing.T) {
	for name, c := range map[string]struct {
		respond func([]byte) [][]byte
		want    map[netip.Addr]net.HardwareAddr
		probes  int // frames sent
	}{
		"silence":             {nil, nil, 6},
		"both answered":       {neighbour(mac2, vip4, vip6), map[netip.Addr]net.HardwareAddr{vip4: mac2, vip6: mac2}, 2},
		"one answered":        {neighbour(mac2, vip6), map[netip.Addr]net.HardwareAddr{vip6: mac2}, 6},
		"only our own echoes": {neighbour(mac1, vip4, vip6), nil, 6},
	} {
		t.Run(name, func(t *testing.T) {
			g := newSegment()
			g.respond = c.respond
			s := ready(t, g, nil)
			got, err := s.Probe(context.Background(), 0)
			if err != nil || len(got) != len(c.want) {
				t.Fatalf("%v, %v; want %v", got, err, c.want)
			}
			for vip, mac := range c.want {
				if got[vip].String() != mac.String() {
					t.Errorf("%v answered by %v, want %v", vip, got[vip], mac)
				}
			}
			// An early return may race with the later probes on a slow machine.
			if sent, _, _ := g.count(); sent > 6 || len(c.want) < 2 && sent < c.probes {
				t.Errorf("%d probes, want %d", sent, c.probes)
			}
			if len(s.ear.probes) != 0 {
				t.Error("the inquiry was left behind")
			}
		})
	}
}

func TestProbeThatCannotAsk(t *testing.T) {
	g := newSegment()
	s := newSpeaker(t, g, nil)
	if _, err := s.Probe(context.Background(), 0); err == nil {
		t.Error("probed without Run")
	}
	run(t, s, g)
	eventually(t, "running", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.running })
	if _, err := s.Probe(context.Background(), 0); !errors.Is(err, errNoLink) {
		t.Errorf("without a link: %v", err)
	}
	s.SetLink(testLink)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if got, err := s.Probe(ctx, 0); !errors.Is(err, context.Canceled) || got == nil {
		t.Errorf("cancelled: %v, %v", got, err)
	}
	g.set(func() { g.write = errLinkGone })
	if _, err := s.Probe(context.Background(), 0); !errors.Is(err, errLinkGone) {
		t.Errorf("write fails: %v", err)
	}
}
