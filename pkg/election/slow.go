package election

import "time"

// An API server may be slow because of its load, which follows the address to the next
// node. A holder therefore leaves for slowness only for somebody who is clearly better, and
// the more often the group did so of late, the longer it waits before (E6).
const (
	// muchFaster is how many times faster than the holder's an API server must be.
	muchFaster = 5
	// firstPatience doubles with each move: the second waits twice as long.
	firstPatience = 10 * time.Second
	// quietSpan without slowness takes one doubling back.
	quietSpan = time.Minute
	// MaxMoves bounds the doublings.
	MaxMoves = 5
)

// clearlyBetter reports whether an API server with one latency serves so much better than
// one with another that a move is worth it. A latency that is not known, 0, is not better.
func clearlyBetter(one, other time.Duration) bool {
	return one > 0 && other > 0 && one <= other/muchFaster
}

// Patience is how long a holder's API server must be slow before the holder may leave for
// it, after so many moves for slowness in the group. The first move needs none.
func Patience(moves int) time.Duration {
	if moves <= 0 {
		return 0
	}
	return firstPatience << min(moves, MaxMoves)
}

// noteSlowness counts how long the own API server has been slow, and takes one move back
// for each quiet minute of this tenure.
func (m *Machine) noteSlowness() {
	if m.health != NotReady || !m.slow {
		m.slowSince = m.now
	} else {
		m.quietSince = m.now
	}
	if m.moves > 0 && m.now-m.quietSince >= quietSpan {
		m.moves--
		m.quietSince = m.now
	}
}

// inheritMoves takes over from the Lease what the group has agreed on, for a new tenure.
func (m *Machine) inheritMoves() {
	m.moves = min(max(m.obs.Moves, 0), MaxMoves)
	m.quietSince, m.slowSince = m.now, m.now
}

// mark returns why the lease is to be marked as degraded, or "".
func (m *Machine) mark() Reason {
	switch {
	case m.health != NotReady:
		return ""
	case !m.slow:
		return ReasonAPINotReady
	case m.now-m.slowSince >= Patience(m.moves):
		return ReasonAPISlow
	}
	return ""
}

// wanted reports whether somebody who should have the address asks for the lease.
func (m *Machine) wanted() bool {
	if m.mark() == "" || m.obs.Degraded == "" || m.obs.RequestedBy == "" {
		return false
	}
	return !m.slow || clearlyBetter(m.obs.RequestedLatency, m.latency)
}
