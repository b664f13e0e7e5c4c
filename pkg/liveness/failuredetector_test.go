package liveness

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/test/testutil"
)

// step of a scenario: events at a time in seconds, and the View of node a after them.
type step struct {
	at   float64
	do   string
	want string
}

// TestS2Scenarios shows what node a sees. Events, several separated by commas:
//
//	own V            own renewal V was sent, confirmed and seen back at once
//	sent V T         renewal V, sent at T, is confirmed now
//	back V, back V!  the watch shows the own Lease at V (! without a holder)
//	b V, b V!        the watch shows b's Lease at V (! without a holder)
//	gone b           b's Lease was deleted
//	list b1 c7 a3    a list shows exactly these
//	-                only time passes
func TestS2Scenarios(t *testing.T) {
	for name, scenario := range scenarios {
		t.Run(name, func(t *testing.T) {
			d := testutil.Must(NewFailureDetector("a"))
			for _, s := range scenario {
				now := seconds(s.at)
				for _, event := range strings.Split(s.do, ", ") {
					record(t, d, event, now)
				}
				if got := text(d.View(now)); got != s.want {
					t.Fatalf("at %v s, after %q: %q, want %q", s.at, s.do, got, s.want)
				}
			}
		})
	}
}

var scenarios = map[string][]step{
	"alone": {
		{0.5, "-", "stale"}, {1, "sent 1 1", "stale"}, {1.1, "back 1", "fresh a"},
		{5.9, "-", "fresh a"}, {6, "-", "stale a"}, {7, "own 2", "fresh a"},
	},
	"the watch is quicker than the answer": {
		{1, "back 1", "stale"}, {1.1, "sent 1 1", "fresh a"}, {6, "-", "stale a"},
	},
	"the first View waits until every peer has shown life": {
		{1, "b 1, c 1", "stale"}, {1.1, "own 1", "stale"}, {1.5, "b 2", "stale"}, {2, "own 2", "stale"},
		{2.1, "c 2", "fresh a b c"},
	},
	"the first View has no node that died long ago": {
		{1, "b 1, c 1, own 1", "stale"}, {1.5, "b 2", "stale"}, {2, "own 2", "stale"},
		{3, "own 3", "stale"},
		{4, "own 4", "stale"}, {5, "own 5, b 3", "stale"}, {5.9, "own 6", "stale"},
		{6, "own 7", "fresh a b"},
	},
	"a node that left before is not waited for": {
		{1, "b 1!, own 1", "fresh a"}, {2, "b 2", "fresh a b"},
	},
	"a new node is alive at once": {
		{1, "own 1", "fresh a"}, {1.5, "b 1", "fresh a b"},
	},
	"death": {
		{1, "own 1, b 1, c 1", "fresh a b c"}, {2, "own 2, b 2, c 2", "fresh a b c"},
		{3, "own 3, c 3", "fresh a b c"},
		{4, "own 4, c 4", "fresh a b c"}, {5, "own 5, c 5", "fresh a b c"},
		{6, "own 6, c 6", "fresh a b c"},
		{6.9, "own 7, c 7", "fresh a b c"},
		{7.1, "-", "fresh a b c"}, // overdue, but the view is known to be complete only up to 6.9
		{7.2, "sent 8 7", "fresh a b c"},
		{7.3, "back 8", "fresh a c"},
		{8, "own 9, c 8", "fresh a c"},
		{9, "b 3", "fresh a b c"}, // and life again
	},
	"leave": {
		{1, "own 1, b 1", "fresh a b"}, {1.2, "b 2!", "fresh a"}, {1.3, "gone b", "fresh a"},
		{1.5, "b 3", "fresh a b"},
	},
	"the same version again is not a sign of life": {
		{1, "own 1, b 1", "fresh a b"}, {2, "own 2, list b1 a2", "fresh a b"},
		{3, "own 3, b 1", "fresh a b"},
		{4, "own 4, b 1", "fresh a b"}, {5, "own 5, list b1 a5", "fresh a b"},
		{6, "own 6, b 1", "fresh a"},
		{7, "own 7, b 1", "fresh a"}, {8, "own 8, list a8 b1", "fresh a"},
	},
	"the same version of the own Lease again proves nothing": {
		{1, "own 1", "fresh a"}, {5, "back 1", "fresh a"}, {6, "back 1", "stale a"},
	},
	"an outage of the API moves nothing, and the first node back waits for the others": {
		{1, "own 1, b 1, c 1", "fresh a b c"}, {5.9, "-", "fresh a b c"}, {6, "-", "stale a b c"},
		{200, "-", "stale a b c"},
		{300, "own 2", "fresh a b c"}, {301, "own 3", "fresh a b c"}, {302, "own 4, b 2", "fresh a b c"},
		{303, "own 5", "fresh a b c"}, {304, "own 6", "fresh a b c"},
		{304.9, "own 7, b 3", "fresh a b c"},
		{305, "own 8", "fresh a b"}, // c had its five seconds and did not come back
	},
	"a short outage within the own duration is a gap, too": {
		// b is due at 2, and the API is away from then on
		{1, "own 1, b 1", "fresh a b"}, {1.9, "own 2", "fresh a b"},
		{6, "own 3", "fresh a b"}, {6.5, "own 4", "fresh a b"}, // b may not have had the time
		{7, "own 5, b 2", "fresh a b"},
	},
	"a late response may hide an outage": {
		{1, "own 1, b 1", "fresh a b"}, {3.4, "own 2", "fresh a b"},
		{6.7, "sent 3 6.5, back 3", "fresh a b"},
		{6.8, "own 4", "fresh a b"}, {8.8, "own 5", "fresh a b"}, {10.8, "own 6", "fresh a b"},
		{11.7, "own 7", "fresh a"},
	},
	"a change of etcd's leader is not an outage": {
		{1, "own 1, b 1, c 1", "fresh a b c"}, {4.2, "own 2, c 2", "fresh a b c"},
		{5.2, "own 3, c 3", "fresh a b c"}, {6, "own 4", "fresh a c"},
	},
	"a node that was dead before an outage stays dead until it shows life": {
		{1, "own 1, b 1", "fresh a b"}, {2, "own 2", "fresh a b"}, {3, "own 3", "fresh a b"},
		{4, "own 4", "fresh a b"},
		{5, "own 5", "fresh a b"}, {6, "own 6", "fresh a"}, {100, "-", "stale a"},
		{101, "own 7", "fresh a"},
		{102, "own 8, b 2", "fresh a b"},
	},
	"changes seen in an outage count after its end": {
		{1, "own 1, b 1, c 1", "fresh a b c"}, {6, "-", "stale a b c"}, {7, "b 2!, d 1", "stale a b c"},
		{8, "own 2", "fresh a c d"},
	},
	"the watch is stuck while renewals succeed": {
		{1, "own 1, b 1", "fresh a b"}, {2, "sent 2 2", "fresh a b"}, {3, "sent 3 3", "fresh a b"},
		{4, "sent 4 4", "fresh a b"}, {5, "sent 5 5", "fresh a b"}, {6, "sent 6 6", "stale a b"},
		{60, "sent 60 60", "stale a b"},
		{60.5, "list a60 b60", "fresh a b"}, {61, "own 61, b 61", "fresh a b"},
	},
	"events that a stuck watch delayed do not undo the gap": {
		{1, "own 1, b 1", "fresh a b"}, {2, "sent 2 2", "fresh a b"}, {3, "sent 3 3", "fresh a b"},
		{4, "sent 4 4", "fresh a b"}, {5, "sent 5 5", "fresh a b"}, {6, "sent 6 6", "stale a b"},
		{6.5, "back 2, back 3, back 4, back 5, back 6", "fresh a b"}, {8.5, "own 8", "fresh a b"},
		{10, "own 9", "fresh a b"},
		{11.5, "own 10", "fresh a"},
	},
	"a watch that was stuck for less than the duration hides no sign of life": {
		{1, "own 1, b 1", "fresh a b"}, {2, "sent 2 2", "fresh a b"}, {3, "sent 3 3", "fresh a b"},
		{4, "sent 4 4", "fresh a b"}, {5, "sent 5 5", "fresh a b"}, {5.9, "sent 6 5.9", "fresh a b"},
		{5.95, "b 2, back 2, b 3, back 3, b 4, back 4, b 5, back 5, b 6, back 6", "fresh a b"},
	},
	"with a watch that is always late, deaths are found late": {
		{4, "sent 1 1, sent 2 2, sent 3 3, back 1, b 1", "fresh a b"},
		{5, "sent 4 4, back 2", "fresh a b"},
		{6, "sent 5 5, back 3", "fresh a b"}, {7, "sent 6 6, back 4", "fresh a b"},
		{8, "sent 7 7, back 5", "fresh a b"},
		{9, "sent 8 8, back 6", "fresh a b"}, {10, "sent 9 9, back 7", "fresh a b"},
		{11, "sent 10 10, back 8", "fresh a b"},
		{12, "sent 11 11, back 9", "fresh a"},
	},
	"the own Lease of a list counts last": {
		{1, "own 1, b 1", "fresh a b"}, {2, "sent 2 2", "fresh a b"}, {3.9, "sent 3 3.9", "fresh a b"},
		{5.9, "sent 4 5.9", "fresh a b"}, {5.95, "list a4 b9", "fresh a b"},
	},
	"the machine was suspended": {
		{1, "own 1, b 1, c 1", "fresh a b c"}, {2, "own 2, b 2, c 2", "fresh a b c"},
		{3600, "-", "stale a b c"}, {3600.1, "b 3", "stale a b c"}, {3600.2, "own 3", "fresh a b c"},
		{3602, "own 4", "fresh a b c"}, {3604, "own 5, b 4", "fresh a b c"},
		{3605.2, "own 6", "fresh a b"},
	},
	"a deleted Lease is silence, and a new one a sign of life": {
		{1, "own 1, b 1", "fresh a b"}, {2, "own 2, gone b", "fresh a b"}, {2.5, "b 1", "fresh a b"},
		{3, "own 3, gone b", "fresh a b"}, {5, "own 5", "fresh a b"}, {7, "own 7", "fresh a b"},
		{7.5, "own 8", "fresh a"}, {9, "b 1", "fresh a b"},
	},
	"a Lease that is missing in a list was deleted": {
		{1, "own 1, b 1", "fresh a b"}, {2, "own 2, list a2", "fresh a b"}, {4, "own 4", "fresh a b"},
		{6, "own 6", "fresh a"},
	},
	"the own Lease deleted by hand": {
		{1, "own 1, b 1", "fresh a b"}, {1.5, "gone a", "fresh a b"}, {2, "own 1, b 2", "fresh a b"},
	},
	"the own Lease emptied by hand": {
		{1, "own 1, b 1", "fresh a b"}, {1.5, "back 2!", "stale a b"}, {2, "own 3", "fresh a b"},
	},
	"a renewal that the watch never showed": {
		{1, "own 1", "fresh a"}, {2, "sent 2 2", "fresh a"}, {3, "sent 3 3", "fresh a"},
		{3.1, "back 3", "fresh a"},
		{7.9, "-", "fresh a"}, {8, "-", "stale a"},
	},
	"a renewal seen back after its duration proves nothing": {
		{1, "own 1, b 1", "fresh a b"}, {2, "sent 2 2", "fresh a b"}, {20, "back 2", "stale a b"},
		{21, "own 3", "fresh a b"},
	},
	"a peer's Lease has its own duration": {
		{1, "own 1, b 1/9", "fresh a b"}, {3, "own 2", "fresh a b"}, {5, "own 3", "fresh a b"},
		{7, "own 4", "fresh a b"},
		{9, "own 5", "fresh a b"}, {10, "own 6", "fresh a"},
	},
	"of at least five seconds": {
		{1, "own 1, b 1/0", "fresh a b"}, {3, "own 2", "fresh a b"}, {5, "own 3", "fresh a b"},
		{6, "own 4", "fresh a"},
	},
}

