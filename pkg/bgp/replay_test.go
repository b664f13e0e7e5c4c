package bgp

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

var record = flag.Bool("update", false, "write the present behaviour to testdata/*.txt")

// TestTranscripts replays each transcript in testdata. A line that begins with # or is empty is for
// the reader, a line that begins with > is what the machine did, and every other line is an instant
// and an event (replay.event). Between two such lines the machine receives the Ticks that it asks
// for. A Tick without an action is not shown.
func TestTranscripts(t *testing.T) {
	for _, path := range transcripts(t) {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			s := &replay{}
			for number, line := range strings.Split(strings.TrimSuffix(string(want), "\n"), "\n") {
				if strings.HasPrefix(line, ">") {
					continue
				}
				if err := s.line(line); err != nil {
					t.Fatalf("%s:%d: %q: %v, after\n%s", path, number+1, line, err, s.out.String())
				}
			}
			if *record {
				if err := os.WriteFile(path, []byte(s.out.String()), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got := s.out.String(); got != string(want) {
				t.Errorf("%s: the machine behaves differently (go test ./pkg/bgp -update records it):\n%s",
					path, firstDifference(string(want), got))
			}
		})
	}
}

// firstDifference shows the first lines in which two texts differ.
func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	i := 0
	for i < min(len(w), len(g)) && w[i] == g[i] {
		i++
	}
	part := func(lines []string) string {
		return strings.Join(lines[min(i, len(lines)):min(i+8, len(lines))], "\n")
	}
	return fmt.Sprintf("line %d\nwant:\n%s\ngot:\n%s", i+1, part(w), part(g))
}

// TestEveryRuleOfTheMachineHasATranscript: each transcript names the rules that it proves.
func TestEveryRuleOfTheMachineHasATranscript(t *testing.T) {
	named := map[string]bool{}
	proves := regexp.MustCompile(`(?m)^# Proves ([^:]+): `)
	for _, path := range transcripts(t) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		line := proves.FindSubmatch(text)
		if line == nil {
			t.Errorf("%s has no line \"# Proves RULE, ...: what\"", path)
			continue
		}
		for _, rule := range bytes.Split(line[1], []byte(", ")) {
			named[string(rule)] = true
		}
	}
	for _, rule := range []string{"B6", "B8", "B9", "B11", "B14", "RFC 4271", "RFC 6608"} {
		if !named[rule] {
			t.Errorf("no transcript proves %s", rule)
		}
	}
}

func transcripts(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no transcripts in testdata: %v", err)
	}
	return paths
}

// replay runs the machine of a transcript.
type replay struct {
	out     strings.Builder
	m       *Machine
	clock   time.Duration
	permit  bool
	frozen  bool // no Tick until the next event
	answers bool // the peer answers each KEEPALIVE with one, neither of which is shown
}

// line plays one line that is not output.
func (s *replay) line(line string) error {
	text, _, _ := strings.Cut(line, " #")
	words := strings.Fields(text)
	if len(words) == 0 || strings.HasPrefix(line, "#") {
		s.out.WriteString(line + "\n")
		return nil
	}
	if words[0] == "peer" {
		s.out.WriteString(line + "\n")
		return s.peer(words[1:])
	}
	at, err := time.ParseDuration(words[0])
	if s.m == nil || err != nil || len(words) < 2 {
		return fmt.Errorf("want a peer first, then instants and events: %v", err)
	}
	s.passUntil(at)
	s.out.WriteString(line + "\n")
	return s.event(words[1], words[2:])
}

// passUntil passes the Ticks that the machine asks for before an instant.
func (s *replay) passUntil(end time.Duration) {
	for !s.frozen && s.m.Next() < end {
		s.clock = max(s.clock, s.m.Next())
		s.step(Tick{s.permit})
	}
	s.clock, s.frozen = end, false
}

// step passes an event, and prints what it leads to.
func (s *replay) step(ev Event) {
	before := s.m.state
	actions := s.m.Step(s.clock, ev)
	alive := slices.Equal(actions, []Action{SendKeepalive{}}) && before == Established
	if alive && s.answers {
		s.m.Step(s.clock, Received{Keepalive{}})
		return
	}
	_, ticks := ev.(Tick)
	if len(actions) == 0 && before == s.m.state && ticks {
		return
	}
	s.show(actions)
}

// show prints the state, the next instant and actions.
func (s *replay) show(actions []Action) {
	next := "never"
	if s.m.Next() != forever {
		next = s.m.Next().String()
	}
	fmt.Fprintf(&s.out, ">  %v %v, next %s\n", s.clock, s.m.state, next)
	for _, a := range actions {
		fmt.Fprintf(&s.out, ">      %v\n", a)
	}
}

