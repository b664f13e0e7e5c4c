package kindenv

import (
	"bytes"
	"io"
	"strings"
	"time"
	"unicode"

	"github.com/kvip/kvip/test/demo/screen"
)

// progress prints one plain line for each step of kind, and keeps kind's whole output.
type progress struct {
	out   *screen.Screen
	log   io.Writer
	began time.Time
	part  []byte // of a line
}

func (p *progress) Write(b []byte) (int, error) {
	p.part = append(p.part, b...)
	for {
		line, rest, found := bytes.Cut(p.part, []byte("\n"))
		if !found {
			break
		}
		if step, ok := step(string(line)); ok {
			p.out.Say("  kind: %s (%.0f s)", step, time.Since(p.began).Seconds())
		}
		p.part = rest
	}
	return p.log.Write(b)
}

// step returns the step that a line of kind reports as done or failed, without the symbols.
func step(line string) (string, bool) {
	line = strings.TrimSpace(line)
	switch {
	case strings.HasPrefix(line, "✓ "):
		return plain(line), true
	case strings.HasPrefix(line, "✗ "):
		return "FAILED: " + plain(line), true
	}
	return line, strings.HasPrefix(line, "ERROR")
}

// plain removes characters that are not ASCII.
func plain(line string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r > unicode.MaxASCII {
			return -1
		}
		return r
	}, line))
}
