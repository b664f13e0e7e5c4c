// Package printable makes text that others wrote safe for a terminal: a name, a reason or an error
// of another program must not move the cursor, change colours or reverse the line.
package printable

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// MaxText is how many bytes of one text are shown.
const MaxText = 512

// Text returns s as it is if it is printable, else quoted with escapes for what is not. What is
// longer than MaxText is cut.
func Text(s string) string {
	if len(s) > MaxText {
		s = strings.ToValidUTF8(s[:MaxText], "") + "..."
	}
	return quoted(s)
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
	var out strings.Builder
	for _, r := range string(p) {
		switch {
		case r == '\n' || r == '\t' || !hidden(r):
			out.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&out, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&out, `\u%04x`, r)
		}
	}
	if _, err := io.WriteString(j.w, out.String()); err != nil {
		return 0, fmt.Errorf("write JSON: %w", err)
	}
	return len(p), nil
}
