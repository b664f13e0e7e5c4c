package arp

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/kvip/kvip/test/testutil"
	"golang.org/x/net/bpf"
)

// host is a network namespace with one end of a veth pair, eth0.
type host struct {
	t    *testing.T
	ns   *testutil.Netns
	link LinkRef
}

// ip runs iproute2 in the host.
func (h *host) ip(args string) string {
	h.t.Helper()
	var out []byte
	err := h.ns.Do(func() (err error) {
		out, err = exec.Command("ip", strings.Fields(args)...).CombinedOutput()
		return err
	})
	if err != nil {
		h.t.Fatalf("ip %s: %v: %s", args, err, out)
	}
	return string(out)
}

// plug (re)connects two hosts with a new veth pair and gives h the addresses.
func plug(a, b *host) {
	a.ip("link add eth0 type veth peer name peer0")
	a.ip("link set peer0 netns " + b.ns.Path())
	b.ip("link set peer0 name eth0")
	for _, h := range []*host{a, b} {
		h.ip("link set eth0 addrgenmode none")
		h.ip("link set eth0 up")
		err := h.ns.Do(func() error {
			link, err := net.InterfaceByName("eth0")
			if err == nil {
				h.link = LinkRef{Index: link.Index, Name: link.Name, MAC: link.HardwareAddr}
			}
			return err
		})
		if err != nil {
			h.t.Fatal(err)
		}
	}
}

// pair returns two hosts on one wire; the second has addresses on the VIPs' networks.
func pair(t *testing.T) (a, b *host) {
	t.Helper()
	a, b = &host{t: t, ns: testutil.NewNetns(t)}, &host{t: t, ns: testutil.NewNetns(t)}
	plug(a, b)
	b.ip("addr add 192.0.2.1/24 dev eth0")
	b.ip("addr add 2001:db8::1/64 dev eth0 nodad")
	return a, b
}

// countingConn counts what a socket receives.
type countingConn struct {
	Conn
	received *atomic.Int64
}

func (c countingConn) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := c.Conn.ReadFrom(b)
	if err == nil {
		c.received.Add(1)
	}
	return n, from, err
}

// speak runs a speaker with real sockets on a host.
func speak(t *testing.T, h *host) (*VIPAnnouncer, *atomic.Int64) {
	t.Helper()
	var received atomic.Int64
	s := newSpeaker(t, newSegment(), func(c *Config) {
		c.Listen = func(l LinkRef, etherType uint16, filter []bpf.RawInstruction) (conn Conn, err error) {
			err = h.ns.Do(func() error { conn, err = listen(l, etherType, filter); return err })
			return countingConn{conn, &received}, err
		}
	})
	s.ear.macs = func() (macs []net.HardwareAddr, err error) {
		err = h.ns.Do(func() error { macs, err = hostMACs(); return err })
		return macs, err
	}
	s.linkLocal = func(index int) (a netip.Addr) {
		if err := h.ns.Do(func() error { a = linkLocal(index); return nil }); err != nil {
			t.Error(err)
		}
		return a
	}
	s.SetLink(h.link)
	run(t, s, nil)
	eventually(t, "sockets open", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.sockets != nil })
	return s, &received
}

// knows tells whether the kernel of h has a VIP at a MAC in its neighbour table.
func (h *host) knows(vip netip.Addr, mac net.HardwareAddr) func() bool {
	return func() bool { return strings.Contains(h.ip("neigh show "+vip.String()), "lladdr "+mac.String()) }
}

// TestNeighboursMove: the kernel of another host that has an old MAC for the VIPs takes
// the new one from our frames, v4 and v6, with and without a link-local address.
func TestNeighboursMove(t *testing.T) {
	for _, withLinkLocal := range []bool{false, true} {
		t.Run(fmt.Sprintf("link-local %v", withLinkLocal), func(t *testing.T) {
			a, b := pair(t)
			if withLinkLocal {
				a.ip("addr add fe80::77/64 dev eth0 nodad")
			}
			for _, vip := range []netip.Addr{vip4, vip6} {
				b.ip(fmt.Sprintf("neigh replace %v lladdr 02:00:00:00:00:99 dev eth0 nud reachable", vip))
			}
			s, _ := speak(t, a)
			s.Start(always)
			eventually(t, "IPv4 moved", b.knows(vip4, a.link.MAC))
			eventually(t, "IPv6 moved", b.knows(vip6, a.link.MAC))
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.source.IsValid() != withLinkLocal {
				t.Errorf("source %v", s.source)
			}
		})
	}
}

