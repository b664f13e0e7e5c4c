package election

import (
	"fmt"
	"strings"
	"time"
)

// script is one node of a story, with the world around it as far as the story does not
// play it: an API server, a kernel and a network that answer by their mode.
type script struct {
	out   strings.Builder
	m     *Machine
	lease time.Duration
	clock time.Duration
	ticks time.Duration // instant of the last tick

	server Record   // what the API server has
	sent   []Action // everything the machine asked for
	modes  map[string]string
	queue  []reply
	frozen bool
	shown  string // state and reason as last written down
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

// modes and what they may be; the first is the default.
var scriptModes = map[string][]string{
	"api":     {"answers", "silent", "manual"}, // silent: a request fails at its deadline
	"kernel":  {"obeys", "fails", "manual"},    // what becomes of own and disown
	"network": {"quiet", "manual"},             // quiet: nobody answers a probe
}

// node starts an agent: node ID [key=value ...]; what the API server has stays.
func (s *script) node(words []string) error {
	if len(words) == 0 {
		return fmt.Errorf("a node needs an identity")
	}
	cfg := Config{ID: words[0], Lease: 5 * time.Second, Renew: time.Second, FirstSeq: 100}
	s.modes = map[string]string{}
	for mode, all := range scriptModes {
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
		case key == "leftover" && err == nil:
			cfg.LeftoverLifetime = span
		case s.setMode(key, value) == nil:
		default:
			return fmt.Errorf("unknown setting %q", w)
		}
	}
	s.m, s.lease, s.clock, s.ticks = mustNew(cfg), cfg.Lease, 0, 0
	s.sent, s.queue, s.frozen, s.shown = nil, nil, false, ""
	return nil
}

func (s *script) setMode(key, value string) error {
	for _, known := range scriptModes[key] {
		if known == value {
			s.modes[key] = value
			return nil
		}
	}
	return fmt.Errorf("unknown mode %s %q, known: %v", key, value, scriptModes[key])
}

// passUntil lets time pass: answers that are due come first, then the tick of an instant.
func (s *script) passUntil(end time.Duration) {
	if s.ticks == 0 {
		s.ticks, s.clock = end, end
	}
	for !s.frozen {
		next := s.ticks + 100*time.Millisecond
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
	if s.frozen { // a thawed process finds its answers late
		s.frozen, s.ticks = false, end
		for i := range s.queue {
			s.queue[i].at = max(s.queue[i].at, end)
		}
	}
}

// earliest is the index of the next reply, -1 if there is none.
func (s *script) earliest() int {
	best := -1
	for i, r := range s.queue {
		if best < 0 || r.at < s.queue[best].at {
			best = i
		}
	}
	return best
}

// step feeds one event and writes down what came of it. A tick that changed nothing is
// not worth a line; what names the answer that was not an input line.
func (s *script) step(ev Event, what string) {
	actions := s.m.Step(ev, s.clock)
	st := s.m.Status()
	shown := fmt.Sprintf("%s %s", st.State, st.Reason)
	if what != "input" && shown == s.shown && len(actions) == 0 {
		return
	}
	s.shown = shown
	mark := ""
	if what != "" && what != "input" {
		mark = " <- " + what
	}
	fmt.Fprintf(&s.out, ">  %v %s%s\n", s.clock, shown, mark)
	for _, a := range actions {
		fmt.Fprintf(&s.out, ">      %v\n", a)
		s.execute(a)
	}
}

func (s *script) reply(after time.Duration, what string, build func() Event) {
	s.queue = append(s.queue, reply{s.clock + after, what, build})
}

// execute answers an action by the mode in force.
func (s *script) execute(a Action) {
	s.sent = append(s.sent, a)
	mode := map[Kind]string{Own: "kernel", Disown: "kernel", Probe: "network"}[a.Kind]
	switch m := s.modes[mode]; {
	case mode == "":
		s.answerLater(a)
	case m == "manual":
	case a.Kind == Own:
		s.reply(kernelTakes, "own "+m, func() Event { return Owned{Seq: a.Seq, OK: m == "obeys"} })
	case a.Kind == Disown:
		s.reply(kernelTakes, "disown "+m, func() Event { return Disowned{Seq: a.Seq, Confirmed: m == "obeys"} })
	case a.Kind == Probe:
		s.reply(a.Deadline-s.clock, "network quiet", func() Event { return Probed{} })
	}
}

// answerLater answers what goes to the API server.
func (s *script) answerLater(a Action) {
	switch {
	case a.Kind == Defend || a.Kind == Exit || s.modes["api"] == "manual":
	case s.modes["api"] == "silent" && a.Kind == Read:
		s.reply(a.Deadline-s.clock, "read failed", func() Event { return ReadDone{Seq: a.Seq} })
	case s.modes["api"] == "silent":
		s.reply(a.Deadline-s.clock, a.Kind.String()+" failed", func() Event { return Written{Seq: a.Seq, Outcome: OutcomeFailed} })
	case a.Kind == Read:
		s.reply(apiTakes, "read ok", func() Event { return ReadDone{Seq: a.Seq, OK: true, Record: s.read()} })
	default:
		s.reply(apiTakes, a.Kind.String()+" answered", func() Event { return s.apply(a) })
	}
}

// read is what a quorum read tells: nothing at all about a Lease that is not there.
func (s *script) read() Record {
	if !s.server.Exists {
		return Record{}
	}
	return s.server
}

// apply writes like the API server: only on top of the version that the action names.
func (s *script) apply(a Action) Event {
	if s.server.Exists != a.Base.Exists || s.server.Exists && s.server.Version != a.Base.Version {
		return Written{Seq: a.Seq, Outcome: OutcomeConflict}
	}
	s.store(a.Record)
	return Written{Seq: a.Seq, Version: s.server.Version}
}

func (s *script) store(r Record) {
	r.Version = s.server.Version + 1
	s.server = r
}

func mustNew(cfg Config) *Machine {
	m, err := New(cfg)
	if err != nil {
		panic(err)
	}
	return m
}
