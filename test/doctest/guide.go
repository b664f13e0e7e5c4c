// Package doctest follows the pages of the documentation: it runs their blocks of shell commands on
// the nodes of a cluster in kind, as a reader does who puts names and addresses of their own in the
// place of the examples. What should come of the commands is for the tests to say. It is imported
// by tests only.
package doctest

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/kvip/kvip/test/lab/kindcluster"
)

// kvipPath is where a node has the kvip command.
const kvipPath = "/usr/local/bin/kvip"

// Runner runs the blocks of pages. All fields are required.
type Runner struct {
	Root   string                       // the project's directory
	Places map[string]*kindcluster.Node // the nodes, by the pages' words for them
	Words  *strings.Replacer            // what a reader replaces in the examples
}

// Run runs all blocks of a story on a page in their order and returns what they printed. A command
// that fails ends the test, and so does a page without such a block.
func (g *Runner) Run(ctx context.Context, t testing.TB, page, story string) (out string) {
	t.Helper()
	found := false
	for _, b := range Blocks(t, g.Root, page) {
		if b.Story == story {
			found = true
			out += g.runBlock(ctx, t, b)
		}
	}
	if !found {
		t.Fatalf("%s has no block for %q", page, story)
	}
	return out
}

func (g *Runner) runBlock(ctx context.Context, t testing.TB, b Block) string {
	t.Helper()
	n := g.Places[b.Place]
	if n == nil {
		t.Fatalf("%s: there is no place %q", b, b.Place)
	}
	said, err := n.Shell(ctx, "cd /root; "+g.Words.Replace(b.Text))
	t.Logf("%s on %s:\n%s%s", b, n, b.Text, said)
	if err != nil {
		t.Fatalf("%s: %v", b, err)
	}
	return said
}

// Install puts the kvip command, which kind/prepare.sh names in KVIP_BINARY, into the path of a
// node.
func Install(ctx context.Context, t testing.TB, n *kindcluster.Node) {
	t.Helper()
	binary, err := os.Open(os.Getenv("KVIP_BINARY"))
	if err != nil {
		t.Fatal(err)
	}
	defer binary.Close()
	if err := n.Write(ctx, kvipPath, binary); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Exec(ctx, "chmod", "755", kvipPath); err != nil {
		t.Fatal(err)
	}
}

// Uninstall takes away what Install put into nodes, and what the pages' commands wrote there. It
// works in a cleanup, too.
func Uninstall(t testing.TB, nodes ...*kindcluster.Node) {
	t.Helper()
	for _, n := range nodes {
		if out, err := n.Exec(context.WithoutCancel(t.Context()), "rm", "-rf", kvipPath,
			"/root/kvip-report"); err != nil {
			t.Errorf("%s: %v: %s", n, err, out)
		}
	}
}