// TestProbeOfAKernel: a host that holds the VIPs, with the attributes of E10, answers
// for both families; one that lost them is silent.
func TestProbeOfAKernel(t *testing.T) {
	a, b := pair(t)
	s, _ := speak(t, a)
	b.ip("addr add 192.0.2.10/32 dev eth0 scope host valid_lft 60 preferred_lft 0 noprefixroute")
	b.ip("addr add 2001:db8::10/128 dev eth0 nodad valid_lft 60 preferred_lft 0 noprefixroute")
	eventually(t, "both VIPs answered", func() bool { // the first solicitation may meet a link that is just up
		got, err := s.Probe(context.Background(), 0)
		return err == nil && got[vip4].String() == b.link.MAC.String() && got[vip6].String() == b.link.MAC.String()
	})
	b.ip("addr del 192.0.2.10/32 dev eth0")
	b.ip("addr del 2001:db8::10/128 dev eth0")
	if got, err := s.Probe(context.Background(), 0); err != nil || len(got) != 0 {
		t.Errorf("answers from nobody: %v, %v", got, err)
	}
}

// TestTheKernelFiltersForUs: traffic that concerns no VIP, and requests of clients for
// the VIP, never wake us; the announcement of another host does.
func TestTheKernelFiltersForUs(t *testing.T) {
	a, b := pair(t)
	s, received := speak(t, a)
	a.ip("addr add 192.0.2.2/24 dev eth0")
	a.ip("addr add 192.0.2.10/32 dev eth0 scope host")
	a.ip("addr add 2001:db8::2/64 dev eth0 nodad")
	talk := func(address string) {
		err := b.ns.Do(func() error {
			c, err := net.Dial("udp", net.JoinHostPort(address, "9"))
			if err == nil {
				_, err = c.Write([]byte("x"))
				c.Close()
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, address := range []string{"192.0.2.2", "192.0.2.10", "192.0.2.77", "2001:db8::2", "2001:db8::77"} {
		talk(address)
	}
	eventually(t, "the client resolved the VIP", b.knows(vip4, a.link.MAC))
	if n := received.Load(); n != 0 {
		t.Errorf("woken %d times by frames that claim no VIP", n)
	}
	other, _ := speak(t, b)
	other.Start(always)
	seen := map[netip.Addr]string{}
	for len(seen) < 2 {
		sighting := <-s.Sightings()
		seen[sighting.VIP] = sighting.MAC.String()
	}
	if seen[vip4] != b.link.MAC.String() || seen[vip6] != b.link.MAC.String() {
		t.Errorf("saw %v, want %v", seen, b.link.MAC)
	}
}

// TestOtherVLANs: on a trunk the same address in another VLAN is somebody else's. Its claims are not
// heard, those of the link's own network are, untagged or with a priority alone.
func TestOtherVLANs(t *testing.T) {
	a, b := pair(t)
	a.ip("link set eth0 promisc on") // as with a bridge or a capture: a network card may filter VLANs itself
	s, _ := speak(t, a)
	tag := func(f frame, vid byte, mac net.HardwareAddr) []byte {
		tagged := append(append(append([]byte{}, f.bytes[:12]...), 0x81, 0, 0, vid), f.bytes[12:]...)
		copy(tagged[6:12], mac)
		return tagged
	}
	far, near := net.HardwareAddr{2, 0xde, 0xad, 0, 0, 7}, net.HardwareAddr{2, 0, 0, 0, 0, 0x11}
	send := func(vid byte, mac net.HardwareAddr) {
		err := b.ns.Do(func() error {
			for _, vip := range []netip.Addr{vip4, vip6} {
				frames, err := announcement(vip, mac, netip.Addr{})
				if err != nil {
					return err
				}
				conn, err := listen(b.link, etherARP, []bpf.RawInstruction{{Op: 6}}) // receives nothing
				if err != nil {
					return err
				}
				defer conn.Close()
				for _, f := range frames {
					if _, err := conn.WriteTo(tag(f, vid, mac), to(f.to)); err != nil {
						return err
					}
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	send(7, far)
	send(0, near)
	seen := map[netip.Addr]string{}
	for len(seen) < 2 {
		sighting := <-s.Sightings()
		if sighting.MAC.String() == far.String() {
			t.Fatalf("heard %v in another VLAN", sighting)
		}
		seen[sighting.VIP] = sighting.MAC.String()
	}
	if seen[vip4] != near.String() || seen[vip6] != near.String() {
		t.Errorf("saw %v, want %v", seen, near)
	}
}

// TestLinkFlapsAndIsMadeAnew: the speaker goes on after the link was down, and on a new
// link of the same name once it is told of it.
func TestLinkFlapsAndIsMadeAnew(t *testing.T) {
	a, b := pair(t)
	s, _ := speak(t, a)
	s.Start(always)
	a.ip("link set eth0 down")
	s.Defend(vip4) // writes into the link that is down
	a.ip("link set eth0 up")
	s.SetLink(a.link)
	stale := func() {
		b.ip("neigh replace 192.0.2.10 lladdr 02:00:00:00:00:99 dev eth0 nud reachable")
	}
	stale()
	eventually(t, "announced after the flap", b.knows(vip4, a.link.MAC))
	a.ip("link del eth0")
	plug(a, b)
	b.ip("addr add 192.0.2.1/24 dev eth0")
	stale()
	s.SetLink(a.link)
	eventually(t, "announced on the new link", b.knows(vip4, a.link.MAC))
}
