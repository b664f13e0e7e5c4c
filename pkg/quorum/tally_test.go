package quorum

import (
	"slices"
	"testing"
	"time"
)

var three = []string{"a", "b", "c"}

// TestUntil: the voter that completes a majority counts, by when its beat was sent (F1).
func TestUntil(t *testing.T) {
	var tally Tally
	at := start
	first := tally.Beat(at, window)
	if tally.Until(three) != 0 {
		t.Error("a right without an acknowledgement")
	}
	tally.Ack("a", first, true, at)
	if tally.Until(three) != 0 {
		t.Error("a right with one acknowledgement of three")
	}
	second := tally.Beat(at+50*time.Millisecond, window)
	tally.Ack("b", first, true, at+60*time.Millisecond)
	tally.Ack("a", second, true, at+60*time.Millisecond)
	if got, want := tally.Until(three), at+Validity(window); got != want {
		t.Errorf("right until %v, want %v", got-at, want-at)
	}
	tally.Ack("c", second, true, at+70*time.Millisecond)
	if got, want := tally.Until(three), at+50*time.Millisecond+Validity(window); got != want {
		t.Errorf("right until %v, want %v", got-at, want-at)
	}
	if got := tally.Newest(three); got != at+50*time.Millisecond {
		t.Errorf("newest %v", got-at)
	}
	if tally.Until([]string{"c", "d", "e"}) != 0 || tally.Until(nil) != 0 {
		t.Error("a right without a majority of these voters")
	}
	if got := tally.Until([]string{"a", "b", "c", "d"}); got != at+Validity(window) {
		t.Errorf("of four, three complete a majority: %v", got-at)
	}
	tally.Forget()
	if tally.Until(three) != 0 || tally.Ack("a", second, true, at) {
		t.Error("an acknowledgement of a forgotten beat counts")
	}
}

// TestWindowsDiffer: a longer window of an older beat counts for longer (F1).
func TestWindowsDiffer(t *testing.T) {
	var tally Tally
	long := tally.Beat(start, MaxWindow)
	short := tally.Beat(start+1, MinWindow)
	for _, id := range three {
		tally.Ack(id, long, true, start+2)
		tally.Ack(id, short, true, start+3)
	}
	if got := tally.Until(three); got != start+Validity(MaxWindow) {
		t.Errorf("right until %v", got-start)
	}
}

// TestOutstanding: only beats of this process that are not too old may be acknowledged.
func TestOutstanding(t *testing.T) {
	var tally Tally
	for i := range outstanding + 1 {
		tally.Beat(start+time.Duration(i), window)
	}
	for seq, want := range map[uint64]bool{
		0: false, 1: false, 2: true, outstanding + 1: true, outstanding + 2: false, 1 << 63: false,
	} {
		if got := tally.Ack("a", seq, true, start); got != want {
			t.Errorf("acknowledgement of beat %d counts: %v", seq, got)
		}
	}
}

// TestUnacknowledged counts the beats since the last majority (F6).
func TestUnacknowledged(t *testing.T) {
	var tally Tally
	var last uint64
	for i := range 3 {
		last = tally.Beat(start+time.Duration(i)*Repeat, window)
	}
	if n, first := tally.Unacknowledged(); n != 3 || first != start {
		t.Errorf("%d since %v", n, first-start)
	}
	tally.Ack("a", last, true, start+time.Second)
	if tally.Count(three) {
		t.Error("one of three is a majority")
	}
	tally.Ack("b", last, true, start+time.Second)
	if !tally.Count(three) {
		t.Error("two of three are none")
	}
	if n, _ := tally.Unacknowledged(); n != 0 {
		t.Errorf("%d since the majority", n)
	}
	tally.Beat(start+2*time.Second, window)
	tally.Ack("c", last, true, start+2*time.Second)
	if tally.Count(three) {
		t.Error("a late acknowledgement of an older beat counts for the open one")
	}
	if n, first := tally.Unacknowledged(); n != 1 || first != start+2*time.Second {
		t.Errorf("%d since %v", n, first-start)
	}
}

