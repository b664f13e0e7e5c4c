// Package model checks models of the election in Promela with spin: that two holders are
// impossible in any order of steps, and that the models find what breaks each rule.
package model

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// model is a model with the limits of one search.
type model struct {
	file   string
	limits map[string]int
}

// promises with many late messages, and with a restart; modes with a restart, and with one more
// term.
var (
	promisesLate    = model{"promises.pml", map[string]int{"TERMS": 3, "RESTARTS": 0, "LATE": 2}}
	promisesRestart = model{"promises.pml", map[string]int{"TERMS": 3, "RESTARTS": 1, "LATE": 1}}
	modesRestart    = model{"modes.pml", map[string]int{"TERMS": 2, "RESTARTS": 1}}
	modesTerms      = model{"modes.pml", map[string]int{"TERMS": 3, "RESTARTS": 0}}
)

// TestNeverTwoHolders searches all states of the models.
func TestNeverTwoHolders(t *testing.T) {
	for name, m := range map[string]model{
		"Promises":        promisesLate,
		"PromisesRestart": promisesRestart,
		"Modes":           modesRestart,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if out := search(t, m, m.read(t)); !strings.Contains(out, "errors: 0") {
				t.Errorf("two holders, or no end:\n%s", out)
			}
		})
	}
}

// TestEachRuleIsNeeded takes one rule at a time out of the models: then there are two holders.
func TestEachRuleIsNeeded(t *testing.T) {
	for _, c := range []struct {
		name     string
		model    model
		old, new string
	}{
		{"F1: an open write limits the right", modesRestart,
			":: open[a] && writeTerm[a] == ownTerm[a] -> r = ", ":: false -> r = "},
		{"F1: the kernel's element is cut first", modesRestart,
			"if :: fence[i] > r -> fence[i] = r :: else fi;\n", ""},
		{"F2: a voter is bound", promisesRestart,
			"(boundTo[v] == h || boundTo[v] == NONE)", "true"},
		{"F2: a promise outlasts the right", promisesRestart, "#define T 1", "#define T 3"},
		{"F2: no promise for an older term", modesRestart, " && ownTerm[i] >= highest", ""},
		{"F2: an acknowledgement is of one term", promisesLate,
			"net[k].term == term[i] && acked", "acked"},
		{"F3: a restarted voter says nothing", promisesRestart, "silent[i] = W", "skip"},
		{"F4: only a fast Lease is claimed at once", modesRestart, "sawFast[i] && sawHolder[i] != NONE",
			"sawHolder[i] != NONE"},
		{"F6: mode slow only after a majority", modesRestart,
			"|| majority[i] || waited[i] >= DL", "|| true"},
		{"F6: or after the whole lease of mode fast", modesRestart, "waited[i] >= DL", "waited[i] >= D"},
		{"F8, E2: a fast Lease is waited for longer", modesRestart, "(sawFast[i] -> DL : D) ||", "D ||"},
		{"F11: a holder closes first", promisesRestart, "fence[i] = 0;\n\t\t\tended[i]", "ended[i]"},
		{"F11: a goodbye frees from older terms only", promisesLate,
			" && boundTerm[j] <= net[k].term", ""},
		{"F11: no release without a majority", modesTerms,
			"named(i) && (!isFast[i] || majority[i]) ->\n", "named(i) ->\n"},
		{"E3: a holder closes first", modesRestart,
			"holder closes and leaves */\n\t\t:: holds[i] -> d_step {\n\t\t\tfence[i] = 0;",
			"holder closes and leaves */\n\t\t:: holds[i] -> d_step {"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			text := c.model.read(t)
			if strings.Count(text, c.old) != 1 {
				t.Fatalf("%s has %q %d times", c.model.file, c.old, strings.Count(text, c.old))
			}
			out := search(t, c.model, strings.Replace(text, c.old, c.new, 1))
			if !strings.Contains(out, "errors: 1") {
				t.Errorf("not needed:\n%s", out)
			}
		})
	}
}

func (m model) read(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(m.file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// search returns what the search through all states of a model prints.
func search(t *testing.T, m model, text string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "model.pml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	generate := []string{"-a"}
	for name, value := range m.limits {
		generate = append(generate, fmt.Sprintf("-D%s=%d", name, value))
	}
	run(t, dir, "spin", append(generate, "model.pml")...)
	// A safety property, at most 4 GB of memory. The generated code has warnings.
	run(t, dir, "gcc", "-w", "-O2", "-DSAFETY", "-DMEMLIM=4096", "-o", "search", "pan.c")
	return run(t, dir, "./search", "-m500000")
}

func run(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil && !strings.HasPrefix(name, "./") {
		t.Skipf("%s is not installed", name)
	}
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	return string(out)
}
