package casestudy

import (
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/test/lab/netlab"
)

const ms = time.Millisecond

var epoch = time.Unix(1_700_000_000, 0)

// at is an instant of a test, in milliseconds.
func at(n int) time.Time { return epoch.Add(time.Duration(n) * ms) }

// stretch is a time of a test.
func stretch(node string, from, to int) Stretch { return Stretch{node, at(from), at(to)} }

// asked is a request of a test, which failed unless result is 200.
func asked(start, took int, result string) netlab.Request {
	return netlab.Request{Start: at(start), Took: time.Duration(took) * ms, Result: result}
}

func TestHandover(t *testing.T) {
	for _, c := range []struct {
		name string
		seen []Stretch
		want Handover // zero: an error
		err  string
	}{
		{"a move", []Stretch{stretch("w1", 0, 100), stretch("w2", 105, 200)}, Handover{"w1", "w2", at(100), at(105)}, ""},
		{"nobody in between", []Stretch{stretch("w1", 0, 100), stretch("", 105, 900), stretch("w2", 905, 2000)}, Handover{"w1", "w2", at(100), at(905)}, ""},
		{"nobody at first", []Stretch{stretch("", 0, 10), stretch("w1", 15, 100), stretch("w2", 105, 200)}, Handover{"w1", "w2", at(100), at(105)}, ""},
		{"forgotten and back on the old one first", []Stretch{stretch("w1", 0, 100), stretch("", 105, 110), stretch("w1", 115, 120), stretch("w2", 125, 200)}, Handover{"w1", "w2", at(120), at(125)}, ""},
		{"forgotten after it", []Stretch{stretch("w1", 0, 100), stretch("w2", 105, 200), stretch("", 205, 210), stretch("w2", 215, 300)}, Handover{"w1", "w2", at(100), at(105)}, ""},
		{"back again", []Stretch{stretch("w1", 0, 100), stretch("w2", 105, 200), stretch("w1", 1105, 1200)}, Handover{}, "went on from w2 to w1 1.000 s later"},
		{"and on", []Stretch{stretch("w1", 0, 100), stretch("w2", 105, 200), stretch("w3", 205, 300)}, Handover{}, "went on from w2 to w3"},
		{"no move", []Stretch{stretch("w1", 0, 100)}, Handover{}, "did not leave w1"},
		{"gone", []Stretch{stretch("w1", 0, 100), stretch("", 105, 200)}, Handover{}, "did not leave w1"},
		{"elsewhere", []Stretch{stretch("w2", 0, 100)}, Handover{}, "was not on w1 to begin with"},
		{"nothing", nil, Handover{}, "was not on w1 to begin with"},
	} {
		got, err := handover(c.seen, "w1")
		switch {
		case c.err == "" && (err != nil || got != c.want):
			t.Errorf("%s: %+v, %v; want %+v", c.name, got, err, c.want)
		case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)):
			t.Errorf("%s: %v, want %q", c.name, err, c.err)
		}
	}
}

// S7: what was open when the address moved is counted apart from what began after it.
func TestTallyCountsOpenRequestsApart(t *testing.T) {
	h := Handover{"w1", "w2", at(100), at(105)}
	got := h.tally([]netlab.Request{
		asked(0, 99, "200"),
		asked(10, 20, netlab.FailedReset),  // before: nothing excuses it
		asked(50, 50, "200"),               // ended at the last look at the old node: it may have met the move
		asked(60, 300, netlab.FailedReset), // open
		asked(102, 1, netlab.FailedReset),  // begun between two looks: it may have gone to either
		asked(105, 10, "200"),
		asked(106, 10, netlab.FailedTimeout), // after
		asked(900, 1, "503"),
	})
	if want := (Tally{Count{2, 1}, Count{3, 2}, Count{3, 2}}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestTallyJudge(t *testing.T) {
	for _, c := range []struct {
		tally Tally
		want  string
	}{
		{Tally{Count{100, 0}, Count{5, 5}, Count{100, 0}}, ""},
		{Tally{Count{100, 0}, Count{}, Count{100, 0}}, ""},
		{Tally{Count{100, 1}, Count{}, Count{100, 0}}, "before the hand-over: 1 of 100 failed"},
		{Tally{Count{100, 0}, Count{}, Count{100, 2}}, "began after the hand-over: 2 of 100 failed"},
		{Tally{Count{100, 0}, Count{}, Count{}}, "too little was seen"},
		{Tally{Count{}, Count{}, Count{100, 0}}, "too little was seen"},
	} {
		if err := c.tally.judge(); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.tally, err, c.want)
		}
	}
}

func TestFirstFailures(t *testing.T) {
	reqs := []netlab.Request{asked(0, 1, "200"), asked(10, 500, netlab.FailedTimeout), asked(30, 1, "503"), asked(40, 1, "503"), asked(50, 1, "503")}
	got := strings.Join(firstFailures(reqs, at(20)), "\n")
	if want := "-0.010 s: timeout after 0.500 s\n+0.010 s: 503 after 0.001 s\n+0.020 s: 503 after 0.001 s"; got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}
