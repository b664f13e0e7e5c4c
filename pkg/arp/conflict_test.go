package arp

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/assignment"
)

// from returns a copy of a frame with mac1 replaced everywhere.
func from(mac net.HardwareAddr, frame []byte) []byte {
	c := slices.Clone(frame)
	for i := 0; i+6 <= len(c); i++ {
		if slices.Equal(c[i:i+6], []byte(mac1)) {
			copy(c[i:], mac)
		}
	}
	return c
}

// newDetector returns a conflictDetector of vip4 on a link with mac1.
func newDetector(clock *fakeClock) *conflictDetector {
	d := newConflictDetector(clock.time)
	d.hostMACs = func() ([]net.HardwareAddr, error) { return nil, nil }
	d.watch(map[netip.Addr]assignment.Assignment{vip4: announced(vip4)},
		map[hardware]bool{hardware(mac1): true})
	return d
}

func TestConflicts(t *testing.T) {
	g := newSegment()
	c := ready(t, g, nil)
	for _, one := range []struct {
		frame []byte
		vip   netip.Addr
	}{{from(mac2, wireRequest), vip4}, {from(mac2, wireNA), vip6}} {
		g.inject(from(mac1, one.frame)) // this host's own echo comes first and must not be reported
		g.inject(one.frame)
		got := <-c.Conflicts()
		if got.Addr != one.vip || got.MAC.String() != mac2.String() || got.At <= 0 {
			t.Errorf("reported %+v, want %v at %v", got, one.vip, mac2)
		}
	}
}

// TestE9OwnMACsAreIgnored: frames with the MAC of any link of this host, even of one that appeared
// just now, and frames that a link of this host forwarded, are ignored.
func TestE9OwnMACsAreIgnored(t *testing.T) {
	clock := &fakeClock{now: time.Hour}
	d := newDetector(clock)
	var links []net.HardwareAddr
	d.hostMACs = func() ([]net.HardwareAddr, error) { return links, nil }
	bridge := net.HardwareAddr{2, 0, 0, 0, 0, 9}
	links = append(links, bridge, net.HardwareAddr{1, 2}) // one of them is not Ethernet
	d.receive(wireRequest)
	d.receive(from(bridge, wireRequest))
	d.receive(patch(from(mac2, wireRequest), 6, bridge...))
	if len(d.out) != 0 {
		t.Fatalf("own frame reported as %+v", <-d.out)
	}
	late := net.HardwareAddr{2, 0, 0, 0, 0, 10}
	links = append(links, late)
	clock.add(listInterval)
	d.receive(from(late, wireRequest))
	if len(d.out) != 0 {
		t.Fatalf("frame of a new link reported as %+v", <-d.out)
	}
	d.hostMACs = func() ([]net.HardwareAddr, error) { return nil, errors.New("no netlink") }
	clock.add(listInterval)
	d.receive(from(mac2, wireRequest))
	if len(d.out) != 1 {
		t.Fatal("a foreign claim was not reported because the links could not be listed")
	}
}

// TestNewLinkListsAgain: the MACs of this host are listed again at once when the links in use
// change.
func TestNewLinkListsAgain(t *testing.T) {
	d := newDetector(&fakeClock{now: time.Hour})
	d.receive(from(mac2, wireRequest)) // lists
	<-d.out
	bond := net.HardwareAddr{2, 0, 0, 0, 0, 11}
	d.hostMACs = func() ([]net.HardwareAddr, error) { return []net.HardwareAddr{bond}, nil }
	d.watch(map[netip.Addr]assignment.Assignment{vip4: announced(vip4)},
		map[hardware]bool{hardware(mac2): true})
	d.receive(from(mac2, wireRequest))
	d.receive(from(bond, wireRequest))
	if len(d.out) != 0 {
		t.Fatalf("own frame reported as %+v", <-d.out)
	}
}

// TestFloodNeverBlocks: without a reader of the channel, the reader of the socket goes on. Claims
// by one MAC within claimInterval are one.
func TestFloodNeverBlocks(t *testing.T) {
	clock := &fakeClock{now: time.Hour}
	d := newDetector(clock)
	d.receive(from(mac2, wireRequest))
	d.receive(from(mac2, wireReply))
	if len(d.out) != 1 {
		t.Fatalf("%d conflicts with one claimant within %v", len(d.out), claimInterval)
	}
	clock.add(claimInterval)
	d.receive(from(mac2, wireRequest))
	if len(d.out) != 2 {
		t.Fatalf("%d conflicts after %v", len(d.out), claimInterval)
	}
	for i := range 3 * recentMax {
		d.receive(from(net.HardwareAddr{6, 0, 0, 0, byte(i >> 8), byte(i)}, wireRequest))
	}
	if len(d.recent) > recentMax || len(d.out) != cap(d.out) {
		t.Errorf("%d remembered, %d waiting", len(d.recent), len(d.out))
	}
}

// TestMalformedFrames: frames that are too short or malformed do not end the reader.
func TestMalformedFrames(t *testing.T) {
	g := newSegment()
	c := ready(t, g, nil)
	for cut := range len(wireRequest) {
		g.set(func() {
			for _, conn := range g.open {
				conn.in <- wireRequest[:cut] // not filtered
			}
		})
		time.Sleep(10 * time.Microsecond)
	}
	g.inject(from(mac2, wireRequest))
	if got := <-c.Conflicts(); got.Addr != vip4 {
		t.Errorf("reported %+v", got)
	}
	if _, opens, _ := g.count(); opens != 2 {
		t.Errorf("sockets opened %d times", opens)
	}
}
