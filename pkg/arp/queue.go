package arp

import (
	"container/heap"
	"math/bits"
	"net/netip"
	"time"
)

// defendPause is how often an address is defended at most (S3).
const defendPause = time.Second

// rounds is how many announcements a burst has; what comes later is periodic.
const rounds = len(offsets)

// queue decides which address is announced next, and when: all announcements of a node
// leave through one (S8). Every address is announced once before any is twice, no matter
// how many there are; where there are so many that a round takes longer than the pauses of
// a burst, announcements that were missed are not made up for.
type queue struct {
	interval time.Duration // of periodic announcements
	all      gate          // of all frames
	idle     gate          // of periodic ones, which pass both
	entries  map[netip.Addr]*entry
	waiting  byDue
	ready    [rounds + 1][]*entry // by round, in the order in which they became due
	given    uint64               // instants given out so far
}

// entry is the announcement of one address.
type entry struct {
	addr     netip.Addr
	round    int           // of the next announcement; rounds: periodic
	sent     int           // announcements since the burst began
	began    time.Duration // the burst, with its first announcement
	due      time.Duration // the next announcement
	phase    time.Duration // of periodic ones within the interval
	defended time.Duration // last, if ever
	ever     bool
	at       int  // in waiting; -1: in ready
	dead     bool // removed or replaced while in ready, which it leaves when it is met
}

// newQueue makes a queue of at most so many periodic frames a second, and frames at all.
func newQueue(idle, burst int, interval time.Duration) *queue {
	return &queue{interval: interval, all: newGate(burst), idle: newGate(idle), entries: map[netip.Addr]*entry{}}
}

// add begins a burst of an address, anew if it is there already.
func (q *queue) add(addr netip.Addr, now time.Duration) {
	e := entry{addr: addr, due: now}
	if old := q.entries[addr]; old != nil {
		e.phase, e.ever, e.defended = old.phase, old.ever, old.defended
	} else {
		e.phase = q.phase()
	}
	q.first(e)
}

// first puts an address among those that are announced first, and nowhere else.
func (q *queue) first(e entry) {
	q.remove(e.addr)
	e.round, e.at = 0, -1
	q.entries[e.addr] = &e
	q.ready[0] = append(q.ready[0], &e)
}

// phase returns the next of the golden ratio's multiples within the interval: they divide it
// evenly at any number of them, so that periodic announcements never fall together.
func (q *queue) phase() time.Duration {
	const golden = 0x9e3779b97f4a7c15 // 2^64 divided by the golden ratio
	phase, _ := bits.Mul64(q.given*golden, uint64(q.interval))
	q.given++
	return time.Duration(phase)
}

// remove ends the announcement of an address.
func (q *queue) remove(addr netip.Addr) {
	e := q.entries[addr]
	if e == nil {
		return
	}
	delete(q.entries, addr)
	if e.at >= 0 {
		heap.Remove(&q.waiting, e.at)
	} else {
		e.dead = true
	}
}

// defend has an address announced once as soon as possible, unless that was done within the
// last second (S3). It does nothing for one that is not announced.
func (q *queue) defend(addr netip.Addr, now time.Duration) {
	e := q.entries[addr]
	if e == nil || e.ever && now-e.defended < defendPause {
		return
	}
	e.defended, e.ever = now, true
	if e.at >= 0 || e.round > 0 { // else it is about to be announced
		q.first(*e)
	}
}

// take returns an address whose announcement is to leave now. It returns false when there
// is none, or no room for it at this instant. Whoever calls it does so with one now until it
// returns false.
func (q *queue) take(now time.Duration) (netip.Addr, bool) {
	e := q.head(now)
	if e == nil || !q.admits(e, now) {
		return netip.Addr{}, false
	}
	q.all.pass(now, e.frames())
	if e.round == rounds {
		q.idle.pass(now, e.frames())
	}
	q.ready[e.round] = q.ready[e.round][1:]
	q.advance(e, now)
	return e.addr, true
}

// head returns the first in the order of the rounds.
func (q *queue) head(now time.Duration) *entry {
	for len(q.waiting) > 0 && q.waiting[0].due <= now {
		e := heap.Pop(&q.waiting).(*entry)
		q.ready[e.round] = append(q.ready[e.round], e)
	}
	for round := range q.ready {
		for len(q.ready[round]) > 0 {
			if e := q.ready[round][0]; !e.dead {
				return e
			}
			q.ready[round] = q.ready[round][1:]
		}
	}
	return nil
}

func (q *queue) admits(e *entry, now time.Duration) bool {
	return q.all.admits(now, e.frames()) && (e.round < rounds || q.idle.admits(now, e.frames()))
}

// advance has an entry wait for its next announcement.
func (q *queue) advance(e *entry, now time.Duration) {
	if e.sent == 0 {
		e.began = now
	}
	e.sent++
	if elapsed := now - e.began; elapsed < offsets[rounds-1] {
		e.round, e.due = min(e.sent, rounds-1), e.began+Schedule(elapsed, q.interval)
	} else {
		e.round, e.due = rounds, now+q.interval-((now-e.phase)%q.interval+q.interval)%q.interval
	}
	heap.Push(&q.waiting, e)
}

// next returns when take has something to give, if ever.
func (q *queue) next(now time.Duration) (time.Duration, bool) {
	e := q.head(now)
	if e == nil {
		if len(q.waiting) == 0 {
			return 0, false
		}
		return q.waiting[0].due, true
	}
	at := max(now, q.all.opens(now, e.frames()))
	if e.round == rounds {
		at = max(at, q.idle.opens(now, e.frames()))
	}
	return at, true
}

// frames is how many frames announce the address.
func (e *entry) frames() int {
	if e.addr.Is4() {
		return 2 // both forms of gratuitous ARP
	}
	return 1
}

// gate lets frames pass at a limited rate: a few at one instant, and the next a while later,
// so that within any second there are no more than the rate.
type gate struct {
	pause  time.Duration
	few    int
	opened time.Duration
	left   int
}

// minRate is the least number of frames a second: those of one IPv4 address.
const minRate = 2

func newGate(rate int) gate {
	const instants = 100 // a second, where the rate allows
	few := max(minRate, rate/instants)
	perSecond := time.Duration(max(1, rate/few))
	pause := (time.Second + perSecond - 1) / perSecond
	return gate{pause: pause, few: few, opened: -pause}
}

func (g *gate) admits(now time.Duration, frames int) bool { return g.opens(now, frames) <= now }

// opens returns when so many frames may pass.
func (g *gate) opens(now time.Duration, frames int) time.Duration {
	if now == g.opened && g.left >= frames {
		return now
	}
	return g.opened + g.pause
}

func (g *gate) pass(now time.Duration, frames int) {
	if now != g.opened {
		g.opened, g.left = now, g.few
	}
	g.left -= frames
}

// byDue is a heap of entries, the one that is due first on top.
type byDue []*entry

// Len implements heap.Interface.
func (h byDue) Len() int { return len(h) }

// Less implements heap.Interface.
func (h byDue) Less(i, j int) bool { return h[i].due < h[j].due }

// Swap implements heap.Interface.
func (h byDue) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = i, j
}

// Push implements heap.Interface.
func (h *byDue) Push(x any) {
	e := x.(*entry)
	e.at = len(*h)
	*h = append(*h, e)
}

// Pop implements heap.Interface.
func (h *byDue) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	e.at, *h = -1, (*h)[:last]
	return e
}
