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

var update = flag.Bool("update", false, "write what the machine does now into testdata/*.txt")

// TestTranscripts plays every story in testdata. A story is a text: a line that begins
// with # or is empty is for the reader, a line that begins with > is what the machine
// did, and every other line is an instant and an event in plain words (script_test.go
// knows them). Between two such lines time passes in ticks of 100 ms, and whatever the
// story does not answer itself is answered by the modes that it chose.
func TestTranscripts(t *testing.T) {
	for _, path := range stories(t) {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, path, string(want))
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(want) {
				t.Errorf("%s: the machine did something else (go test ./pkg/election -update writes it down):\n%s", path, differ(string(want), got))
			}
		})
	}
}

// TestEveryRuleHasAStory makes sure that every story names the rules it proves, and that
// each rule that the machine keeps has one. E7 and E11 are kept by health, kubelease and
// apiclient; here they show in what the machine does with a verdict and in via=peers.
func TestEveryRuleHasAStory(t *testing.T) {
	named := map[string]bool{}
	for _, path := range stories(t) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		line := regexp.MustCompile(`(?m)^# Proves (E\d+(, E\d+)*): `).FindSubmatch(text)
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
			t.Errorf("no story proves %s", rule)
		}
	}
}

func stories(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no stories in testdata: %v", err)
	}
	return paths
}

// play runs the input lines of a story and returns it with fresh output lines.
func play(t *testing.T, path, text string) string {
	t.Helper()
	s := &script{}
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
func (s *script) line(line string) error {
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

// differ shows the first lines in which two texts part.
func differ(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range w {
		if i >= len(g) || w[i] != g[i] {
			return fmt.Sprintf("line %d\nwant:\n%s\ngot:\n%s", i+1, strings.Join(w[i:min(i+8, len(w))], "\n"), strings.Join(g[min(i, len(g)):min(i+8, len(g))], "\n"))
		}
	}
	return fmt.Sprintf("more lines than expected: %s", strings.Join(g[len(w):], "\n"))
}
