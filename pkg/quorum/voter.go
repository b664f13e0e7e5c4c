package quorum

import "time"

// Voter answers beats and pre-votes of other agents, and its own. Make it with NewVoter.
type Voter struct {
	readyAt time.Duration // no acknowledgement before (F3)
	read    bool          // the Lease was read with a quorum since the start
	highest int64         // term known
	lease   Term          // as last observed
	ended   Term          // said goodbye (F11)
	gone    Term          // its holder's port refused a message
	bound   struct {
		holder string
		term   int64
		until  time.Duration
	}
	acked struct { // the last acknowledgement
		holder string
		at     time.Duration
		window time.Duration
	}
	heard struct { // the last beat of the highest term
		term   Term
		at     time.Duration
		window time.Duration
	}
}

// NewVoter returns the voter of an agent that got its lock (E8) at began. It acknowledges nothing
// until the promises of the process before it have ended, and the Lease was read (F3).
func NewVoter(began time.Duration) *Voter { return &Voter{readyAt: began + MaxWindow} }

// Ready reports whether the voter may acknowledge beats (F3).
func (v *Voter) Ready(now time.Duration) bool { return now >= v.readyAt && v.read }

// Observe takes the Lease as observed, and whether by a quorum read that was sent after the start.
func (v *Voter) Observe(t Term, quorumRead bool) {
	v.read = v.read || quorumRead
	v.lease = t
	v.highest = max(v.highest, t.Number)
}

// Learn takes a term that another agent knows.
func (v *Voter) Learn(term int64) { v.highest = max(v.highest, term) }

// Highest returns the highest term that a Lease or a message has named.
func (v *Voter) Highest() int64 { return v.highest }

// Beat answers a beat that was read before now. The caller sends the reply after this call: the
// promise is noted first (F2).
func (v *Voter) Beat(b Beat, now time.Duration) Reply {
	if b.Window < MinWindow || b.Window > MaxWindow {
		return Reply{}
	}
	h := &v.heard
	if b.Number > h.term.Number || b.Term == v.lease && b.Number == h.term.Number {
		h.term, h.at, h.window = b.Term, now, b.Window
		if v.gone.Holder == b.Holder { // it lives
			v.gone = Term{}
		}
	}
	if !v.Ready(now) {
		return Reply{}
	}
	if b.Number < v.highest {
		return Reply{Answer: Outdated, Highest: v.highest}
	}
	v.highest = b.Number
	if v.lease.Number == b.Number && v.lease.Holder != b.Holder || v.ended == b.Term {
		return Reply{Answer: Outdated, Highest: v.highest}
	}
	p := &v.bound
	if p.holder != b.Holder {
		if now < p.until {
			return Reply{Answer: Bound, Left: p.until - now}
		}
		p.holder, p.until = b.Holder, 0
	}
	p.term, p.until = b.Number, max(p.until, now+b.Window)
	v.acked.holder, v.acked.at, v.acked.window = b.Holder, now, b.Window
	return Reply{Answer: Acked}
}

// Goodbye ends a term: its holder will never own by it again. A promise of that term, or of an
// older one to the same holder, ends with it (F11). It reports whether this is news.
func (v *Voter) Goodbye(t Term) (news bool) {
	if v.ended == t {
		return false
	}
	v.ended = t
	v.highest = max(v.highest, t.Number)
	if v.bound.holder == t.Holder && v.bound.term <= t.Number {
		v.bound.until, v.acked.at, v.acked.window = 0, 0, 0
	}
	return true
}

// PortRefused records that the holder's port refused a message: its process is gone.
func (v *Voter) PortRefused(t Term) { v.gone = t }

// Lost reports whether the holder of a term is lost to this voter (F4): it said goodbye, its port
// refuses, or none of its beats was acknowledged within T. False before the voter is ready.
func (v *Voter) Lost(t Term, now time.Duration) bool {
	if !v.read {
		return false
	}
	return v.Ended(t) || v.highest > t.Number || v.acked.holder != t.Holder ||
		now-v.acked.at >= Validity(v.acked.window)
}

// Ended reports whether the term is known to be over: by a goodbye, or by a refused port.
func (v *Voter) Ended(t Term) bool { return v.ended == t || v.gone == t }

// Left reports whether the holder of the term said goodbye.
func (v *Voter) Left(t Term) bool { return v.ended == t }

// Heard returns when the last beat of a term arrived and with which window; zeros if there was
// none.
func (v *Voter) Heard(t Term) (at, window time.Duration) {
	if v.heard.term != t {
		return 0, 0
	}
	return v.heard.at, v.heard.window
}
