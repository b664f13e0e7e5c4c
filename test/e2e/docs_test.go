package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/kvip/kvip/test/kindlab"
)

// The pages whose commands are run.
const (
	kubeadmPage = "docs/kubeadm.md"
	troublePage = "docs/troubleshooting.md"
)

// runs has, for each story that a block of a page may belong to, the test that runs it.
var runs = map[string]string{
	"kvip":              "TestKubeadmPage of cmd/kvip",
	"move":              "TestMoveToVirtualIP",
	"renew":             "TestMoveToVirtualIP",
	"daemonset":         "TestMoveToVirtualIP",
	"daemonset removed": "TestMoveToVirtualIP",
	"second":            "TestDaemonSetBesideStaticPod",
	"second removed":    "TestDaemonSetBesideStaticPod",
	"replace":           "TestNodeResetAndRejoined",
	"rejoin":            "TestNodeResetAndRejoined",
	"look":              "TestTroubleshootingCommands",
}

// block is one block of shell commands on a page. The comment above it says who runs it, as
// "<!-- run: STORY on PLACE -->", or "<!-- not run: REASON -->".
type block struct {
	page  string
	line  int
	story string // empty: it is not run
	place string
	why   string // it is not run; empty: there is no comment
	text  string
}

func (b block) String() string { return fmt.Sprintf("%s:%d", b.page, b.line) }

var (
	shell = regexp.MustCompile("(?ms)(?:^<!-- ([^\n]*) -->\n)?^```sh\n(.*?)^```$")
	mark  = regexp.MustCompile(`^(?:run: ([a-z ]+?)(?: on ([a-z]+))?|not run: (.+))$`)
)

// blocks returns the blocks of shell commands on a page.
func blocks(t *testing.T, page string) (all []block) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root(), page))
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range shell.FindAllSubmatchIndex(text, -1) {
		b := block{page: page, line: 1 + strings.Count(string(text[:at[4]]), "\n"), text: string(text[at[4]:at[5]])}
		if at[2] >= 0 {
			if m := mark.FindStringSubmatch(string(text[at[2]:at[3]])); m != nil {
				b.story, b.place, b.why = m[1], m[2], m[3]
			}
		}
		all = append(all, b)
	}
	if len(all) == 0 || len(all) != strings.Count(string(text), "```sh") {
		t.Fatalf("%s: found %d blocks of %d", page, len(all), strings.Count(string(text), "```sh"))
	}
	return all
}

// Each block of commands on the pages is run by a test, or the page says why not.
func TestEveryBlockIsRunOrSaysWhyNot(t *testing.T) {
	told := map[string]bool{}
	for _, page := range []string{kubeadmPage, troublePage} {
		for _, b := range blocks(t, page) {
			told[b.story] = true
			switch {
			case b.story == "" && b.why == "":
				t.Errorf(`%s: no comment "<!-- run: STORY on PLACE -->" or "<!-- not run: REASON -->" above it`, b)
			case b.story == "":
				t.Logf("%s is not run: %s:\n%s", b, b.why, b.text)
			case runs[b.story] == "":
				t.Errorf("%s: no test runs %q", b, b.story)
			}
		}
	}
	for story := range runs {
		if !told[story] {
			t.Errorf("no page has a block for %q", story)
		}
	}
}

// guide runs the blocks of pages as a reader does.
type guide struct {
	places map[string]*kindlab.Node
	words  *strings.Replacer // what a reader replaces in the examples
	ran    int
}

// follow runs all blocks of a story in their order and returns what they printed.
func (g *guide) follow(ctx context.Context, t *testing.T, page, story string) (out string) {
	t.Helper()
	found := false
	for _, b := range blocks(t, page) {
		if b.story != story {
			continue
		}
		found = true
		n := g.places[b.place]
		if n == nil {
			t.Fatalf("%s: there is no place %q", b, b.place)
		}
		said, err := n.Shell(ctx, "cd /root; "+g.words.Replace(b.text))
		t.Logf("%s on %s:\n%s%s", b, n, b.text, said)
		if err != nil {
			t.Fatalf("%s: %v", b, err)
		}
		out += said
		g.ran++
	}
	if !found {
		t.Fatalf("%s has no block for %q", page, story)
	}
	return out
}

// install puts the kvip command into the path of a node.
func install(ctx context.Context, t *testing.T, n *kindlab.Node) {
	t.Helper()
	binary, err := os.Open(os.Getenv("KVIP_BINARY"))
	if err != nil {
		t.Fatal(err)
	}
	defer binary.Close()
	const path = "/usr/local/bin/kvip"
	if err := n.Write(ctx, path, binary); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Exec(ctx, "chmod", "755", path); err != nil {
		t.Fatal(err)
	}
}

// uninstall takes away what install and the pages' commands left.
func uninstall(t *testing.T, nodes ...*kindlab.Node) {
	t.Helper()
	for _, n := range nodes {
		if out, err := n.Exec(context.WithoutCancel(t.Context()), "rm", "-rf", "/usr/local/bin/kvip", "/root/kvip-report"); err != nil {
			t.Errorf("%s: %v: %s", n, err, out)
		}
	}
}

// What troubleshooting tells to look at can be looked at, in a cluster that is well: on the holder, on
// a control plane that is not, on a worker, and outside.
func TestTroubleshootingCommands(t *testing.T) {
	c := cluster(t)
	ctx, cancel := context.WithTimeout(t.Context(), wellWithin)
	defer cancel()
	holder := steadyHolder(ctx, t)
	worker := c.Nodes[slices.IndexFunc(c.Nodes, func(n *kindlab.Node) bool { return !n.ControlPlane })]
	install(ctx, t, holder)
	install(ctx, t, worker)
	t.Cleanup(func() { uninstall(t, holder, worker) })
	g := guide{
		places: map[string]*kindlab.Node{"holder": holder, "worker": worker},
		words:  strings.NewReplacer("192.0.2.10", c.VIP.String(), "192.0.2.11", holder.Addr.String()),
	}
	out := g.follow(ctx, t, troublePage, "look")
	for _, want := range []string{"Holder:    " + holder.Name, "credentials: serviceaccount", "IP Address:" + c.VIP.String(), "inet " + c.VIP.String() + "/32"} {
		if !strings.Contains(out, want) {
			t.Errorf("the commands do not show %q", want)
		}
	}
}
