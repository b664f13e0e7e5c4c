package election

import (
	"slices"
	"time"
)

// This file has what a holder does with the addresses on its host: own them, remove them, and react
// to other programs and machines that do.

func (m *Machine) disown(why Reason) {
	a := &m.address
	m.drain = drain{}
	m.inflight.seq++
	a.present, a.cause, a.disowning, a.owned = true, why, m.inflight.seq, false
	a.disowned = m.inflight.seq
	a.disownAt = max(a.disownAt, a.ownAt)
	m.emit(Action{Kind: Disown, Seq: m.inflight.seq, Reason: why})
}

func (d Disowned) apply(m *Machine) {
	a := &m.address
	if d.Seq != a.disowning {
		return
	}
	a.disowning = 0
	switch {
	case !d.Draining:
		m.drain = drain{}
	case d.Confirmed && m.drain.active:
		m.drain.silent = true
		m.sayGoodbye()
		return
	}
	if d.Confirmed && a.owning < d.Seq {
		a.present = false
		m.sayGoodbye()
	}
}

func (m *Machine) own() {
	a := &m.address
	if a.flushedUntil > m.now {
		return
	}
	if m.node.link.Shared && m.tenure.fast() && m.now >= m.right() {
		a.ownAt = m.now + retryAfter // the fence, which is shut, is on one link
		return
	}
	m.inflight.seq++
	m.drain = drain{}
	a.present, a.owning, a.flushedUntil = true, m.inflight.seq, 0
	end := m.right()
	if m.tenure.fast() { // the fence is what ends a fast tenure (F9)
		end, m.tenure.refreshAt = m.now+coarseEvery, m.now+coarseEvery
	}
	a.goneBy = max(a.goneBy, end)
	m.emit(Action{
		Kind: Own, Seq: m.inflight.seq, Deadline: end, Reason: m.reason,
		Unfenced: m.node.link.Shared && !m.tenure.fast(),
	})
}

// owns reports whether the addresses are served here: they are on the host and the fence is open.
func (m *Machine) owns() bool {
	return m.state == Holding && m.address.owned && (!m.tenure.fast() || m.now < m.tenure.until)
}

func (o Owned) apply(m *Machine) {
	a := &m.address
	switch {
	// The answer to an older Own of this tenure matters only if the addresses may be gone.
	case m.state != Holding || o.Seq < a.disowned || o.OK && o.Seq != a.owning:
		return
	case o.OK:
		if a.owned && (a.lostAt == 0 || m.now-a.lostAt >= lostAgain) { // a renewal found it on the link
			m.node.failures = 0
		}
		a.owned, a.missingSince, a.ownAt = true, 0, 0
		t := &m.tenure
		if !t.fast() && t.cutting == 0 { // the table may be a new one, which is shut
			t.until = 0
		}
		m.extend()
		if t.defend != "" { // another machine answered the probe
			m.emit(Action{Kind: Defend, MAC: t.defend})
			t.defend = ""
		}
		return
	}
	// A write that came too late, and could be neither shortened nor deleted, may leave an address
	// for as long as a tenure lasts (E4, E5).
	a.goneBy = max(a.goneBy, Deadline(m.now, m.cfg.Lease))
	switch {
	case !o.Expired || !a.owned:
	case m.tenure.fast() && m.now < m.right(): // only the kernel was slow
		if o.Seq == a.owning {
			m.own()
		}
		return
	default: // only a confirmed renewal brings it back (E1)
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
	if m.state != Holding || m.now >= m.right() && !m.tenure.fast() {
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
	if waited && m.state == Holding && (m.tenure.fast() || m.now < m.right()) {
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
