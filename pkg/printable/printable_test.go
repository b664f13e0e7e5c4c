package printable

import (
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"unicode"
)

// hostile are texts with control sequences of a terminal: ESC and C1 forms, other controls, marks
// of the text direction, invalid UTF-8, and a tag character outside of the basic plane.
var hostile = []string{"\x1b[31mred", "\u009b2J", "a\rb", "\x07", "\x7f", "user\u202egpj",
	"\u2066x", "\xff\xfe", "\U000e0041", "a\u00a0b"}

func TestTextQuotesWhatIsNotPrintable(t *testing.T) {
	for _, s := range hostile {
		got := Text(s)
		if strings.ContainsFunc(got, func(r rune) bool { return !unicode.IsPrint(r) }) ||
			!strings.HasPrefix(got, `"`) {
			t.Errorf("%q becomes %q", s, got)
		}
	}
	for _, s := range []string{"", "cp1", "Größe: 3 µs", "节点", `a "quoted" word`} {
		if got := Text(s); got != s {
			t.Errorf("%q becomes %q", s, got)
		}
	}
}

func TestTextIsBounded(t *testing.T) {
	for _, s := range []string{strings.Repeat("x", 10*MaxText), strings.Repeat("ü", MaxText)} {
		if got := Text(s); len(got) > MaxText+3 || !strings.HasSuffix(got, "...") ||
			strings.HasPrefix(got, `"`) {
			t.Errorf("%d bytes become %d: %q", len(s), len(got), got)
		}
	}
}

func TestLinesKeepsLines(t *testing.T) {
	if got, want := Lines("one\n\x1b[2Jtwo\nthree"), "one\n\"\\x1b[2Jtwo\"\nthree"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestJSONMeansTheSame: the output is escaped, and decodes to the input.
func TestJSONMeansTheSame(t *testing.T) {
	for _, s := range append(hostile, "cp1", "节点", "two\nlines\tand a tab") {
		var out strings.Builder
		encoder := json.NewEncoder(JSON(&out))
		encoder.SetIndent("", "\t")
		if err := encoder.Encode(map[string]string{"name": s}); err != nil {
			t.Fatal(err)
		}
		if text := strings.Map(func(r rune) rune {
			if r == '\n' || r == '\t' {
				return -1
			}
			return r
		}, out.String()); strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%q is written as %q", s, text)
		}
		var back map[string]string
		if err := json.Unmarshal([]byte(out.String()), &back); err != nil ||
			back["name"] != strings.ToValidUTF8(s,
				"\ufffd") && back["name"] != "\ufffd\ufffd" {
			t.Errorf("%q comes back as %q: %v", s, back["name"], err)
		}
	}
}

var errFull = errors.New("disk full")

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }

func TestJSONReportsWriteErrors(t *testing.T) {
	if n, err := JSON(full{}).Write([]byte("x")); n != 0 || !errors.Is(err, errFull) {
		t.Errorf("%d bytes, %v", n, err)
	}
}

func TestLinesKeepsIndents(t *testing.T) {
	if got, want := Lines("Did you mean this?\n\tstatus\n\ta\tb"),
		"Did you mean this?\n\tstatus\n\t\"a\\tb\""; got != want {
		t.Errorf("%q; want %q", got, want)
	}
}

func TestMessageEscapesInPlace(t *testing.T) {
	for _, s := range append(hostile, "two\nlines", strings.Repeat("\x1b", MaxMessage), strings.Repeat(
		"ü", MaxMessage), strings.Repeat("x", MaxMessage+1)) {
		got := Message("it says " + s)
		if strings.ContainsFunc(got, func(r rune) bool { return !unicode.IsPrint(r) }) ||
			!strings.HasPrefix(got,
				"it says ") ||
			len(got) > MaxMessage {
			t.Errorf("%q becomes %d bytes: %q", s, len(got), got)
		}
		if again := Message(got); again != got {
			t.Errorf("%q becomes %q when it is made a message again", got, again)
		}
	}
	for _, s := range []string{"", `a "quoted" word, 节点, Größe`, strings.Repeat("x", MaxMessage)} {
		if got := Message(s); got != s {
			t.Errorf("%q becomes %q", s, got)
		}
	}
}

func TestAttrCutsWhatIsLong(t *testing.T) {
	long := strings.Repeat("x", 10*MaxLogged)
	for _, a := range []slog.Attr{slog.String("k", long), slog.Any("k", errors.New(long)), slog.Any(
		"k", []string{long})} {
		if got := Attr(nil, a).Value.String(); len(got) != MaxLogged || !strings.HasSuffix(got, "...") {
			t.Errorf("%d bytes: %.20q", len(got), got)
		}
	}
	for _, a := range []slog.Attr{slog.Int("k", 7), slog.Any("k", slog.LevelWarn), slog.Any("k",
		errFull), slog.String(
		"k", "v")} {
		if got := Attr(nil, a); !got.Equal(a) {
			t.Errorf("%v becomes %v", a, got)
		}
	}
}

func TestCut(t *testing.T) {
	for _, row := range []struct {
		text string
		n    int
		want string
	}{
		{"", 3, ""}, {"abc", 3, "abc"}, {"abcd", 3, "..."}, {"abcdef", 5, "ab..."}, {"aüb", 4, "aüb"},
		{"aaübbb", 6, "aa..."}, {"节点节点", 7, "节..."},
	} {
		if got := Cut(row.text, row.n); got != row.want || len(got) > row.n {
			t.Errorf("%q in %d bytes: %q, want %q", row.text, row.n, got, row.want)
		}
	}
}
