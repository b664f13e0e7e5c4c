package allocator

import (
	"testing"
	"time"
)

const sec = time.Second

// Leases of other holders, as the watch shows them.
var (
	foreignLease = observedLease{exists: true, version: "1", holder: "n2", duration: 15 * sec}
	otherLease   = observedLease{exists: true, version: "1", holder: "you", duration: 5 * sec,
		kvip: true}
	released = observedLease{exists: true, version: "2", duration: 5 * sec, kvip: true}
	emptied  = observedLease{exists: true, version: "2", duration: 5 * sec}
)

// ownLease is the Lease as this node wrote it at a version.
func ownLease(version string) observedLease {
	return observedLease{exists: true, version: version, holder: "me", duration: 5 * sec, kvip: true}
}

// leaseEvent is an input at an instant, and the state after it.
type leaseEvent struct {
	at   time.Duration
	see  *observedLease // the watch shows it
	sent *observedLease // a write that was sent a second before is confirmed
	lost bool           // a write met another version

	write, leader, foreign bool
}

func TestLeadership(t *testing.T) {
	none := observedLease{}
	first, second := ownLease("3"), ownLease("4")
	renewed := otherLease
	renewed.version = "9"
	for name, events := range map[string][]leaseEvent{
		"nothing is known":   {{at: 0}, {at: 100 * sec}},
		"there was no Lease": {{at: 0, see: &none, write: true}},
		"E2: another holder counts for its duration": {
			{at: 0, see: &otherLease}, {at: 5 * sec}, {at: 5*sec + 1, write: true},
		},
		"E2: counted from the last change": {
			{at: 0, see: &otherLease}, {at: 4 * sec, see: &renewed}, {at: 9 * sec},
			{at: 9*sec + 1, write: true},
		},
		"E2: the same version is no change": {
			{at: 0, see: &otherLease}, {at: 4 * sec, see: &otherLease}, {at: 5*sec + 1, write: true},
		},
		"E3: a release of kvip is followed at once": {
			{at: 0, see: &otherLease}, {at: sec, see: &released, write: true},
		},
		"E3, S9: a release of another program is waited for": {
			{at: 0, see: &otherLease}, {at: sec, see: &emptied}, {at: 6*sec + 1, write: true},
		},
		"E3: a deletion counts as silence": {
			{at: 0, see: &otherLease}, {at: sec, see: &none}, {at: 6 * sec}, {at: 6*sec + 1, write: true},
		},
		"S9: another program is respected while it renews": {
			{at: 0, see: &foreignLease, foreign: true}, {at: 15 * sec, foreign: true},
			{at: 15*sec + 1, write: true},
		},
		"E1: leadership ends before its duration": {
			{at: 0, see: &none, write: true}, {at: sec, sent: &first, leader: true, write: true},
			{at: 4*sec + 499*time.Millisecond, leader: true, write: true},
			{at: 4*sec + 500*time.Millisecond, write: true},
		},
		"renewed each interval": {
			{at: sec, sent: &first, leader: true, write: true},
			{at: 2 * sec, sent: &second, leader: true, write: true}, {at: 2*sec - 1, leader: true},
		},
		"another node acquired it": {
			{at: sec, sent: &first, leader: true, write: true}, {at: 2 * sec, see: &renewed},
			{at: 7*sec + 1, write: true},
		},
		"a write met another version": {
			{at: sec, sent: &first, leader: true, write: true}, {at: sec, lost: true},
			{at: 6*sec + 1, write: true},
		},
		"its own Lease of before a restart is waited for": {{at: 0, see: &first},
			{at: 5*sec + 1, write: true}},
	} {
		l := leadership{self: "me", duration: 5 * sec}
		for i, e := range events {
			switch {
			case e.see != nil:
				l.observe(*e.see, e.at)
			case e.sent != nil:
				l.confirm(*e.sent, e.at-sec, e.at)
			case e.lost:
				l.lose()
			}
			if got := l.shouldWrite(e.at, sec); got != e.write {
				t.Errorf("%s, event %d: shouldWrite %v", name, i, got)
			}
			if got := l.isLeader(e.at); got != e.leader {
				t.Errorf("%s, event %d: isLeader %v", name, i, got)
			}
			if got := l.isForeign(e.at); got != e.foreign {
				t.Errorf("%s, event %d: isForeign %v", name, i, got)
			}
		}
	}
}
