package health

import (
	"time"

	"github.com/kvip/kvip/pkg/link"
)

// The watch over an unanswered /readyz (E7).
const (
	escalateAfter = 60 * time.Millisecond   // /readyz unanswered: send /livez/ping beside it
	lateAfter     = 250 * time.Millisecond  // an answer after that is late
	pingPeriod    = 250 * time.Millisecond  // and repeat it while /readyz stays unanswered
	slowAfter     = 1500 * time.Millisecond // /livez/ping answered, /readyz not: OutcomeSlow
	silentAfter   = pingTimeout             // /livez/ping unanswered too: OutcomeSilent
	// stallAfter and stallAfterSlow are how long the sockets must show no sign of life until the
	// process counts as stopped: OutcomeHung. The second one applies to a server that was slow, but
	// alive, within slowMemory. Either becomes stallFactor times the longest stall that ended
	// within stallMemory before this one, if that is longer, but at most maxStallAfter: a process
	// that lacked the CPU so long may lack it again. A longer stall is a stop and does not count.
	stallAfter     = time.Second
	stallAfterSlow = 3 * time.Second
	maxStallAfter  = 10 * time.Second
	stallFactor    = 3
	slowMemory     = 5 * time.Second
	stallMemory    = 15 * time.Second
	// silentGrace delays OutcomeSilent where lists of sockets may still prove a stop.
	silentGrace = 250 * time.Millisecond
	// secondPollPeriod spaces further requests for /readyz beside an unanswered one.
	secondPollPeriod = 100 * time.Millisecond
	// pausedAfter is how late a wake-up shows that this process was stopped: what was unanswered
	// meanwhile is not the API server's fault.
	pausedAfter = 500 * time.Millisecond
	// certificatePeriod spaces polls that end in a failed handshake, which are expensive.
	certificatePeriod = 500 * time.Millisecond

	// abortedAfter is how long a new connection has to be answered after the last one ended without a
	// TLS alert: OutcomeAborted. A server that lives needs 2 to 5 ms.
	abortedAfter = 5 * time.Millisecond

	socketPeriod     = 100 * time.Millisecond
	lateSocketPeriod = 500 * time.Millisecond // after a stop should have been proven
	// a list of sockets is followed by a pause of 5 times its time
	socketCost = 5
)

// pollSchedule has the instants of polls, pings and lists of the server's sockets. It is pure: time
// comes in, decisions go out. At most one /readyz is in flight, beside it one ping and one list,
// and a second /readyz after a ping was answered.
type pollSchedule struct {
	period          time.Duration
	nextPoll        time.Time // when none is in flight
	pollStarted     time.Time // of the present or last poll
	polling         bool      // a poll is in flight
	unansweredSince time.Time // of /readyz, over several polls if they time out

	escalated   bool // pings are sent, and sockets listed
	escalatedAt time.Time
	lastAlive   time.Time // last sign of life since escalatedAt
	nextPing    time.Time
	pinging     bool
	pingStarted time.Time
	pingLate    bool // a ping was not answered within lateAfter
	nextSockets time.Time

	probingSockets bool
	nextSecondPoll time.Time
	secondPolling  bool
	stall          stallDetector
	lastSlow       time.Time     // when the server was last seen slow and alive
	longestStall   time.Duration // that ended within stallMemory
	stallEnded     time.Time     // when longestStall ended
	reported       Outcome       // of the unanswered /readyz
	abortedAt      time.Time     // of the connection; no poll has ended since
	starting       bool          // it did not listen, and has not been ready since
}

// due returns the instant of the next decision.
func (s *pollSchedule) due() time.Time {
	var due time.Time
	earliest := func(t time.Time) {
		if due.IsZero() || t.Before(due) {
			due = t
		}
	}
	if s.waitsAfterAbort() {
		earliest(s.abortedBy())
	}
	if s.polling && !s.escalated {
		earliest(s.unansweredSince.Add(escalateAfter))
		return due
	}
	if !s.polling {
		earliest(s.nextPoll)
	}
	if s.escalated {
		if !s.pinging {
			earliest(s.nextPing)
		}
		if !s.probingSockets && s.reported != OutcomeHung {
			earliest(s.nextSockets)
		}
		if s.reported != OutcomeHung && s.stall.duration() >= s.stallWindow(s.stall.last) {
			earliest(s.stall.last)
		}
		if s.reported != OutcomeSilent && s.reported != OutcomeHung {
			earliest(s.silentAt())
		}
		if s.reported == 0 {
			earliest(s.unansweredSince.Add(slowAfter))
		}
		if s.wantsSecondPoll() {
			earliest(s.nextSecondPoll)
		}
	}
	if due.IsZero() { // everything is reported and in flight: results come by themselves
		due = s.pollStarted.Add(readyTimeout + time.Second)
	}
	return due
}

