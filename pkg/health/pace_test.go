package health

import (
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/link"
)

const ms = time.Millisecond

// script drives a pace from one due instant to the next, with answers at set times.
type script struct {
	t     *testing.T
	p     pace
	begin time.Time
	now   time.Time
	log   []string
	eyes  func(at time.Duration) []link.Socket // what a look shows; nil: no look is answered
}

func newScript(t *testing.T) *script {
	begin := time.Unix(1000, 0)
	return &script{t: t, begin: begin, now: begin, p: pace{period: 100 * ms, next: begin}}
}

// until runs all decisions due before at and notes them with their times.
func (s *script) until(at time.Duration) {
	for due := s.p.due(); due.Before(s.begin.Add(at)); due = s.p.due() {
		if due.Before(s.now) {
			due = s.now
		}
		s.now = due
		d := s.p.at(due, due)
		note := func(what string) { s.log = append(s.log, due.Sub(s.begin).String()+" "+what) }
		if d.poll {
			note("poll")
		}
		if d.ping {
			note("ping")
		}
		switch d.say {
		case OutcomeSlow:
			note("slow")
		case OutcomeSilent:
			note("silent")
		case OutcomeHung:
			note("hung")
		}
		if d.ask {
			note("ask")
		}
		if d.look && s.eyes != nil {
			s.p.looked(due, due, s.eyes(due.Sub(s.begin)))
		}
		if !s.p.due().After(due) && !d.poll && !d.ping && !d.look && !d.ask && d.say == 0 {
			s.t.Fatalf("stuck at %v after %v", due.Sub(s.begin), s.log)
		}
	}
	s.now = s.begin.Add(at)
}