// peer begins with another machine: peer [key=value ...].
func (s *replay) peer(words []string) error {
	cfg := testPeer()
	s.permit, s.frozen, s.answers, s.clock = true, false, false, 0
	for _, w := range words {
		key, value, _ := strings.Cut(w, "=")
		n, _ := strconv.Atoi(value)
		span, _ := time.ParseDuration(value)
		switch key {
		case "as":
			cfg.PeerAS = uint32(n)
		case "local":
			cfg.LocalAS = uint32(n)
		case "type":
			cfg.PeerAS, cfg.Type = 0, map[string]PeerType{"external": External, "internal": Internal}[value]
		case "hold":
			cfg.HoldTime = span
		case "keepalive":
			cfg.Keepalive = span
		case "max-retry":
			cfg.MaxRetry = span
		case "restart":
			cfg.GracefulRestart = span
		case "families":
			cfg.Families = []Family{IPv4, IPv6}
		case "answers":
			s.answers = true
		default:
			return fmt.Errorf("unknown setting %q", w)
		}
	}
	if err := cfg.Validate(); err != nil {
		return err
	}
	s.m = newMachine(cfg, 0)
	return nil
}

// event plays the words of one line.
func (s *replay) event(verb string, rest []string) error {
	simple := map[string]Event{
		"tick":      Tick{s.permit},
		"connected": Connected{IPv4},
		"lost":      Lost{lostBy(strings.Join(rest, " "))},
		"keepalive": Received{Keepalive{}},
		"update":    Received{Update{}},
		"other":     Received{Other{}},
		"refresh":   Received{RouteRefresh{map[string]Family{"ipv6": IPv6}[strings.Join(rest, "")]}},
		"malformed": Received{*checkHeader(make([]byte, headerSize))},
		"path-up":   PathUp{},
		"path-down": PathDown{"BFD is down: " + strings.Join(rest, " ")},
		"stop":      Stop{Notification: cease(ceaseShutdown, "node is drained"), Why: "kvip stops"},
		"silent":    Stop{Notification: cease(ceaseShutdown, ""), Why: "kvip restarts", Silent: true},
	}
	switch verb {
	case "open":
		open, err := testOpen(rest)
		if err != nil {
			return err
		}
		s.step(Received{open})
	case "notification":
		code, _ := strconv.Atoi(rest[0])
		subcode, _ := strconv.Atoi(rest[1])
		n := Notification{Code: uint8(code), Subcode: uint8(subcode)}
		if len(rest) > 2 {
			n = cease(n.Subcode, strings.Join(rest[2:], " "))
		}
		s.step(Received{n})
	case "permit":
		s.permit = rest[0] == "yes"
		s.step(Tick{s.permit})
	case "frozen":
		s.frozen = true
	case "keepalive-time":
		cfg := s.m.cfg
		cfg.Keepalive, _ = time.ParseDuration(rest[0])
		s.m.configure(s.clock, cfg)
		s.show(nil)
	default:
		ev, ok := simple[verb]
		if !ok {
			return fmt.Errorf("unknown event %q", verb)
		}
		if verb == "tick" {
			s.show(s.m.Step(s.clock, ev))
			return nil
		}
		s.step(ev)
	}
	return nil
}

// lostBy returns the error with a text.
func lostBy(text string) error {
	for _, err := range []error{errPeerClosed, syscall.ECONNRESET} {
		if text == err.Error() {
			return err
		}
	}
	return errors.New(text)
}

// testOpen returns an OPEN: [key=value ...].
func testOpen(words []string) (Open, error) {
	o := Open{Version: version, AS: 65000, HoldTime: 90, ID: [4]byte{10, 0, 0, 254}}
	o.Families[IPv4], o.FourOctetAS, o.Refresh = true, true, true
	for _, w := range words {
		key, value, _ := strings.Cut(w, "=")
		n, _ := strconv.Atoi(value)
		switch key {
		case "version":
			o.Version = uint8(n)
		case "as":
			o.AS = uint32(n)
		case "hold":
			o.HoldTime = uint16(n)
		case "id":
			o.ID = [4]byte{10, 0, 0, byte(n)}
			if n == 0 {
				o.ID = [4]byte{}
			}
		case "ipv6":
			o.Families = [families]bool{IPv6: true}
		case "two-octets":
			o.FourOctetAS = false
		case "hard-reset":
			o.HardReset = true
		default:
			return o, fmt.Errorf("unknown field %q", w)
		}
	}
	return o, nil
}
