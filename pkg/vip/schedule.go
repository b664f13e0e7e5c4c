package vip

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/kvip/kvip/pkg/backoff"
)

// slot is the precision of refreshes: those of one slot are written together, so that the
// process wakes at most four times a second.
const slot = 250 * time.Millisecond

// margin is the least time between the last refresh and the end of a lifetime.
const margin = 2 * time.Second

// refreshSchedule decides when each address is refreshed (S8). Every address has its own phase
// within half a lifetime, fixed when it is added. The phases are spread evenly, so that
// refreshes never coincide, however the addresses were added and however late the caller is.
type refreshSchedule struct {
	lifetime time.Duration
	entries  map[netip.Addr]*refresh
	phases   backoff.Spread
}

// refresh is the next refresh of one address: what to write, when, and when it is too late.
type refresh struct {
	Change
	phase, due, until time.Duration
}

func newRefreshSchedule(lifetime time.Duration) *refreshSchedule {
	return &refreshSchedule{lifetime: lifetime, entries: map[netip.Addr]*refresh{}}
}

// period is the time between two refreshes of an address. A failed one can be repeated.
func (s *refreshSchedule) period() time.Duration { return s.lifetime / 2 }

// written records that an address was written at now.
func (s *refreshSchedule) written(c Change, now time.Duration) {
	r := s.entry(c)
	r.until = now + s.lifetime
	r.due = s.after(r, now)
}

// found records that an address is present with c.Valid of its lifetime left, rounded up.
func (s *refreshSchedule) found(c Change, now time.Duration) {
	known := s.has(c.Addr)
	r := s.entry(c)
	r.until = now + c.Valid - time.Second
	if !known {
		r.due = s.after(r, now)
	}
	r.due = min(r.due, r.until-s.lifetime/4)
}

func (s *refreshSchedule) has(vip netip.Addr) bool { return s.entries[vip] != nil }

// entry returns the entry of an address, updated by c. The phase of a new one is a
// multiple of slot.
func (s *refreshSchedule) entry(c Change) *refresh {
	r := s.entries[c.Addr]
	if r == nil {
		r = &refresh{phase: s.phases.Next(s.period()).Truncate(slot)}
		s.entries[c.Addr] = r
	}
	r.Change = c
	r.Valid, r.New = s.lifetime, false
	return r
}

// after returns the next instant of an entry's phase after now.
func (s *refreshSchedule) after(r *refresh, now time.Duration) time.Duration {
	period := s.period()
	return now + period - ((now-r.phase)%period+period)%period
}

// retain deletes the addresses for which wanted returns false.
func (s *refreshSchedule) retain(wanted func(Address) bool) {
	for vip, r := range s.entries {
		if !wanted(r.Address) {
			delete(s.entries, vip)
		}
	}
}

// due returns what to write now, and deletes what has expired. After the process was stopped
// it catches up at twice the normal rate, or at the lowest rate at which no address expires,
// the oldest first.
func (s *refreshSchedule) due(now time.Duration) (due []Change, expired []Address) {
	var late []*refresh
	for vip, r := range s.entries {
		switch {
		case r.until <= now:
			expired = append(expired, r.Address)
			delete(s.entries, vip)
		case r.due <= now:
			late = append(late, r)
		}
	}
	slices.SortFunc(late, func(a, b *refresh) int {
		return cmp.Or(cmp.Compare(a.until, b.until), a.Addr.Compare(b.Addr))
	})
	for _, r := range late[:min(len(late), s.limit(late, now))] {
		due = append(due, r.Change)
	}
	return due, expired
}

// limit returns how many of the late ones to refresh in this slot.
func (s *refreshSchedule) limit(late []*refresh, now time.Duration) int {
	limit := 2 + 2*len(s.entries)/int(s.period()/slot)
	for i, r := range late {
		slots := max(1, int((r.until-now-margin)/slot)) // the first i+1 must fit into these
		limit = max(limit, (i+slots)/slots)
	}
	return limit
}

// failed schedules a retry of the refresh of an address.
func (s *refreshSchedule) failed(vip netip.Addr, now time.Duration) {
	if r := s.entries[vip]; r != nil {
		r.due = now + s.lifetime/20
	}
}

// next returns when to call due again: at the next slot if a refresh is late.
func (s *refreshSchedule) next(now time.Duration) time.Duration {
	next := now + s.period()
	for _, r := range s.entries {
		next = min(next, r.due)
	}
	return max(next, now+slot)
}
