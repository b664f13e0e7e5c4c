package anycast

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/election"
)

var update = flag.Bool("update", false, "write what the machine does into the transcripts")

// story replays one transcript. Kernel and routers answer by their modes.
type story struct {
	out    strings.Builder
	m      *Machine
	now    time.Duration
	kernel string // obeys or fails
	peers  string // flush or silent
	shown  Status
}

// TestTranscripts replays the stories in testdata. Lines that begin with > are what the machine
// does.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no transcripts", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			s := story{kernel: "obeys", peers: "flush"}
			for line := range strings.Lines(string(text)) {
				line = strings.TrimRight(line, "\n")
				if strings.HasPrefix(line, ">") {
					continue
				}
				fmt.Fprintln(&s.out, line)
				if line == "" || strings.HasPrefix(line, "#") {
					continue
				}
				if err := s.line(line); err != nil {
					t.Fatalf("%s: %v", line, err)
				}
			}
			if *update {
				if err := os.WriteFile(file, []byte(s.out.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if s.out.String() != string(text) {
				t.Errorf("the machine does otherwise:\n%s", s.out.String())
			}
		})
	}
}

// line executes one line: an instant and what happens then.
func (s *story) line(line string) error {
	words := strings.Fields(line)
	if words[0] == "agent" {
		s.m, s.now = NewMachine(len(words) > 1, 0), 0
		s.shown = s.m.Status()
		return nil
	}
	at, err := time.ParseDuration(words[0])
	if err != nil {
		return err
	}
	s.pass(at)
	switch words[1] {
	case "health":
		h := Health{Leaving: words[2] == "leaving"}
		h.Server = map[string]election.Verdict{
			"ready": election.Healthy, "not-ready": election.NotReady, "dead": election.Dead,
			"leaving": election.Dead, "unknown": election.Unknown,
		}[words[2]]
		s.step(h)
	case "missing":
		s.step(Missing{})
	case "shutdown":
		s.step(Shutdown{})
	case "kernel":
		s.kernel = words[2]
	case "peers":
		s.peers = words[2]
	case "nothing":
	default:
		return fmt.Errorf("there is no event %q", words[1])
	}
	return nil
}

// pass lets time pass, with a tick whenever one is due.
func (s *story) pass(until time.Duration) {
	for n := 0; s.m.Next() < until && n < 1000; n++ {
		s.now = max(s.now, s.m.Next())
		s.step(Tick{})
	}
	s.now = until
}

// step passes on an event, and what kernel and routers answer.
func (s *story) step(ev Event) {
	events := []Event{ev}
	for len(events) > 0 {
		actions := s.m.Step(s.now, events[0])
		events = events[1:]
		refresh := len(actions) == 1 && actions[0] == Write && s.shown.State != Standby
		for _, a := range actions {
			if !refresh || s.kernel == "fails" {
				fmt.Fprintf(&s.out, ">  %v %s\n", s.now, a)
			}
			switch a {
			case Write:
				events = append(events, Written{OK: s.kernel == "obeys"})
			case Delete:
				events = append(events, Deleted{OK: s.kernel == "obeys"})
			case Withdraw:
				if s.peers == "flush" {
					events = append(events, Flushed{})
				}
			}
		}
		if now := s.m.Status(); now != s.shown {
			s.shown = now
			fmt.Fprintf(&s.out, ">  %v %s %s owned=%v\n", s.now, now.State, now.Reason, now.Owned)
		}
	}
}

// TestSentences: each reason is explained.
func TestSentences(t *testing.T) {
	for _, r := range []Reason{ReasonStarting, ReasonReady, ReasonNotReady, ReasonUnknown, ReasonDead,
		ReasonLeaving, ReasonNoAddress, ReasonShutdown} {
		if r.Sentence() == "" {
			t.Errorf("%s has no sentence", r)
		}
	}
}
