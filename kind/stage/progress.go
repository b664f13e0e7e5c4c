package stage

import (
	"bytes"
	"io"
	"strings"
	"time"
	"unicode"

	"github.com/kvip/kvip/test/show"
)

// progress shows what kind has done, one plain line for each step, and keeps all it says.
type progress struct {
	out   *show.Screen
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

// step returns what a line of kind says that was done or has failed, without the pictures.
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

// plain leaves out everything that an old terminal cannot show.
func plain(line string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r > unicode.MaxASCII {
			return -1
		}
		return r
	}, line))
}