// record passes one event of a scenario to the detector.
func record(t *testing.T, d *FailureDetector, event string, now time.Duration) {
	t.Helper()
	word, rest, _ := strings.Cut(event, " ")
	switch word {
	case "-":
	case "own":
		d.RecordRenewal(Renewal{Version: rest, Sent: now, Duration: 5 * time.Second}, now)
		d.Observe(ObservedLease{Node: "a", Version: rest}, now)
	case "sent":
		var version string
		var at float64
		if _, err := fmt.Sscan(rest, &version, &at); err != nil {
			t.Fatal(err)
		}
		d.RecordRenewal(Renewal{Version: version, Sent: seconds(at), Duration: 5 * time.Second}, now)
	case "back":
		d.Observe(observedLease(t, "a", rest), now)
	case "gone":
		d.Delete(rest)
	case "list":
		var all []ObservedLease
		for _, item := range strings.Fields(rest) {
			all = append(all, observedLease(t, item[:1], item[1:]))
		}
		d.Sync(all, now)
	default:
		d.Observe(observedLease(t, word, rest), now)
	}
}

// observedLease parses a version, with a duration in seconds (7/9) or without a holder (7!).
func observedLease(t *testing.T, node, version string) ObservedLease {
	t.Helper()
	version, left := strings.CutSuffix(version, "!")
	s := ObservedLease{Node: node, Duration: 5 * time.Second, Released: left}
	s.Version, version, _ = strings.Cut(version, "/")
	if version != "" {
		var n int
		if _, err := fmt.Sscan(version, &n); err != nil {
			t.Fatal(err)
		}
		s.Duration = time.Duration(n) * time.Second
	}
	return s
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

func text(v View) string {
	word := "stale"
	if v.Fresh {
		word = "fresh"
	}
	return strings.Join(append([]string{word}, v.Alive...), " ")
}

// TestS10View: a silent node counts as dead in a fresh view until its Lease changes.
func TestS10View(t *testing.T) {
	d := testutil.Must(NewFailureDetector("a"))
	now := seconds(1)
	see := func(want string, silent ...string) {
		t.Helper()
		v := d.View(now)
		if got := text(v); got != want || !slices.Equal(v.Silent, silent) {
			t.Errorf("at %v: %q with %v silent, want %q with %v", now, got, v.Silent, want, silent)
		}
	}
	is := func(node string, want bool) {
		t.Helper()
		if got := d.Silent(node); got != want {
			t.Errorf("at %v: silence of %s is news: %t", now, node, got)
		}
	}
	record(t, d, "b 1", now)
	record(t, d, "c 1", now)
	is("b", false) // there is no view yet
	record(t, d, "own 1", now)
	record(t, d, "b 2", now)
	is("b", false)
	record(t, d, "c 2", now)
	see("fresh a b c")
	is("b", true)
	is("b", false)
	is("unknown", false)
	is("a", false)
	see("fresh a c", "b")
	record(t, d, "list b2 c2", now) // not a change
	see("fresh a c", "b")
	now = seconds(2)
	record(t, d, "own 2", now)
	record(t, d, "b 3", now) // it lives, or its last renewal came late
	see("fresh a b c")
	is("b", true)
	see("fresh a c", "b")
	record(t, d, "b 4!", now) // left in order
	see("fresh a c")
	is("b", false)
	is("c", true)
	see("fresh a", "c")
	for now < seconds(8) { // its Lease expires as well
		now += time.Second
		record(t, d, fmt.Sprintf("own %v", now), now)
	}
	see("fresh a")
}

func TestFreshUntil(t *testing.T) {
	d := testutil.Must(NewFailureDetector("a"))
	if v := d.View(time.Second); v.FreshUntil != 0 {
		t.Errorf("without a renewal FreshUntil is %v", v.FreshUntil)
	}
	record(t, d, "own 1", 2*time.Second)
	if v := d.View(3 * time.Second); v.FreshUntil != 7*time.Second || !v.Fresh {
		t.Errorf("%+v after a renewal sent at 2 s for 5 s", v)
	}
	if v := d.View(7 * time.Second); v.FreshUntil != 0 || v.Fresh {
		t.Errorf("%+v at the end of its duration", v)
	}
}

// TestS1RenewAt: a silent peer pulls one renewal forward, but not in a large cluster.
func TestS1RenewAt(t *testing.T) {
	d := testutil.Must(NewFailureDetector("a"))
	record(t, d, "own 1", seconds(1))
	if at := d.View(seconds(1)).RenewAt(seconds(1), seconds(2), 3); at != seconds(2) {
		t.Errorf("without peers the next renewal is at %v", at)
	}
	record(t, d, "b 1", seconds(1.3))
	record(t, d, "own 2", seconds(3.4))
	record(t, d, "own 3", seconds(5.6))
	v := d.View(seconds(5.6))
	for _, c := range []struct {
		sent, due float64
		nodes     int
		want      float64
	}{
		{5.6, 6.6, 3, 6.3},  // decides about b
		{5.6, 6.1, 3, 6.1},  // the regular one comes first
		{6.3, 7.3, 3, 7.3},  // sent, perhaps not confirmed yet
		{6.4, 7.4, 20, 7.4}, // one sent after b's duration decides, too
		{5.6, 6.6, 20, 6.3},
		{5.6, 6.65, 21, 6.65},
	} {
		if at := v.RenewAt(seconds(c.sent), seconds(c.due), c.nodes); at != seconds(c.want) {
			t.Errorf("%+v: at %v", c, at)
		}
	}
	record(t, d, "own 4", seconds(6.3))
	v = d.View(seconds(6.3))
	if text(v) != "fresh a" || v.RenewAt(seconds(6.2), seconds(7.2), 3) != seconds(7.2) {
		t.Errorf("%+v after b's death", v)
	}
}

func TestDeletedPeersLeaveNothing(t *testing.T) {
	d := testutil.Must(NewFailureDetector("a"))
	for i := range 1000 {
		now := time.Duration(i) * time.Second
		record(t, d, fmt.Sprintf("own %d", i), now)
		node := fmt.Sprintf("n%d", i)
		record(t, d, fmt.Sprintf("%s 1", node), now)
		d.Delete(node)
		d.RecordRenewal(Renewal{Version: "lost", Sent: now, Duration: 5 * time.Second}, now)
		d.View(now)
	}
	if len(d.others) > 10 || len(d.pending) > 10 {
		t.Errorf("%d peers and %d renewals are kept", len(d.others), len(d.pending))
	}
}

// BenchmarkSyncAndView is the work of one refresh of the node Lease: a list of all Leases, of which
// some changed.
func BenchmarkSyncAndView(b *testing.B) {
	for _, nodes := range []int{3, 100, 1000} {
		b.Run(fmt.Sprint(nodes), func(b *testing.B) {
			d := testutil.Must(NewFailureDetector("n0"))
			all := make([]ObservedLease, nodes)
			for i := range all {
				all[i] = ObservedLease{Node: fmt.Sprintf("n%d", i), Version: "1", Duration: Duration(nodes)}
			}
			now := time.Second
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				now += 10 * time.Millisecond
				all[0].Version, all[i%nodes].Version = fmt.Sprint(i), fmt.Sprint(i)
				d.RecordRenewal(Renewal{
					Version: all[0].Version, Sent: now, Duration: Duration(nodes),
				}, now)
				d.Sync(all, now)
				if !d.View(now).Fresh && i > 10*nodes {
					b.Fatal("the view is stale")
				}
			}
		})
	}
}

// Without a name, the node's own Lease would be a peer's.
func TestNewFailureDetectorRequiresAName(t *testing.T) {
	if d, err := NewFailureDetector(""); d != nil || err == nil ||
		!strings.Contains(err.Error(), "name of the node is required") {
		t.Errorf("%v, %v", d, err)
	}
}
