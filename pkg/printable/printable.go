// Package printable makes text from other programs safe for a terminal: a name, a reason or an
// error must not move the cursor, change colours or reverse the line.
package printable

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

const (
	// MaxText is the longest Text, in bytes, without quotes and dots.
	MaxText = 512
	// MaxMessage is the longest Message, in bytes. It is the limit of an Event's message.
	MaxMessage = 1024

	// MaxLogged is the longest message or value in a log, in bytes.
	MaxLogged = 4 << 10

	dots = "..."
)

// Text returns s if it is printable, else s quoted and escaped. It cuts s after MaxText bytes.
func Text(s string) string {
	return quoted(Cut(s, MaxText+len(dots)))
}

// Cut returns at most n bytes of s; a longer s ends with three dots. n must be at least 3.
func Cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n-len(dots)], "") + dots
}

// Message returns s with escapes for characters that are not printable, line ends included, cut to
// MaxMessage. It is for sentences that contain text from other programs, and adds no quotes. It is
// idempotent.
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

// Lines applies Text to each line of a message, without a limit. It keeps leading tabs, as in a
// list of suggestions.
func Lines(s string) string {
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		text := strings.TrimLeft(line, "\t")
		lines[i] = line[:len(line)-len(text)] + quoted(text)
	}
	return strings.Join(lines, "\n")
}

// hidden reports whether r is a control character, a mark of the text direction, or a space other
// than U+0020.
func hidden(r rune) bool { return !unicode.IsPrint(r) }

// JSON returns a writer that escapes in JSON what Text escapes: encoding/json does not escape all
// control characters. Each Write must end between two characters.
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

// escaped reports whether JSON needs an escape for r.
func escaped(r rune) bool { return r != '\n' && r != '\t' && hidden(r) }

// appendEscaped appends p to out and escapes it.
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

// Attr is for slog.HandlerOptions.ReplaceAttr: it cuts long values. A text handler escapes what is
// not printable itself; for a JSON handler use JSON.
func Attr(_ []string, a slog.Attr) slog.Attr {
	if kind := a.Value.Kind(); kind != slog.KindString && kind != slog.KindAny {
		return a
	}
	if text := a.Value.String(); len(text) > MaxLogged {
		a.Value = slog.StringValue(Cut(text, MaxLogged))
	}
	return a
}
