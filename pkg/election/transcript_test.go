package election

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the present behaviour to testdata/*.txt")

// TestTranscripts replays each transcript in testdata. In a transcript, a line that begins with #
// or is empty is for the reader, a line that begins with > is what the machine did, and every other
// line is an instant and an event (replay_input_test.go). Between two such lines time passes in
// ticks of 100 ms. The modes of the transcript answer what it does not answer itself.
func TestTranscripts(t *testing.T) {
	for _, path := range transcripts(t) {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			got := replayText(t, path, string(want))
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(want) {
				t.Errorf("%s: the machine behaves differently (go test ./pkg/election -update records it):\n%s",
					path, firstDifference(string(want), got))
			}
		})
	}
}

// TestEveryRuleHasATranscript: each transcript names the rules that it proves, and each rule has a
// transcript. Packages health, kubelease and apiclient keep E7 and E11; transcripts show their
// effect on the machine: what follows from a verdict, and via=peers.
func TestEveryRuleHasATranscript(t *testing.T) {
	named := map[string]bool{}
	for _, path := range transcripts(t) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		line := regexp.MustCompile(`(?m)^# Proves ([EF]\d+(, [EF]\d+)*): `).FindSubmatch(text)
		if line == nil {
			t.Errorf("%s has no line \"# Proves E...: what\"", path)
			continue
		}
		for _, rule := range bytes.Split(line[1], []byte(", ")) {
			named[string(rule)] = true
		}
	}
	for n := 1; n <= 12; n++ {
		if rule := fmt.Sprintf("E%d", n); !named[rule] {
			t.Errorf("no transcript proves %s", rule)
		}
	}
	for _, rule := range []string{"F1", "F2", "F3", "F4", "F5", "F6", "F7", "F8", "F11"} {
		if !named[rule] { // F9 is the fence's, F10 the transport's
			t.Errorf("no transcript proves %s", rule)
		}
	}
}

func transcripts(t testing.TB) []string {
	t.Helper()
	paths, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no transcripts in testdata: %v", err)
	}
	return paths
}

// replayText runs the input lines of a transcript and returns it with new output lines.
func replayText(t testing.TB, path, text string) string {
	t.Helper()
	s := &replay{}
	for number, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		if strings.HasPrefix(line, ">") {
			continue
		}
		if err := s.line(line); err != nil {
			t.Fatalf("%s:%d: %q: %v, after\n%s", path, number+1, line, err, s.out.String())
		}
	}
	return s.out.String()
}

// line plays one line that is not output.
func (s *replay) line(line string) error {
	text, _, _ := strings.Cut(line, " #")
	words := strings.Fields(text)
	switch {
	case len(words) == 0 || strings.HasPrefix(line, "#"):
		s.out.WriteString(line + "\n")
		return nil
	case words[0] == "node":
		s.out.WriteString(line + "\n")
		return s.node(words[1:])
	case s.m == nil:
		return fmt.Errorf("no node yet")
	case len(words) < 2:
		return fmt.Errorf("an instant and an event are needed")
	}
	at, err := time.ParseDuration(words[0])
	if err != nil || at < s.clock {
		return fmt.Errorf("not an instant after %v: %v", s.clock, err)
	}
	s.passUntil(at)
	s.out.WriteString(line + "\n")
	return s.event(words[1], words[2:])
}

// firstDifference shows the first lines in which two texts differ.
func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	part := func(lines []string, i int) string {
		return strings.Join(lines[min(i, len(lines)):min(i+8, len(lines))], "\n")
	}
	for i := range w {
		if i >= len(g) || w[i] != g[i] {
			return fmt.Sprintf("line %d\nwant:\n%s\ngot:\n%s", i+1, part(w, i), part(g, i))
		}
	}
	return fmt.Sprintf("additional lines: %s", strings.Join(g[len(w):], "\n"))
}
