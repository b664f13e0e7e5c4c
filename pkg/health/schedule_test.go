package health

import (
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/link"
)

const ms = time.Millisecond

// script drives a pollSchedule from one due instant to the next, with results at set times.
type script struct {
	t     *testing.T
	s     pollSchedule
	begin time.Time
	now   time.Time
	log   []string
	list  func(at time.Duration) []link.Socket // the server's sockets; nil: a list has no result
}

func newScript(t *testing.T) *script {
	begin := time.Unix(1000, 0)
	return &script{t: t, begin: begin, now: begin,
		s: pollSchedule{period: 100 * ms, nextPoll: begin}}
}

// until makes all decisions due before at and logs them with their times.
func (s *script) until(at time.Duration) {
	for due := s.s.due(); due.Before(s.begin.Add(at)); due = s.s.due() {
		if due.Before(s.now) {
			due = s.now
		}
		s.now = due
		d := s.s.decide(due, due)
		note := func(what string) { s.log = append(s.log, due.Sub(s.begin).String()+" "+what) }
		if d.poll {
			note("poll")
		}
		if d.ping {
			note("ping")
		}
		switch d.report {
		case OutcomeSlow:
			note("slow")
		case OutcomeSilent:
			note("silent")
		case OutcomeHung:
			note("hung")
		case OutcomeAborted:
			note("aborted")
		}
		if d.secondPoll {
			note("second poll")
		}
		if d.probeSockets && s.list != nil {
			s.s.socketsProbed(due, due, s.list(due.Sub(s.begin)))
		}
		if !s.s.due().After(due) && !d.poll && !d.ping && !d.probeSockets && !d.secondPoll &&
			d.report == 0 {
			s.t.Fatalf("stuck at %v after %v", due.Sub(s.begin), s.log)
		}
	}
	s.now = s.begin.Add(at)
}

func (s *script) answered(at time.Duration) { s.until(at); s.s.pollDone(s.begin.Add(at), false, 0) }
func (s *script) timedOut(at time.Duration) { s.until(at); s.s.pollDone(s.begin.Add(at), true, 0) }

// unanswered lets polls time out from at on for d.
func (s *script) unanswered(at, d time.Duration) {
	for end := at + d; at < end; at += readyTimeout {
		if at > 0 && s.s.polling && s.s.reported != 0 {
			s.timedOut(at)
		}
		s.until(min(at+readyTimeout, end))
	}
}
func (s *script) pingDone(at time.Duration, alive bool) {
	s.until(at)
	s.s.pingDone(s.begin.Add(at), alive)
}

func (s *script) want(log ...string) {
	s.t.Helper()
	if len(s.log) != len(log) {
		s.t.Fatalf("got %q\nwant %q", s.log, log)
	}
	for i := range log {
		if s.log[i] != log[i] {
			s.t.Fatalf("got %q\nwant %q", s.log, log)
		}
	}
}

func TestFastServer(t *testing.T) {
	s := newScript(t)
	s.answered(2 * ms)
	s.answered(103 * ms)
	s.answered(330 * ms) // slower than the period and the watch
	s.answered(340 * ms)
	s.until(450 * ms)
	s.want("0s poll", "100ms poll", "200ms poll", "260ms ping", "330ms poll", "430ms poll")
}

// stoppedSockets are those of a stopped process.
func stoppedSockets(time.Duration) []link.Socket { return []link.Socket{queue(1)} }

// starvedSockets are those of one that accepts a connection now and then.
func starvedSockets(at time.Duration) []link.Socket {
	return []link.Socket{queue(100 - uint32(at/(700*ms)))}
}

// TestHungServer: unused sockets for 1 s mean hung (E7). It is reported once, before silence. The
// answer to a ping ends it.
func TestHungServer(t *testing.T) {
	s := newScript(t)
	s.list = stoppedSockets
	s.pingDone(1249*ms, false)
	s.timedOut(5000 * ms)
	s.until(5001 * ms)
	s.want("0s poll", "60ms ping", "1.06s hung", "1.499s ping", "5s poll")
	s.pingDone(5100*ms, true)
	s.answered(5101 * ms)
	s.until(5150 * ms)
	s.want("0s poll", "60ms ping", "1.06s hung", "1.499s ping", "5s poll", "5.1s slow",
		"5.101s poll")
}

// TestHungServerUnderLoad: a server that was slow but alive a short time ago gets 3 s (E7).
func TestHungServerUnderLoad(t *testing.T) {
	// between the slow answer and the stop
	for _, slow := range []time.Duration{0, 5 * time.Second} {
		s := newScript(t)
		s.list = stoppedSockets
		s.answered(300 * ms) // longer than slowAfter
		for at := 300 * ms; at < 300*ms+slow; at += 100 * ms {
			s.answered(at)
		}
		stop := s.now.Sub(s.begin)
		s.log = nil
		s.until(stop + 4*time.Second)
		got := strings.Join(s.log, ", ")
		if hung := strings.Contains(got, (stop+3060*ms).String()+" hung"); hung != (slow == 0) {
			t.Errorf("slow %v before: %s", slow, got)
		}
		if hung := strings.Contains(got, (stop+1060*ms).String()+" hung"); hung != (slow != 0) {
			t.Errorf("slow %v before: %s", slow, got)
		}
	}
}