// connectionAborted records that the connection of /readyz ended without a TLS alert.
func (s *pollSchedule) connectionAborted(now time.Time) { s.abortedAt = now }

// waitsAfterAbort reports whether the poll in flight is the first one after the connection was
// aborted, and not judged yet.
func (s *pollSchedule) waitsAfterAbort() bool {
	return s.polling && !s.abortedAt.IsZero() && s.reported == 0
}

// abortedBy returns when the poll in flight must have ended.
func (s *pollSchedule) abortedBy() time.Time {
	if s.pollStarted.After(s.abortedAt) {
		return s.pollStarted.Add(abortedAfter)
	}
	return s.abortedAt.Add(abortedAfter)
}

// noteStart records what a poll shows of a start of the server. What it lacks while it starts, it
// need not lack later.
func (s *pollSchedule) noteStart(o Outcome) {
	switch o {
	case OutcomeRefused:
		s.starting, s.lastSlow, s.longestStall = true, time.Time{}, 0
	case OutcomeOK:
		s.starting = false
	default:
	}
}

// silentAt returns when silence is reported if no ping is answered before.
func (s *pollSchedule) silentAt() time.Time {
	at := s.lastAlive.Add(silentAfter)
	if s.stall.lists > 0 && s.stallWindow(at) == stallAfter {
		return at.Add(silentGrace)
	}
	return at
}

// stallWindow returns how long the process must do nothing to count as stopped.
func (s *pollSchedule) stallWindow(now time.Time) time.Duration {
	window := stallAfter
	if !s.lastSlow.IsZero() && now.Sub(s.lastSlow) < slowMemory {
		window = stallAfterSlow
	}
	if s.stall.first.Sub(s.stallEnded) < stallMemory {
		window = max(window, min(stallFactor*s.longestStall, maxStallAfter))
	}
	return window
}

// sawAlive records that a slow server showed a sign of life at now, and how long it had shown none
// by the detector.
func (s *pollSchedule) sawAlive(now time.Time, detector stallDetector) {
	if s.starting {
		return
	}
	if now.Sub(s.unansweredSince) >= lateAfter {
		s.lastSlow = now
	}
	stall := now.Sub(detector.first)
	if detector.lists == 0 || stall > maxStallAfter {
		return
	}
	if stall >= s.longestStall || now.Sub(s.stallEnded) >= stallMemory {
		s.longestStall, s.stallEnded = stall, now
	}
}

// decision is what to do at one instant.
type decision struct {
	poll, ping, probeSockets, secondPoll bool
	report                               Outcome // of an unanswered /readyz, or 0
}

// decide returns what to do now, at a wake-up that was planned for the instant planned.
func (s *pollSchedule) decide(now, planned time.Time) decision {
	if late := now.Sub(planned); late > pausedAfter && s.polling {
		s.unansweredSince, s.lastAlive = s.unansweredSince.Add(late), now
		s.stall, s.abortedAt = stallDetector{}, time.Time{}
	}
	var d decision
	if !s.polling && !now.Before(s.nextPoll) {
		d.poll = true
		s.polling, s.pollStarted = true, now
		if s.unansweredSince.IsZero() {
			s.unansweredSince = now
		}
	}
	if s.waitsAfterAbort() && !now.Before(s.abortedBy()) {
		s.reported = OutcomeAborted
		d.report = OutcomeAborted
	}
	if s.polling && !s.escalated && now.Sub(s.unansweredSince) >= escalateAfter {
		s.escalated, s.escalatedAt, s.lastAlive = true, now, now
		s.nextPing, s.nextSockets, s.nextSecondPoll = now, now, now
	}
	if !s.escalated {
		return d
	}
	if !s.pinging && !now.Before(s.nextPing) {
		d.ping, s.pinging, s.pingStarted = true, true, now
	}
	if !s.probingSockets && s.reported != OutcomeHung && !now.Before(s.nextSockets) {
		d.probeSockets, s.probingSockets = true, true
	}
	if o := s.newOutcome(now); o != 0 {
		d.report = o
	}
	if s.wantsSecondPoll() && !now.Before(s.nextSecondPoll) {
		d.secondPoll, s.secondPolling = true, true
	}
	return d
}

