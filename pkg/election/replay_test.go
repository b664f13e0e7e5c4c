package election

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/quorum"
)

// replay runs one node of a transcript. An API server, a kernel and a network answer by their modes
// what the transcript itself does not answer.
type replay struct {
	out   strings.Builder
	m     *Machine
	clock time.Duration
	ticks time.Duration // instant of the last tick

	server Record   // what the API server has
	sent   []Action // all actions of the node
	modes  map[string]string
	queue  []reply
	frozen bool
	fence  time.Duration // the deadline that was given to it last
	shown  string        // last printed state and reason
}

// reply is an answer on its way to the machine.
type reply struct {
	at   time.Duration
	what string
	make func() Event
}

const (
	apiTakes    = 10 * time.Millisecond
	kernelTakes = time.Millisecond
)

// replayModes lists the modes and their values, the default first.
var replayModes = map[string][]string{
	"api":     {"answers", "silent", "manual"}, // silent: a request fails at its deadline
	"kernel":  {"obeys", "fails", "manual"},    // the result of own and disown
	"network": {"quiet", "manual"},             // quiet: no host answers a probe
	// The other agents that acknowledge: none, all, one, or all after more than T.
	"peers": {"silent", "ack", "one", "late"},
	"beats": {"hidden", "shown"}, // hidden: steps that only beat or extend
	// The result of serve: how many connections there are.
	"connections": {"some", "none", "unknown"},
}

// mustNew returns a machine of a valid configuration.
func mustNew(cfg Config) *Machine {
	m, err := New(cfg)
	if err != nil {
		panic(err)
	}
	return m
}

// play runs lines of a transcript.
func (s *replay) play(t testing.TB, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if err := s.line(line); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
	}
}

// count returns how many actions of a kind the node has emitted.
func (s *replay) count(k Kind) (n int) {
	for _, a := range s.sent {
		if a.Kind == k {
			n++
		}
	}
	return n
}

// node starts an agent: node ID [key=value ...]. The API server keeps its Lease.
func (s *replay) node(words []string) error {
	if len(words) == 0 {
		return fmt.Errorf("a node needs an identity")
	}
	cfg := Config{ID: words[0], Lease: 5 * time.Second, Renew: time.Second, FirstSeq: 100}
	s.modes = map[string]string{}
	for mode, all := range replayModes {
		s.modes[mode] = all[0]
	}
	for _, w := range words[1:] {
		key, value, _ := strings.Cut(w, "=")
		span, err := time.ParseDuration(value)
		switch {
		case key == "lease" && err == nil:
			cfg.Lease = span
		case key == "renew" && err == nil:
			cfg.Renew = span
		case key == "window" && err == nil:
			cfg.Window = span
		case key == "long" && err == nil:
			cfg.LongLease = span
		case key == "leftover" && err == nil:
			cfg.LeftoverLifetime = span
		case key == "drain" && err == nil:
			cfg.Drain = span
		case key == "shutdown-drain" && err == nil:
			cfg.ShutdownDrain = span
		case s.setMode(key, value) == nil:
		default:
			return fmt.Errorf("unknown setting %q", w)
		}
	}
	s.clock, s.ticks = 0, 0
	s.sent, s.queue, s.frozen, s.fence, s.shown = nil, nil, false, 0, ""
	var err error
	s.m, err = New(cfg)
	return err
}

func (s *replay) setMode(key, value string) error {
	if !slices.Contains(replayModes[key], value) {
		return fmt.Errorf("unknown mode %s %q, known: %v", key, value, replayModes[key])
	}
	s.modes[key] = value
	return nil
}

// passUntil lets time pass. At each instant due answers come first, then the tick.
func (s *replay) passUntil(end time.Duration) {
	if s.ticks == 0 {
		s.ticks, s.clock = end, end
	}
	for !s.frozen {
		next := s.ticks + 100*time.Millisecond
		if s.m.cfg.Window > 0 && s.m.node.wake > s.clock {
			next = min(next, s.m.node.wake)
		}
		i := s.earliest()
		if i >= 0 && s.queue[i].at <= min(next, end) {
			r := s.queue[i]
			s.queue = append(s.queue[:i:i], s.queue[i+1:]...)
			s.clock = max(s.clock, r.at)
			s.step(r.make(), r.what)
			continue
		}
		if next > end {
			break
		}
		s.clock, s.ticks = next, next
		s.step(Tick{}, "")
	}
	s.clock = end
	if s.frozen { // a thawed process receives its answers late
		s.frozen, s.ticks = false, end
		for i := range s.queue {
			s.queue[i].at = max(s.queue[i].at, end)
		}
	}
}

// earliest returns the index of the next reply, -1 if there is none.
func (s *replay) earliest() int {
	if len(s.queue) == 0 {
		return -1
	}
	first := slices.MinFunc(s.queue, func(a, b reply) int { return cmp.Compare(a.at, b.at) })
	return slices.IndexFunc(s.queue, func(r reply) bool { return r.at == first.at })
}

