package election

import "time"

// win begins a tenure with a claim that the Lease now shows. After a proven release
// nobody can be on the address, so it is owned at once; otherwise the network is asked
// first (E3, E9).
func (m *Machine) win(w write) {
	why := ReasonExpired
	if w.proven {
		why = ReasonReleased
	}
	m.won, m.term, m.degraded = &w, w.record.Term, ""
	m.deadline = Deadline(w.sent, m.cfg.Lease)
	m.owned, m.ownSince, m.ownAt, m.conflict, m.asked = false, m.now, 0, nil, w.proven
	m.lostAt = 0
	m.wroteAt = w.sent
	switch {
	case m.now >= m.deadline: // won long ago: confirm before owning
		m.enter(Confirming, why)
	case w.proven:
		m.enter(Holding, why)
		if !m.leaveIfDue() { // the claim may have been on its way for long
			m.own()
		}
	default:
		m.enter(Probing, why)
		m.startProbe()
	}
}

// confirmed takes a renewal that the Lease now shows as proof of the tenure up to its deadline.
func (m *Machine) confirmed(w write) {
	m.deadline = max(m.deadline, Deadline(w.sent, m.cfg.Lease))
	if m.conflict != nil && w.sent >= m.conflict.at {
		m.settle(w.sent)
	}
	switch {
	case m.now >= m.deadline:
	case m.state == Holding:
		m.own()
	case m.state == Confirming && !m.mustRead:
		m.regain()
	}
}

// regain owns again under a lease that was just confirmed. A tenure that was interrupted
// before the network could be asked still has to ask (E9).
func (m *Machine) regain() {
	m.owned, m.ownSince, m.ownAt = false, m.now, 0
	switch {
	case !m.asked:
		m.enter(Probing, ReasonExpired)
		m.startProbe()
		return
	case m.reason == ReasonAdopted:
		m.enter(Holding, ReasonAdopted)
	default:
		m.enter(Holding, ReasonRegained)
	}
	m.own()
}

// hold keeps a tenure: leave if there is cause, let go at the deadline, renew, own.
func (m *Machine) hold() {
	if m.leaveIfDue() {
		return
	}
	switch {
	case m.now >= m.deadline:
		m.suspect(ReasonFenceExpired)
	case m.conflict != nil && m.now-m.conflict.at >= proofWithin:
		m.suspect(ReasonConflict)
	default:
		m.renewIfDue(m.cfg.Renew)
		m.ownIfDue()
	}
}

// confirmLease renews a lease that may still be this node's, after a quorum read where
// one is due (E9), and owns again only once that is confirmed.
func (m *Machine) confirmLease() {
	switch {
	case m.leaveIfDue():
		return
	case m.reason == ReasonAdopted && m.now >= m.deadline:
		m.suspect(ReasonFenceExpired)
		return
	case m.mustRead || m.reading != 0:
		return
	}
	m.renewIfDue(retryAfter)
}

// restores reports whether the Lease was deleted by hand and this node may create it again,
// naming itself in the same term: all others wait from a deletion that came after the last
// confirmed write, so nobody can have held since (E2).
func (m *Machine) restores() bool {
	return m.state == Holding && !m.obs.Exists && m.now < m.deadline
}

func (m *Machine) renewIfDue(every time.Duration) {
	if !m.obs.Exists {
		if m.restores() && m.pending == nil && !m.mustRead && (m.failed == 0 || m.now >= m.retryAt) {
			m.send(write{kind: Create, record: m.tenureRecord(m.term)})
		}
		return
	}
	marks := m.degraded != "" && m.obs.Degraded == "" && m.failed == 0 // at once (E6)
	due := m.now >= m.wroteAt+every || m.degraded != m.obs.Degraded
	if m.pending != nil || m.mustRead || !marks && (!due || m.now < m.retryAt) {
		return
	}
	m.send(write{kind: Renew, record: m.tenureRecord(m.term)})
}

// suspect removes the address and reads the lease again before anything is owned (E9).
// The lease is not given up: if it is still this node's, it is owned again.
func (m *Machine) suspect(why Reason) {
	m.abandon()
	m.conflict, m.probing, m.failed = nil, false, 0
	m.disown(why)
	m.mustRead, m.readAt, m.reading = true, 0, 0
	m.enter(Confirming, why)
}

// drop removes the address because the lease is no longer this node's.
func (m *Machine) drop(why Reason) {
	m.abandon()
	m.conflict, m.probing = nil, false
	m.disown(why)
	m.enter(Standby, why)
}

func (m *Machine) disown(why Reason) {
	m.seq++
	m.dirty, m.dirtyWhy, m.disowning, m.owned = true, why, m.seq, false
	m.emit(Action{Kind: Disown, Seq: m.seq, Reason: why})
}

func (m *Machine) own() {
	if m.flushed > m.now {
		return
	}
	m.seq++
	m.dirty, m.owning, m.flushed = true, m.seq, 0
	m.fence = max(m.fence, m.deadline)
	m.emit(Action{Kind: Own, Seq: m.seq, Deadline: m.deadline, Reason: m.reason})
}

// ownIfDue repeats Own after a failure, or when the wait for the node's address is over (E10).
func (m *Machine) ownIfDue() {
	over := m.flushed != 0 && m.now >= m.flushed
	if over || m.ownAt != 0 && m.now >= m.ownAt {
		m.ownAt = m.now + retryAfter
		m.own()
	}
}

func (o Owned) apply(m *Machine) {
	if m.state != Holding || o.Seq != m.owning {
		return
	}
	if o.OK {
		if m.owned && (m.lostAt == 0 || m.now-m.lostAt >= lostAgain) { // a renewal found it in its place
			m.failures = 0
		}
		m.owned, m.ownSince, m.ownAt = true, 0, 0
		return
	}
	// A write that was found too late, and could neither be shortened nor deleted, may leave
	// an address for as long as a tenure may last (E4, E5).
	m.fence = max(m.fence, Deadline(m.now, m.cfg.Lease))
	if o.Expired && m.owned { // E1: only a confirmed renewal brings it back
		m.suspect(ReasonFenceExpired)
		return
	}
	if m.ownSince == 0 {
		m.ownSince = m.now
	}
	m.ownAt = m.now + retryAfter
}

func (d Disowned) apply(m *Machine) {
	if d.Seq != m.disowning {
		return
	}
	m.disowning = 0
	if d.Confirmed && m.owning < d.Seq {
		m.dirty = false
	}
}

func (a AddressLost) apply(m *Machine) {
	if m.state != Holding || m.now >= m.deadline {
		return // E1: an expiry is never undone
	}
	switch {
	case a.NodeAddress: // also where the notice that it is back was lost
		m.flushed = 0
	case m.flushed > m.now: // told again: it is waited for already
		return
	default:
		m.flushed = m.now + nodeAddressWithin
	}
	again := m.lostAt != 0 && m.now-m.lostAt < lostAgain
	if !again {
		m.lostSince = m.now
	}
	m.lostAt = m.now
	if again { // whoever removes it at once is not answered at once
		m.ownAt = max(m.ownAt, m.now+retryAfter)
		return
	}
	m.own()
}

// losing reports whether somebody has removed the address again and again for so long that
// this node cannot be said to own it (E5).
func (m *Machine) losing() bool {
	return m.lostAt != 0 && m.now-m.lostAt < lostAgain && m.lostAt-m.lostSince > ownWithin
}

func (NodeAddressRestored) apply(m *Machine) {
	waited := m.flushed != 0
	m.flushed = 0
	if waited && m.state == Holding && m.now < m.deadline {
		m.own()
	}
}