// TestSteady: who has acknowledged for two seconds without a gap, and is fit (F5).
func TestSteady(t *testing.T) {
	var tally Tally
	at := start
	step := func(ids ...string) {
		seq := tally.Beat(at, window)
		for _, id := range ids {
			tally.Ack(id, seq, id != "unfit", at)
		}
		at += Interval(window)
	}
	for at < start+2100*time.Millisecond {
		step("a", "b", "unfit")
	}
	if got := tally.Steady(at); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("steady: %v", got)
	}
	for end := at + 600*time.Millisecond; at < end; {
		step("a")
	}
	step("a", "b")
	if got := tally.Steady(at); !slices.Equal(got, []string{"a"}) {
		t.Errorf("steady after a gap: %v", got)
	}
	if tally.LastAck("b") == 0 || tally.LastAck("x") != 0 {
		t.Error("last acknowledgements")
	}
}

// TestSteadyInTime: agents whose acknowledgements come too late for a right do not count (F5).
func TestSteadyInTime(t *testing.T) {
	for late, want := range map[time.Duration]int{
		Validity(window) / 2: 1, Validity(window): 0,
	} {
		var tally Tally
		sent := map[uint64]time.Duration{}
		for at := start; at < start+3*time.Second; at += time.Millisecond {
			if (at-start)%Interval(window) == 0 {
				sent[tally.Beat(at, window)] = at
			}
			for seq, began := range sent {
				if at == began+late {
					tally.Ack("b", seq, true, at)
				}
			}
		}
		if got := tally.Steady(start + 3*time.Second); len(got) != want {
			t.Errorf("acknowledgements after %v: steady %v", late, got)
		}
	}
}

// TestPreVote: grants of the last round by different voters make a majority (F4).
func TestPreVote(t *testing.T) {
	var q PreVote
	seq, ok := q.Ask(termA, start)
	if !ok {
		t.Fatal("no first round")
	}
	if _, again := q.Ask(termA, start+repeatPreVote-1); again {
		t.Error("repeated too early")
	}
	if q.Grant("x", termA, seq, three) || q.Grant("b", termB, seq, three) ||
		q.Grant("b", termA, seq+1, three) || q.Grant("b", termA, seq, three) ||
		q.Grant("b", termA, seq, three) {
		t.Error("one voter is a majority")
	}
	if !q.Grant("c", termA, seq, three) {
		t.Error("two voters are none")
	}
	var pauses []time.Duration
	at := start
	for range 6 {
		next := q.Next()
		pauses = append(pauses, next-at)
		at = next
		if _, ok := q.Ask(termA, at); !ok {
			t.Fatal("no round when it is time")
		}
	}
	if !slices.IsSorted(pauses) || pauses[5] != maxRepeatPreVote {
		t.Errorf("pauses %v", pauses)
	}
	q.End()
	if _, ok := q.Ask(termA, at+1); !ok {
		t.Error("no round at once after news")
	}
}

// TestRank: each follower has its own delay, also if the holder is no voter.
func TestRank(t *testing.T) {
	voters := []string{"d", "a", "c", "b"}
	for holder, want := range map[string]map[string]time.Duration{
		"b": {"c": 0, "d": rankDelay, "a": 2 * rankDelay, "x": 3 * rankDelay},
		"d": {"a": 0, "b": rankDelay, "c": 2 * rankDelay},
		"x": {"a": 0, "b": rankDelay, "c": 2 * rankDelay, "d": 3 * rankDelay},
	} {
		for id, delay := range want {
			if got := Rank(id, holder, voters); got != delay {
				t.Errorf("%s after %s: %v, want %v", id, holder, got, delay)
			}
		}
	}
	if Rank("a", "b", nil) != 0 {
		t.Error("without voters")
	}
}

// TestValidity: T leaves room for drift, ticket and the grain of the kernel's timers.
func TestValidity(t *testing.T) {
	for w, want := range map[time.Duration]time.Duration{
		MinWindow: 100 * time.Millisecond, DefaultWindow: 300 * time.Millisecond,
		MaxWindow: 1800 * time.Millisecond,
	} {
		if got := Validity(w); got != want {
			t.Errorf("window %v: %v, want %v", w, got, want)
		}
		if drift, lag := w/50, 30*time.Millisecond; Validity(w)+drift+lag > w {
			t.Errorf("window %v: drift and the fence's lag do not fit", w)
		}
	}
}
