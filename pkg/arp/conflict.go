package arp

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/kvip/kvip/pkg/assignment"
	"github.com/kvip/kvip/pkg/boottime"
	"github.com/kvip/kvip/pkg/link"
)

const (
	// claimInterval merges repeated claims of one address by one MAC.
	claimInterval = 100 * time.Millisecond
	// listInterval bounds how often foreign MACs cause the links of this host to be listed. A
	// link younger than that can be taken for another host once.
	listInterval = 100 * time.Millisecond
	recentMax    = 1024 // a flood of invented MACs must not fill the memory
)

// conflictDetector evaluates the claims that the sockets receive: it reports those of other hosts,
// and answers pending probes with them.
type conflictDetector struct {
	clock    boottime.Clock
	hostMACs func() ([]net.HardwareAddr, error)
	out      chan Conflict

	mu     sync.Mutex
	addrs  map[netip.Addr]bool
	links  map[hardware]bool // MACs of the links in use, known before hostMACs lists them
	own    map[hardware]bool // MACs of this host, as hostMACs listed them
	listed time.Duration     // when it did, 0 for never
	recent map[claimant]time.Duration
	probes []*pendingProbe
}

// claimant is a host that claims an address.
type claimant struct {
	addr netip.Addr
	mac  hardware
}

func newConflictDetector(clock boottime.Clock) *conflictDetector {
	return &conflictDetector{
		clock: clock, hostMACs: link.HostMACs,
		out: make(chan Conflict, 1024), // a node that takes over claims very many addresses at once
		own: map[hardware]bool{}, recent: map[claimant]time.Duration{},
	}
}

// watch replaces the addresses whose claims matter, and the MACs of the links in use.
func (d *conflictDetector) watch(assigned map[netip.Addr]assignment.Assignment,
	links map[hardware]bool) {
	addrs := make(map[netip.Addr]bool, len(assigned))
	for addr := range assigned {
		addrs[addr] = true
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.addrs = addrs
	if !maps.Equal(d.links, links) {
		d.links, d.listed = links, 0
	}
}

// readFrom evaluates what a socket receives until the socket fails. Malformed frames are ignored.
func (d *conflictDetector) readFrom(conn Conn) error {
	b := make([]byte, snapLen)
	for {
		n, _, err := conn.ReadFrom(b)
		if n > 0 {
			d.receive(b[:n])
		}
		if err != nil {
			return fmt.Errorf("read packet socket: %w", err)
		}
	}
}

// receive evaluates one frame. It never blocks.
func (d *conflictDetector) receive(b []byte) {
	c, ok := decode(b)
	if !ok {
		return
	}
	now := d.clock()
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.addrs[c.addr] {
		return
	}
	if d.isOwn(c.mac, now) || d.isOwn(c.source, now) { // E9: own MACs and echoes are ignored
		return
	}
	for _, p := range d.probes {
		p.answer(c)
	}
	d.report(c, now)
}

func (d *conflictDetector) report(c claim, now time.Duration) {
	key := claimant{c.addr, c.mac}
	if last, ok := d.recent[key]; ok && now-last < claimInterval {
		return
	}
	if len(d.recent) >= recentMax {
		clear(d.recent)
	}
	d.recent[key] = now
	select {
	case d.out <- Conflict{Addr: c.addr, MAC: slices.Clone(c.mac[:]), At: now}:
	default: // no reader; the next claim reports the same
	}
}

// isOwn reports whether a MAC is one of this host's. It lists the links before it denies that.
func (d *conflictDetector) isOwn(mac hardware, now time.Duration) bool {
	if d.links[mac] || d.own[mac] {
		return true
	}
	if d.listed != 0 && now-d.listed < listInterval {
		return false
	}
	macs, err := d.hostMACs()
	if err != nil {
		return false
	}
	d.listed = now
	clear(d.own)
	for _, m := range macs {
		if len(m) == len(hardware{}) {
			d.own[hardware(m)] = true
		}
	}
	return d.own[mac]
}

// startProbe collects answers from now on.
func (d *conflictDetector) startProbe(p *pendingProbe) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.probes = append(d.probes, p)
}

// endProbe returns the answers, and collects no more.
func (d *conflictDetector) endProbe(p *pendingProbe) map[netip.Addr]net.HardwareAddr {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.probes = slices.DeleteFunc(d.probes, func(q *pendingProbe) bool { return q == p })
	return p.answers
}
