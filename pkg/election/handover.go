package election

import (
	"cmp"
	"slices"
	"time"
)

// leaveIfDue begins to leave if there is a reason, and reports whether it did.
func (m *Machine) leaveIfDue() bool {
	why := m.leaveReason()
	switch why {
	case "":
		return false
	case ReasonCannotOwn, ReasonAddressRemoved:
		m.backOff()
	case ReasonAPIServerSlow, ReasonMoved: // leave the Lease to the other node, also if all is well
		m.node.backoffEnd = max(m.node.backoffEnd, m.now+firstBackoff)
	}
	m.leave(why)
	return true
}

// leaveReason returns why this node must not hold, or "".
func (m *Machine) leaveReason() Reason {
	m.trackSlowness()
	n, a, holding := &m.node, &m.address, m.state == Holding
	switch {
	case n.shutdown:
		return ReasonShutdown
	case n.linkKnown && !n.link.Usable:
		return ReasonLinkDown
	case n.health.Verdict == Dead:
		return n.health.deadReason()
	case m.transferRequested():
		return m.degradedReason()
	case holding && m.moveRequested():
		return ReasonMoved
	case holding && a.missingSince != 0 && a.flushedUntil == 0 && m.now-a.missingSince > ownWithin:
		return ReasonCannotOwn
	case holding && m.now-a.lostAt < lostAgain && a.lostAt-a.lostSince > ownWithin:
		return ReasonAddressRemoved // again and again (E5)
	}
	m.updateDegraded()
	return ""
}

// deadReason returns why a node with a dead API server does not hold.
func (h Health) deadReason() Reason {
	if h.Leaving {
		return ReasonAPIServerShutdown
	}
	return ReasonAPIServerDead
}

// moveRequested reports whether a person asks for another holder that could hold (F11). Without
// beats, which need three agents, one that has published itself counts.
func (m *Machine) moveRequested() bool {
	to, able := m.lease.record.MoveTo, m.agents
	if m.beats() {
		able = m.tally.Steady(m.now)
	}
	return to != "" && to != m.cfg.ID && m.holds() && slices.Contains(able, to)
}

// desiredHolder returns the agent that a person asks for, "" when MoveWithin has passed since that
// was seen.
func (m *Machine) desiredHolder() string {
	t, to := &m.tenure, m.lease.record.MoveTo
	if to != t.desired {
		t.desired, t.desiredAt = to, m.now
	}
	if m.now-t.desiredAt >= MoveWithin {
		return ""
	}
	return to
}

// yields returns for how long after the end of a tenure this node leaves the Lease to the one that
// a person asked for (F11).
func (m *Machine) yields() time.Duration {
	if to := m.lease.record.MoveTo; to == "" || to == m.cfg.ID {
		return 0
	}
	return yieldFor
}

// backOff keeps a node that won and could not own from winning again at once (E5).
func (m *Machine) backOff() {
	n := &m.node
	n.failures++
	n.backoffEnd = m.now + ownBackoff.After(n.failures)
}

// trackSlowness measures how long the own API server has been slow, and subtracts one move for each
// quiet minute of this tenure (E6).
func (m *Machine) trackSlowness() {
	t := &m.tenure
	if h := m.node.health; h.Verdict != NotReady || !h.Slow {
		m.node.slowSince = m.now
	} else {
		t.quietSince = m.now
	}
	if t.slowMoves > 0 && m.now-t.quietSince >= quietSpan {
		t.slowMoves--
		t.quietSince = m.now
	}
}

// degradedReason returns why the Lease is to be marked as degraded, or "" (E6).
func (m *Machine) degradedReason() Reason {
	switch h := m.node.health; {
	case h.Verdict != NotReady:
		return ""
	case !h.Slow:
		return ReasonAPIServerNotReady
	case m.now-m.node.slowSince >= slownessBefore(m.tenure.slowMoves):
		return ReasonAPIServerSlow
	}
	return ""
}

// transferRequested reports whether a follower that should have the address asks for it (E6).
func (m *Machine) transferRequested() bool {
	h, r := m.node.health, m.lease.record
	return m.degradedReason() != "" && r.Degraded != "" && r.RequestedBy != "" &&
		(!h.Slow || clearlyBetter(r.RequestedLatency, h.Latency))
}