// step passes one event to the machine and prints the result. A tick without a change prints
// nothing. what names an answer that is not an input line.
func (s *replay) step(ev Event, what string) {
	actions := s.m.Step(ev, s.clock)
	st := s.m.Status()
	shown := fmt.Sprintf("%s %s", st.State, st.Reason)
	if what != "input" && shown == s.shown && !s.worthShowing(actions) {
		for _, a := range actions {
			s.execute(a)
		}
		return
	}
	s.shown = shown
	mark := ""
	if what != "" && what != "input" {
		mark = " <- " + what
	}
	fmt.Fprintf(&s.out, ">  %v %s%s\n", s.clock, shown, mark)
	for _, a := range actions {
		if s.worthShowing([]Action{a}) {
			fmt.Fprintf(&s.out, ">      %v\n", a)
		}
		s.execute(a)
	}
}

// worthShowing reports whether actions are more than what mode fast does all the time: beats, and
// the extension of a fence that is open.
func (s *replay) worthShowing(actions []Action) bool {
	return slices.ContainsFunc(actions, func(a Action) bool {
		if s.m.cfg.Window == 0 || s.modes["beats"] == "shown" {
			return true
		}
		beat := a.Kind == Send && a.Message.Kind == quorum.KindBeat
		extends := a.Kind == Extend && s.fence > s.clock
		return !beat && !extends
	})
}

// stepNow passes one event to the machine at the present instant and executes the actions.
func (s *replay) stepNow(ev Event) {
	for _, a := range s.m.Step(ev, s.clock) {
		s.execute(a)
	}
}

func (s *replay) reply(after time.Duration, what string, build func() Event) {
	s.queue = append(s.queue, reply{s.clock + after, what, build})
}

// execute answers an action by the mode in force.
func (s *replay) execute(a Action) {
	s.sent = append(s.sent, a)
	kernel, network := s.modes["kernel"], s.modes["network"]
	done := kernel == "obeys"
	switch a.Kind {
	case Own:
		if kernel != "manual" {
			s.reply(kernelTakes, "own "+kernel, func() Event { return Owned{Seq: a.Seq, OK: done} })
		}
	case Disown:
		s.fence = 0
		if kernel != "manual" {
			s.reply(kernelTakes, "disown "+kernel, func() Event {
				return Disowned{Seq: a.Seq, Confirmed: done}
			})
		}
	case Drain:
		s.fence = 0
		if kernel != "manual" {
			s.reply(kernelTakes, "drain "+kernel, func() Event {
				return Disowned{Seq: a.Seq, Confirmed: true, Draining: done}
			})
		}
	case Serve:
		count := s.modes["connections"]
		s.reply(kernelTakes, "serve "+count, func() Event {
			some := map[string]int{"some": 7}[count]
			return Served{Seq: a.Seq, OK: count != "unknown", Connections: some}
		})
	case Probe:
		if network != "manual" {
			s.reply(a.Deadline-s.clock, "network quiet", func() Event { return Probed{} })
		}
	case Extend:
		s.fence = a.Deadline
	case Cut:
		s.reply(kernelTakes, "cut "+kernel, func() Event { return CutDone{a.Seq, done} })
	case Send:
		s.acknowledge(a.Message)
	case Defend, AllowFast, Exit:
	default:
		s.request(a)
	}
}

// acknowledge answers a beat for the other agents, in the mode ack.
func (s *replay) acknowledge(m quorum.Message) {
	peers := s.modes["peers"]
	if peers == "silent" || m.Kind != quorum.KindBeat {
		return
	}
	for i, id := range slices.DeleteFunc(slices.Clone(s.m.agents), func(id string) bool {
		return id == s.m.cfg.ID
	}) {
		if i == 0 || peers != "one" {
			after := kernelTakes
			if peers == "late" {
				after = quorum.Validity(m.Window) + kernelTakes
			}
			ack := quorum.Message{Kind: quorum.KindAck, Term: m.Term, Seq: m.Seq, Fit: true}
			s.reply(after, "ack of "+id, func() Event { return Received{id, ack} })
		}
	}
}

// request answers a request to the API server.
func (s *replay) request(a Action) {
	name, timeout := a.Kind.String(), a.Deadline-s.clock
	failed := Written{Seq: a.Seq, Outcome: OutcomeFailed}
	switch {
	case s.modes["api"] == "manual":
	case s.modes["api"] == "silent" && a.Kind == Read:
		s.reply(timeout, "read failed", func() Event { return ReadDone{Seq: a.Seq} })
	case s.modes["api"] == "silent":
		s.reply(timeout, name+" failed", func() Event { return failed })
	case a.Kind == Read:
		s.reply(apiTakes, "read ok", func() Event { return ReadDone{a.Seq, true, s.read()} })
	default:
		s.reply(apiTakes, name+" answered", func() Event { return s.apply(a) })
	}
}

// read returns the result of a quorum read: the zero Record if the Lease does not exist.
func (s *replay) read() Record {
	if !s.server.Exists {
		return Record{}
	}
	return s.server
}

// apply writes like an API server: only on top of the version that the action names.
func (s *replay) apply(a Action) Event {
	if s.server.Exists != a.Base.Exists || s.server.Exists && s.server.Version != a.Base.Version {
		return Written{Seq: a.Seq, Outcome: OutcomeConflict}
	}
	s.store(a.Record)
	return Written{Seq: a.Seq, Version: s.server.Version}
}

func (s *replay) store(r Record) {
	r.Version = s.server.Version + 1
	s.server = r
}
