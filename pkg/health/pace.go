package health

import (
	"time"

	"github.com/kvip/kvip/pkg/link"
)

// The watch over an unanswered /readyz (E7).
const (
	slowAfter   = 250 * time.Millisecond // unanswered so long: ask /livez/ping beside it
	pingPeriod  = 250 * time.Millisecond // and again, as long as it stays unanswered
	silentAfter = pingTimeout            // no answer to pings for so long: Soft
	// stillAfter and stillUnderLoad are how long the sockets must show no sign of life until
	// the process counts as stopped: Dead. The second holds for a server that was slow, but
	// alive, within strainFor.
	stillAfter     = time.Second
	stillUnderLoad = 3 * time.Second
	strainFor      = 5 * time.Second
	// lookGrace is how long silence is not told yet where the looks may still prove a stop.
	lookGrace = 250 * time.Millisecond
	softAfter = 1500 * time.Millisecond // pings answered, /readyz not: Soft
	// besidePeriod spaces further requests for /readyz beside an unanswered one.
	besidePeriod = 100 * time.Millisecond
	// frozenAfter is how late a wake-up shows that this process stood still: what went
	// unanswered meanwhile is no fault of the API server.
	frozenAfter = 500 * time.Millisecond
	// certificatePeriod spaces polls that end in a failed handshake: those are dear.
	certificatePeriod = 500 * time.Millisecond
)

// pace holds the instants of polls, pings and looks at the server's sockets. It is pure:
// time comes in, decisions go out. One /readyz is on its way at most, and one ping and one
// look beside it; and a second /readyz once a ping is answered.
type pace struct {
	period   time.Duration
	next     time.Time // of the next poll, when none is on its way
	started  time.Time // of the present or last poll
	busy     bool      // a poll is on its way
	waiting  time.Time // since when /readyz owes an answer, over several polls if they time out
	watching bool      // pings are sent beside it, and the sockets are looked at
	watched  time.Time // since when
	heard    time.Time // last proof of life since pings began
	nextPing time.Time
	pinging  bool      // a ping is on its way
	pinged   time.Time // when it was sent
	late     bool      // some ping was not answered within slowAfter
	nextLook time.Time
	looking  bool // a look is on its way
	nextAsk  time.Time
	asking   bool // a second /readyz is on its way
	still    stillness
	strained time.Time // when the server was last seen slow and alive
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
		if !p.looking && p.said != OutcomeHung {
			earliest(p.nextLook)
		}
		if p.said != OutcomeHung && p.still.lasted() >= p.window(p.still.last) {
			earliest(p.still.last)
		}
		if p.said != OutcomeSilent && p.said != OutcomeHung {
			earliest(p.silent())
		}
		if p.said == 0 {
			earliest(p.waiting.Add(softAfter))
		}
		if p.asks() {
			earliest(p.nextAsk)
		}
	}
	if due.IsZero() { // all said, waiting for answers, which come by themselves
		due = p.started.Add(readyTimeout + time.Second)
	}
	return due
}

// silent returns when silence is told if no ping is answered before.
func (p *pace) silent() time.Time {
	at := p.heard.Add(silentAfter)
	if p.still.looks > 0 && p.window(at) == stillAfter {
		return at.Add(lookGrace)
	}
	return at
}

// window returns how long the process must stand still to count as stopped.
func (p *pace) window(now time.Time) time.Duration {
	if !p.strained.IsZero() && now.Sub(p.strained) < strainFor {
		return stillUnderLoad
	}
	return stillAfter
}

// decision is what to do at one instant.
type decision struct {
	poll, ping, look, ask bool
	say                   Outcome // OutcomeSlow, OutcomeSilent, OutcomeHung or 0
}

// at decides what to do now, for a wake-up that was planned at the instant planned.
func (p *pace) at(now, planned time.Time) decision {
	if late := now.Sub(planned); late > frozenAfter && p.busy {
		p.waiting, p.heard = p.waiting.Add(late), now
		p.still = stillness{}
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
		p.watching, p.watched, p.heard = true, now, now
		p.nextPing, p.nextLook, p.nextAsk = now, now, now
	}
	if !p.watching {
		return d
	}
	if !p.pinging && !now.Before(p.nextPing) {
		d.ping, p.pinging, p.pinged = true, true, now
	}
	if !p.looking && p.said != OutcomeHung && !now.Before(p.nextLook) {
		d.look, p.looking = true, true
	}
	d.say = p.verdict(now)
	if p.asks() && !now.Before(p.nextAsk) {
		d.ask, p.asking = true, true
	}
	return d
}

// verdict returns what has become true of an unanswered /readyz, once.
func (p *pace) verdict(now time.Time) Outcome {
	say := Outcome(0)
	switch {
	case p.said == OutcomeHung:
	case p.still.lasted() >= p.window(now):
		say = OutcomeHung
	case !now.Before(p.silent()):
		say = OutcomeSilent
	case p.said == 0 && now.Sub(p.waiting) >= softAfter:
		say = OutcomeSlow
	}
	if say == 0 || say == p.said {
		return 0
	}
	p.said = say
	return say
}

// answered ends a poll and plans the next one after wait, counted from its start. If it
// ended without any answer (timed out), the watch goes on over the next poll.
func (p *pace) answered(now time.Time, unanswered bool, wait time.Duration) {
	p.busy = false
	p.next = p.started.Add(max(wait, p.period))
	if unanswered {
		return
	}
	if p.watching {
		p.strained = now
	}
	p.waiting, p.watching, p.late, p.said, p.still = time.Time{}, false, false, 0, stillness{}
}

// starved reports whether /livez/ping, which needs nothing but the CPU, was answered late or
// not at all since /readyz has owed an answer.
func (p *pace) starved(now time.Time) bool {
	return p.watching && (p.late || p.pinging && now.Sub(p.pinged) > slowAfter)
}

// ponged ends a ping.
func (p *pace) ponged(now time.Time, alive bool) {
	p.pinging = false
	p.nextPing = now.Add(pingPeriod)
	p.late = p.late || now.Sub(p.pinged) > slowAfter
	if !alive {
		return
	}
	p.heard, p.strained, p.still = now, now, stillness{}
	if p.said == OutcomeSilent || p.said == OutcomeHung {
		p.said = 0
	}
}

// asks reports whether a second /readyz may be sent: the first is unanswered by a server that
// lives and has the CPU for more.
func (p *pace) asks() bool {
	return p.watching && !p.asking && !p.late && p.heard.After(p.watched)
}

// asked ends a second /readyz, and reports whether the first is still unanswered.
func (p *pace) asked(now time.Time) bool {
	p.asking = false
	p.nextAsk = now.Add(besidePeriod)
	return p.watching
}

// looked ends a look at the server's sockets that began at at. nil: nothing can be seen.
func (p *pace) looked(now, at time.Time, sockets []link.Socket) {
	p.looking = false
	period := lookPeriod
	if now.Sub(p.watched) > stillUnderLoad {
		period = lateLookPeriod
	}
	p.nextLook = at.Add(max(period, lookCost*now.Sub(at)))
	if p.watching && !at.Before(p.watched) && p.still.look(at, sockets) {
		p.strained = now
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
