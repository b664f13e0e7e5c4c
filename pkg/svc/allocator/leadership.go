package allocator

import "time"

// observedLease is the allocator's Lease as the watch shows it. The zero value means that it does
// not exist.
type observedLease struct {
	exists  bool
	version string
	holder  string
	// duration is how long the holder counts without a change of the Lease.
	duration time.Duration
	// kvip: a kvip wrote the Lease last. Its empty holder is a release that may be followed at once,
	// since the ledger fences late writes (S4). The release of another program is waited for (E3, S9).
	kvip bool
}

// leadership decides whether this node is the leader, from the Lease and from instants since boot.
// It is pure.
type leadership struct {
	self     string
	duration time.Duration // of this node's own Lease

	last      observedLease
	known     bool          // the Lease, or its absence, was observed once
	existed   bool          // it existed once, so a deletion counts as silence of its holder (E3)
	changedAt time.Duration // of the last observed change
	sentAt    time.Duration // of the last confirmed write of this node
	leading   bool
}

// observe records the Lease as the watch shows it.
func (l *leadership) observe(seen observedLease, now time.Duration) {
	if !l.known || seen != l.last {
		l.changedAt = now
	}
	l.last, l.known, l.existed = seen, true, l.existed || seen.exists
	if seen.holder != l.self {
		l.leading = false
	}
}

// confirm records that a write of this node, sent at sentAt, succeeded with this result.
func (l *leadership) confirm(written observedLease, sentAt, now time.Duration) {
	l.leading, l.sentAt = true, sentAt
	l.observe(written, now)
}

// lose records that a write met another version. The watch will show it.
func (l *leadership) lose() { l.leading = false }

// isLeader reports whether this node may act as the leader now: its last confirmed write is recent
// enough (E1).
func (l *leadership) isLeader(now time.Duration) bool {
	return l.leading && now-l.sentAt < l.duration-l.duration/10
}

// shouldWrite reports whether this node should renew the Lease, or acquire it (E2).
func (l *leadership) shouldWrite(now, interval time.Duration) bool {
	released := l.last.exists && l.last.holder == "" && l.last.kvip
	switch {
	case !l.known:
		return false
	case l.leading && l.last.holder == l.self:
		return now-l.sentAt >= interval
	case released, !l.last.exists && !l.existed:
		return true
	}
	return now-l.changedAt > max(l.duration, l.last.duration)
}

// isForeign reports whether another program than kvip holds the Lease and its duration has not
// ended (S9).
func (l *leadership) isForeign(now time.Duration) bool {
	return l.known && l.last.exists && l.last.holder != "" && !l.last.kvip &&
		now-l.changedAt <= max(l.duration, l.last.duration)
}
