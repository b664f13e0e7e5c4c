package heartbeat

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

const ms = time.Millisecond

// segment is three nodes, of which the first has a Detector.
type segment struct {
	t       *testing.T
	d       *Detector
	now     time.Duration
	sends   map[string]bool          // nodes that send frames
	answers map[string]bool          // nodes whose kernel answers
	open    map[string]time.Duration // when the time of a question is over
	did     []string                 // questions and verdicts
	frames  int
}

func newSegment(t *testing.T, others ...string) *segment {
	s := &segment{
		t: t, d: NewDetector(), now: time.Hour, sends: map[string]bool{}, answers: map[string]bool{},
		open: map[string]time.Duration{},
	}
	s.d.SetNodes(others)
	for _, o := range others {
		s.sends[o], s.answers[o] = true, true
	}
	return s
}

// pass lets time pass in steps of a millisecond. Nodes send every 100 ms.
func (s *segment) pass(d time.Duration) {
	for end := s.now + d; s.now < end; s.now += ms {
		for node, sends := range s.sends {
			if sends && (s.now/ms)%100 == time.Duration(len(node)) {
				s.d.Heard(node, s.now)
			}
		}
		s.finish()
		if s.now >= s.d.Next() {
			s.step()
		}
	}
}

// step asks, and takes the result of the question 85 ms later.
func (s *segment) step() {
	a := s.d.Step(s.now)
	if a.Send {
		s.frames++
	}
	for _, node := range a.Ask {
		s.did = append(s.did, "ask "+node)
		s.open[node] = s.now + 85*ms
	}
}

// finish ends the questions whose time is over.
func (s *segment) finish() {
	for node, at := range s.open {
		switch {
		case s.answers[node]:
			s.d.Answered(node)
		case s.now < at:
			continue
		case s.d.Unanswered(node, s.now):
			s.did = append(s.did, "silent "+node)
		}
		delete(s.open, node)
	}
}

// want checks what was done since the last call.
func (s *segment) want(want string) {
	s.t.Helper()
	if got := strings.Join(s.did, ", "); got != want {
		s.t.Errorf("did %q, want %q", got, want)
	}
	s.did = nil
}

func (s *segment) off(node string) { s.sends[node], s.answers[node] = false, false }

// TestS10Silence: a node that is off is asked and then silent, within half a second.
func TestS10Silence(t *testing.T) {
	s := newSegment(t, "b", "cc")
	s.pass(2 * time.Second)
	s.want("")
	if s.frames < 20 || s.frames > 21 {
		t.Errorf("sent %d frames in 2 s", s.frames)
	}
	s.off("b")
	s.pass(300 * ms)
	s.want("")
	s.pass(100 * ms)
	s.want("ask b, silent b")
	s.pass(time.Second) // again and again: a Lease that was renewed before may be seen late
	s.want("ask b, silent b")
	s.sends["b"], s.answers["b"] = true, true
	s.pass(2 * time.Second)
	s.want("")
}

// TestS10AgentGone: a node whose kernel answers is not silent, and is asked once.
func TestS10AgentGone(t *testing.T) {
	s := newSegment(t, "b", "cc")
	s.pass(2 * time.Second)
	s.sends["b"] = false
	s.pass(5 * time.Second)
	s.want("ask b")
	s.answers["b"] = false // without frames that looks like a loss of frames
	s.pass(5 * time.Second)
	s.want("")
}

// TestS10OwnLink: a node that hears no other node blames none.
func TestS10OwnLink(t *testing.T) {
	s := newSegment(t, "b", "cc")
	s.pass(2 * time.Second)
	s.off("b")
	s.off("cc")
	s.pass(5 * time.Second)
	s.want("")
	s.sends["cc"], s.answers["cc"] = true, true
	s.pass(300 * ms)
	s.want("ask b, silent b")
	alone := newSegment(t, "b")
	alone.pass(2 * time.Second)
	alone.off("b")
	alone.pass(5 * time.Second)
	alone.want("")
}

// TestS10Late: a node that was not there to hear blames none for that.
func TestS10Late(t *testing.T) {
	s := newSegment(t, "b", "cc")
	s.pass(2 * time.Second)
	s.now += 3 * time.Second
	s.step()
	s.pass(200 * ms)
	s.want("")
	s.off("b")
	s.pass(300 * ms)
	s.now += 200 * ms
	s.step()
	s.want("")
	s.pass(700 * ms)
	s.want("ask b, silent b")
}

// TestS10UnsteadySegment: a node whose frames get lost is not judged.
func TestS10UnsteadySegment(t *testing.T) {
	s := newSegment(t, "b", "cc")
	s.pass(500 * ms) // too short
	s.off("b")
	s.pass(2 * time.Second)
	s.want("")
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 { // every second frame is lost
		s.sends["b"] = random.IntN(2) == 0
		s.pass(100 * ms)
	}
	for _, did := range s.did {
		if did == "silent b" && s.answers["b"] {
			t.Error(did)
		}
	}
}

// TestS10Nodes: nodes come and go, and many nodes send less often.
func TestS10Nodes(t *testing.T) {
	s := newSegment(t, "b", "cc")
	s.pass(2 * time.Second)
	s.off("b")
	s.d.SetNodes([]string{"cc"})
	s.pass(2 * time.Second)
	s.want("")
	s.d.Heard("unknown", s.now)
	s.d.Answered("unknown")
	for nodes, want := range map[int]time.Duration{
		1: 100 * ms, 20: 100 * ms, 40: 200 * ms, 1000: 5 * time.Second,
	} {
		if got := Interval(nodes); got != want {
			t.Errorf("%d nodes: %v, want %v", nodes, got, want)
		}
	}
}
