package election

import (
	"time"

	"github.com/kvip/kvip/pkg/quorum"
)

// win begins a tenure with a claim that the Lease shows. After a proven release no other node has
// the address, so it is owned at once; in mode fast the first majority excludes all others (F1).
// Otherwise the network is probed first (E3, E9).
func (m *Machine) win(claim write) {
	why, fast := ReasonExpired, claim.record.Mark.Fast
	switch {
	case fast:
		why = claim.reason
	case claim.proven:
		why = ReasonReleased
	}
	t := &m.tenure
	t.begin(&claim, m.now)
	t.addressFree = claim.proven || fast
	m.tally.Forget()
	m.address.reset(m.now)
	m.address.lostAt = 0
	m.inflight.wroteAt = claim.sent
	switch {
	case !fast && m.now >= m.right(): // won long ago: confirm before owning
		m.enter(Confirming, why)
	case t.addressFree:
		m.enter(Holding, why)
		if !m.leaveIfDue() { // the claim may have been on its way for long
			m.own()
		}
	default:
		m.enter(Probing, why)
		m.startProbe()
	}
}

// adopt continues a tenure of an earlier agent on this node, whose address is still on the host. It
// remains there while one renewal confirms the Lease (E8).
func (m *Machine) adopt() {
	r, t := m.lease.record, &m.tenure
	m.inheritSlowMoves()
	t.begin(nil, m.now)
	t.term, t.addressFree = r.Term, true
	t.adoptEnd = Deadline(m.now, m.cfg.Lease) // the renewal may be applied and its answer lost
	m.tally.Forget()
	// Numbers grow within a term (F8). The earlier agent's last writes may still be applied.
	m.inflight.seq = max(m.inflight.seq, r.Seq+adoptedGap)
	m.enter(Confirming, ReasonAdopted)
}

// inheritSlowMoves copies the group's count of moves for slowness from the Lease to a new tenure.
func (m *Machine) inheritSlowMoves() {
	m.tenure.slowMoves = min(max(m.lease.record.SlowMoves, 0), MaxSlowMoves)
	m.tenure.quietSince, m.node.slowSince = m.now, m.now
}

// renewed handles a write of this tenure that the Lease shows: it proves the tenure up to its
// deadline, in the mode that it names (F1).
func (m *Machine) renewed(w write) {
	t := &m.tenure
	before := t.confirmed
	if before != nil && w.sent < before.sent {
		return
	}
	t.confirmed, t.confirmedAt, t.term, t.rise = &w, m.now, w.record.Term, false
	t.beatAt = m.now
	if before == nil {
		t.begun, t.majorityAt, t.votersAt = m.now, m.now, m.now
	} else {
		m.changedMark(before, &w)
	}
	m.defendIfProven(w.sent)
	switch {
	case !t.fast() && m.now >= m.right():
	case m.state == Holding && t.fast() && before != nil && before.record.Mark.Fast:
		// keepCoarse refreshes the addresses
	case m.state == Holding:
		m.own()
	case m.state == Confirming && !m.inflight.mustRead:
		m.regain()
	}
}

