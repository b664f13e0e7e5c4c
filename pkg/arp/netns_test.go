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

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"

	"github.com/kvip/kvip/pkg/assignment"
	"github.com/kvip/kvip/pkg/link"
	"github.com/kvip/kvip/test/testutil"
)

// host is a network namespace with one end of a veth pair, eth0.
type host struct {
	t    *testing.T
	ns   *testutil.Netns
	link link.Link
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
			device, err := net.InterfaceByName("eth0")
			if err == nil {
				h.link = link.Link{Index: device.Index, Name: device.Name, MAC: device.HardwareAddr}
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
	*packet.Conn
	received *atomic.Int64
}

func (c countingConn) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := c.Conn.ReadFrom(b)
	if err == nil {
		c.received.Add(1)
	}
	return n, from, err
}

// hostAnnouncer returns an Announcer with real sockets on a host, and how many frames it received.
func hostAnnouncer(t *testing.T, h *host, p Pacing) (*Announcer, *atomic.Int64) {
	t.Helper()
	var received atomic.Int64
	a := newAnnouncer(t, newSegment(), func(cfg *Config) {
		cfg.Pacing = p
		cfg.Listen = func(l link.Link, etherType uint16, filter []bpf.RawInstruction) (conn Conn,
			err error) {
			err = h.ns.Do(func() error { conn, err = Listen(l, etherType, filter); return err })
			if err != nil {
				return nil, err
			}
			return countingConn{conn.(*packet.Conn), &received}, nil
		}
	})
	a.conflicts.hostMACs = func() (macs []net.HardwareAddr, err error) {
		err = h.ns.Do(func() error { macs, err = link.HostMACs(); return err })
		return macs, err
	}
	a.linkLocal = func(index int) (addr netip.Addr) {
		if err := h.ns.Do(func() error { addr = link.LinkLocal(index); return nil }); err != nil {
			t.Error(err)
		}
		return addr
	}
	run(t, a, newSegment())
	return a, &received
}

// announcer runs a control plane with real sockets on a host.
func announcer(t *testing.T, h *host) (*controlPlane, *atomic.Int64) {
	t.Helper()
	a, received := hostAnnouncer(t, h, ControlPlanePacing())
	c := &controlPlane{Announcer: a, vips: []netip.Addr{vip4, vip6}, state: assignment.Silent}
	c.SetLink(h.link)
	for _, s := range a.sockets {
		if s.conn == nil {
			t.Fatal("a socket is not open when Set has returned")
		}
	}
	return c, received
}

// knows returns a condition: the kernel of h has a VIP at a MAC in its neighbour table.
func (h *host) knows(vip netip.Addr, mac net.HardwareAddr) func() bool {
	return func() bool {
		return strings.Contains(h.ip("neigh show "+vip.String()), "lladdr "+mac.String())
	}
}

// TestNeighboursMove: the kernel of another host that has an old MAC for the VIPs takes the new one
// from the frames, IPv4 and IPv6, with and without a link-local address.
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
			s, _ := announcer(t, a)
			s.Start()
			testutil.Eventually(t, "IPv4 moved", b.knows(vip4, a.link.MAC))
			testutil.Eventually(t, "IPv6 moved", b.knows(vip6, a.link.MAC))
			s.mu.Lock()
			defer s.mu.Unlock()
			for key, socket := range s.sockets {
				if key.etherType == etherIPv6 && socket.source.IsValid() != withLinkLocal {
					t.Errorf("source %v", socket.source)
				}
			}
		})
	}
}

