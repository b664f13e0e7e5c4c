package election

import (
	"slices"
	"time"
)

// win begins a tenure with a claim that the Lease shows. After a proven release no other node has
// the address, so it is owned at once; otherwise the network is probed first (E3, E9).
func (m *Machine) win(claim write) {
	why := ReasonExpired
	if claim.proven {
		why = ReasonReleased
	}
	t := &m.tenure
	t.claim, t.term, t.deadline = &claim, claim.record.Term, Deadline(claim.sent, m.cfg.Lease)
	t.addressFree, t.conflict, t.degraded = claim.proven, nil, ""
	m.address.reset(m.now)
	m.address.lostAt = 0
	m.inflight.wroteAt = claim.sent
	switch {
	case m.now >= t.deadline: // won long ago: confirm before owning
		m.enter(Confirming, why)
	case claim.proven:
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
	m.tenure.term, m.tenure.addressFree = m.lease.record.Term, true
	m.inheritSlowMoves()
	m.tenure.deadline = Deadline(m.now, m.cfg.Lease) // the renewal may be applied and its answer lost
	m.enter(Confirming, ReasonAdopted)
}

// inheritSlowMoves copies the group's count of moves for slowness from the Lease to a new tenure.
func (m *Machine) inheritSlowMoves() {
	m.tenure.slowMoves = min(max(m.lease.record.SlowMoves, 0), MaxSlowMoves)
	m.tenure.quietSince, m.node.slowSince = m.now, m.now
}

// renewed handles a renewal that the Lease shows: it proves the tenure up to its deadline.
func (m *Machine) renewed(w write) {
	t := &m.tenure
	t.deadline = max(t.deadline, Deadline(w.sent, m.cfg.Lease))
	m.defendIfProven(w.sent)
	switch {
	case m.now >= t.deadline:
	case m.state == Holding:
		m.own()
	case m.state == Confirming && !m.inflight.mustRead:
		m.regain()
	}
}

// regain owns the address again after a renewal was confirmed. A tenure that never probed the
// network successfully probes it first (E9).
func (m *Machine) regain() {
	m.address.reset(m.now)
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
	m.emit(Action{Kind: Probe, Deadline: m.now + probeTimeout, MAC: m.tenure.claim.oldMAC})
}

// probe waits for the answer, at most as long as a winner may take to own (E5).
func (m *Machine) probe() {
	switch {
	case m.leaveIfDue():
	case m.now >= m.tenure.deadline:
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
	case ContainsMAC(t.claim.oldMAC, p.MAC) && m.now-m.address.missingSince < silentWithin:
		t.probeAt = m.now + probeTimeout // the previous holder still answers
		return
	case t.claim.first:
		m.backOff()
		m.node.backoffEnd = m.now + maxBackoff
		m.leave(ReasonAddressInUse)
		return
	}
	t.addressFree = true
	m.enter(Holding, m.reason)
	m.own()
	if p.MAC != "" {
		m.emit(Action{Kind: Defend, MAC: p.MAC})
	}
}

// hold keeps a tenure: it leaves for a reason, removes the address at the deadline, renews the
// Lease and repeats a failed Own.
func (m *Machine) hold() {
	c, a := m.tenure.conflict, &m.address
	switch {
	case m.leaveIfDue():
	case m.now >= m.tenure.deadline:
		m.suspect(ReasonFenceExpired)
	case c != nil && m.now-c.at >= proofWithin:
		m.suspect(ReasonAddressConflict)
	default:
		m.renewIfDue(m.cfg.Renew)
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
	case m.reason == ReasonAdopted && m.now >= m.tenure.deadline:
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
	return m.state == Holding && !m.lease.record.Exists && m.now < m.tenure.deadline
}

// renewIfDue renews the Lease at an interval, and at once if the mark of a degraded holder changes
// (E6).
func (m *Machine) renewIfDue(every time.Duration) {
	f, degraded := &m.inflight, m.tenure.degraded
	switch {
	case f.pending != nil || f.mustRead:
	case !m.lease.record.Exists:
		if m.mayRestore() && (f.failures == 0 || m.now >= f.writeAt) {
			m.send(write{kind: Create, record: m.tenureRecord(m.tenure.term)})
		}
	case degraded != "" && m.lease.record.Degraded == "" && f.failures == 0,
		m.now >= f.writeAt && (m.now >= f.wroteAt+every || degraded != m.lease.record.Degraded):
		m.send(write{kind: Renew, record: m.tenureRecord(m.tenure.term)})
	}
}

// tenureRecord is the content of a Lease that this node holds in term.
func (m *Machine) tenureRecord(term int64) Record {
	r := Record{
		Holder: m.cfg.ID, Term: term, Duration: m.cfg.Lease, MAC: m.node.link.MAC,
		Degraded: m.tenure.degraded, SlowMoves: m.tenure.slowMoves,
	}
	if r.Degraded != "" {
		r.Latency = m.node.health.Latency
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
	m.endOwning(ReasonLeaseLost)
	m.enter(Standby, ReasonLeaseLost)
}

// leave removes the address and releases the Lease once the removal is certain (E5).
func (m *Machine) leave(why Reason) {
	m.endOwning(why)
	m.tenure.degraded, m.tenure.markedAt = "", 0
	m.inflight.writeAt, m.inflight.failures = m.now, 0
	m.enter(Leaving, why)
}

func (m *Machine) endOwning(why Reason) {
	m.inflight.abandon()
	m.tenure.conflict, m.tenure.probing = nil, false
	m.disown(why)
}

func (m *Machine) disown(why Reason) {
	a := &m.address
	m.inflight.seq++
	a.present, a.cause, a.disowning, a.owned = true, why, m.inflight.seq, false
	a.disownAt = max(a.disownAt, a.ownAt)
	m.emit(Action{Kind: Disown, Seq: m.inflight.seq, Reason: why})
}

func (d Disowned) apply(m *Machine) {
	a := &m.address
	if d.Seq != a.disowning {
		return
	}
	a.disowning = 0
	if d.Confirmed && a.owning < d.Seq {
		a.present = false
	}
}

func (m *Machine) own() {
	a := &m.address
	if a.flushedUntil > m.now {
		return
	}
	m.inflight.seq++
	a.present, a.owning, a.flushedUntil = true, m.inflight.seq, 0
	a.goneBy = max(a.goneBy, m.tenure.deadline)
	m.emit(Action{Kind: Own, Seq: m.inflight.seq, Deadline: m.tenure.deadline, Reason: m.reason})
}

func (o Owned) apply(m *Machine) {
	a := &m.address
	switch {
	case m.state != Holding || o.Seq != a.owning:
		return
	case o.OK:
		if a.owned && (a.lostAt == 0 || m.now-a.lostAt >= lostAgain) { // a renewal found it on the link
			m.node.failures = 0
		}
		a.owned, a.missingSince, a.ownAt = true, 0, 0
		return
	}
	// A write that came too late, and could be neither shortened nor deleted, may leave an address
	// for as long as a tenure lasts (E4, E5).
	a.goneBy = max(a.goneBy, Deadline(m.now, m.cfg.Lease))
	if o.Expired && a.owned { // only a confirmed renewal brings it back (E1)
		m.suspect(ReasonFenceExpired)
		return
	}
	if a.missingSince == 0 {
		a.missingSince = m.now
	}
	a.ownAt = m.now + retryAfter
}

func (e AddressLost) apply(m *Machine) {
	a := &m.address
	if m.state != Holding || m.now >= m.tenure.deadline {
		return // an expiry is never undone (E1)
	}
	switch {
	case e.NodeAddress: // also where NodeAddressRestored was missed
		a.flushedUntil = 0
	case a.flushedUntil > m.now: // already waiting
		return
	default:
		a.flushedUntil = m.now + nodeAddressWithin
	}
	again := a.lostAt != 0 && m.now-a.lostAt < lostAgain
	if !again {
		a.lostSince = m.now
	}
	a.lostAt = m.now
	if again { // another program removes it at once: do not answer at once
		a.ownAt = max(a.ownAt, m.now+retryAfter)
		return
	}
	m.own()
}

func (NodeAddressRestored) apply(m *Machine) {
	waited := m.address.flushedUntil != 0
	m.address.flushedUntil = 0
	if waited && m.state == Holding && m.now < m.tenure.deadline {
		m.own()
	}
}

// A foreign announcement by a node of this election requires a proof: a quorum read, or a renewal,
// that was sent after it. Against all other machines the address is defended at once (E9).
func (f Foreign) apply(m *Machine) {
	t := &m.tenure
	lately := t.defendedAt != 0 && m.now-t.defendedAt < proofEvery
	if m.state != Holding || t.conflict != nil || lately {
		return
	}
	if slices.ContainsFunc(m.lease.macs, func(list string) bool { return ContainsMAC(list, f.MAC) }) {
		t.conflict = &conflict{mac: f.MAC, at: m.now}
		m.readAgain()
		return
	}
	m.emit(Action{Kind: Defend, MAC: f.MAC})
	t.defendedAt = m.now
	if m.inflight.reading == 0 { // after a pause it may be a node that no Lease has shown yet
		m.read()
	}
}

// defendIfProven defends the address if the proof came from a request sent after the conflict was
// seen.
func (m *Machine) defendIfProven(sent time.Duration) {
	t := &m.tenure
	if t.conflict == nil || sent < t.conflict.at {
		return
	}
	m.emit(Action{Kind: Defend, MAC: t.conflict.mac})
	t.conflict, t.defendedAt = nil, m.now
}