func (s *script) answered(at time.Duration)   { s.until(at); s.p.answered(s.begin.Add(at), false, 0) }
func (s *script) unanswered(at time.Duration) { s.until(at); s.p.answered(s.begin.Add(at), true, 0) }
func (s *script) ponged(at time.Duration, alive bool) {
	s.until(at)
	s.p.ponged(s.begin.Add(at), alive)
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

func TestPaceOfAFastServer(t *testing.T) {
	s := newScript(t)
	s.answered(2 * ms)
	s.answered(103 * ms)
	s.answered(330 * ms) // slower than the period, faster than the watch
	s.answered(340 * ms)
	s.until(450 * ms)
	s.want("0s poll", "100ms poll", "200ms poll", "330ms poll", "430ms poll")
}

// stuck is what a look shows of a stopped process.
func stuck(time.Duration) []link.Socket { return []link.Socket{queue(1)} }

// starved is what it shows of one that accepts a connection now and then.
func starved(at time.Duration) []link.Socket {
	return []link.Socket{queue(100 - uint32(at/(700*ms)))}
}

// TestPaceOfAHungServer: sockets still for 1 s are death (E7), said once, before anything is
// said of the silence; a pong ends it.
func TestPaceOfAHungServer(t *testing.T) {
	s := newScript(t)
	s.eyes = stuck
	s.ponged(1249*ms, false)
	s.unanswered(5000 * ms)
	s.until(5001 * ms)
	s.want("0s poll", "250ms ping", "1.25s hung", "1.499s ping", "5s poll")
	s.ponged(5100*ms, true)
	s.answered(5101 * ms)
	s.until(5150 * ms)
	s.want("0s poll", "250ms ping", "1.25s hung", "1.499s ping", "5s poll", "5.1s slow", "5.101s poll")
}

// TestPaceOfAHungServerUnderLoad: one that was slow but alive a short time ago gets 3 s (E7).
func TestPaceOfAHungServerUnderLoad(t *testing.T) {
	for _, slow := range []time.Duration{0, 5 * time.Second} { // between the slow answer and the stop
		s := newScript(t)
		s.eyes = stuck
		s.answered(300 * ms) // longer than slowAfter
		for at := 300 * ms; at < 300*ms+slow; at += 100 * ms {
			s.answered(at)
		}
		stop := s.now.Sub(s.begin)
		s.log = nil
		s.until(stop + 4*time.Second)
		got := strings.Join(s.log, ", ")
		if hung := strings.Contains(got, (stop+3250*ms).String()+" hung"); hung != (slow == 0) {
			t.Errorf("slow %v before: %s", slow, got)
		}
		if hung := strings.Contains(got, (stop+1250*ms).String()+" hung"); hung != (slow != 0) {
			t.Errorf("slow %v before: %s", slow, got)
		}
	}
}

// TestPaceOfAStarvedServer: whoever accepts a connection now and then is silent, not hung.
func TestPaceOfAStarvedServer(t *testing.T) {
	s := newScript(t)
	s.eyes = starved
	s.until(4900 * ms)
	s.want("0s poll", "250ms ping", "1.25s silent")
	if !s.p.starved(s.now) {
		t.Error("not starved")
	}
	looks := 0
	s.eyes = func(at time.Duration) []link.Socket { looks++; return starved(at) }
	s.until(time.Minute)
	if looks > 120 {
		t.Errorf("%d looks in less than a minute", looks)
	}
	s.want("0s poll", "250ms ping", "1.25s silent")
}

// TestDearLooks: a look that takes long is made less often.
func TestDearLooks(t *testing.T) {
	s := newScript(t)
	s.until(251 * ms)
	s.p.looked(s.begin.Add(350*ms), s.begin.Add(250*ms), stuck(0))
	if next := s.p.nextLook.Sub(s.begin); next != 750*ms {
		t.Errorf("the next look is at %v", next)
	}
}

// TestPaceOfASilentServer: /livez/ping silent for 1 s is told (E7), once, where no look
// shows anything, and the silence is counted on when /readyz times out and is asked again.
func TestPaceOfASilentServer(t *testing.T) {
	s := newScript(t)
	s.ponged(1249*ms, false)
	s.unanswered(5000 * ms)
	s.until(5001 * ms)
	s.want("0s poll", "250ms ping", "1.25s silent", "1.499s ping", "5s poll")
	s.ponged(5100*ms, true) // it thaws
	s.answered(5101 * ms)
	s.until(5150 * ms)
	s.want("0s poll", "250ms ping", "1.25s silent", "1.499s ping", "5s poll", "5.1s slow", "5.101s poll")
}

// TestPaceOfASlowServer: as long as pings are answered /readyz keeps its time; after 1.5 s
// it is slow (E7), said once over several polls.
func TestPaceOfASlowServer(t *testing.T) {
	s := newScript(t)
	for at := 251 * ms; at < 5000*ms; at += 251 * ms {
		s.ponged(at, true)
	}
	s.unanswered(5000 * ms)
	s.ponged(5025*ms, true)
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

// TestPaceOfASecondReadyz: /readyz is asked for beside an unanswered one when a ping was
// answered, one at a time, and what comes after the first was answered is not news.
func TestPaceOfASecondReadyz(t *testing.T) {
	s := newScript(t)
	s.ponged(260*ms, true)
	s.until(400 * ms)
	s.want("0s poll", "250ms ping", "260ms ask")
	if !s.p.asked(s.now) {
		t.Error("the first is unanswered, and the second is no news")
	}
	s.until(505 * ms)
	s.want("0s poll", "250ms ping", "260ms ask", "500ms ask")
	s.answered(505 * ms)
	if s.p.asked(s.now) {
		t.Error("news after the first was answered")
	}
}

// TestNoSecondReadyzForAStarvedServer: it would only add to the load.
func TestNoSecondReadyzForAStarvedServer(t *testing.T) {
	s := newScript(t)
	s.ponged(600*ms, true)
	s.until(1600 * ms)
	s.want("0s poll", "250ms ping", "850ms ping", "1.5s slow")
}

// TestStarved: a pong that is late, or does not come, tells a server that lacks the CPU from
// one whose etcd is slow.
func TestStarved(t *testing.T) {
	for _, c := range []struct {
		pong, now time.Duration
		want      bool
	}{{260 * ms, 400 * ms, false}, {600 * ms, 700 * ms, true}, {time.Hour, 501 * ms, true}, {time.Hour, 500 * ms, false}} {
		s := newScript(t)
		if c.pong < c.now {
			s.ponged(c.pong, true)
		}
		s.until(c.now)
		if got := s.p.starved(s.now); got != c.want {
			t.Errorf("pong at %v: starved %v at %v", c.pong, got, c.now)
		}
		s.answered(c.now + ms)
		if s.p.starved(s.now) {
			t.Error("still starved when /readyz has answered")
		}
	}
}

// TestFrozenProcessBlamesNobody: a wake-up that comes late counts no silence (E9).
func TestFrozenProcessBlamesNobody(t *testing.T) {
	s := newScript(t)
	s.until(300 * ms)
	planned := s.p.due()
	if d := s.p.at(planned.Add(time.Minute), planned); d.say != 0 {
		t.Fatalf("a minute's freeze says outcome %d", d.say)
	}
	if due := s.p.due(); due.Before(planned.Add(time.Minute)) {
		t.Fatalf("next decision at %v, before the thaw", due.Sub(s.begin))
	}
}

func TestHurry(t *testing.T) {
	var h hurry
	now := time.Unix(1000, 0)
	for i, want := range hurryAfter {
		if wait, ok := h.grant(now); !ok || wait != want {
			t.Fatalf("grant %d: %v %v, want %v", i, wait, ok, want)
		}
	}
	if _, ok := h.grant(now.Add(999 * ms)); ok {
		t.Fatal("one more grant within a second: a closing server would be polled in a spin")
	}
	if wait, ok := h.grant(now.Add(1000 * ms)); !ok || wait != 0 {
		t.Fatalf("after a second: %v %v", wait, ok)
	}
}
