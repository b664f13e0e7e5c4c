package bfd

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the present behaviour to testdata/*.txt")

// TestB8Transcripts replays each transcript in testdata. In a transcript, a line that begins with #
// or is empty is for the reader, a line that begins with > is what the machine did, and every other
// line is an instant and an event. Between two such lines time passes: the machine ticks when it is
// due, unless it is frozen, and the peer repeats its last packet if it was asked to.
func TestB8Transcripts(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no transcripts in testdata: %v", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !regexp.MustCompile(`(?m)^# Proves (B8|B6): `).Match(want) {
				t.Errorf("%s has no line \"# Proves B...: what\"", path)
			}
			got := replayText(t, path, string(want))
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != string(want) {
				t.Errorf("the machine behaves differently (go test ./pkg/bfd -update records it):\n%s", got)
			}
		})
	}
}

// replay runs one session of a transcript.
type replay struct {
	out    strings.Builder
	m      *Machine
	clock  time.Duration
	frozen bool
	packet Packet        // the peer's last one
	every  time.Duration // the peer repeats it; 0: it does not
	peerAt time.Duration
}

func replayText(t *testing.T, path, text string) string {
	t.Helper()
	r := &replay{}
	for number, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		if strings.HasPrefix(line, ">") {
			continue
		}
		if err := r.line(line); err != nil {
			t.Fatalf("%s:%d: %q: %v, after\n%s", path, number+1, line, err, r.out.String())
		}
	}
	return r.out.String()
}

// line plays one line that is not output.
func (r *replay) line(line string) error {
	fields, _, _ := strings.Cut(line, " #")
	words := strings.Fields(fields)
	switch {
	case len(words) == 0 || strings.HasPrefix(line, "#"):
		r.out.WriteString(line + "\n")
		return nil
	case words[0] == "session":
		r.out.WriteString(line + "\n")
		return r.session(words[1:])
	case r.m == nil || len(words) < 2:
		return fmt.Errorf("want a session, then instants with events")
	}
	at, err := time.ParseDuration(words[0])
	if err != nil || at < r.clock {
		return fmt.Errorf("not an instant after %v: %v", r.clock, err)
	}
	r.passUntil(at)
	r.out.WriteString(line + "\n")
	return r.event(words[1], words[2:])
}

// session starts a machine: session [tx=1s] [rx=1s] [x3] [jitter=0.5].
func (r *replay) session(words []string) error {
	jitter := 0.0
	for i, w := range words {
		if text, ok := strings.CutPrefix(w, "jitter="); ok {
			words = append(words[:i:i], words[i+1:]...)
			var err error
			if jitter, err = strconv.ParseFloat(text, 64); err != nil {
				return err
			}
		}
	}
	timers, err := parseTimers(words)
	if err != nil {
		return err
	}
	r.clock, r.frozen, r.every = 0, false, 0
	r.packet = Packet{
		MyDiscriminator: 7, DesiredMinTx: time.Second, RequiredMinRx: 300 * time.Millisecond,
		Multiplier: 3,
	}
	r.m, err = NewMachine(MachineConfig{
		Discriminator: 1, Timers: timers, Jitter: func() float64 { return jitter },
	})
	return err
}

func parseTimers(words []string) (t Timers, err error) {
	for _, w := range words {
		key, value, _ := strings.Cut(w, "=")
		switch {
		case key == "tx":
			t.TransmitInterval, err = time.ParseDuration(value)
		case key == "rx":
			t.ReceiveInterval, err = time.ParseDuration(value)
		case strings.HasPrefix(key, "x"):
			t.Multiplier, err = strconv.Atoi(key[1:])
		default:
			err = fmt.Errorf("unknown timer %q", w)
		}
		if err != nil {
			return t, err
		}
	}
	return t, nil
}

func (r *replay) event(what string, words []string) (err error) {
	switch what {
	case "recv":
		if err := r.received(words); err != nil {
			return err
		}
		r.step(Received{r.packet})
		r.packet.Poll, r.packet.Final = false, false
		r.peerAt = r.clock + r.every
	case "repeat": // repeat 100ms, or 0s
		if len(words) != 1 {
			return fmt.Errorf("want an interval")
		}
		r.every, err = time.ParseDuration(words[0])
		r.peerAt = r.clock + r.every
	case "timers":
		t, err := parseTimers(words)
		if err != nil {
			return err
		}
		r.step(SetTimers{t})
	case "stop":
		r.step(Stop{AdministrativelyDown})
	case "restart":
		r.step(Restart{ForwardingPlaneReset})
	case "freeze":
		r.frozen = true
	case "thaw":
		r.frozen = false
	case "status":
		fmt.Fprintf(&r.out, ">  transmit=%v detection=%v peer=%v ended=%v\n", r.m.TransmitInterval(),
			r.m.DetectionTime(), r.m.Remote().Discriminator, r.m.Ended())
	default:
		return fmt.Errorf("unknown event %q", what)
	}
	return err
}

// received sets the fields of the peer's packet: recv STATE [your=1] [tx=1s] [poll] ...
func (r *replay) received(words []string) (err error) {
	states := map[string]State{"AdminDown": AdminDown, "Down": Down, "Init": Init, "Up": Up}
	p := &r.packet
	p.Diagnostic, p.Demand = 0, false
	for i, w := range words {
		key, value, _ := strings.Cut(w, "=")
		number, _ := strconv.ParseUint(value, 10, 32)
		state, known := states[w]
		switch {
		case i == 0 && known:
			p.State = state
		case key == "my":
			p.MyDiscriminator = uint32(number)
		case key == "your":
			p.YourDiscriminator = uint32(number)
		case key == "diag":
			p.Diagnostic = Diagnostic(number)
		case key == "tx":
			p.DesiredMinTx, err = time.ParseDuration(value)
		case key == "rx":
			p.RequiredMinRx, err = time.ParseDuration(value)
		case strings.HasPrefix(key, "x"):
			number, err = strconv.ParseUint(key[1:], 10, 8)
			p.Multiplier = uint8(number)
		case w == "poll":
			p.Poll = true
		case w == "final":
			p.Final = true
		case w == "demand":
			p.Demand = true
		default:
			err = fmt.Errorf("unknown field %q", w)
		}
		if err != nil {
			return err
		}
	}
	_, err = Parse(p.Append(nil))
	return err
}

// passUntil lets time pass. At each instant the peer's packet comes before the tick.
func (r *replay) passUntil(end time.Duration) {
	for {
		peer := r.every > 0 && r.peerAt <= end
		tick := !r.frozen && r.m.Next() <= end
		switch {
		case peer && (!tick || r.peerAt <= r.m.Next()):
			r.clock = max(r.clock, r.peerAt)
			r.peerAt += r.every
			r.step(Received{r.packet})
		case tick:
			r.clock = max(r.clock, r.m.Next())
			r.step(Tick{})
		default:
			r.clock = end
			return
		}
	}
}

func (r *replay) step(ev Event) {
	for _, a := range r.m.Step(r.clock, ev) {
		fmt.Fprintf(&r.out, ">  %v %v\n", r.clock, a)
	}
}
