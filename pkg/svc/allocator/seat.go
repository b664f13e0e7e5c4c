package allocator

import (
	"time"
)

// view is a Lease as it was seen: enough to judge whether somebody still has the seat.
type view struct {
	exists  bool
	version string
	holder  string
	// duration is for how long its holder is respected without a sign of life.
	duration time.Duration
	// kvip says that the Lease was last written by a kvip, whose empty holder is a release that may be
	// followed at once: what else could be in flight is shut out by the ledger itself (S4). That of
	// another program is waited for in full (E3, S9).
	kvip bool
}

// seat judges who may give out addresses. It is pure: what happens enters with its time.
type seat struct {
	self     string
	duration time.Duration // of this node's own terms

	last      view
	known     bool          // the Lease, or its absence, was seen once
	existed   bool          // there was one once: its deletion is waited for as silence is (E3)
	changedAt time.Duration // when it was last seen to change
	sentAt    time.Duration // when the last confirmed write of this node was sent
	held      bool
}

// observe takes the Lease as the watch shows it.
func (s *seat) observe(v view, now time.Duration) {
	if !s.known || v != s.last {
		s.changedAt = now
	}
	s.last, s.known, s.existed = v, true, s.existed || v.exists
	if s.held && v.holder != s.self {
		s.held = false
	}
}

// confirmed says that a write of this node that was sent at sentAt succeeded and gave this version.
func (s *seat) confirmed(v view, sentAt, now time.Duration) {
	s.held, s.sentAt = true, sentAt
	s.observe(v, now)
}

// lost says that a write met another version: the watch will tell whose.
func (s *seat) lost() { s.held = false }

// holds is whether this node may write now: its last confirmed write is not too old (E1).
func (s *seat) holds(now time.Duration) bool {
	return s.held && now-s.sentAt < s.duration-s.duration/10
}

// wants is whether this node should write the Lease now, to renew it or to take it (E2).
func (s *seat) wants(now, interval time.Duration) bool {
	switch {
	case !s.known:
		return false
	case s.held && s.last.holder == s.self:
		return now-s.sentAt >= interval
	case s.last.exists && s.last.holder == "" && s.last.kvip, !s.last.exists && !s.existed:
		return true
	}
	return now-s.changedAt > max(s.duration, s.last.duration)
}

// foreign is whether another program than kvip has the seat, and is respected still (S9).
func (s *seat) foreign(now time.Duration) bool {
	return s.known && s.last.exists && s.last.holder != "" && !s.last.kvip && now-s.changedAt <= max(s.duration, s.last.duration)
}
