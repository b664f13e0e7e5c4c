package arp

import (
	"container/heap"
	"maps"
	"net/netip"
	"time"

	"github.com/kvip/kvip/pkg/backoff"
)

// offsets of the announcements of a burst after its start. The early repeats cover loss and
// neighbours whose entry is locked for up to a second after a change (locktime in arp(7)), the
// late ones a switch that is still opening its port.
var offsets = [...]time.Duration{
	0, 50 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond,
	1100 * time.Millisecond, 2200 * time.Millisecond,
}

// rounds is how many announcements a burst has. Later ones are periodic.
const rounds = len(offsets)

// burstLength is the time from the first to the last announcement of a burst.
const burstLength = 2200 * time.Millisecond

// nextOffset returns when the next announcement is due, counted from the start of the burst, given
// how long ago that was. The one due at elapsed itself counts as sent, and what was missed while
// the process was paused is skipped. A negative elapsed yields 0, the start. The interval of
// periodic announcements must be positive.
func nextOffset(elapsed, interval time.Duration) time.Duration {
	for _, offset := range offsets {
		if elapsed < offset {
			return offset
		}
	}
	return burstLength + (1+(elapsed-burstLength)/interval)*interval
}

// defendedMax is how many defences are remembered before those that do not matter any more are
// dropped.
const defendedMax = 1024

// queue decides which address is announced next, and when (S8). Every address is announced once
// before any is twice, no matter how many there are. If a round takes longer than the pauses of a
// burst, missed announcements are skipped.
type queue struct {
	pacing   Pacing
	all      rateLimiter // of all frames
	periodic rateLimiter // of periodic ones, which pass both
	entries  map[netip.Addr]*entry
	defended map[netip.Addr]time.Duration // when last; outlives the entries
	waiting  byDue
	ready    [rounds + 1][]*entry // by round, in the order in which they became due
	phases   backoff.Spread       // so that periodic announcements never coincide
}

// entry is the announcement of one address.
type entry struct {
	addr    netip.Addr
	round   int           // of the next announcement; rounds: periodic
	sent    int           // announcements since the burst began
	began   time.Duration // the burst, with its first announcement
	due     time.Duration // the next announcement
	phase   time.Duration // of periodic ones within the interval
	index   int           // in waiting; -1: in ready
	removed bool          // or replaced while in ready, which it leaves at its turn
}

func newQueue(p Pacing) *queue {
	return &queue{
		pacing: p, all: newRateLimiter(p.BurstRate), periodic: newRateLimiter(p.IdleRate),
		entries: map[netip.Addr]*entry{}, defended: map[netip.Addr]time.Duration{},
	}
}

func (q *queue) has(addr netip.Addr) bool { return q.entries[addr] != nil }

// add starts a burst of an address, again if it is there already.
func (q *queue) add(addr netip.Addr, now time.Duration) {
	e := entry{addr: addr, due: now}
	if old := q.entries[addr]; old != nil {
		e.phase = old.phase
	} else {
		e.phase = q.phases.Next(q.pacing.Interval)
	}
	q.pushFirst(e)
}

// pushFirst puts an address among those that are announced first, and nowhere else.
func (q *queue) pushFirst(e entry) {
	q.remove(e.addr)
	e.round, e.index = 0, -1
	q.entries[e.addr] = &e
	q.ready[0] = append(q.ready[0], &e)
}

// remove ends the announcement of an address.
func (q *queue) remove(addr netip.Addr) {
	e := q.entries[addr]
	if e == nil {
		return
	}
	delete(q.entries, addr)
	if e.index >= 0 {
		heap.Remove(&q.waiting, e.index)
	} else {
		e.removed = true
	}
}

// defend announces an address as soon as possible, unless that was done within DefendInterval (S3,
// E9). It does nothing for one that is not announced.
func (q *queue) defend(addr netip.Addr, now time.Duration) {
	e := q.entries[addr]
	recent := func(_ netip.Addr, last time.Duration) bool { return now-last < q.pacing.DefendInterval }
	if last, ok := q.defended[addr]; e == nil || ok && recent(addr, last) {
		return
	}
	if len(q.defended) >= defendedMax {
		maps.DeleteFunc(q.defended,
			func(a netip.Addr, last time.Duration) bool { return !recent(a, last) })
	}
	q.defended[addr] = now
	switch {
	case q.pacing.DefendBurst:
		q.add(addr, now)
	case e.index >= 0 || e.round > 0: // else it is about to be announced
		q.pushFirst(*e)
	}
}

