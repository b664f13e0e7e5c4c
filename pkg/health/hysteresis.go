package health

import (
	"fmt"
	"time"

	"github.com/kvip/kvip/pkg/election"
)

// The hysteresis of E7. The numbers are fixed: each weighs speed against false alarms.
const (
	// healthyCount ready answers in a row, over at least healthySpan, make it Healthy: an API
	// server in a crash loop must not win the virtual IP between two crashes.
	healthyCount = 5
	healthySpan  = 400 * time.Millisecond
	// unauthorizedSpan replaces healthySpan if all answers are 401 or 403. An API server that
	// starts rejects all requests until it has loaded the roles, before it can report that it is
	// not ready.
	unauthorizedSpan = 2 * time.Second
	// notReadySpan is the minimum time between two failures in a row that make it NotReady: one
	// failed /readyz, as after a leader change of etcd, is not worth a move.
	notReadySpan = 100 * time.Millisecond
	// brokenSpan is how long every connection must end without an answer to make it Dead.
	brokenSpan = time.Second
)

// Hysteresis turns observations into states. It is pure: the same observations at the same times
// give the same states. The zero value is ready for use.
type Hysteresis struct {
	state   State
	good    streak
	bad     streak // not ready, overloaded, broken, certificate, cannot probe
	broken  streak // broken only
	started bool
}

// streak counts observations of one kind in a row.
type streak struct {
	n     int
	since time.Duration
}

// next adds one observation and returns how many there are and over what time.
func (s *streak) next(now time.Duration) (int, time.Duration) {
	if s.n == 0 {
		s.since = now
	}
	s.n++
	return s.n, now - s.since
}

// unknownState is the state before the first verdict.
func unknownState(now time.Duration) State {
	return State{Code: CodeUnknown, Reason: "the API server's health is not known yet", Since: now}
}

// Step takes one observation made at now, a time since boot, and returns the resulting state.
func (h *Hysteresis) Step(obs Observation, now time.Duration) State {
	if !h.started {
		h.started = true
		h.state = unknownState(now)
	}
	switch obs.Outcome {
	case OutcomeOK, OutcomeUnauthorized:
		h.alive(obs, now)
	case OutcomeRefused:
		h.dead(CodeRefused, "the API server does not listen: "+obs.Detail, now)
	case OutcomeAborted:
		h.dead(CodeBroken, obs.Detail, now)
	case OutcomeShutdown:
		h.dead(CodeShutdown, obs.Detail, now)
	case OutcomeHung:
		h.dead(CodeHung, "the API server hangs: "+obs.Detail, now)
	case OutcomeSilent:
		h.good, h.broken = streak{}, streak{}
		if h.state.Verdict != election.Dead { // silence is not a sign of life
			h.set(election.NotReady, CodeSilent, "the API server is silent: "+obs.Detail, now)
		}
	case OutcomeSlow:
		h.good, h.broken = streak{}, streak{}
		// A server known as not ready does not become slow: silence does not disprove that.
		if h.state.Verdict != election.NotReady || h.state.Code != CodeNotReady {
			h.set(election.NotReady, CodeSlow, "the API server is slow: "+obs.Detail, now)
		}
	default:
		h.failing(obs, now)
	}
	return h.state
}

func (h *Hysteresis) alive(obs Observation, now time.Duration) {
	h.bad, h.broken = streak{}, streak{}
	h.state.LastProbeFailed = false
	n, span := h.good.next(now)
	required := healthySpan
	if obs.Outcome == OutcomeUnauthorized {
		required = unauthorizedSpan
	}
	if h.state.Verdict != election.Healthy && (n < healthyCount || span < required) {
		return
	}
	if obs.Outcome == OutcomeUnauthorized { // E7: alive, with a warning
		h.set(election.Healthy, CodeUnauthorized, "the API server answers", now)
		h.state.Warning = fmt.Sprintf("it answers %s: check the credentials", obs.Detail)
		return
	}
	h.set(election.Healthy, CodeOK, "the API server is ready", now)
}