// TestStarvedServer: a process that accepts a connection now and then is silent, not hung.
func TestStarvedServer(t *testing.T) {
	s := newScript(t)
	s.list = starvedSockets
	s.until(4900 * ms)
	s.want("0s poll", "60ms ping", "1.06s silent")
	if !s.s.starved(s.now) {
		t.Error("not starved")
	}
	lists := 0
	s.list = func(at time.Duration) []link.Socket { lists++; return starvedSockets(at) }
	s.until(time.Minute)
	if lists > 120 {
		t.Errorf("%d lists of sockets in less than a minute", lists)
	}
	s.want("0s poll", "60ms ping", "1.06s silent")
}

// TestStallsThatEnded: a process that was starved for some time gets three times as long, up to
// 10 s, until 15 s later. One that stood still for longer than that had stopped (E7).
func TestStallsThatEnded(t *testing.T) {
	for _, test := range []struct{ stall, pause, hung time.Duration }{
		{200 * ms, 6 * time.Second, time.Second},
		{500 * ms, 6 * time.Second, 1500 * ms},
		{2 * time.Second, 6 * time.Second, 6 * time.Second},
		{2 * time.Second, 14 * time.Second, 6 * time.Second},
		{2 * time.Second, 16 * time.Second, time.Second},
		{5 * time.Second, 6 * time.Second, 10 * time.Second},
		{11 * time.Second, 6 * time.Second, time.Second},
	} {
		s := newScript(t)
		s.list = stoppedSockets
		ended := escalateAfter + test.stall
		s.unanswered(0, ended)
		s.pingDone(ended, true)
		s.answered(ended)
		stop := ended
		for ; stop < ended+test.pause; stop += 100 * ms {
			s.until(stop + ms)
			s.answered(stop + 2*ms)
		}
		s.log = nil
		s.unanswered(stop, escalateAfter+test.hung+400*ms)
		var hung time.Duration
		for _, line := range s.log {
			if at, ok := strings.CutSuffix(line, " hung"); ok {
				hung, _ = time.ParseDuration(at)
			}
		}
		if after := hung - stop - escalateAfter; after < test.hung-100*ms ||
			after > test.hung+400*ms {
			t.Errorf("%+v: hung after %v: %q", test, after, s.log)
		}
	}
}

// TestExpensiveSocketLists: a list that takes long is made less often.
func TestExpensiveSocketLists(t *testing.T) {
	s := newScript(t)
	s.until(251 * ms)
	s.s.socketsProbed(s.begin.Add(350*ms), s.begin.Add(250*ms), stoppedSockets(0))
	if next := s.s.nextSockets.Sub(s.begin); next != 750*ms {
		t.Errorf("the next list is at %v", next)
	}
}

// TestSilentServer: without visible sockets, an unanswered /livez/ping is reported after 1 s (E7),
// once, and the silence goes on when /readyz times out and is requested again.
func TestSilentServer(t *testing.T) {
	s := newScript(t)
	s.pingDone(1249*ms, false)
	s.timedOut(5000 * ms)
	s.until(5001 * ms)
	s.want("0s poll", "60ms ping", "1.06s silent", "1.499s ping", "5s poll")
	s.pingDone(5100*ms, true) // it runs again
	s.answered(5101 * ms)
	s.until(5150 * ms)
	s.want("0s poll", "60ms ping", "1.06s silent", "1.499s ping", "5s poll", "5.1s slow",
		"5.101s poll")
}

// TestSlowServer: while pings are answered, /readyz keeps its timeout. After 1.5 s it is slow (E7),
// which is reported once over several polls.
func TestSlowServer(t *testing.T) {
	s := newScript(t)
	for at := 251 * ms; at < 5000*ms; at += 251 * ms {
		s.pingDone(at, true)
	}
	s.timedOut(5000 * ms)
	s.pingDone(5025*ms, true)
	s.answered(5100 * ms)
	s.until(5101 * ms)
	slow, polls, silent := 0, 0, 0
	for _, line := range s.log {
		switch line {
		case "1.5s slow":
			slow++
		case "0s poll", "5s poll", "5.1s poll":
			polls++
		}
		if line[len(line)-1] == 't' {
			silent++
		}
	}
	if slow != 1 || polls != 3 || silent != 0 {
		t.Fatalf("got %q", s.log)
	}
}