// regain owns the address again after a renewal was confirmed. A tenure that never probed the
// network successfully probes it first (E9), and so does one in mode fast: the fence was closed for
// other reasons than a late majority (F1).
func (m *Machine) regain() {
	m.address.reset(m.now)
	if m.tenure.fast() {
		m.tenure.addressFree = false
	}
	switch {
	case !m.tenure.addressFree:
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

// startProbe asks the network whether another host answers for the addresses.
func (m *Machine) startProbe() {
	m.tenure.probing = true
	m.emit(Action{Kind: Probe, Deadline: m.now + probeTimeout, MAC: m.tenure.oldMAC})
}

// probe waits for the answer, at most as long as a winner may take to own (E5).
func (m *Machine) probe() {
	switch {
	case m.leaveIfDue():
	case m.expired():
		m.suspect(ReasonFenceExpired)
	case m.now-m.address.missingSince > ownWithin:
		m.backOff()
		m.leave(ReasonCannotOwn)
	case !m.tenure.probing && m.now >= m.tenure.probeAt:
		m.startProbe()
	}
}

func (p Probed) apply(m *Machine) {
	t := &m.tenure
	if m.state != Probing || !t.probing {
		return
	}
	t.probing = false
	switch {
	case p.MAC == "":
	case ContainsMAC(t.oldMAC, p.MAC) && m.now-m.address.missingSince < silentWithin:
		t.probeAt = m.now + probeTimeout // the previous holder still answers
		return
	case t.first:
		m.backOff()
		m.node.backoffEnd = m.now + maxBackoff
		m.leave(ReasonAddressInUse)
		return
	}
	t.addressFree, t.defend = true, p.MAC
	m.enter(Holding, m.reason)
	m.own()
}

// hold keeps a tenure: it leaves for a reason, removes the address at the deadline, renews the
// Lease and repeats a failed Own.
func (m *Machine) hold() {
	c, a := m.tenure.conflict, &m.address
	switch {
	case m.leaveIfDue():
	case !m.holds() && !m.mayRestore():
		m.rewrite()
	case m.expired():
		m.suspect(ReasonFenceExpired)
	case c != nil && m.now-c.at >= proofWithin:
		m.suspect(ReasonAddressConflict)
	default:
		m.renewIfDue(m.cfg.Renew)
		m.allowFast()
		m.keepCoarse()
		waited := a.flushedUntil != 0 && m.now >= a.flushedUntil // for the node's own address (E10)
		if waited || a.ownAt != 0 && m.now >= a.ownAt {
			a.ownAt = m.now + retryAfter
			m.own()
		}
	}
}

// confirmLease renews a Lease that may still be this node's, after a quorum read where one is
// required (E9). The address is owned again only after that.
func (m *Machine) confirmLease() {
	switch {
	case m.leaveIfDue():
	case m.reason == ReasonAdopted && m.now >= m.tenure.adoptEnd:
		m.suspect(ReasonFenceExpired)
	case m.inflight.mustRead || m.inflight.reading != 0:
	default:
		m.renewIfDue(retryAfter)
	}
}

// mayRestore reports whether the Lease was deleted by hand and this node may create it again with
// itself as the holder in the same term. All others wait from a deletion that came after the last
// confirmed write, so no other node can have held since (E2).
func (m *Machine) mayRestore() bool {
	return m.state == Holding && !m.lease.record.Exists && !m.tenure.fast() && m.now < m.right()
}

// renewIfDue renews the Lease at an interval, and at once if the mark of a degraded holder (E6),
// the mode or the voters change.
func (m *Machine) renewIfDue(every time.Duration) {
	f, t, r := &m.inflight, &m.tenure, m.lease.record
	if f.pending != nil || f.mustRead || t.prepared != nil {
		return
	}
	if !r.Exists {
		if m.mayRestore() && (f.failures == 0 || m.now >= f.writeAt) {
			m.send(write{kind: Create, record: m.tenureRecord(t.term, Mark{}, m.cfg.Lease)})
		}
		return
	}
	w, changed := m.renewal()
	due := m.now >= f.wroteAt+every || t.degraded != r.Degraded || changed || t.rise ||
		t.fast() && !r.fast()
	urgent := t.degraded != "" && r.Degraded == "" && f.failures == 0
	switch {
	case !urgent && (m.now < f.writeAt || !due):
	case changed && w.record.Mark.Fast:
		m.prepare(w)
	default:
		m.send(w)
	}
}

// renewal returns the next write of this tenure, and whether it changes mode or voters.
func (m *Machine) renewal() (w write, changed bool) {
	t := &m.tenure
	mark, changed := m.nextMark()
	term, duration := t.term, m.cfg.Lease
	switch {
	case !mark.Fast:
	case t.fast():
		duration = t.confirmed.record.Duration
	default:
		duration = m.cfg.LongLease
	}
	if t.rise {
		term = m.termAbove(t.term)
	}
	return write{kind: Renew, record: m.tenureRecord(term, mark, duration)}, changed
}

// rewrite writes the Lease again that another program changed, while the right of a fast tenure
// lasts (F8). Without a right the tenure is over.
func (m *Machine) rewrite() {
	f, t := &m.inflight, &m.tenure
	switch {
	case !m.mayRewrite():
		m.lose()
	case f.pending != nil || f.mustRead || m.now < f.writeAt && f.failures > 0:
	default:
		w := write{kind: Renew}
		if !m.lease.record.Exists {
			w.kind = Create
		}
		was := t.confirmed.record
		w.record = m.tenureRecord(m.termAbove(t.term),
			Mark{Fast: true, Voters: was.Mark.Voters}, was.Duration)
		t.prepared = nil
		m.send(w)
	}
}

// termAbove returns a term above all known ones (F8).
func (m *Machine) termAbove(term int64) int64 {
	return nextTerm(max(term, m.lease.record.Term, m.voter.Highest()))
}

// tenureRecord is the content of a Lease that this node holds in term.
func (m *Machine) tenureRecord(term int64, mark Mark, d time.Duration) Record {
	mark.Proven = mark.Fast && m.tenure.majority && term == m.tenure.term
	r := Record{
		Holder: m.cfg.ID, Term: term, Duration: d, Mark: mark, MAC: m.node.link.MAC,
		Degraded: m.tenure.degraded, SlowMoves: m.tenure.slowMoves,
	}
	if r.Degraded != "" {
		r.Latency = m.node.health.Latency
	}
	if m.holds() && term == m.tenure.term {
		r.MoveTo = m.desiredHolder()
	}
	return r
}

// suspect removes the address and reads the Lease before anything is owned again (E9). The Lease is
// not released: if it is still this node's, the address is owned again.
func (m *Machine) suspect(why Reason) {
	m.endOwning(why)
	m.inflight.failures = 0
	m.readAgain()
	m.enter(Confirming, why)
}

// lose removes the address because the Lease is no longer this node's.
func (m *Machine) lose() {
	m.endTenure(ReasonLeaseLost)
	m.enter(Standby, ReasonLeaseLost)
}

// leave removes the address and releases the Lease once the removal is certain (E5).
func (m *Machine) leave(why Reason) {
	m.endTenure(why)
	m.tenure.degraded, m.tenure.markedAt = "", 0
	m.inflight.writeAt, m.inflight.failures = m.now, 0
	m.enter(Leaving, why)
}

// endTenure removes the address for good in this term, or goes on serving its connections. A holder
// in mode fast, or one that serves them, then says goodbye (F11). One that had no majority proves
// nothing about the holder before it.
func (m *Machine) endTenure(why Reason) {
	t := &m.tenure
	t.unproven = t.fast() && !t.majority
	if t.fast() || m.mayDrain(why) {
		m.bye = bye{term: quorum.Term{Number: t.term, Holder: m.cfg.ID}, armed: true}
	}
	m.endOwning(why)
}

func (m *Machine) endOwning(why Reason) {
	t, right, drains := &m.tenure, m.right(), m.mayDrain(why)
	m.inflight.abandon(m.lease.record.Version)
	t.conflict, t.probing, t.prepared, t.cutting, t.until = nil, false, nil, 0, 0
	if drains {
		m.drainConnections(why, right)
		return
	}
	m.disown(why)
}