// TestProbeOfAKernel: a host that has the VIPs, with the attributes of E10, answers for both
// families. One that lost them does not answer.
func TestProbeOfAKernel(t *testing.T) {
	a, b := pair(t)
	s, _ := announcer(t, a)
	b.ip("addr add 192.0.2.10/32 dev eth0 scope host valid_lft 60 preferred_lft 0 noprefixroute")
	b.ip("addr add 2001:db8::10/128 dev eth0 nodad valid_lft 60 preferred_lft 0 noprefixroute")
	// the first solicitation may meet a link that is just up
	testutil.Eventually(t, "both VIPs answered", func() bool {
		got, err := s.Probe(context.Background(), s.vips, 0)
		return err == nil && got[vip4].String() == b.link.MAC.String() &&
			got[vip6].String() == b.link.MAC.String()
	})
	b.ip("addr del 192.0.2.10/32 dev eth0")
	b.ip("addr del 2001:db8::10/128 dev eth0")
	if got, err := s.Probe(context.Background(), s.vips, 0); err != nil || len(got) != 0 {
		t.Errorf("answers without an owner: %v, %v", got, err)
	}
}

// TestKernelFilters: traffic that concerns no VIP, and requests of clients for the VIP, are not
// received. The announcement of another host is.
func TestKernelFilters(t *testing.T) {
	a, b := pair(t)
	s, received := announcer(t, a)
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
	for _, address := range []string{"192.0.2.2", "192.0.2.10", "192.0.2.77", "2001:db8::2",
		"2001:db8::77"} {
		talk(address)
	}
	testutil.Eventually(t, "the client resolved the VIP", b.knows(vip4, a.link.MAC))
	if n := received.Load(); n != 0 {
		t.Errorf("woken %d times by frames that claim no VIP", n)
	}
	other, _ := announcer(t, b)
	other.Start()
	seen := map[netip.Addr]string{}
	for len(seen) < 2 {
		conflict := <-s.Conflicts()
		seen[conflict.Addr] = conflict.MAC.String()
	}
	if seen[vip4] != b.link.MAC.String() || seen[vip6] != b.link.MAC.String() {
		t.Errorf("saw %v, want %v", seen, b.link.MAC)
	}
}

// TestOtherVLANs: on a trunk the same address in another VLAN belongs to another network. Its
// claims are ignored. Those of the link's own network are reported, untagged or with a priority
// alone.
func TestOtherVLANs(t *testing.T) {
	a, b := pair(t)
	// as with a bridge or a capture: a network card may filter VLANs itself
	a.ip("link set eth0 promisc on")
	s, _ := announcer(t, a)
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
				conn, err := Listen(b.link, etherARP, []bpf.RawInstruction{{Op: 6}}) // receives nothing
				if err != nil {
					return err
				}
				defer conn.Close()
				for _, f := range frames {
					if _, err := conn.WriteTo(tag(f, vid, mac), Address(f.to)); err != nil {
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
		conflict := <-s.Conflicts()
		if conflict.MAC.String() == far.String() {
			t.Fatalf("reported %v of another VLAN", conflict)
		}
		seen[conflict.Addr] = conflict.MAC.String()
	}
	if seen[vip4] != near.String() || seen[vip6] != near.String() {
		t.Errorf("saw %v, want %v", seen, near)
	}
}

// TestLinkFlapsAndIsRecreated: the announcements continue after the link was down, and on a new
// link of the same name after SetLink.
func TestLinkFlapsAndIsRecreated(t *testing.T) {
	a, b := pair(t)
	s, _ := announcer(t, a)
	s.Start()
	a.ip("link set eth0 down")
	s.Defend(vip4) // writes into the link that is down
	a.ip("link set eth0 up")
	s.SetLink(a.link)
	stale := func() {
		b.ip("neigh replace 192.0.2.10 lladdr 02:00:00:00:00:99 dev eth0 nud reachable")
	}
	stale()
	testutil.Eventually(t, "announced after the flap", b.knows(vip4, a.link.MAC))
	a.ip("link del eth0")
	plug(a, b)
	b.ip("addr add 192.0.2.1/24 dev eth0")
	stale()
	s.SetLink(a.link)
	testutil.Eventually(t, "announced on the new link", b.knows(vip4, a.link.MAC))
}