// TestSecondPoll: a second /readyz is sent beside an unanswered one after a ping was answered, one
// at
// a time. Its result does not count after the first was answered.
func TestSecondPoll(t *testing.T) {
	s := newScript(t)
	s.pingDone(260*ms, true)
	s.until(400 * ms)
	s.want("0s poll", "60ms ping", "260ms second poll")
	if !s.s.secondPollDone(s.now) {
		t.Error("the first is unanswered, and the second does not count")
	}
	s.until(505 * ms)
	s.want("0s poll", "60ms ping", "260ms second poll", "500ms second poll")
	s.answered(505 * ms)
	if s.s.secondPollDone(s.now) {
		t.Error("the second counts after the first was answered")
	}
}

// TestNoSecondPollOfAStarvedServer: it would only add load.
func TestNoSecondPollOfAStarvedServer(t *testing.T) {
	s := newScript(t)
	s.pingDone(600*ms, true)
	s.until(1600 * ms)
	s.want("0s poll", "60ms ping", "850ms ping", "1.5s slow")
}

// TestStarved: a ping that is answered late or not at all distinguishes a server without CPU from
// one with a slow etcd.
func TestStarved(t *testing.T) {
	for _, c := range []struct {
		ping, now time.Duration
		want      bool
	}{{260 * ms, 400 * ms, false}, {600 * ms, 700 * ms, true}, {time.Hour, 311 * ms, true},
		{time.Hour, 310 * ms, false}} {
		s := newScript(t)
		if c.ping < c.now {
			s.pingDone(c.ping, true)
		}
		s.until(c.now)
		if got := s.s.starved(s.now); got != c.want {
			t.Errorf("ping answered at %v: starved %v at %v", c.ping, got, c.now)
		}
		s.answered(c.now + ms)
		if s.s.starved(s.now) {
			t.Error("starved after /readyz was answered")
		}
	}
}

// TestProbeOfAPausedProcess: silence during a late wake-up does not count.
func TestProbeOfAPausedProcess(t *testing.T) {
	s := newScript(t)
	s.until(300 * ms)
	planned := s.s.due()
	if d := s.s.decide(planned.Add(time.Minute), planned); d.report != 0 {
		t.Fatalf("a minute of freeze reports outcome %d", d.report)
	}
	if due := s.s.due(); due.Before(planned.Add(time.Minute)) {
		t.Fatalf("next decision at %v, before the wake-up", due.Sub(s.begin))
	}
}

func TestRedialBackoff(t *testing.T) {
	var r redialBackoff
	now := time.Unix(1000, 0)
	for i, want := range redialPauses {
		if wait, ok := r.allow(now); !ok || wait != want {
			t.Fatalf("poll %d: %v %v, want %v", i, wait, ok, want)
		}
	}
	if _, ok := r.allow(now.Add(999 * ms)); ok {
		t.Fatal("one more poll within a second")
	}
	if wait, ok := r.allow(now.Add(1000 * ms)); !ok || wait != 0 {
		t.Fatalf("after a second: %v %v", wait, ok)
	}
}

// TestAbortedConnection: after a connection ended without a TLS alert, a poll that is unanswered
// for 5 ms shows a dead process, once.
func TestAbortedConnection(t *testing.T) {
	s := newScript(t)
	s.answered(2 * ms)
	s.until(50 * ms)
	s.s.connectionAborted(s.now)
	s.s.nextPoll = s.now // as pollSooner does
	s.answered(54 * ms)
	s.until(120 * ms)
	s.want("0s poll", "50ms poll") // it was another fault
	s.until(151 * ms)
	s.s.connectionAborted(s.now) // of the poll in flight
	s.until(170 * ms)
	s.want("0s poll", "50ms poll", "150ms poll", "156ms aborted")
	s.answered(171 * ms)
	s.until(300 * ms)
	s.want("0s poll", "50ms poll", "150ms poll", "156ms aborted", "250ms poll")
	s.s.connectionAborted(s.now)
	planned := s.s.due()
	if d := s.s.decide(planned.Add(time.Second), planned); d.report != 0 {
		t.Errorf("a second of freeze reports outcome %d", d.report)
	}
}

// TestStartIsNoSlowness: pauses of a server that starts do not delay the proof that it hangs later.
func TestStartIsNoSlowness(t *testing.T) {
	s := newScript(t)
	s.list = stoppedSockets
	s.answered(2 * ms)
	s.s.noteStart(OutcomeRefused)
	s.answered(1000 * ms) // it listens, and reports that it is not ready
	s.s.noteStart(OutcomeNotReady)
	s.until(1001 * ms)
	s.answered(1050 * ms)
	s.s.noteStart(OutcomeOK)
	s.log = nil
	s.until(2200 * ms)
	s.want("1.1s poll", "2.16s hung")
}
