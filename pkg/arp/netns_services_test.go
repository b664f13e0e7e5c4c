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

	"github.com/kvip/kvip/pkg/assignment"
	"github.com/kvip/kvip/test/testutil"
)

// neighboursAt counts the neighbours that the kernel of h has at a MAC.
func (h *host) neighboursAt(mac net.HardwareAddr) int {
	return strings.Count(h.ip("neigh show dev eth0"), "lladdr "+mac.String())
}

// TestNeighboursLearnManyAddresses: the kernel of another host that has an old MAC for 500
// addresses of both families takes the new one for all. Addresses that are removed or Silent are
// not announced (S8), and the other host's claim of a Silent one is reported (S3).
func TestNeighboursLearnManyAddresses(t *testing.T) {
	a, b := pair(t)
	const n = 500
	var all []assignment.Assignment
	var stale strings.Builder
	for i := range n {
		addr := netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}) // of b's networks
		if i >= 250 {
			addr = netip.AddrFrom16([16]byte{0x20, 1, 0x0d, 0xb8, 13: 1, 14: byte(i >> 8), 15: byte(i)})
		}
		if i < 3 {
			addr = netip.AddrFrom4([4]byte{192, 0, 2, byte(250 + i)})
		}
		all = append(all, assignment.Assignment{Addr: addr, Link: a.link, State: assignment.Announced})
		fmt.Fprintf(&stale, "neigh replace %v lladdr 02:00:00:00:00:99 dev eth0 nud stale\n", addr)
	}
	batch := filepath.Join(t.TempDir(), "stale")
	if err := os.WriteFile(batch, []byte(stale.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	b.ip("-batch " + batch)
	c, _ := hostAnnouncer(t, a, ServicePacing())
	c.Set(all)
	testutil.Eventually(t, "all of them moved", func() bool { return b.neighboursAt(a.link.MAC) >= n })

	// The first is removed and the second becomes Silent: both keep the MAC of another host.
	all[1].State = assignment.Silent
	c.Set(all[1:])
	b.ip("-batch " + batch)
	c2 := newCounter(t, b, all)
	for _, v := range all {
		c.Defend(v.Addr)
	}
	testutil.Eventually(t, "the defended ones moved again",
		func() bool { return b.neighboursAt(a.link.MAC) >= n-2 })
	if dropped, silent, other := c2.of(all[0].Addr), c2.of(all[1].Addr),
		c2.of(all[2].Addr); dropped != 0 || silent != 0 || other == 0 {
		t.Errorf("%d frames of the dropped, %d of the silent and %d of another address", dropped, silent,
			other)
	}

	other, _ := hostAnnouncer(t, b, ServicePacing())
	var claimed []assignment.Assignment
	for _, i := range []int{0, 1, n - 1} {
		claimed = append(claimed,
			assignment.Assignment{Addr: all[i].Addr, Link: b.link, State: assignment.Announced})
	}
	other.Set(claimed)
	seen := map[netip.Addr]string{}
	testutil.Eventually(t, "two conflicts", func() bool {
		for len(c.Conflicts()) > 0 {
			s := <-c.Conflicts()
			seen[s.Addr] = s.MAC.String()
		}
		return len(seen) >= 2
	})
	if mac := b.link.MAC.String(); seen[all[1].Addr] != mac || seen[all[n-1].Addr] != mac {
		t.Errorf("reported %v, want the silent one and the last at %s", seen, mac)
	}
}

// counter counts the claims that reach a host.
type counter struct {
	mu     sync.Mutex
	claims map[netip.Addr]int
}

func newCounter(t *testing.T, h *host, all []assignment.Assignment) *counter {
	t.Helper()
	n := &counter{claims: map[netip.Addr]int{}}
	var readers sync.WaitGroup
	t.Cleanup(readers.Wait)
	for _, family := range []uint16{etherARP, etherIPv6} {
		var addrs []netip.Addr
		for _, one := range all {
			addrs = append(addrs, one.Addr)
		}
		program, err := filter(family, addrs)
		if err != nil {
			t.Fatal(err)
		}
		var conn Conn
		if err := h.ns.Do(func() error {
			conn, err = Listen(h.link, family, program)
			return err
		}); err != nil {
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
