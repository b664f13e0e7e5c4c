package quorum

import (
	"testing"
	"time"
)

const (
	start  = time.Hour
	ready  = start + MaxWindow
	window = DefaultWindow
)

var (
	termA = Term{Number: 7, Holder: "a"}
	termB = Term{Number: 8, Holder: "b"}
)

// newReadyVoter returns a voter that may acknowledge beats of term 7 from ready on.
func newReadyVoter() *Voter {
	v := NewVoter(start)
	v.Observe(termA, true)
	return v
}

func beatOf(t Term, w time.Duration) Beat { return Beat{Term: t, Seq: 1, Window: w} }

// TestAmnesia: no acknowledgement in the first 2 s, and none before a quorum read (F3).
func TestAmnesia(t *testing.T) {
	v := NewVoter(start)
	v.Observe(termA, false)
	if r := v.Beat(beatOf(termA, window), ready); r.Answer != Ignored {
		t.Errorf("without a quorum read: %+v", r)
	}
	v.Observe(termA, true)
	if r := v.Beat(beatOf(termA, window), ready-1); r.Answer != Ignored {
		t.Errorf("too early: %+v", r)
	}
	if r := v.Beat(beatOf(termA, window), ready); r.Answer != Acked {
		t.Errorf("ready: %+v", r)
	}
}

// TestBinding: an acknowledgement binds for the window of the beat, not for the voter's own, and
// not against the same holder (F2).
func TestBinding(t *testing.T) {
	const long = 2 * window
	v := newReadyVoter()
	at := ready
	if r := v.Beat(beatOf(termA, long), at); r.Answer != Acked {
		t.Fatalf("%+v", r)
	}
	if r := v.Beat(beatOf(termA, window), at+1); r.Answer != Acked { // a shorter one frees no voter
		t.Fatalf("%+v", r)
	}
	if r := v.Beat(beatOf(termB, window), at+long-1); r.Answer != Bound || r.Left != 1 {
		t.Errorf("bound: %+v", r)
	}
	if r := v.Beat(beatOf(termB, window), at+long); r.Answer != Acked {
		t.Errorf("free: %+v", r)
	}
	higher := Term{Number: 9, Holder: "b"}
	if r := v.Beat(beatOf(higher, window), at+long+1); r.Answer != Acked {
		t.Errorf("the same holder in a later term: %+v", r)
	}
}

// TestOutdated: a lower term, another holder in the Lease, and a term that was ended (F2).
func TestOutdated(t *testing.T) {
	v := newReadyVoter()
	for name, b := range map[string]Beat{
		"lower term":   beatOf(Term{Number: 6, Holder: "a"}, window),
		"other holder": beatOf(Term{Number: 7, Holder: "c"}, window),
	} {
		if r := v.Beat(b, ready); r.Answer != Outdated || r.Highest != 7 {
			t.Errorf("%s: %+v", name, r)
		}
	}
	if !v.Goodbye(termA) || v.Goodbye(termA) {
		t.Error("a goodbye is news once")
	}
	if r := v.Beat(beatOf(termA, window), ready); r.Answer != Outdated {
		t.Errorf("after its goodbye: %+v", r)
	}
	for _, w := range []time.Duration{0, MinWindow - 1, MaxWindow + 1, -1} {
		if r := v.Beat(beatOf(termB, w), ready); r.Answer != Ignored {
			t.Errorf("window %v: %+v", w, r)
		}
	}
}

// TestGoodbyeFrees: a goodbye frees those that are bound by that term or an older one, and a late
// one frees none from a newer promise (F11).
func TestGoodbyeFrees(t *testing.T) {
	v := newReadyVoter()
	v.Beat(beatOf(termA, window), ready)
	v.Goodbye(termA)
	if r := v.Beat(beatOf(termB, window), ready+1); r.Answer != Acked {
		t.Errorf("after the goodbye: %+v", r)
	}
	late := newReadyVoter()
	later := Term{Number: 9, Holder: "a"}
	late.Beat(beatOf(later, window), ready)
	late.Goodbye(termA)
	if r := late.Beat(beatOf(Term{Number: 10, Holder: "b"}, window), ready+1); r.Answer != Bound {
		t.Errorf("after a late goodbye: %+v", r)
	}
}

// TestLost: when a voter reports that the holder is lost (F4).
func TestLost(t *testing.T) {
	v := newReadyVoter()
	if !v.Lost(termA, ready) {
		t.Error("never acknowledged: not lost")
	}
	v.Beat(beatOf(termA, window), ready)
	at := ready + Validity(window)
	if v.Lost(termA, at-1) || !v.Lost(termA, at) {
		t.Error("lost at another instant than a validity after the last acknowledgement")
	}
	v.Beat(beatOf(termA, window), at)
	v.PortRefused(termA)
	if !v.Lost(termA, at) || !v.Ended(termA) || v.Left(termA) {
		t.Error("the port refused: not lost")
	}
	v.Beat(beatOf(termA, window), at)
	if v.Lost(termA, at) {
		t.Error("it beats again: lost")
	}
	v.Learn(9)
	if !v.Lost(termA, at) || v.Highest() != 9 {
		t.Error("a later term is known: not lost")
	}
	unread := NewVoter(start)
	if unread.Lost(termA, ready+time.Hour) {
		t.Error("lost before the Lease was read")
	}
}

// TestHeard: beats of the highest term count, of any other one not.
func TestHeard(t *testing.T) {
	v := newReadyVoter()
	v.Beat(beatOf(termA, window), ready)
	v.Beat(beatOf(Term{Number: 6, Holder: "c"}, MaxWindow), ready+1)
	if at, w := v.Heard(termA); at != ready || w != window {
		t.Errorf("heard at %v with window %v", at-ready, w)
	}
	if at, w := v.Heard(termB); at != 0 || w != 0 {
		t.Errorf("heard %v %v of a term without a beat", at, w)
	}
}
