package election

import (
	"slices"
	"time"

	"github.com/kvip/kvip/pkg/quorum"
)

// This file has what a holder does in mode fast: its right (F1), beats, and the changes of mode and
// voters (F5 to F8).

const (
	// firstOffer is how long a tenure lasts before mode fast is offered. After each return to mode
	// slow the next offer waits longer, from minOffer to maxOffer (F6).
	firstOffer = 2 * time.Second
	minOffer   = 5 * time.Second
	maxOffer   = 60 * time.Second
	// lostBeats is how many beats in a row without a majority make a holder return to mode slow (F6).
	lostBeats = 3
	// coarseEvery spaces the refreshes of an address in mode fast: its lifetime is 2 s (F9).
	coarseEvery = time.Second
	// lateFor is how long a window stays doubled after the agent was late.
	lateFor = 10 * time.Minute
	// worthwhile is the smallest extension of the fence that is worth a write.
	worthwhile = 2 * time.Millisecond
	// extendAgain is when to extend the fence again after an Extend that changed nothing.
	extendAgain = 5 * time.Millisecond
)

// right returns the instant until which this node may own (F1), 0 if it may not. While the fate of
// a write is open, it is what the states before and after the write both give.
func (m *Machine) right() time.Duration {
	t := &m.tenure
	if t.confirmed == nil {
		return 0
	}
	end := m.given(t.confirmed)
	for _, w := range m.inflight.open(m.lease.record.Version) {
		if w.record.Holder == m.cfg.ID {
			end = min(end, m.given(w))
		}
	}
	if t.prepared != nil {
		end = min(end, m.given(t.prepared))
	}
	return end
}

// given returns the instant until which a state of the Lease that w wrote gives this node a right.
func (m *Machine) given(w *write) time.Duration {
	end := Deadline(w.sent, w.record.Duration)
	if w.record.Mark.Fast {
		end = min(end, m.tally.Until(w.record.Mark.voters()))
	}
	return end
}

// expired reports whether the right has ended. In mode fast a majority that comes up to a window
// late opens the fence again, so that only a longer silence ends owning (F6). Before the first
// majority of a term the fence has not been opened, and the holder waits for it.
func (m *Machine) expired() bool {
	t := &m.tenure
	switch {
	case m.now < m.right():
		return false
	case !t.fast(), m.node.link.Shared && m.address.owned:
		return true // in mode fast: the other link would answer until the address is gone
	}
	window, age := m.window(), m.now-t.begun
	since := max(m.tally.Until(t.confirmed.record.Mark.voters()), t.confirmedAt)
	return t.majority && m.now-since > window && age > 3*window+100*time.Millisecond
}

// extend lets the kernel serve the addresses for as long as the right lasts now.
func (m *Machine) extend() {
	t := &m.tenure
	if m.state != Holding || !m.address.owned {
		return
	}
	end := m.right()
	if end <= m.now || m.now < t.extendAt || m.now < t.until && end < t.until+worthwhile {
		return
	}
	if t.fast() && t.until > 0 && m.now > t.until && t.blinked != t.until {
		m.node.blinks++
		t.blinked = t.until
	}
	t.untilThen, t.until = t.until, end
	m.emit(Action{Kind: Extend, Deadline: end})
}

func (NotExtended) apply(m *Machine) {
	t := &m.tenure
	t.until, t.extendAt = min(t.until, t.untilThen), m.now+extendAgain
}

// slowBecause returns why a holder is in mode slow (F5), "" in mode fast.
func (m *Machine) slowBecause() string {
	switch {
	case m.tenure.fast():
		return ""
	case m.cfg.Window == 0:
		return "this agent takes no part in mode fast"
	case m.node.health.Verdict != Healthy:
		return "the API server is not healthy"
	case len(m.agents) < minVoters:
		return "fewer than three agents have published themselves"
	case len(m.tally.Steady(m.now)) < minVoters:
		return "fewer than three agents with a healthy API server answer in time"
	}
	return "the agents have answered for a short time only"
}

// window returns W of the next beat.
func (m *Machine) window() time.Duration {
	w := m.cfg.Window
	if m.now < m.node.lateUntil {
		w = min(w<<m.node.late, quorum.MaxWindow)
	}
	return w
}

// trackLateness doubles the window for some minutes if the agent of a fast holder ran so late that
// the fence almost shut. A longer window does not help an agent that stood still for longer than
// the longest one, as a virtual machine that was paused.
func (m *Machine) trackLateness() {
	t, n := &m.tenure, &m.node
	late := m.now - n.wake
	if !t.fast() || n.wake == 0 || late <= quorum.Validity(m.window())*2/3 {
		return
	}
	n.wakeUps++
	if late > quorum.MaxWindow {
		return
	}
	if m.now >= n.lateUntil {
		n.late = 0
	}
	if m.window() < quorum.MaxWindow {
		n.late++
	}
	n.lateUntil = m.now + lateFor
}

