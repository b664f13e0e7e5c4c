package doctest

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Block is one block of shell commands on a page. The comment above it says who runs it, as
// "<!-- run: STORY on PLACE -->", or "<!-- not run: REASON -->".
type Block struct {
	Page  string // relative to the project's directory
	Line  int    // of the page, on which the block begins
	Story string // empty: it is not run
	Place string // where, in the page's words
	Why   string // it is not run; empty with Story: there is no comment
	Text  string
}

// String returns where the block stands.
func (b Block) String() string { return fmt.Sprintf("%s:%d", b.Page, b.Line) }

var (
	shell = regexp.MustCompile("(?ms)(?:^<!-- ([^\n]*) -->\n)?^```sh\n(.*?)^```$")
	mark  = regexp.MustCompile(`^(?:run: ([a-z ]+?)(?: on ([a-z]+))?|not run: (.+))$`)
)

// Blocks returns the blocks of shell commands on a page, whose path is relative to root, the
// project's directory. A page without any, or with one that cannot be read, fails the test.
func Blocks(t testing.TB, root, page string) []Block {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, page))
	if err != nil {
		t.Fatal(err)
	}
	all := parse(page, string(text))
	if n := strings.Count(string(text), "```sh"); len(all) == 0 || len(all) != n {
		t.Fatalf("%s: found %d blocks of %d", page, len(all), n)
	}
	return all
}

func parse(page, text string) (all []Block) {
	for _, at := range shell.FindAllStringSubmatchIndex(text, -1) {
		b := Block{Page: page, Line: 1 + strings.Count(text[:at[4]], "\n"), Text: text[at[4]:at[5]]}
		if at[2] >= 0 {
			if m := mark.FindStringSubmatch(text[at[2]:at[3]]); m != nil {
				b.Story, b.Place, b.Why = m[1], m[2], m[3]
			}
		}
		all = append(all, b)
	}
	return all
}
