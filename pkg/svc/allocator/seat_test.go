package allocator

import (
	"testing"
	"time"
)

const sec = time.Second

// others are Leases of others.
var (
	yours    = view{exists: true, version: "1", holder: "you", duration: 5 * sec, kvip: true}
	released = view{exists: true, version: "2", holder: "", duration: 5 * sec, kvip: true}
	emptied  = view{exists: true, version: "2", holder: "", duration: 5 * sec}
	kubeVIPs = view{exists: true, version: "1", holder: "n2", duration: 15 * sec}
)

// mine is the Lease as this node wrote it at a version.
func mine(version string) view {
	return view{exists: true, version: version, holder: "me", duration: 5 * sec, kvip: true}
}

// event is what happens to a seat at an instant.
type event struct {
	at   time.Duration
	see  *view // the watch shows it
	sent *view // a write that was sent a second before is confirmed
	lost bool
	// what is so then
	wants, holds, foreign bool
}

func TestSeat(t *testing.T) {
	none := view{}
	first, second := mine("3"), mine("4")
	renewed := yours
	renewed.version = "9"
	for _, story := range []struct {
		name   string
		events []event
	}{
		{"nothing is known, and nothing is done", []event{{at: 0}, {at: 100 * sec}}},
		{"there was never one: it is free", []event{{at: 0, see: &none, wants: true}}},
		{"E2: another's is waited for as long as it lasts", []event{{at: 0, see: &yours}, {at: 5 * sec}, {at: 5*sec + 1, wants: true}}},
		{"E2: counted from the last change", []event{{at: 0, see: &yours}, {at: 4 * sec, see: &renewed}, {at: 9 * sec}, {at: 9*sec + 1, wants: true}}},
		{"E2: the same again is no change", []event{{at: 0, see: &yours}, {at: 4 * sec, see: &yours}, {at: 5*sec + 1, wants: true}}},
		{"E3: a kvip's release is followed at once", []event{{at: 0, see: &yours}, {at: sec, see: &released, wants: true}}},
		{"E3, S9: another program's is waited for", []event{{at: 0, see: &yours}, {at: sec, see: &emptied}, {at: 6*sec + 1, wants: true}}},
		{"E3: a deletion is waited for as silence", []event{{at: 0, see: &yours}, {at: sec, see: &none}, {at: 6 * sec}, {at: 6*sec + 1, wants: true}}},
		{"S9: another program is respected while it renews", []event{{at: 0, see: &kubeVIPs, foreign: true}, {at: 15 * sec, foreign: true}, {at: 15*sec + 1, wants: true}}},
		{"E1: a hold ends before its duration", []event{
			{at: 0, see: &none, wants: true}, {at: sec, sent: &first, holds: true, wants: true},
			{at: 4*sec + 499*time.Millisecond, holds: true, wants: true}, {at: 4*sec + 500*time.Millisecond, wants: true},
		}},
		{"renewed each interval", []event{
			{at: sec, sent: &first, holds: true, wants: true}, {at: 2 * sec, sent: &second, holds: true, wants: true},
			{at: 2*sec - 1, holds: true},
		}},
		{"another took it", []event{{at: sec, sent: &first, holds: true, wants: true}, {at: 2 * sec, see: &renewed}, {at: 7*sec + 1, wants: true}}},
		{"a write met another version", []event{{at: sec, sent: &first, holds: true, wants: true}, {at: sec, lost: true}, {at: 6*sec + 1, wants: true}}},
		{"its own of before a restart is waited for", []event{{at: 0, see: &first}, {at: 5*sec + 1, wants: true}}},
	} {
		s := seat{self: "me", duration: 5 * sec}
		for i, e := range story.events {
			switch {
			case e.see != nil:
				s.observe(*e.see, e.at)
			case e.sent != nil:
				s.confirmed(*e.sent, e.at-sec, e.at)
			case e.lost:
				s.lost()
			}
			if got := s.wants(e.at, sec); got != e.wants {
				t.Errorf("%s, event %d: wants %v", story.name, i, got)
			}
			if got := s.holds(e.at); got != e.holds {
				t.Errorf("%s, event %d: holds %v", story.name, i, got)
			}
			if got := s.foreign(e.at); got != e.foreign {
				t.Errorf("%s, event %d: foreign %v", story.name, i, got)
			}
		}
	}
}
