package election

import (
	"cmp"
	"slices"
	"time"

	"github.com/kvip/kvip/pkg/quorum"
)

// This file has the messages between agents: what a voter answers (F2), and how a follower finds
// out that the holder of a fast Lease is lost, and claims (F4).

func (r Received) apply(m *Machine) {
	if m.cfg.Window == 0 {
		return
	}
	switch msg := r.Message; msg.Kind {
	case quorum.KindBeat:
		if msg.Term.Holder != r.From {
			return
		}
		if reply, ok := m.voter.Beat(msg.Beat(), m.now).Message(msg.Beat(), m.fit()); ok {
			m.emit(Action{Kind: Send, To: r.From, Message: reply})
		}
	case quorum.KindPreVote:
		if m.mayPreVote() && m.lease.record.tenure() == msg.Term && m.voter.Lost(msg.Term, m.now) {
			m.emit(Action{Kind: Send, To: r.From, Message: quorum.Message{
				Kind: quorum.KindPreVoteGranted, Term: msg.Term, Seq: msg.Seq,
			}})
		}
	case quorum.KindGoodbye:
		if msg.Term.Holder == r.From && m.voter.Goodbye(msg.Term) {
			m.lost()
		}
	default:
		m.receive(r.From, msg)
	}
}

// receive takes an answer of an agent, this one included.
func (m *Machine) receive(from string, msg quorum.Message) {
	switch msg.Kind {
	case quorum.KindAck:
		m.acknowledged(from, msg)
	case quorum.KindRefusal:
		m.refused(msg)
	case quorum.KindPreVoteGranted:
		m.granted(from, msg)
	}
}

// A holder that lives sends another beat before its followers act on a refusal: a firewall may
// refuse their messages.
func (p PortRefused) apply(m *Machine) {
	if r := m.lease.record; r.Holder == p.Agent && r.fast() {
		t := r.tenure()
		if !m.voter.Ended(t) {
			m.voter.PortRefused(t)
			m.lost()
			_, window := m.voter.Heard(t)
			m.lostAt += quorum.Interval(cmp.Or(window, m.cfg.Window)) * 3 / 2
		}
	}
}

// lost notes that a sign of the end of a term came: the next pre-vote need not wait for silence.
func (m *Machine) lost() {
	m.lostAt = m.now
	m.preVote.End()
}

func (a Agents) apply(m *Machine) { m.agents, m.everFast = slices.Clone(a.IDs), a.EverFast }

// sayGoodbye begins the goodbye of the term that ended. It reports whether it began just now.
func (m *Machine) sayGoodbye() bool {
	b := &m.bye
	if !b.armed {
		return false
	}
	b.armed, b.left, b.at = false, 3, m.now
	if m.tenure.fast() { // others may claim at once
		m.tenure.byeUntil = m.now + byeWithin
		if m.drain.active { // packets still arrive, and one of them yields
			m.tenure.byeUntil += yieldFor
		}
	}
	return true
}

// mayPreVote reports whether the Lease as this node knows it may be claimed in mode fast if its
// holder is lost (F4).
func (m *Machine) mayPreVote() bool {
	r := m.lease.record
	return m.cfg.Window > 0 && r.fast() && !m.lease.wentBack && r.Term >= m.voter.Highest()
}

// mayClaimFast reports whether this node could hold in mode fast what may be claimed so (F4). With
// another link in the subnet the address would answer there before a majority has acknowledged.
func (m *Machine) mayClaimFast() bool { return m.mayPreVote() && !m.node.link.Shared }

// suspectAt returns when the holder of a fast Lease may be taken for lost: a validity after its
// last beat, or when its end was heard, and later by this node's rank (F4).
func (m *Machine) suspectAt() time.Duration {
	r := m.lease.record
	t := r.tenure()
	rank := quorum.Rank(m.cfg.ID, r.Holder, r.Mark.voters())
	if m.voter.Ended(t) {
		if r.MoveTo == m.cfg.ID {
			return m.lostAt
		}
		return m.lostAt + rank + m.yields()
	}
	heard, window := m.voter.Heard(t)
	window = cmp.Or(window, m.cfg.Window)
	return max(m.lease.tenureAt, heard) + quorum.Validity(window) + rank
}

// FreeSince returns the instant of the last sign of the holder, from which a fail-over counts: the
// last observed change of the Lease or, in mode fast, a later beat or a goodbye.
func (m *Machine) FreeSince() time.Duration {
	r := m.lease.record
	if !r.fast() {
		return m.lease.changedAt
	}
	heard, _ := m.voter.Heard(r.tenure())
	if m.voter.Left(r.tenure()) {
		heard = m.lostAt
	}
	return max(m.lease.changedAt, heard)
}

// askVoters asks the voters whether the holder is lost, when it is time. It reports whether it
// asked.
func (m *Machine) askVoters() bool {
	r := m.lease.record
	t := r.tenure()
	if m.now < m.suspectAt() {
		return false
	}
	seq, ok := m.preVote.Ask(t, m.now)
	if !ok {
		return false
	}
	msg := quorum.Message{Kind: quorum.KindPreVote, Term: t, Seq: seq}
	m.emit(Action{Kind: Send, Message: msg})
	if m.voter.Lost(t, m.now) {
		msg.Kind = quorum.KindPreVoteGranted
		m.receive(m.cfg.ID, msg)
	}
	return true
}

// granted counts a voter that has lost the holder, and claims after a majority of them (F4).
func (m *Machine) granted(from string, msg quorum.Message) {
	r := m.lease.record
	if r.Term != msg.Term.Number || r.Holder != msg.Term.Holder ||
		!m.preVote.Grant(from, msg.Term, msg.Seq, r.Mark.voters()) {
		return
	}
	m.preVote.End()
	if m.state == Standby && m.eligible() && m.mayWrite() && m.mayClaimFast() {
		m.claimFast()
	}
}

// claimFast writes this node into a fast Lease, with its mode, voters and duration (F4).
func (m *Machine) claimFast() {
	m.inheritSlowMoves()
	r, last := m.lease.record, m.lease.last
	slow := r.Degraded == string(ReasonAPIServerSlow) && r.RequestedBy != ""
	if slow && m.voter.Left(r.tenure()) { // no release counts it (E6)
		m.tenure.slowMoves = min(m.tenure.slowMoves+1, MaxSlowMoves)
	}
	mark := Mark{Fast: true, Voters: r.Mark.Voters}
	w := write{
		kind: Claim, oldMAC: cmp.Or(r.MAC, last.mac), from: last.id, reason: ReasonSilent,
		record: m.tenureRecord(m.termAbove(last.term), mark, r.Duration),
	}
	if m.voter.Left(r.tenure()) {
		w.reason = ReasonGoodbye
	}
	m.enter(Claiming, ReasonClaiming)
	m.send(w)
}
