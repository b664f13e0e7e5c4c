package arp

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/kvip/kvip/pkg/boottime"
)

const (
	// sightingGap coalesces repeated claims of one VIP by one MAC.
	sightingGap = 100 * time.Millisecond
	// refreshGap bounds how often strangers make us list the links of this host. A link
	// younger than that can be taken for a stranger once.
	refreshGap = 100 * time.Millisecond
	recentMax  = 1024 // a flood of invented MACs must not fill the memory
)

// ear judges the claims that the sockets receive: whose they are, and who waits for them.
type ear struct {
	clock boottime.Clock
	macs  func() ([]net.HardwareAddr, error)
	out   chan Conflict

	mu        sync.Mutex
	vips      map[netip.Addr]bool
	link      hardware // of the link in use, own even before the links are listed
	own       map[hardware]bool
	refreshed time.Duration
	recent    map[seen]time.Duration
	probes    []*inquiry
}

type seen struct {
	vip netip.Addr
	mac hardware
}

// inquiry collects the answers to one probe.
type inquiry struct {
	answers map[netip.Addr]net.HardwareAddr
	all     chan struct{} // closed when every VIP has an answer
}

func newEar(vips []netip.Addr, now boottime.Clock) *ear {
	e := &ear{
		clock: now, macs: hostMACs, out: make(chan Conflict, 16),
		own: map[hardware]bool{}, recent: map[seen]time.Duration{},
	}
	e.listenFor(vips)
	return e
}

// listenFor says whose claims matter from now on.
func (e *ear) listenFor(vips []netip.Addr) {
	set := make(map[netip.Addr]bool, len(vips))
	for _, vip := range vips {
		set[vip] = true
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.vips = set
}

// hear takes one received frame. It never blocks.
func (e *ear) hear(b []byte) {
	c, ok := decode(b)
	if !ok {
		return
	}
	now := e.clock()
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.vips[c.addr] {
		return
	}
	if e.isOwn(c.mac, now) || e.isOwn(c.source, now) { // E9: own MACs and echoes are ignored
		return
	}
	for _, q := range e.probes {
		q.answer(c, len(e.vips))
	}
	e.report(c, now)
}

// attend hears what a socket receives until it fails. A frame that makes no sense ends nothing.
func (e *ear) attend(conn Conn) error {
	b := make([]byte, snapLen)
	for {
		n, _, err := conn.ReadFrom(b)
		if n > 0 {
			e.hear(b[:n])
		}
		if err != nil {
			return fmt.Errorf("read packet socket: %w", err)
		}
	}
}

func (e *ear) report(c claim, now time.Duration) {
	key := seen{c.addr, c.mac}
	if last, ok := e.recent[key]; ok && now-last < sightingGap {
		return
	}
	if len(e.recent) >= recentMax {
		clear(e.recent)
	}
	e.recent[key] = now
	select {
	case e.out <- Conflict{VIP: c.addr, MAC: slices.Clone(c.mac[:]), At: now}:
	default: // nobody reads; the next claim tells the same
	}
}

// isOwn tells whether a MAC is one of this host's, looking again before it says no.
func (e *ear) isOwn(mac hardware, now time.Duration) bool {
	if mac == e.link || e.own[mac] {
		return true
	}
	if e.refreshed != 0 && now-e.refreshed < refreshGap {
		return false
	}
	macs, err := e.macs()
	if err != nil {
		return false
	}
	e.refreshed = now
	clear(e.own)
	for _, m := range macs {
		if len(m) == len(hardware{}) {
			e.own[hardware(m)] = true
		}
	}
	return e.own[mac]
}

func (e *ear) setLink(mac net.HardwareAddr) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.link, e.refreshed = hardware{}, 0
	if len(mac) == len(hardware{}) {
		e.link = hardware(mac)
	}
}

// ask begins to collect answers.
func (e *ear) ask() *inquiry {
	q := &inquiry{answers: map[netip.Addr]net.HardwareAddr{}, all: make(chan struct{})}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.probes = append(e.probes, q)
	return q
}

// end stops collecting and returns the answers.
func (e *ear) end(q *inquiry) map[netip.Addr]net.HardwareAddr {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.probes = slices.DeleteFunc(e.probes, func(p *inquiry) bool { return p == q })
	return q.answers
}

func (q *inquiry) answer(c claim, vips int) {
	if _, ok := q.answers[c.addr]; ok {
		return
	}
	q.answers[c.addr] = slices.Clone(c.mac[:])
	if len(q.answers) == vips {
		close(q.all)
	}
}
