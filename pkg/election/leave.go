package election

import "time"

// leaveIfDue begins to leave if there is cause, and reports whether it did.
func (m *Machine) leaveIfDue() bool {
	why := m.cause()
	if why == "" {
		return false
	}
	switch why {
	case ReasonNotOwned, ReasonRemoved:
		m.stayBack()
	case ReasonAPISlow: // somebody else is to take, however fast the load has gone
		m.backoffEnd = max(m.backoffEnd, m.now+firstBackoff)
	}
	m.leave(why)
	return true
}

// cause is why this node must not hold, or "".
func (m *Machine) cause() Reason {
	m.noteSlowness()
	switch {
	case m.shutdown:
		return ReasonShutdown
	case m.linkSeen && !m.link.Usable:
		return ReasonLinkDown
	case m.health == Dead:
		return ReasonAPIDead
	case m.wanted():
		return m.mark()
	case m.state == Holding && m.ownSince != 0 && m.flushed == 0 && m.now-m.ownSince > ownWithin:
		return ReasonNotOwned
	case m.state == Holding && m.losing():
		return ReasonRemoved
	}
	m.degrade()
	return ""
}

// degrade says in the lease that the own API server is not ready, so that somebody who can
// take may ask for it (E6). The watch hangs on that API server and may stand still: what is
// asked is read with a quorum while an answer can be expected soon.
func (m *Machine) degrade() {
	m.degraded = string(m.mark())
	switch {
	case m.degraded == "" || m.state != Holding || !m.mine() || m.obs.Degraded == "":
		m.markedAt = 0
	case m.markedAt == 0:
		m.markedAt = m.now
	}
	if m.AwaitsRequest() && m.reading == 0 && m.now >= m.readAt+RequestPollInterval {
		m.read()
	}
}

// AwaitsRequest reports whether the lease was marked so lately that somebody may be about to ask
// for it (E6). The machine is to be stepped every RequestPollInterval then.
func (m *Machine) AwaitsRequest() bool { return m.markedAt != 0 && m.now-m.markedAt < wishWithin }

// stayBack keeps a node that won and could not own from winning again at once (E5).
func (m *Machine) stayBack() {
	m.failures++
	m.backoffEnd = m.now + backoff(m.failures)
}

// leave removes the address; the lease follows when that is certain (E5).
func (m *Machine) leave(why Reason) {
	m.abandon()
	m.conflict, m.probing, m.degraded, m.markedAt = nil, false, "", 0
	m.retryAt, m.failed = m.now, 0
	m.disown(why)
	m.enter(Leaving, why)
}

// release gives the lease up with proof (E3), once no address of this tenure can be on
// the host: it was read back as gone, or its kernel lifetime has ended (E5).
func (m *Machine) release() {
	switch {
	case !m.mine():
		m.enter(Standby, m.reason)
	case m.shutdown && m.now >= max(m.stopAt, m.fenceLeft()):
		m.enter(Stopped, ReasonShutdown)
		m.emit(Action{Kind: Exit})
	case m.dirty && m.now < m.fence:
		m.sweep()
	case m.pending == nil && !m.mustRead && m.now >= m.retryAt:
		m.send(write{kind: Release, record: m.releaseRecord(), reason: m.reason})
	}
}

// releaseRecord names this tenure as proof. A tenure that ended before the network was
// silent proves nothing (E3): the next one must wait and ask again, for the hardware
// address that this one was asking for (E9).
func (m *Machine) releaseRecord() Record {
	r := Record{Term: m.term, Duration: m.cfg.Lease, MAC: m.obs.MAC, Moves: m.moves}
	if m.reason == ReasonAPISlow {
		r.Moves = min(m.moves+1, MaxMoves)
	}
	if !m.asked {
		r.MAC = m.won.oldMAC
	}
	if m.asked || m.reason == ReasonAddressInUse {
		r.Released = Proof{Holder: m.cfg.ID, Term: m.term, Reason: m.reason}
	}
	return r
}

// fenceLeft is when the last address of this tenure is certainly gone; 0 if it already is.
func (m *Machine) fenceLeft() time.Duration {
	if m.dirty {
		return m.fence
	}
	return 0
}
