package vip

import (
	"cmp"
	"math/bits"
	"net/netip"
	"slices"
	"time"
)

// slot is how exactly renewals keep their instants: those of one slot go out together, so
// that the process is woken at most four times a second.
const slot = 250 * time.Millisecond

// rota says which address is renewed when (S8). Every address has its own instant within
// half a lifetime, fixed when it comes and spread evenly over it, so that renewals never
// fall together, however the addresses came and however late the caller is.
type rota struct {
	lifetime time.Duration
	turns    map[netip.Addr]*turn
	given    uint64 // instants given out so far
}

// turn is the renewal of one address: what to write, when, and when it is too late.
type turn struct {
	Change
	phase, due, until time.Duration
}

func newRota(lifetime time.Duration) *rota {
	return &rota{lifetime: lifetime, turns: map[netip.Addr]*turn{}}
}

// period is how often each address is renewed: a second chance remains.
func (r *rota) period() time.Duration { return r.lifetime / 2 }

// written notes that an address was just written.
func (r *rota) written(c Change, now time.Duration) {
	t := r.turn(c)
	t.until = now + r.lifetime
	t.due = t.after(now, r.period())
}

// found notes that an address is there with so much of its lifetime left, rounded up.
func (r *rota) found(c Change, now time.Duration) {
	_, known := r.turns[c.VIP]
	t := r.turn(c)
	t.until = now + c.Valid - time.Second
	if !known {
		t.due = t.after(now, r.period())
	}
	t.due = min(t.due, t.until-r.lifetime/4)
}

func (r *rota) has(vip netip.Addr) bool { return r.turns[vip] != nil }

// turn returns the turn of an address; a new one gets the next of the golden ratio's
// multiples as its instant. These divide the period evenly at any number of them.
func (r *rota) turn(c Change) *turn {
	t := r.turns[c.VIP]
	if t == nil {
		const golden = 0x9e3779b97f4a7c15 // 2^64 divided by the golden ratio
		step, _ := bits.Mul64(r.given*golden, uint64(r.period()/slot))
		r.given++
		t = &turn{phase: time.Duration(step) * slot}
		r.turns[c.VIP] = t
	}
	t.Change = Change{Address: c.Address, Valid: r.lifetime, Scope: c.Scope}
	return t
}

// after returns the address's next instant after now.
func (t *turn) after(now, period time.Duration) time.Duration {
	return now + period - ((now-t.phase)%period+period)%period
}

// keep forgets the addresses that are not wanted any more.
func (r *rota) keep(wanted func(Address) bool) {
	for vip, t := range r.turns {
		if !wanted(t.Address) {
			delete(r.turns, vip)
		}
	}
}

// due returns what is to be written now, and forgets what has expired. After a standstill
// of the process it catches up at twice the ordinary rate, the oldest first, or at the
// least rate at which none expires.
func (r *rota) due(now time.Duration) (due []Change, expired []Address) {
	var late []*turn
	for vip, t := range r.turns {
		switch {
		case t.until <= now:
			expired = append(expired, t.Address)
			delete(r.turns, vip)
		case t.due <= now:
			late = append(late, t)
		}
	}
	slices.SortFunc(late, func(a, b *turn) int {
		return cmp.Or(cmp.Compare(a.until, b.until), a.VIP.Compare(b.VIP))
	})
	for _, t := range late[:min(len(late), r.share(late, now))] {
		due = append(due, t.Change)
	}
	return due, expired
}

// margin is how long before the end of its lifetime an address is renewed at the latest.
const margin = 2 * time.Second

// share returns how many of the late ones to renew in this slot.
func (r *rota) share(late []*turn, now time.Duration) int {
	share := 2 + 2*len(r.turns)/int(r.period()/slot)
	for i, t := range late {
		slots := max(1, int((t.until-now-margin)/slot)) // these, and it must be among them
		share = max(share, (i+slots)/slots)
	}
	return share
}

// failed has the renewal of an address tried again soon.
func (r *rota) failed(vip netip.Addr, now time.Duration) {
	if t := r.turns[vip]; t != nil {
		t.due = now + r.lifetime/20
	}
}

// next returns when to ask again: at the next slot if something is late.
func (r *rota) next(now time.Duration) time.Duration {
	next := now + r.period()
	for _, t := range r.turns {
		next = min(next, t.due)
	}
	return max(next, now+slot)
}
