package lint

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	fence    = regexp.MustCompile("(?ms)^ *```.*?^ *```$")
	link     = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading  = regexp.MustCompile(`(?m)^#+ (.*)$`)
	noAnchor = regexp.MustCompile(`[^a-z0-9 _-]`)
)

// page reads a file of the tree.
func page(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestLinksLeadSomewhere follows the links of every page to files and headings of this tree.
func TestLinksLeadSomewhere(t *testing.T) {
	walk(t, func(name string) {
		if path.Ext(name) != ".md" {
			return
		}
		for _, found := range link.FindAllStringSubmatch(fence.ReplaceAllString(page(t, name), ""), -1) {
			if to := found[1]; !strings.Contains(to, "://") {
				follow(t, name, to)
			}
		}
	})
}

func follow(t *testing.T, from, to string) {
	t.Helper()
	file, anchor, _ := strings.Cut(to, "#")
	target := from
	if file != "" {
		target = path.Join(path.Dir(from), file)
	}
	if path.Dir(target) == "docs/benchmarks" &&
		strings.Contains(page(t, from), "Nothing has been measured yet.") {
		return // the benchmark writes it
	}
	if _, err := os.Stat(filepath.Join(root, target)); err != nil {
		t.Errorf("%s links to %s, which is not there", from, to)
		return
	}
	if anchor != "" && !slices.Contains(anchors(page(t, target)), anchor) {
		t.Errorf("%s links to %s, and %s has no such heading", from, to, target)
	}
}

// anchors returns the names under which renderers make the headings of a page reachable.
func anchors(text string) (names []string) {
	for _, found := range heading.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
		plain := noAnchor.ReplaceAllString(strings.ToLower(found[1]), "")
		names = append(names, strings.ReplaceAll(plain, " ", "-"))
	}
	return names
}

// transcript is a recorded history of a machine.
type transcript struct{ name, text string }

// transcripts returns those of a package.
func transcripts(t *testing.T, pkg string) (all []transcript) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, pkg, "testdata/*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: found no transcripts: %v", pkg, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, transcript{strings.TrimSuffix(filepath.Base(file), ".txt"), string(text)})
	}
	return all
}

// proof is the line of a transcript that names the rules that it proves.
var proof = regexp.MustCompile(`(?m)^# Proves [A-Z0-9, ]*[,:].*\n`)

// transcriptsOf returns the names of the transcripts that prove a rule.
func transcriptsOf(t *testing.T, rules ruleset, rule string) (names []string) {
	t.Helper()
	proves := regexp.MustCompile(`^# Proves ([A-Z0-9, ]*)\b` + rule + `[,:]`)
	for _, pkg := range rules.machines {
		for _, one := range transcripts(t, pkg) {
			if !proves.MatchString(proof.FindString(one.text)) {
				continue
			}
			if len(rules.machines) > 1 {
				one.name = path.Join(path.Base(pkg), one.name)
			}
			names = append(names, one.name)
		}
	}
	return names
}

// TestOperationsPageIsComplete: it names every metric, annotation and reason that exists, and no
// other.
func TestOperationsPageIsComplete(t *testing.T) {
	const operations = "docs/operations.md"
	text := page(t, operations)
	for _, c := range []struct{ what, in, defined, used string }{
		{"metric", "pkg/metrics/metrics.go pkg/metrics/quorum.go pkg/metrics/bgp.go",
			`"(kvip_[a-z_]+)"`, "`(kvip_[a-z_]+)"},
		{"reason of an announcement", "pkg/anycast/machine.go", `Reason = "([a-z-]+)"`,
			"(?m)^\\| announcement: `([a-z-]+)` \\|"},
		{"annotation", "pkg/election/kubelease/object.go pkg/election/kubelease/addresses.go " +
			"pkg/election/kubelease/mark.go pkg/election/kubelease/directory.go",
			`Annotation\w+ += "(kvip\.dev/[a-z-]+)"`, "`(kvip\\.dev/[a-z-]+)`"},
		{"reason", "pkg/election/reason.go", `Reason = "(\w+)"`,
			"(?m)^\\| `([A-JL-Z]\\w+|K[^v]\\w+)` \\|"},
		{"health state", "pkg/health/health.go", `Code\w+ += "([a-z-]+)"`, "(?m)^\\| `([a-z-]+)` \\|"},
	} {
		defining := ""
		for _, name := range strings.Fields(c.in) {
			defining += page(t, name)
		}
		want, have := names(c.defined, defining), names(c.used, text)
		if !slices.Equal(want, have) {
			t.Errorf("%s of %s: %s defines %v, %s has %v", c.what, c.in, c.in, want, operations, have)
		}
	}
}

// TestBGPPageIsComplete: it names every code of why a session ended and every reason of a condition
// that exists, and no other, and only tests that exist.
func TestBGPPageIsComplete(t *testing.T) {
	const guide = "docs/bgp.md"
	text, files := page(t, guide), testFiles(t)
	for _, c := range []struct{ in, defined, section string }{
		{"pkg/bgp/reason.go", `Reason = "([a-z-]+)"`, "When there is no session"},
		{"pkg/svc/allocator/bgpcheck.go", `(?m)^\tReason\w+ += "(\w+)"`, "Status"},
	} {
		part := regexp.MustCompile(`(?ms)^## ` + c.section + `$.*?^## `).FindString(text)
		var have []string
		for _, row := range regexp.MustCompile("(?m)^\\| (`[^|]*`) \\|").FindAllString(part, -1) {
			have = append(have, names("`([A-Za-z-]+)`", row)...)
		}
		want := names(c.defined, page(t, c.in))
		if c.section == "Status" {
			want = append(want, "Malformed") // of pkg/ipam
		}
		slices.Sort(want)
		slices.Sort(have)
		if !slices.Equal(want, have) {
			t.Errorf("%s defines %v, %s has %v", c.in, want, guide, have)
		}
	}
	for _, name := range testsNamed(text) {
		if len(filesOf(files, name)) == 0 {
			t.Errorf("%s names %s, which does not exist", guide, name)
		}
	}
}

// names returns what the first group of pattern finds in text, sorted and once each.
func names(pattern, text string) (all []string) {
	for _, found := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		all = append(all, found[1])
	}
	slices.Sort(all)
	return slices.Compact(all)
}
