// Package printable makes text that others wrote safe for a terminal: a name, a reason or an error
// of another program must not move the cursor, change colours or reverse the line.
package printable

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

const (
	// MaxText is how many bytes of one text are shown.
	MaxText = 512
	// MaxMessage is how long a Message is at most, in bytes: that of an Event may have as many.
	MaxMessage = 1024

	dots = "..."
)

// Text returns s as it is if it is printable, else quoted with escapes for what is not. What is
// longer than MaxText is cut.
func Text(s string) string {
	return quoted(Cut(s, MaxText+len(dots)))
}

// Cut returns s in at most n bytes, which are 3 or more: what is longer ends with three dots.
func Cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n-len(dots)], "") + dots
}

// Message returns s with escapes for what is not printable, line ends included, cut to MaxMessage. It
// is for sentences that name what others wrote, and quotes nothing as a whole. A Message stays as it
// is if it is made one again.
func Message(s string) string {
	var out strings.Builder
	for _, r := range Cut(s, MaxMessage) {
		if !hidden(r) {
			out.WriteRune(r)
			continue
		}
		escape := strconv.QuoteRune(r)
		out.WriteString(escape[1 : len(escape)-1])
	}
	return Cut(out.String(), MaxMessage)
}

func quoted(s string) string {
	if !utf8.ValidString(s) || strings.ContainsFunc(s, hidden) {
		return strconv.Quote(s)
	}
	return s
}

// Lines is Text for a message of any length. It treats each of its lines by itself, and leaves the
// tabs that one begins with, as in a list of suggestions.
func Lines(s string) string {
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		text := strings.TrimLeft(line, "\t")
		lines[i] = line[:len(line)-len(text)] + quoted(text)
	}
	return strings.Join(lines, "\n")
}

// hidden is true for control characters, marks that turn the direction of text, and blanks that look
// like nothing or like another character.
func hidden(r rune) bool { return !unicode.IsPrint(r) }

// JSON returns a writer that escapes, within the strings of the JSON that is written to it, what Text
// would quote; encoding/json leaves some control characters as they are. Each Write must end between
// two characters.
func JSON(w io.Writer) io.Writer { return jsonWriter{w} }

type jsonWriter struct{ w io.Writer }

// Write implements io.Writer.
func (j jsonWriter) Write(p []byte) (int, error) {
	safe := p
	if at := bytes.IndexFunc(p, escaped); at >= 0 {
		safe = appendEscaped(slices.Clone(p[:at]), p[at:])
	}
	if _, err := j.w.Write(safe); err != nil {
		return 0, fmt.Errorf("write JSON: %w", err)
	}
	return len(p), nil
}

// escaped reports whether JSON is to have an escape for r.
func escaped(r rune) bool { return r != '\n' && r != '\t' && hidden(r) }

// appendEscaped appends p to out, with escapes.
func appendEscaped(out, p []byte) []byte {
	for _, r := range string(p) {
		switch {
		case !escaped(r):
			out = utf8.AppendRune(out, r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			out = fmt.Appendf(out, `\u%04x\u%04x`, high, low)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
	}
	return out
}