// beats reports whether this node sends beats: its right, or its chance to get one, depends on
// them. In mode fast those that reach no agent count as well: they lead back to mode slow (F6).
func (m *Machine) beats() bool {
	t := &m.tenure
	return m.cfg.Window > 0 && (m.state == Holding || m.state == Probing) && t.confirmed != nil &&
		(t.fast() || len(m.agents) >= minVoters)
}

// beatAt returns when the next beat is due (F6).
func (m *Machine) beatAt() time.Duration {
	t, interval := &m.tenure, quorum.Interval(m.window())
	if n, _ := m.tally.Unacknowledged(); t.fast() && n > 0 {
		interval = quorum.Repeat
	}
	at := m.tally.LastBeat() + interval
	if t.beatAt > m.tally.LastBeat() {
		at = min(at, t.beatAt)
	}
	return at
}

// beat sends a beat to all agents, this one included.
func (m *Machine) beat() {
	window := m.window()
	b := quorum.Beat{
		Term:   quorum.Term{Number: m.tenure.term, Holder: m.cfg.ID},
		Seq:    m.tally.Beat(m.now, window),
		Window: window,
	}
	m.emit(Action{Kind: Send, Message: quorum.Message{
		Kind: quorum.KindBeat, Term: b.Term, Seq: b.Seq, Window: b.Window,
	}})
	if reply, ok := m.voter.Beat(b, m.now).Message(b, m.fit()); ok {
		m.receive(m.cfg.ID, reply)
	}
}

// acknowledged counts an acknowledgement of a beat (F1, F6).
func (m *Machine) acknowledged(from string, msg quorum.Message) {
	t := &m.tenure
	if !m.tally.Ack(from, msg.Seq, msg.Fit, m.now) || !t.fast() {
		return
	}
	voters := t.confirmed.record.Mark.voters()
	if m.tally.Count(voters) && m.tally.Until(voters) > m.now {
		t.majority, t.majorityAt = true, m.now
	}
	m.defendIfProven(m.tally.Newest(voters))
}

// refused handles a refusal of a beat (F2, F8). A fast holder that hears of a higher term closes
// and writes one above it.
func (m *Machine) refused(msg quorum.Message) {
	t := &m.tenure
	if t.confirmed == nil || msg.Term.Number != t.term {
		return
	}
	if msg.Highest == 0 {
		if msg.Left < quorum.Interval(m.window()) {
			t.beatAt = m.now + msg.Left + time.Millisecond
		}
		return
	}
	m.voter.Learn(msg.Highest)
	if msg.Highest < t.term || t.rise {
		return
	}
	t.rise = true
	if t.fast() && (m.state == Holding || m.state == Probing) {
		m.suspect(ReasonHigherTerm)
		m.tally.Forget()
	}
}

// nextMark returns the mode and the voters of the next write of this tenure, and whether they
// differ from the confirmed ones.
func (m *Machine) nextMark() (Mark, bool) {
	t := &m.tenure
	if t.confirmed == nil { // adopted, so slow (E8)
		return Mark{}, false
	}
	now := t.confirmed.record.Mark
	mark := Mark{Fast: now.Fast, Voters: now.Voters}
	if t.rise || m.state != Holding || !m.holds() {
		return mark, false
	}
	next := m.wantedMark(mark)
	return next, next != mark
}

// wantedMark returns the mode and the voters that this tenure should have (F5 to F7).
func (m *Machine) wantedMark(mark Mark) Mark {
	t := &m.tenure
	live := m.tally.Steady(m.now)
	if !mark.Fast {
		if m.mayOffer(live) {
			return Mark{Fast: true, Voters: joinVoters(live)}
		}
		return mark
	}
	count, first := m.tally.Unacknowledged()
	half := quorum.Validity(m.window()) / 2
	proven := t.majority || m.now >= t.begun+t.confirmed.record.Duration
	lost := count >= lostBeats && m.now-first > half && m.now-t.majorityAt > half
	if proven && (lost || m.node.link.Shared) {
		return Mark{}
	}
	if m.now-t.majorityAt >= quorum.LiveWithin || m.now < t.nextOffer {
		return mark
	}
	voters := slices.DeleteFunc(mark.voters(), m.silent)
	for _, id := range live {
		if !slices.Contains(voters, id) && len(voters) < MaxVoters {
			voters = append(voters, id)
		}
	}
	switch {
	case len(voters) >= minVoters:
		return Mark{Fast: true, Voters: joinVoters(voters)}
	case t.majority:
		return Mark{}
	}
	return mark
}

