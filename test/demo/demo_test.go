package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/test/drill"
	"github.com/kvip/kvip/test/netlab"
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

func TestStoryIsInOrder(t *testing.T) {
	start := time.Now()
	r := drill.Result{
		Victim: "cp1", Start: start, End: start.Add(time.Second), Outage: 130 * ms,
		Holding: netlab.Holding{Samples: 200, Timeline: []netlab.Change{
			{At: start, Holders: []string{"cp1"}},
			{At: start.Add(60 * ms)},
			{At: start.Add(125 * ms), Holders: []string{"cp2"}},
		}},
	}
	reqs := asked(start, 150, map[int]netlab.Request{0: byOld, 2: refused, 5: timeout, 13: byNew, 120: byOld})
	want := strings.Join([]string{
		"+ 0.02 s  client:  no good answer",
		"+ 0.06 s  address: nobody has it",
		"+ 0.12 s  address: on cp2",
		"+ 0.13 s  client:  answered by cp2",
		"outage 130 ms, two holders in 0 of 200 samples",
	}, "\n")
	if got := strings.Join(story(r, reqs), "\n"); got != want {
		t.Errorf("story:\n%s\nwant:\n%s", got, want)
	}
}

func TestStoryIsShort(t *testing.T) {
	start := time.Now()
	states := map[int]netlab.Request{}
	for i := range 50 {
		states[2*i], states[2*i+1] = refused, byNew
	}
	got := story(drill.Result{Start: start, End: start.Add(time.Minute)}, asked(start, 100, states))
	if len(got) != storyLines+1 || !strings.Contains(got[0], "+ 0.00 s") || !strings.Contains(got[storyLines-1], "+ 0.99 s") {
		t.Errorf("%d lines:\n%s", len(got), strings.Join(got, "\n"))
	}
}

func TestStatusLine(t *testing.T) {
	now := time.Now()
	reqs := asked(now.Add(-stripFor), 290, map[int]netlab.Request{0: byOld, 105: refused, 120: byNew})
	reqs = append(reqs[:200:200], reqs[250:]...) // half a second of them is still open
	want := "cp1 [-]  cp2 [#]  client |..........xx........-----.... | cp2 answers"
	if got := statusLine([]string{"cp1", "cp2"}, []string{"cp2"}, reqs, now); got != want {
		t.Errorf("line\n%s\nwant\n%s", got, want)
	}
	if got := statusLine([]string{"cp1"}, nil, nil, now); !strings.HasPrefix(got, "cp1 [-]  client |---") || strings.Contains(got, "answers") {
		t.Errorf("line without anything: %s", got)
	}
}

func TestTableAndVerdict(t *testing.T) {
	faults := drill.Faults()
	good := row{faults[1], drill.Result{Back: true, Outage: 80 * ms, Holding: netlab.Holding{Samples: 100}}}
	slow, lost, two := good, good, good
	slow.result.Outage = time.Minute
	lost.result.Back = false
	two.result.Holding.TwoHolders = 1
	text := table([]row{good, slow, lost})
	for _, want := range []string{
		"API server killed                        80 ms  <= 150 ms  0 of 100 samples\n", "above the target\n", "NOT SERVED AGAIN\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the table lacks %q:\n%s", want, text)
		}
	}
	if err := verdict([]row{good, slow}); err != nil {
		t.Errorf("speed was judged: %v", err)
	}
	if verdict([]row{good, lost}) == nil || verdict([]row{two}) == nil {
		t.Error("what must never happen was accepted")
	}
}

func TestScreenKeepsItsLineBelow(t *testing.T) {
	var out bytes.Buffer
	s := &screen{out: &out, terminal: true}
	s.say("one")
	s.show("live")
	s.say("two\nthree")
	s.show("")
	if got, want := out.String(), "one\nlive\r\x1b[Ktwo\nthree\nlive\r\x1b[K"; got != want {
		t.Errorf("printed %q, want %q", got, want)
	}
}

func TestScreenWithoutATerminal(t *testing.T) {
	var out bytes.Buffer
	s := &screen{out: &out}
	stop := s.live(t.Context(), func() string { return "live" })
	s.say("%d %%", 1)
	stop()
	stop()
	if got := out.String(); got != "1 %\n" {
		t.Errorf("printed %q", got)
	}
}

func TestLiveLineEndsWithItsContext(t *testing.T) {
	var out bytes.Buffer
	s := &screen{out: &out, terminal: true}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.live(ctx, func() string { return "" })()
	s.say("end")
	if got := out.String(); !strings.HasSuffix(got, "end\n") {
		t.Errorf("printed %q", got)
	}
}

func TestMenderStates(t *testing.T) {
	var none *mender
	if server, agent, err := none.state(); !server || !agent || err != nil {
		t.Error("a node that was never broken is not well")
	}
	m := &mender{server: make(chan struct{}), done: make(chan struct{})}
	if server, agent, _ := m.state(); server || agent {
		t.Error("well too early")
	}
	close(m.server)
	if server, agent, _ := m.state(); !server || agent {
		t.Error("want the server alone to be well")
	}
	close(m.done)
	if server, agent, _ := m.state(); !server || !agent {
		t.Error("not well in the end")
	}
	m.err = errors.New("broken for good")
	if server, agent, err := m.state(); server || agent || err == nil {
		t.Error("the error was hidden")
	}
}