// take returns an address to announce now. It returns false if there is none, or if the rate
// limits allow none at this instant. It must be called with the same now until it returns false.
func (q *queue) take(now time.Duration) (netip.Addr, bool) {
	e := q.head(now)
	if e == nil || q.opens(e, now) > now {
		return netip.Addr{}, false
	}
	q.all.pass(now, e.frames())
	if e.round == rounds {
		q.periodic.pass(now, e.frames())
	}
	q.ready[e.round] = q.ready[e.round][1:]
	q.reschedule(e, now)
	return e.addr, true
}

// head returns the first entry in the order of the rounds, nil if none is due.
func (q *queue) head(now time.Duration) *entry {
	for len(q.waiting) > 0 && q.waiting[0].due <= now {
		e := heap.Pop(&q.waiting).(*entry)
		q.ready[e.round] = append(q.ready[e.round], e)
	}
	for round := range q.ready {
		for len(q.ready[round]) > 0 {
			if e := q.ready[round][0]; !e.removed {
				return e
			}
			q.ready[round] = q.ready[round][1:]
		}
	}
	return nil
}

// opens returns when the rate limits allow the announcement of an entry.
func (q *queue) opens(e *entry, now time.Duration) time.Duration {
	at := q.all.opens(now, e.frames())
	if e.round == rounds {
		at = max(at, q.periodic.opens(now, e.frames()))
	}
	return at
}

// reschedule makes an entry wait for its next announcement.
func (q *queue) reschedule(e *entry, now time.Duration) {
	if e.sent == 0 {
		e.began = now
	}
	e.sent++
	elapsed, interval := now-e.began, q.pacing.Interval
	switch {
	case elapsed < burstLength:
		e.round, e.due = min(e.sent, rounds-1), e.began+nextOffset(elapsed, interval)
	case q.pacing.IdleRate == 0:
		e.round, e.due = rounds, e.began+nextOffset(elapsed, interval)
	default:
		e.round, e.due = rounds, now+interval-((now-e.phase)%interval+interval)%interval
	}
	heap.Push(&q.waiting, e)
}

// next returns when take has an address to return, if ever.
func (q *queue) next(now time.Duration) (time.Duration, bool) {
	if e := q.head(now); e != nil {
		return max(now, q.opens(e, now)), true
	}
	if len(q.waiting) == 0 {
		return 0, false
	}
	return q.waiting[0].due, true
}

// frames is how many frames announce the address.
func (e *entry) frames() int {
	if e.addr.Is4() {
		return 2 // both forms of gratuitous ARP
	}
	return 1
}

// rateLimiter lets a few frames pass at one instant, and the next ones after a pause, so that
// their number within any second is at most the rate. The zero value has no limit.
type rateLimiter struct {
	pause  time.Duration
	few    int
	opened time.Duration
	left   int
}

// minRate is the least number of frames a second: those of one IPv4 address.
const minRate = 2

// newRateLimiter returns a limiter to a number of frames a second. 0 means no limit.
func newRateLimiter(rate int) rateLimiter {
	if rate == 0 {
		return rateLimiter{}
	}
	const instants = 100 // a second, if the rate allows
	few := max(minRate, rate/instants)
	perSecond := time.Duration(max(1, rate/few))
	pause := (time.Second + perSecond - 1) / perSecond
	return rateLimiter{pause: pause, few: few, opened: -pause}
}

// opens returns when so many frames may pass.
func (r *rateLimiter) opens(now time.Duration, frames int) time.Duration {
	if now == r.opened && r.left >= frames {
		return now
	}
	return r.opened + r.pause
}

func (r *rateLimiter) pass(now time.Duration, frames int) {
	if now != r.opened {
		r.opened, r.left = now, r.few
	}
	r.left -= frames
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
	h[i].index, h[j].index = i, j
}

// Push implements heap.Interface.
func (h *byDue) Push(x any) {
	e := x.(*entry)
	e.index = len(*h)
	*h = append(*h, e)
}

// Pop implements heap.Interface.
func (h *byDue) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	e.index, *h = -1, (*h)[:last]
	return e
}
