package health

import (
	"fmt"
	"time"
)

// The hysteresis of E7. The numbers are fixed: each is a trade of speed against noise.
const (
	// HealthyCount ready answers in a row, over at least HealthySpan, make it Healthy:
	// an API server that restarts in a loop must not win the VIP between two crashes.
	HealthyCount = 5
	HealthySpan  = 400 * time.Millisecond
	// UnauthorizedSpan is how long only 401 or 403 must have been answered to make it
	// Healthy: an API server that starts refuses everybody until it knows the roles, before
	// it can say that it is not ready.
	UnauthorizedSpan = 2 * time.Second
	// SoftSpan is the time between two failures in a row that make it Soft: one failed
	// /readyz, as after a leader change of etcd, is not worth a move.
	SoftSpan = 100 * time.Millisecond
	// BrokenSpan is how long every connection may end without an answer before that is
	// death.
	BrokenSpan = time.Second
)

// Hysteresis turns observations into states. It is pure: the same observations at the
// same times give the same states. The zero value is ready for use.
type Hysteresis struct {
	state    State
	good     run
	bad      run // not ready, late, broken, certificate, blind
	broken   run // broken only
	anything bool
}

// run counts observations of one kind in a row.
type run struct {
	n     int
	since time.Duration
}

// next adds one observation and returns how many there are and over what time.
func (r *run) next(now time.Duration) (int, time.Duration) {
	if r.n == 0 {
		r.since = now
	}
	r.n++
	return r.n, now - r.since
}

// Step takes one observation made at now, a time since boot, and returns the state
// that follows from it.
func (h *Hysteresis) Step(obs Observation, now time.Duration) State {
	if !h.anything {
		h.anything = true
		h.state = State{Code: CodeUnknown, Reason: "the API server has not been judged yet", Since: now}
	}
	switch obs.Outcome {
	case OutcomeOK, OutcomeUnauthorized:
		h.alive(obs, now)
	case OutcomeRefused:
		h.dead(CodeRefused, "the API server does not listen: "+obs.Detail, now)
	case OutcomeShutdown:
		h.dead(CodeShutdown, obs.Detail, now)
	case OutcomeHung:
		h.dead(CodeHung, "the API server hangs: "+obs.Detail, now)
	case OutcomeSilent:
		h.good, h.broken = run{}, run{}
		if h.state.Verdict != Dead { // silence is no proof of life
			h.set(Soft, CodeSilent, "the API server is silent: "+obs.Detail, now)
		}
	case OutcomeSlow:
		h.good, h.broken = run{}, run{}
		if h.state.Verdict != Soft || h.state.Code != CodeNotReady { // which silence does not disprove
			h.set(Soft, CodeSlow, "the API server is slow: "+obs.Detail, now)
		}
	default:
		h.failing(obs, now)
	}
	return h.state
}

// State returns the latest state without a step.
func (h *Hysteresis) State() State { return h.state }

func (h *Hysteresis) alive(obs Observation, now time.Duration) {
	h.bad, h.broken = run{}, run{}
	h.state.Doubtful = false
	n, span := h.good.next(now)
	enough := HealthySpan
	if obs.Outcome == OutcomeUnauthorized {
		enough = UnauthorizedSpan
	}
	if h.state.Verdict != Healthy && (n < HealthyCount || span < enough) {
		return
	}
	if obs.Outcome == OutcomeUnauthorized { // E7: alive, with a warning
		h.set(Healthy, CodeUnauthorized, "the API server answers", now)
		h.state.Warning = fmt.Sprintf("it answers %s: check the credentials", obs.Detail)
		return
	}
	h.set(Healthy, CodeOK, "the API server is ready", now)
}

func (h *Hysteresis) dead(code, reason string, now time.Duration) {
	h.good, h.bad, h.broken = run{}, run{}, run{}
	h.set(Dead, code, reason, now)
}

// failing handles what becomes Soft only when it repeats. Connections that break are
// no proof of life: they do not lift Dead, and become it when nothing else happens.
func (h *Hysteresis) failing(obs Observation, now time.Duration) {
	h.good = run{}
	n, span := h.bad.next(now)
	if obs.Outcome == OutcomeBroken {
		if _, span := h.broken.next(now); span >= BrokenSpan {
			h.set(Dead, CodeBroken, fmt.Sprintf("the API server has ended every connection for %v: %s", span.Round(time.Millisecond), obs.Detail), now)
			return
		}
		if h.state.Verdict == Dead {
			h.bad = run{}
			return
		}
	} else {
		h.broken = run{}
	}
	if n < 2 || span < SoftSpan {
		h.state.Doubtful = h.state.Verdict == Healthy
		return
	}
	switch obs.Outcome {
	case OutcomeCertificate:
		h.set(Soft, CodeCertificate, "TLS with the API server fails, certificate trouble: "+obs.Detail, now)
	case OutcomeLate:
		h.set(Soft, CodeSlow, "the API server is slow and not ready: "+obs.Detail, now)
	case OutcomeBlind:
		h.set(Soft, CodeUnknown, obs.Detail, now)
	default:
		h.set(Soft, CodeNotReady, "the API server is not ready: "+obs.Detail, now)
	}
}

// set replaces the state. A verdict that stays keeps its beginning, and while verdict
// and code stay the first reason stands: details that flicker are no change.
func (h *Hysteresis) set(v Verdict, code, reason string, now time.Duration) {
	if v == h.state.Verdict && code == h.state.Code {
		return
	}
	since := now
	if v == h.state.Verdict {
		since = h.state.Since
	}
	h.state = State{Verdict: v, Code: code, Reason: reason, Since: since}
}
