package arp

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/kvip/kvip/test/testutil"
)

// neighbour answers probes for vips as a host at mac that has them does.
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
	both := []netip.Addr{vip4, vip6}
	for name, c := range map[string]struct {
		respond func([]byte) [][]byte
		addrs   []netip.Addr
		want    map[netip.Addr]net.HardwareAddr
		probes  int // frames sent
	}{
		"no answer": {nil, both, nil, 6},
		"both answered": {neighbour(mac2, both...), both,
			map[netip.Addr]net.HardwareAddr{vip4: mac2, vip6: mac2}, 2},
		"one answered": {neighbour(mac2, vip6), both, map[netip.Addr]net.HardwareAddr{vip6: mac2},
			6},
		"only one is probed": {neighbour(mac2, both...), both[:1],
			map[netip.Addr]net.HardwareAddr{vip4: mac2}, 1},
		"only our own echoes": {neighbour(mac1, both...), both, nil, 6},
	} {
		t.Run(name, func(t *testing.T) {
			g := newSegment()
			g.respond = c.respond
			a := ready(t, g, nil)
			got, err := a.Probe(context.Background(), c.addrs, 0)
			if err != nil || len(got) != len(c.want) {
				t.Fatalf("%v, %v; want %v", got, err, c.want)
			}
			for vip, mac := range c.want {
				if got[vip].String() != mac.String() {
					t.Errorf("%v answered by %v, want %v", vip, got[vip], mac)
				}
			}
			// An early return may race with the later probes on a slow machine.
			if sent, _, _ := g.count(); sent > 3*len(c.addrs) || len(c.want) < len(c.addrs) &&
				sent < c.probes {
				t.Errorf("%d probes, want %d", sent, c.probes)
			}
			if len(a.conflicts.probes) != 0 {
				t.Error("the probe was not removed")
			}
		})
	}
}

func TestProbeThatCannotSend(t *testing.T) {
	g := newSegment()
	c := newControlPlane(t, g, nil)
	if _, err := c.Probe(context.Background(), c.vips, 0); err == nil {
		t.Error("probed without Run")
	}
	run(t, c.Announcer, g)
	if _, err := c.Probe(context.Background(), c.vips, 0); !errors.Is(err, errNoLink) {
		t.Errorf("without a link: %v", err)
	}
	c.SetLink(testLink)
	if _, err := c.Probe(context.Background(), []netip.Addr{nth(3)}, 0); !errors.Is(err, errNoLink) {
		t.Errorf("an address that is not Set: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if got, err := c.Probe(ctx, c.vips, 0); !errors.Is(err, context.Canceled) || got == nil {
		t.Errorf("cancelled: %v, %v", got, err)
	}
	g.set(func() { g.write = errLinkGone })
	if _, err := c.Probe(context.Background(), c.vips, 0); !errors.Is(err, errLinkGone) {
		t.Errorf("write fails: %v", err)
	}
	g.set(func() { g.refuse = errNotAllowed })
	testutil.Eventually(t, "open fails", func() bool {
		_, err := c.Probe(context.Background(), c.vips, 0)
		return errors.Is(err, errNotAllowed)
	})
	g.set(func() { g.write, g.refuse = nil, nil })
	if got, err := c.Probe(context.Background(), c.vips, 0); err != nil || len(got) != 0 {
		t.Errorf("after a failure Probe does not reopen the sockets: %v, %v", got, err)
	}
}