// mayOffer reports whether to offer mode fast to these agents (F5).
func (m *Machine) mayOffer(live []string) bool {
	return m.fit() && m.everFast && m.now >= m.tenure.nextOffer && len(live) >= minVoters &&
		slices.Contains(live, m.cfg.ID)
}

// allowFast asks to record that mode fast may be used with the Lease, before it is offered at
// first: an agent that has no memory then waits longer for a Lease that it cannot trust (F8).
func (m *Machine) allowFast() {
	t := &m.tenure
	if m.everFast || t.fast() || !m.fit() || m.now < max(t.allowAt, t.nextOffer) ||
		len(m.tally.Steady(m.now)) < minVoters {
		return
	}
	t.allowAt = m.now + time.Second
	m.emit(Action{Kind: AllowFast})
}

// silent reports whether a voter is to be left out (F7).
func (m *Machine) silent(id string) bool {
	t := &m.tenure
	last := max(m.tally.LastAck(id), t.begun, t.votersAt)
	return id != m.cfg.ID && m.now-last > quorum.SilentAfter
}

// fit reports whether this node could hold in mode fast.
func (m *Machine) fit() bool {
	return m.cfg.Window > 0 && m.node.health.Verdict == Healthy && !m.node.link.Shared
}

// changedMark handles the confirmation of a write with another mode, other voters or another term
// than the one before.
func (m *Machine) changedMark(before *write, w *write) {
	t := &m.tenure
	switch was := before.record.Mark; {
	case was.Fast != w.record.Mark.Fast:
		if was.Fast {
			t.nextOffer = m.now + min(minOffer<<min(t.offers, 4), maxOffer)
			t.offers++
		}
		t.majorityAt, t.votersAt = m.now, m.now
		m.tally.Restart()
	case was.Voters != w.record.Mark.Voters:
		t.votersAt = m.now
	}
	if before.record.Term != w.record.Term {
		t.majority, t.begun = false, m.now
	}
}

// mayRewrite reports whether a fast holder that the Lease no longer names keeps its right and
// writes the Lease again: the Lease shows the work of a hand, a backup or an older kvip, not of
// a later holder (F8).
func (m *Machine) mayRewrite() bool {
	r, t := m.lease.record, &m.tenure
	later := r.fits() && r.Holder != "" && r.Term > t.term && !m.lease.wentBack
	return m.state == Holding && t.fast() && !later && m.now < m.right()
}

// prepare makes the kernel end the addresses at the right that remains under w as well, before w is
// sent: the write may shorten the right (F1).
func (m *Machine) prepare(w write) {
	t := &m.tenure
	w.sent, w.base = m.now, m.lease.record.Version
	t.prepared = &w
	end := m.right()
	if end <= m.now {
		t.prepared = nil
		m.postponeMark()
		return
	}
	m.inflight.seq++
	t.cutting, t.cutTo = m.inflight.seq, end
	m.emit(Action{Kind: Cut, Seq: t.cutting, Deadline: end})
}

// postponeMark leaves mode and voters as they are for a while, after a change of them could not be
// prepared: meanwhile renewals go on without it.
func (m *Machine) postponeMark() { m.tenure.nextOffer = m.now + minOffer }

func (c CutDone) apply(m *Machine) {
	t := &m.tenure
	if c.Seq != t.cutting {
		return
	}
	w := t.prepared
	t.prepared, t.cutting = nil, 0
	t.until = min(t.until, t.cutTo) // a Cut that failed may have shortened one address of two
	if w == nil {                   // rewrite came first
		return
	}
	if !c.OK || m.now >= t.cutTo {
		m.postponeMark()
	}
	f := &m.inflight
	if c.OK && m.state == Holding && m.holds() && f.pending == nil && !f.mustRead &&
		m.lease.record.Version == w.base && m.now < t.cutTo {
		m.send(*w)
		return
	}
	f.writeAt = m.now + retryAfter
}

// keepCoarse refreshes the addresses in mode fast, where renewals of the Lease may fail for longer
// than a lifetime (F9).
func (m *Machine) keepCoarse() {
	if t := &m.tenure; t.fast() && m.address.owned && m.now >= t.refreshAt && m.now < m.right() {
		m.own()
	}
}

// goodbye reports that this node never owns again by its term (F11): three times, 10 ms apart.
func (m *Machine) goodbye() {
	b := &m.bye
	if b.left == 0 || m.now < b.at {
		return
	}
	b.left--
	b.at = m.now + 10*time.Millisecond
	msg := quorum.Message{Kind: quorum.KindGoodbye, Term: b.term}
	m.emit(Action{Kind: Send, Message: msg})
	m.voter.Goodbye(b.term)
}