func (h *Hysteresis) dead(code, reason string, now time.Duration) {
	h.good, h.bad, h.broken = streak{}, streak{}, streak{}
	h.set(election.Dead, code, reason, now)
}

// failing handles failures that make the verdict NotReady only when they repeat. Broken connections
// are not a sign of life: they do not lift Dead, and lead to it when nothing else happens.
func (h *Hysteresis) failing(obs Observation, now time.Duration) {
	h.good = streak{}
	n, span := h.bad.next(now)
	if obs.Outcome == OutcomeBroken {
		if _, span := h.broken.next(now); span >= brokenSpan {
			h.set(election.Dead, CodeBroken,
				fmt.Sprintf("the API server has ended every connection for %v: %s",
					span.Round(time.Millisecond), obs.Detail), now)
			return
		}
		if h.state.Verdict == election.Dead {
			h.bad = streak{}
			return
		}
	} else {
		h.broken = streak{}
	}
	if n < 2 || span < notReadySpan {
		h.state.LastProbeFailed = h.state.Verdict == election.Healthy
		return
	}
	code, reason := CodeNotReady, "the API server is not ready: "+obs.Detail
	switch obs.Outcome {
	case OutcomeCertificate:
		code, reason = CodeCertificate, "the TLS handshake with the API server fails: "+obs.Detail
	case OutcomeOverloaded:
		code, reason = CodeSlow, "the API server is slow and not ready: "+obs.Detail
	case OutcomeCannotProbe:
		code, reason = CodeUnknown, obs.Detail
	}
	h.set(election.NotReady, code, reason, now)
}

// set replaces the state. An unchanged verdict keeps its beginning. An unchanged verdict and code
// keep the first reason: changing details are not a change of state.
func (h *Hysteresis) set(v election.Verdict, code, reason string, now time.Duration) {
	if v == h.state.Verdict && code == h.state.Code {
		return
	}
	since := now
	if v == h.state.Verdict {
		since = h.state.Since
	}
	h.state = State{Verdict: v, Code: code, Reason: reason, Since: since}
}

// Limits of a latency. 0 stands for an unknown one.
const (
	latencySpan = time.Second
	minLatency  = time.Millisecond
	maxLatency  = time.Minute
)

// latencyWindow has the latencies of the answers of the last second. It is pure; the zero value is
// ready for use.
type latencyWindow struct {
	since   time.Time // of the first answer
	answers []timedAnswer
}

// timedAnswer is an answer: when it came, and how long after the request.
type timedAnswer struct {
	at   time.Time
	took time.Duration
}

// add records an answer that came at now after took.
func (w *latencyWindow) add(now time.Time, took time.Duration) {
	if w.since.IsZero() {
		w.since = now
	}
	w.expire(now)
	w.answers = append(w.answers, timedAnswer{now, took})
}

// expire removes the answers that are older than latencySpan.
func (w *latencyWindow) expire(now time.Time) {
	kept := w.answers[:0]
	for _, a := range w.answers {
		if now.Sub(a.at) <= latencySpan {
			kept = append(kept, a)
		}
	}
	w.answers = kept
}

// worst returns the largest latency of the last second. unansweredSince is the zero time if no
// request is unanswered; a silent server counts as at least that slow. The latency of a server that
// was not probed for a second is unknown, unless it is slow already.
func (w *latencyWindow) worst(now, unansweredSince time.Time) time.Duration {
	w.expire(now)
	var worst time.Duration
	for _, a := range w.answers {
		worst = max(worst, a.took)
	}
	if !unansweredSince.IsZero() {
		worst = max(worst, now.Sub(unansweredSince))
	}
	if worst < latencySpan && (len(w.answers) == 0 || now.Sub(w.since) < latencySpan) {
		return 0
	}
	return min(max(worst, minLatency), maxLatency)
}