// newOutcome returns what has become true of an unanswered /readyz, once, else 0.
func (s *pollSchedule) newOutcome(now time.Time) Outcome {
	outcome := Outcome(0)
	switch {
	case s.reported == OutcomeHung:
	case s.stall.duration() >= s.stallWindow(now):
		outcome = OutcomeHung
	case !now.Before(s.silentAt()):
		outcome = OutcomeSilent
	case s.reported == 0 && now.Sub(s.unansweredSince) >= slowAfter:
		outcome = OutcomeSlow
	}
	if outcome == 0 || outcome == s.reported {
		return 0
	}
	s.reported = outcome
	return outcome
}

// pollDone ends a poll and plans the next one after wait, counted from its start. If the poll timed
// out, the watch goes on over the next poll.
func (s *pollSchedule) pollDone(now time.Time, timedOut bool, wait time.Duration) {
	s.polling, s.abortedAt = false, time.Time{}
	s.nextPoll = s.pollStarted.Add(max(wait, s.period))
	if timedOut {
		return
	}
	if s.escalated {
		s.sawAlive(now, s.stall)
	}
	s.unansweredSince, s.escalated, s.pingLate = time.Time{}, false, false
	s.reported, s.stall = 0, stallDetector{}
}

// starved reports whether /livez/ping, which needs nothing but the CPU, was answered late or not at
// all while /readyz is unanswered.
func (s *pollSchedule) starved(now time.Time) bool {
	return s.escalated && (s.pingLate || s.pinging && now.Sub(s.pingStarted) > lateAfter)
}

// pingDone ends a ping.
func (s *pollSchedule) pingDone(now time.Time, alive bool) {
	s.pinging = false
	s.nextPing = now.Add(pingPeriod)
	s.pingLate = s.pingLate || now.Sub(s.pingStarted) > lateAfter
	if !alive {
		return
	}
	s.sawAlive(now, s.stall)
	s.lastAlive, s.stall = now, stallDetector{}
	if s.reported == OutcomeSilent || s.reported == OutcomeHung {
		s.reported = 0
	}
}

// wantsSecondPoll reports whether a second /readyz may be sent: the first is unanswered by a server
// that lives and has the CPU for more.
func (s *pollSchedule) wantsSecondPoll() bool {
	return s.escalated && !s.secondPolling && !s.pingLate && s.lastAlive.After(s.escalatedAt)
}

// secondPollDone ends a second /readyz, and reports whether the first is still unanswered.
func (s *pollSchedule) secondPollDone(now time.Time) bool {
	s.secondPolling = false
	s.nextSecondPoll = now.Add(secondPollPeriod)
	return s.escalated
}

// socketsProbed ends a list of the server's sockets that began at at. Nil: none is visible.
func (s *pollSchedule) socketsProbed(now, at time.Time, sockets []link.Socket) {
	s.probingSockets = false
	period := socketPeriod
	if now.Sub(s.escalatedAt) > stallAfterSlow {
		period = lateSocketPeriod
	}
	s.nextSockets = at.Add(max(period, socketCost*now.Sub(at)))
	if !s.escalated || at.Before(s.escalatedAt) {
		return
	}
	before := s.stall
	if s.stall.add(at, sockets) {
		s.sawAlive(now, before)
	}
}

// redialBackoff allows polls out of turn after a connection ended: the first at once, the next ones
// after short pauses, since a process that dies may close its connections just before its listener.
// Then it refuses for a second, so that a server that closes every connection is not polled without
// pause.
type redialBackoff struct {
	n    int
	last time.Time
}

var redialPauses = [...]time.Duration{0, time.Millisecond, 5 * time.Millisecond,
	20 * time.Millisecond}

// allow returns the pause before the next poll out of turn, and whether there may be one.
func (r *redialBackoff) allow(now time.Time) (time.Duration, bool) {
	if now.Sub(r.last) >= time.Second {
		r.n = 0
	}
	if r.n == len(redialPauses) {
		return 0, false
	}
	r.n++
	r.last = now
	return redialPauses[r.n-1], true
}
