package arp

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/bpf"
)

// perform runs a chorus with real sockets on a host.
func perform(t *testing.T, h *host) *ServiceAnnouncer {
	t.Helper()
	c := newChorus(t, newSegment(), func(cfg *ServiceConfig) {
		cfg.Listen = func(l LinkRef, etherType uint16, filter []bpf.RawInstruction) (conn Conn, err error) {
			err = h.ns.Do(func() error { conn, err = listen(l, etherType, filter); return err })
			return conn, err
		}
	})
	c.ear.macs = func() (macs []net.HardwareAddr, err error) {
		err = h.ns.Do(func() error { macs, err = hostMACs(); return err })
		return macs, err
	}
	c.linkLocal = func(index int) (a netip.Addr) {
		if err := h.ns.Do(func() error { a = linkLocal(index); return nil }); err != nil {
			t.Error(err)
		}
		return a
	}
	sing(t, c, newSegment())
	return c
}

// census counts the neighbours that the kernel of h has at a MAC.
func (h *host) census(mac net.HardwareAddr) int {
	return strings.Count(h.ip("neigh show dev eth0"), "lladdr "+mac.String())
}

// TestNeighboursLearnManyAddresses: the kernel of another host that has an old MAC for 500
// addresses of both families takes the new one for all; what is no longer wanted is silent
// (S8), and its claim by the other host is sighted (S3).
func TestNeighboursLearnManyAddresses(t *testing.T) {
	a, b := pair(t)
	const n = 500
	var voices []Announcement
	var stale strings.Builder
	for i := range n {
		addr := netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}) // of b's networks
		if i >= 250 {
			addr = netip.AddrFrom16([16]byte{0x20, 1, 0x0d, 0xb8, 13: 1, 14: byte(i >> 8), 15: byte(i)})
		}
		if i < 3 {
			addr = netip.AddrFrom4([4]byte{192, 0, 2, byte(250 + i)})
		}
		voices = append(voices, Announcement{Addr: addr, Link: a.link})
		fmt.Fprintf(&stale, "neigh replace %v lladdr 02:00:00:00:00:99 dev eth0 nud stale\n", addr)
	}
	batch := filepath.Join(t.TempDir(), "stale")
	if err := os.WriteFile(batch, []byte(stale.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	b.ip("-batch " + batch)
	c := perform(t, a)
	c.Set(voices)
	eventually(t, "all of them moved", func() bool { return b.census(a.link.MAC) >= n })

	// The first is dropped and the second falls silent: both stay where another host says.
	voices[1].Silent = true
	c.Set(voices[1:])
	b.ip("-batch " + batch)
	c2 := newCounter(t, b, voices)
	for _, v := range voices {
		c.Defend(v.Addr)
	}
	eventually(t, "the defended ones moved again", func() bool { return b.census(a.link.MAC) >= n-2 })
	if dropped, silent, other := c2.of(voices[0].Addr), c2.of(voices[1].Addr), c2.of(voices[2].Addr); dropped != 0 || silent != 0 || other == 0 {
		t.Errorf("%d frames of the dropped, %d of the silent and %d of another address", dropped, silent, other)
	}

	other := perform(t, b)
	other.Set([]Announcement{{Addr: voices[0].Addr, Link: b.link}, {Addr: voices[1].Addr, Link: b.link}, {Addr: voices[n-1].Addr, Link: b.link}})
	seen := map[netip.Addr]string{}
	eventually(t, "two sightings", func() bool {
		for len(c.Sightings()) > 0 {
			s := <-c.Sightings()
			seen[s.VIP] = s.MAC.String()
		}
		return len(seen) >= 2
	})
	if mac := b.link.MAC.String(); seen[voices[1].Addr] != mac || seen[voices[n-1].Addr] != mac {
		t.Errorf("saw %v, want the silent one and the last at %s", seen, mac)
	}
}

// counter counts the claims that reach a host.
type counter struct {
	mu     sync.Mutex
	claims map[netip.Addr]int
}

func newCounter(t *testing.T, h *host, voices []Announcement) *counter {
	t.Helper()
	n := &counter{claims: map[netip.Addr]int{}}
	var readers sync.WaitGroup
	t.Cleanup(readers.Wait)
	for _, family := range []uint16{etherARP, etherIPv6} {
		var s span
		for _, v := range voices {
			if v.Addr.Is4() == (family == etherARP) {
				s = s.with(v.Addr)
			}
		}
		program, err := spanFilter(family, s)
		if err != nil {
			t.Fatal(err)
		}
		var conn Conn
		if err := h.ns.Do(func() error { conn, err = listen(h.link, family, program); return err }); err != nil {
			t.Fatal(err)
		}
		readers.Go(func() { n.read(conn) })
		t.Cleanup(func() { conn.Close() })
	}
	return n
}

func (n *counter) read(conn Conn) {
	b := make([]byte, snapLen)
	for {
		length, _, err := conn.ReadFrom(b)
		if err != nil {
			return
		}
		if c, ok := decode(b[:length]); ok {
			n.mu.Lock()
			n.claims[c.addr]++
			n.mu.Unlock()
		}
	}
}

func (n *counter) of(addr netip.Addr) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.claims[addr]
}
