package casestudy

import (
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/test/lab/netlab"
)

const ms = time.Millisecond

var epoch = time.Unix(1_700_000_000, 0)

// instant is an instant of a test, in milliseconds.
func instant(n int) time.Time { return epoch.Add(time.Duration(n) * ms) }

// interval is a time of a test.
func interval(node string, from,
	to int) Interval {
	return Interval{node, instant(from), instant(to)}
}

// asked is a request of a test, which failed unless result is 200.
func asked(start, took int, result string) netlab.Request {
	return netlab.Request{Start: instant(start), Took: time.Duration(took) * ms, Result: result}
}

func TestHandover(t *testing.T) {
	for _, c := range []struct {
		name string
		seen []Interval
		want Handover // zero: an error
		err  string
	}{
		{"a move", []Interval{interval("w1", 0, 100), interval("w2", 105, 200)},
			Handover{"w1", "w2", instant(100), instant(105)}, ""},
		{"no node in between",
			[]Interval{interval("w1", 0, 100), interval("", 105, 900), interval("w2", 905, 2000)},
			Handover{"w1", "w2", instant(100), instant(905)}, ""},
		{"no node at first",
			[]Interval{interval("", 0, 10), interval("w1", 15, 100), interval("w2", 105, 200)},
			Handover{"w1", "w2", instant(100), instant(105)}, ""},
		{"forgotten and back on the old one first",
			[]Interval{interval("w1", 0, 100), interval("", 105, 110), interval("w1", 115, 120),
				interval("w2", 125, 200)}, Handover{"w1", "w2", instant(120), instant(125)}, ""},
		{"forgotten after it",
			[]Interval{interval("w1", 0, 100), interval("w2", 105, 200), interval("", 205, 210),
				interval("w2", 215, 300)}, Handover{"w1", "w2", instant(100), instant(105)}, ""},
		{"back again", []Interval{interval("w1", 0, 100), interval("w2", 105, 200),
			interval("w1", 1105, 1200)}, Handover{}, "went on from w2 to w1 1.000 s later"},
		{"and on", []Interval{interval("w1", 0, 100), interval("w2", 105, 200), interval("w3", 205, 300)},
			Handover{}, "went on from w2 to w3"},
		{"no move", []Interval{interval("w1", 0, 100)}, Handover{}, "did not leave w1"},
		{"gone", []Interval{interval("w1", 0, 100), interval("", 105, 200)}, Handover{},
			"did not leave w1"},
		{"elsewhere", []Interval{interval("w2", 0, 100)}, Handover{}, "was not on w1 to begin with"},
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
	h := Handover{"w1", "w2", instant(100), instant(105)}
	got := h.tally([]netlab.Request{
		asked(0, 99, "200"),
		asked(10, 20, netlab.FailedReset), // before: nothing excuses it
		// ended at the last look at the old node: it may have met the move
		asked(50, 50, "200"),
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
		if err := c.tally.judge(); (err == nil) != (c.want == "") || err != nil &&
			!strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.tally, err, c.want)
		}
	}
}

func TestFirstFailures(t *testing.T) {
	reqs := []netlab.Request{asked(0, 1, "200"), asked(10, 500, netlab.FailedTimeout),
		asked(30, 1, "503"), asked(40, 1, "503"), asked(50, 1, "503")}
	got := strings.Join(firstFailures(reqs, instant(20)), "\n")
	want := "-0.010 s: timeout after 0.500 s\n" +
		"+0.010 s: 503 after 0.001 s\n+0.020 s: 503 after 0.001 s"
	if got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}
