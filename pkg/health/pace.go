package health

import "time"

// The watch over an unanswered /readyz (E7).
const (
	slowAfter   = 250 * time.Millisecond  // unanswered so long: ask /livez/ping beside it
	pingPeriod  = 250 * time.Millisecond  // and again, as long as it stays unanswered
	silentAfter = pingTimeout             // no answer to pings for so long: Dead
	softAfter   = 1500 * time.Millisecond // pings answered, /readyz not: Soft
	// frozenAfter is how late a wake-up shows that this process stood still: what went
	// unanswered meanwhile is no fault of the API server.
	frozenAfter = 500 * time.Millisecond
	// certificatePeriod spaces polls that end in a failed handshake: those are dear.
	certificatePeriod = 500 * time.Millisecond
)

// pace holds the instants of polls and pings. It is pure: time comes in, decisions go
// out. One /readyz is on its way at most, and one ping beside it.
type pace struct {
	period   time.Duration
	next     time.Time // of the next poll, when none is on its way
	started  time.Time // of the present or last poll
	busy     bool      // a poll is on its way
	waiting  time.Time // since when /readyz owes an answer, over several polls if they time out
	watching bool      // pings are sent beside it
	heard    time.Time // last proof of life since pings began
	nextPing time.Time
	pinging  bool // a ping is on its way
	said     Outcome
}

// due returns the instant of the next decision.
func (p *pace) due() time.Time {
	if p.busy && !p.watching {
		return p.waiting.Add(slowAfter)
	}
	var due time.Time
	earliest := func(t time.Time) {
		if due.IsZero() || t.Before(due) {
			due = t
		}
	}
	if !p.busy {
		earliest(p.next)
	}
	if p.watching {
		if !p.pinging {
			earliest(p.nextPing)
		}
		if p.said != OutcomeSilent {
			earliest(p.heard.Add(silentAfter))
		}
		if p.said == 0 {
			earliest(p.waiting.Add(softAfter))
		}
	}
	if due.IsZero() { // all said, waiting for answers, which come by themselves
		due = p.started.Add(readyTimeout + time.Second)
	}
	return due
}

// decision is what to do at one instant.
type decision struct {
	poll, ping bool
	say        Outcome // OutcomeSlow, OutcomeSilent or 0
}

// at decides what to do now, for a wake-up that was planned at the instant planned.
func (p *pace) at(now, planned time.Time) decision {
	if late := now.Sub(planned); late > frozenAfter && p.busy {
		p.waiting, p.heard = p.waiting.Add(late), now
	}
	var d decision
	if !p.busy && !now.Before(p.next) {
		d.poll = true
		p.busy, p.started = true, now
		if p.waiting.IsZero() {
			p.waiting = now
		}
	}
	if p.busy && !p.watching && now.Sub(p.waiting) >= slowAfter {
		p.watching, p.heard, p.nextPing = true, now, now
	}
	if !p.watching {
		return d
	}
	if !p.pinging && !now.Before(p.nextPing) {
		d.ping, p.pinging = true, true
	}
	d.say = p.verdict(now)
	return d
}

// verdict returns what has become true of an unanswered /readyz, once.
func (p *pace) verdict(now time.Time) Outcome {
	switch {
	case now.Sub(p.heard) >= silentAfter:
		if p.said == OutcomeSilent {
			return 0
		}
		p.said = OutcomeSilent
	case p.said == 0 && now.Sub(p.waiting) >= softAfter:
		p.said = OutcomeSlow
	default:
		return 0
	}
	return p.said
}

// answered ends a poll and plans the next one after wait, counted from its start. If it
// ended without any answer (timed out), the watch goes on over the next poll.
func (p *pace) answered(now time.Time, unanswered bool, wait time.Duration) {
	p.busy = false
	p.next = p.started.Add(max(wait, p.period))
	if unanswered {
		return
	}
	p.waiting, p.watching, p.said = time.Time{}, false, 0
}

// ponged ends a ping.
func (p *pace) ponged(now time.Time, alive bool) {
	p.pinging = false
	p.nextPing = now.Add(pingPeriod)
	if !alive {
		return
	}
	p.heard = now
	if p.said == OutcomeSilent {
		p.said = 0
	}
}

// hurry grants polls out of turn when a connection ended: the first at once, the next
// ones after short pauses, because a process that dies may close its connections just
// before its listener. After those it refuses for a second, so that a server that
// closes every connection is not polled in a spin.
type hurry struct {
	n    int
	last time.Time
}

var hurryAfter = [...]time.Duration{0, time.Millisecond, 5 * time.Millisecond, 20 * time.Millisecond}

func (h *hurry) grant(now time.Time) (time.Duration, bool) {
	if now.Sub(h.last) >= time.Second {
		h.n = 0
	}
	if h.n == len(hurryAfter) {
		return 0, false
	}
	h.n++
	h.last = now
	return hurryAfter[h.n-1], true
}
