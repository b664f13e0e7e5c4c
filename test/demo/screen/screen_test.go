package screen

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/test/failover"
	"github.com/kvip/kvip/test/lab/netlab"
)

const ms = time.Millisecond

// asked makes requests every 10 ms; of each, the last of the states that began before it.
func asked(start time.Time, n int, states map[int]netlab.Request) []netlab.Request {
	reqs := make([]netlab.Request, n)
	var now netlab.Request
	for i := range reqs {
		if s, ok := states[i]; ok {
			now = s
		}
		reqs[i] = now
		reqs[i].Start = start.Add(time.Duration(i) * 10 * ms)
	}
	return reqs
}

var (
	byOld   = netlab.Request{Result: "200", Server: "cp1"}
	byNew   = netlab.Request{Result: "200", Server: "cp2"}
	refused = netlab.Request{Result: netlab.FailedRefused}
	timeout = netlab.Request{Result: netlab.FailedTimeout}
)

func TestTimelineIsInOrder(t *testing.T) {
	start := time.Now()
	r := failover.Result{
		Victim: "cp1", Start: start, End: start.Add(time.Second), Outage: 130 * ms,
		Holding: netlab.HolderReport{Samples: 200, Timeline: []netlab.Change{
			{At: start, Holders: []string{"cp1"}},
			{At: start.Add(60 * ms)},
			{At: start.Add(125 * ms), Holders: []string{"cp2"}},
		}},
	}
	reqs := asked(start, 150,
		map[int]netlab.Request{0: byOld, 2: refused, 5: timeout, 13: byNew, 120: byOld})
	want := strings.Join([]string{
		"+ 0.02 s  client:  no good answer",
		"+ 0.06 s  address: on no node",
		"+ 0.12 s  address: on cp2",
		"+ 0.13 s  client:  answered by cp2",
		"outage 130 ms, two holders in 0 of 200 samples",
	}, "\n")
	if got := strings.Join(Timeline(r, reqs), "\n"); got != want {
		t.Errorf("story:\n%s\nwant:\n%s", got, want)
	}
}

func TestTimelineIsShort(t *testing.T) {
	start := time.Now()
	states := map[int]netlab.Request{}
	for i := range 50 {
		states[2*i], states[2*i+1] = refused, byNew
	}
	got := Timeline(failover.Result{Start: start, End: start.Add(time.Minute)},
		asked(start, 100, states))
	if len(got) != timelineLines+1 || !strings.Contains(got[0], "+ 0.00 s") ||
		!strings.Contains(got[timelineLines-1], "+ 0.99 s") {
		t.Errorf("%d lines:\n%s", len(got), strings.Join(got, "\n"))
	}
}

func TestTimelineWithoutSamplesDoesNotCountHolders(t *testing.T) {
	got := Timeline(failover.Result{Outage: 4 * time.Second}, nil)
	if len(got) != 1 || got[0] != "outage 4.00 s" {
		t.Errorf("story %q", got)
	}
}

func TestStatusLine(t *testing.T) {
	now := time.Now()
	reqs := asked(now.Add(-StripFor), 290, map[int]netlab.Request{0: byOld, 105: refused, 120: byNew})
	reqs = append(reqs[:200:200], reqs[250:]...) // half a second of them is still open
	want := "cp1 [-]  cp2 [#]  client |..........xx........-----.... | cp2 answers"
	if got := StatusLine([]string{"cp1", "cp2"}, []string{"cp2"}, reqs, now); got != want {
		t.Errorf("line\n%s\nwant\n%s", got, want)
	}
	if got := StatusLine([]string{"cp1"}, nil, nil, now); !strings.HasPrefix(got,
		"cp1 [-]  client |---") || strings.Contains(got, "answers") {
		t.Errorf("line without anything: %s", got)
	}
}

func TestScreenKeepsItsLineBelow(t *testing.T) {
	var out bytes.Buffer
	s := &Screen{out: &out, terminal: true}
	s.Say("one")
	s.show("live")
	s.Say("two\nthree")
	s.show("")
	if got, want := out.String(), "one\nlive\r\x1b[Ktwo\nthree\nlive\r\x1b[K"; got != want {
		t.Errorf("printed %q, want %q", got, want)
	}
}

func TestScreenWithoutATerminal(t *testing.T) {
	var out bytes.Buffer
	s := &Screen{out: &out}
	stop := s.Live(t.Context(), func() string { return "live" })
	s.Say("%d %%", 1)
	stop()
	stop()
	if got := out.String(); got != "1 %\n" {
		t.Errorf("printed %q", got)
	}
}

func TestLiveLineEndsWithItsContext(t *testing.T) {
	var out bytes.Buffer
	s := &Screen{out: &out, terminal: true}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.Live(ctx, func() string { return "" })()
	s.Say("end")
	if got := out.String(); !strings.HasSuffix(got, "end\n") {
		t.Errorf("printed %q", got)
	}
}