// updateDegraded determines the mark of a degraded holder (E6). The watch depends on the degraded
// API server and may be stuck: quorum reads look for a request while one can be expected.
func (m *Machine) updateDegraded() {
	t := &m.tenure
	t.degraded = string(m.degradedReason())
	switch {
	case t.degraded == "" || m.state != Holding || !m.holds() || m.lease.record.Degraded == "":
		t.markedAt = 0
	case t.markedAt == 0:
		t.markedAt = m.now
	}
	f := &m.inflight
	if m.AwaitsTransferRequest() && f.reading == 0 && m.now >= f.readAt+TransferPollInterval {
		m.read()
	}
}

// AwaitsTransferRequest reports whether the Lease was marked as degraded so lately that a follower
// may be about to ask for a release (E6). The machine must then be stepped every
// TransferPollInterval.
func (m *Machine) AwaitsTransferRequest() bool {
	return m.tenure.markedAt != 0 && m.now-m.tenure.markedAt < transferWithin
}

// release gives up the Lease with a proof (E3) once no address of this tenure can be on the host:
// it was read back as removed, or its kernel lifetime has ended (E5).
func (m *Machine) release() {
	n, a, f := &m.node, &m.address, &m.inflight
	end := n.stopAt // of a shutdown without a release
	if a.present && !m.drain.silent {
		end = max(end, a.goneBy)
	}
	switch {
	case !m.holds():
		m.enter(Standby, m.reason)
	case n.shutdown && m.now >= end && !m.drain.active:
		m.stop()
	case a.present && !m.drain.silent && m.now < a.goneBy:
		m.sweep()
	case m.sayGoodbye() || m.now < m.tenure.byeUntil:
	case m.tenure.unproven:
		m.enter(Standby, m.reason)
	case f.pending == nil && !f.mustRead && m.now >= f.writeAt:
		m.send(write{kind: Release, record: m.releaseRecord(), reason: m.reason})
	}
}

// releaseRecord names this tenure as the proof. A tenure that ended before the address was free
// proves nothing (E3): the next one must wait and probe for the same hardware address (E9).
func (m *Machine) releaseRecord() Record {
	t := &m.tenure
	r := Record{
		Term: t.term, Duration: m.cfg.Lease, MAC: m.lease.record.MAC, SlowMoves: t.slowMoves,
		MoveTo: m.lease.record.MoveTo,
	}
	if m.reason == ReasonAPIServerSlow {
		r.SlowMoves = min(t.slowMoves+1, MaxSlowMoves)
	}
	if !t.addressFree {
		r.MAC = t.oldMAC
	}
	if t.addressFree || m.reason == ReasonAddressInUse {
		r.Released = Proof{Holder: m.cfg.ID, Term: t.term, Reason: m.reason}
	}
	return r
}

// standBy removes an address that no tenure covers, and campaigns when the Lease is free.
func (m *Machine) standBy() {
	n, a := &m.node, &m.address
	if a.present && !m.drain.active {
		m.sweep()
		if a.present && !n.shutdown {
			return
		}
	}
	l := &m.lease
	switch {
	case n.shutdown:
		if m.drain.active {
			return
		}
		if m.bye.left == 0 && !a.present || m.now >= max(a.goneBy, n.stopAt) {
			m.stop()
		}
	case !m.eligible() || !m.mayWrite():
	case !l.record.Exists:
		// A holder has the time of one request to create the Lease again itself: an empty one would
		// end its tenure. A claim by creation would be unsafe: absence has no version, so the Lease
		// could have been created, held and deleted again since the wait began (E2).
		if l.last.id == "" || m.now-l.changedAt >= RequestTimeout(m.cfg.Lease) {
			m.send(write{kind: Create, record: Record{Term: l.last.term, Duration: m.cfg.Lease}})
		}
	case m.free() && m.now >= l.changedAt+m.yields():
		m.claim()
	case m.mayClaimFast() && m.askVoters():
	case m.shouldRequestTransfer():
		r := l.record
		r.RequestedBy, r.RequestedLatency = m.cfg.ID, n.health.Latency
		m.send(write{kind: RequestTransfer, record: r})
	}
}

// sweep removes an address that no tenure covers. One of an earlier agent remains until the Lease
// has been read; its own lifetime ends it otherwise (E8).
func (m *Machine) sweep() {
	a := &m.address
	if !m.lease.known && !m.node.shutdown || a.disowning != 0 || m.now < a.disownAt {
		return
	}
	m.disown(a.cause)
	a.disownAt = m.now + retryAfter
}

