package casestudy

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/test/lab/netlab"
)

// check fails unless a verdict is the wanted one: a part of its error, or "" for none.
func check(t *testing.T, name string, got error, want string) {
	t.Helper()
	if (got == nil) != (want == "") || got != nil && !strings.Contains(got.Error(), want) {
		t.Errorf("%s: %v, want %q", name, got, want)
	}
}

func TestSpreadVerdict(t *testing.T) {
	nodes := map[string]string{"a": "w1", "b": "w2", "c": "w3"}
	for _, c := range []struct {
		name string
		r    Spread
		want string
	}{
		{"even", Spread{Nodes: nodes, Answers: map[string]int{"a": 100, "b": 90, "c": 110}}, ""},
		{"silent pod", Spread{Nodes: nodes, Answers: map[string]int{"a": 150, "b": 150}},
			"c answered 0 requests, and its share is 100"},
		{"hardly any", Spread{Nodes: nodes, Answers: map[string]int{"a": 150, "b": 101, "c": 49}},
			"c answered 49"},
		{"unknown pod", Spread{Nodes: nodes, Answers: map[string]int{"a": 99, "b": 99, "c": 99, "": 3}},
			`3 requests were answered by ""`},
		{"two pods", Spread{Nodes: map[string]string{"a": "", "b": ""},
			Answers: map[string]int{"a": 150, "b": 150}}, "2 pods are ready, want 3"},
		{"failed", Spread{Nodes: nodes, Answers: map[string]int{"a": 100, "b": 100, "c": 99},
			Failures: []string{"reset"}}, "1 of 300 requests failed: [reset]"},
	} {
		check(t, c.name, c.r.Judge(), c.want)
	}
	if got := strings.Join((Spread{Nodes: nodes, Answers: map[string]int{"b": 7}}).Lines(),
		"\n"); !strings.Contains(got, "b on w2 answered 7 of 300 requests") ||
		strings.Count(got, "\n") != 2 {
		t.Errorf("lines:\n%s", got)
	}
}

// by is a good answer by a pod.
func by(start int, pod string) netlab.Request {
	return netlab.Request{Start: instant(start), Took: ms, Result: "200", Server: pod}
}

func TestUnreadyCounts(t *testing.T) {
	r := Unready{Pod: "a", Asked: instant(0), Gone: instant(1000)}
	reqs := []netlab.Request{by(0, "a"), asked(500, 1, "503"), by(900, "b"), by(1200, "a"),
		asked(1300, 1, netlab.FailedReset), by(2000, "b"), by(2010, "a")}
	r.count(reqs, instant(2000))
	if r.Last != instant(1200) || r.After != 2 || r.Late != 1 || r.Earlier != 1 ||
		len(r.Failures) != 1 {
		t.Errorf("%+v", r)
	}
	lines := strings.Join(r.Lines(), "\n")
	for _, want := range []string{"its endpoint was gone 1.0 s later",
		"its last request began 0.2 s after that",
		"answered 1 of the 2 requests since then; 2 requests failed, 1 of them after"} {
		if !strings.Contains(lines, want) {
			t.Errorf("%q is missing:\n%s", want, lines)
		}
	}
}

func TestUnreadyVerdict(t *testing.T) {
	good := Unready{Pod: "a", Asked: instant(0), Gone: instant(1000), Last: instant(900),
		After: afterRequests}
	check(t, "good", good.Judge(), "")
	if got := good.Lines()[1]; got != "no request reached it after that" {
		t.Errorf("%q", got)
	}
	late, failed, earlier, few := good, good, good, good
	late.Late, failed.Failures, earlier.Earlier, few.After = 1, []string{"reset"}, 2, 10
	check(t, "late", late.Judge(), "a still got 1 of 500 requests")
	check(t, "failed", failed.Judge(),
		"0 requests failed before the endpoint was gone and 1 after: [reset]")
	check(t, "earlier", earlier.Judge(), "2 requests failed before")
	check(t, "few", few.Judge(), "only 10 requests were counted")
}

func TestQuiet(t *testing.T) {
	c := &Client{}
	for i := range 50 {
		c.reqs = append(c.reqs, by(10*i, []string{"a", "b"}[i%2]))
	}
	for i := range quietRequests {
		c.reqs = append(c.reqs, by(1000+10*i, "b"))
	}
	from, err := c.quiet(t.Context(), "a", instant(0))
	// Its last answer is the 49th; then one of b's and the first 199 of those from 1000 on.
	if want := instant(1000 + 10*(quietRequests-2)).Add(time.Nanosecond); err != nil || from != want {
		t.Errorf("%v, %v; want %v", from.Sub(epoch), err, want.Sub(epoch))
	}
}

func TestDrainVerdict(t *testing.T) {
	h := Handover{"w1", "w2", instant(1000), instant(1005)}
	good := Drain{
		Handover: h, Began: instant(500), Took: 9 * time.Second, Status: "announced by w2",
		Load:   Load{run(0, 900, abTotal/2, 0), run(910, 1300, 500, 3), run(1310, 2000, abTotal/2, 0)},
		Client: Tally{Count{90, 0}, Count{2, 1}, Count{100, 0}},
	}
	check(t, "good", good.Judge(), "")
	lines := strings.Join(good.Lines(), "\n")
	for _, want := range []string{
		"ab made 50500 requests, 100 at a time, 25250 a second: 3 failed",
		"from w1 to w2 0.51 s after kubectl drain began, which took 9.0 s",
		"of a client each 10 ms 1 of 2 failed, of ab 3 of 500 failed",
	} {
		if !strings.Contains(lines, want) {
			t.Errorf("%q is missing:\n%s", want, lines)
		}
	}
	good.Load[1].Hung = 2
	if got := strings.Join(good.Lines(), "\n"); !strings.Contains(got,
		"2 of ab's were neither answered nor reset for 5 s") {
		t.Errorf("lines:\n%s", got)
	}
	stayed, status, client, ab := good, good, good, good
	stayed.moved = errors.New("the address did not leave w1")
	status.Status, client.Client.After.Failed = "announced by w1", 1
	ab.Load = append(Load{run(1400, 1500, 500, 2)}, ab.Load...)
	check(t, "stayed", stayed.Judge(), "did not leave w1")
	check(t, "status", status.Judge(), "does not show the address on w2")
	check(t, "client", client.Judge(), "began after the hand-over: 1 of 100 failed")
	check(t, "ab", ab.Judge(), "began after the hand-over: 2 of 25500 failed")
}

func TestKillVerdict(t *testing.T) {
	good := Kill{Handover: Handover{Old: "w1", New: "w2"}, Gap: 4500 * ms, After: Count{100, 0}}
	check(t, "good", good.Judge(), "")
	if got := strings.Join(good.Lines(), "\n"); !strings.Contains(got,
		"no request was answered for 4.50 s: within the target of 6 s") {
		t.Errorf("lines:\n%s", got)
	}
	slow, stayed, failed, local := good, good, good, good
	slow.Gap, stayed.New, failed.After.Failed = 7*time.Second, "", 3
	local.After.Failed, local.Local = 30, true
	check(t, "slow", slow.Judge(), "") // a figure, not a verdict
	if got := strings.Join(slow.Lines(), "\n"); !strings.Contains(got, "7.00 s: MISSES the target") {
		t.Errorf("lines:\n%s", got)
	}
	check(t, "stayed", stayed.Judge(), "did not leave w1")
	check(t, "failed", failed.Judge(), "3 of 100 failed")
	check(t, "a pod died too", local.Judge(), "")
}