func (m *Machine) stop() {
	m.enter(Stopped, ReasonShutdown)
	m.emit(Action{Kind: Exit})
}

// eligible reports whether this node could be the holder.
func (m *Machine) eligible() bool {
	n := &m.node
	return n.health.Verdict == Healthy && n.linkKnown && n.link.Usable && !n.shutdown &&
		(!m.address.present || m.drain.silent) && m.now >= n.backoffEnd
}

// mayWrite reports whether the Lease is known well enough to write to it, and the last failed write
// is long enough ago.
func (m *Machine) mayWrite() bool {
	f := &m.inflight
	return m.lease.known && f.pending == nil && !f.mustRead && m.now >= f.writeAt
}

// free reports whether no node can own under the Lease as last observed: it was released with a
// proof (E3), or it has not changed for long enough (E2).
func (m *Machine) free() bool {
	l := &m.lease
	duration := wait(m.cfg.Lease, l.record.Duration, l.last.duration)
	virgin := l.record.Term == 0 && l.record.Holder == "" && !m.everFast
	if !l.trusted() && !virgin {
		duration = max(duration, l.longest)
		if m.everFast {
			duration = max(duration, m.cfg.LongLease)
		}
	}
	return l.known && (l.record.proves(l.last) || m.now-l.changedAt >= duration || m.rebooted())
}

// rebooted reports whether the Lease is in mode fast and names this machine before its last boot:
// the holder is gone. It had a majority, so no holder before it owns by an earlier promise (F4).
// Without this rule a cluster that was off would wait for D_long, because its voters are gone as
// well.
func (m *Machine) rebooted() bool {
	r, boot := m.lease.record, bootOf(m.cfg.ID)
	return r.fast() && r.Mark.Proven && m.lease.trusted() && r.Term >= m.voter.Highest() &&
		NodeName(r.Holder) == NodeName(m.cfg.ID) && boot != "" && bootOf(r.Holder) != "" &&
		bootOf(r.Holder) != boot && r.MAC != "" && r.MAC == m.node.link.MAC && m.voter.Ready(m.now)
}

func (m *Machine) claim() {
	m.inheritSlowMoves()
	r, last := m.lease.record, m.lease.last
	w := write{
		kind:   Claim,
		proven: r.proves(last),
		first:  r.MAC == "" && (last.id == "" || r.declines(last)),
		oldMAC: cmp.Or(r.MAC, last.mac),
		reason: ReasonExpired,
		from:   last.id,
		record: m.tenureRecord(m.termAbove(last.term), Mark{}, m.cfg.Lease),
	}
	if w.proven {
		w.reason = r.Released.Reason
	}
	m.enter(Claiming, ReasonClaiming)
	m.send(w)
}

// shouldRequestTransfer reports whether to ask a degraded holder for a release (E6). A node whose
// last probe failed does not ask: if all API servers fail at once, it is the next to be not ready.
func (m *Machine) shouldRequestTransfer() bool {
	r, h := m.lease.record, m.node.health
	if h.LastProbeFailed || r.Holder == "" || r.Holder == m.cfg.ID {
		return false
	}
	better := r.Degraded != string(ReasonAPIServerSlow) || clearlyBetter(h.Latency, r.Latency)
	return r.Degraded != "" && r.RequestedBy == "" && m.now >= m.inflight.transferAt && better
}

// standbyReason returns why a machine in Standby does not claim the Lease.
func (m *Machine) standbyReason() Reason {
	n, h, l := &m.node, m.node.health, &m.lease
	switch {
	case n.shutdown:
		return ReasonShutdown
	case m.address.present && !m.drain.silent && l.known: // before, it is not removed (E8)
		return ReasonAddressNotRemoved
	case h.Verdict == Unknown:
		return ReasonStarting
	case h.Verdict == Dead:
		return h.deadReason()
	case h.Verdict == NotReady && h.Slow:
		return ReasonAPIServerSlow
	case h.Verdict == NotReady:
		return ReasonAPIServerNotReady
	case !n.linkKnown || !n.link.Usable:
		return ReasonLinkDown
	case m.now < n.backoffEnd:
		return ReasonBackingOff
	case !l.known:
		return ReasonLeaseUnknown
	case l.record.Holder != "" && !m.free():
		return ReasonHeldByOther
	}
	return ReasonWaitingForExpiry
}
