package lint

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// ruleset is a numbered set of rules, and the page that states them for people.
type ruleset struct {
	letter string
	count  int
	page   string
	// machines are the packages whose transcripts prove the rules. Of several the page names them as
	// package/transcript.
	machines []string
}

var (
	electionRules = ruleset{"E", 12, "docs/design/election.md", []string{"pkg/election"}}
	fastRules     = ruleset{"F", 11, "docs/design/fast.md", []string{"pkg/election"}}
	serviceRules  = ruleset{"S", 10, "docs/design/services.md", nil}
	bgpRules      = ruleset{"B", 14, "docs/design/bgp.md",
		[]string{"pkg/anycast", "pkg/bfd", "pkg/bgp"}}
	allRules = []ruleset{electionRules, fastRules, serviceRules, bgpRules}
)

// names returns all rules, as E1.
func (r ruleset) names() (all []string) {
	for n := 1; n <= r.count; n++ {
		all = append(all, fmt.Sprintf("%s%d", r.letter, n))
	}
	return all
}

// naming finds a rule by its name, also in TestE4OwnerStopsAtTheDeadline, and not E1 in E12.
func naming(rule string) *regexp.Regexp {
	return regexp.MustCompile(`(\b|Test)` + rule + `([^0-9]|$)`)
}

// section returns what a page says under the heading of a rule.
func section(text, rule string) string {
	return regexp.MustCompile(`(?ms)^## ` + rule + ` .*?(\z|^## )`).FindString(text)
}

// testFiles returns the text of each file of tests, by its path. One that replays transcripts has
// what these prove as well.
func testFiles(t *testing.T) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, s := range sources(t) {
		if !s.test || s.pkg == "test/lint" {
			continue
		}
		files[s.path] = page(t, s.path)
		if strings.Contains(files[s.path], "\nfunc TestTranscripts(") {
			for _, one := range transcripts(t, s.pkg) {
				files[s.path] += proof.FindString(one.text)
			}
		}
	}
	return files
}

// TestEveryRuleIsKeptAndProven: code that keeps a rule names it, and so does a test that proves it.
// Helpers of tests count as neither.
func TestEveryRuleIsKeptAndProven(t *testing.T) {
	var code, tests strings.Builder
	for _, s := range sources(t) {
		if !s.test && s.pkg != suite && !strings.HasPrefix(s.pkg, "test") {
			code.WriteString(page(t, s.path))
		}
	}
	for _, text := range testFiles(t) {
		tests.WriteString(text)
	}
	for _, rules := range allRules {
		for _, rule := range rules.names() {
			if !naming(rule).MatchString(code.String()) {
				t.Errorf("no code names %s as a rule that it keeps", rule)
			}
			if !naming(rule).MatchString(tests.String()) {
				t.Errorf("no test names %s as the rule that it proves", rule)
			}
		}
	}
}

// TestRulesPagesNameWhatExists: the tests that the pages of the rules name exist.
func TestRulesPagesNameWhatExists(t *testing.T) {
	files := testFiles(t)
	for _, rules := range allRules {
		for _, name := range testsNamed(page(t, rules.page)) {
			if len(filesOf(files, name)) == 0 {
				t.Errorf("%s names %s, which does not exist", rules.page, name)
			}
		}
	}
}

// TestRulesHaveTranscripts: each rule of a machine has a section, which lists exactly the
// transcripts that prove it.
func TestRulesHaveTranscripts(t *testing.T) {
	for _, rules := range allRules {
		if rules.machines == nil {
			continue
		}
		text := page(t, rules.page)
		for _, rule := range rules.names() {
			said := section(text, rule)
			if said == "" {
				t.Errorf("%s: no section for %s", rules.page, rule)
			}
			var have []string
			listed := regexp.MustCompile(`(?s)transcripts?\s([a-z/, \n-]+)\.`).FindStringSubmatch(said)
			if listed != nil {
				have = strings.FieldsFunc(listed[1], func(r rune) bool {
					return r != '-' && r != '/' && (r < 'a' || r > 'z')
				})
			}
			if want := transcriptsOf(t, rules, rule); !slices.Equal(have, want) {
				t.Errorf("%s: %s lists the transcripts %v, and those that prove it are %v", rules.page,
					rule, have, want)
			}
		}
	}
}

// TestRulesHaveTheirTests: each rule of Services and of BGP has a section that names tests, in
// files that name the rule.
func TestRulesHaveTheirTests(t *testing.T) {
	files := testFiles(t)
	for _, rules := range []ruleset{serviceRules, bgpRules} {
		text := page(t, rules.page)
		for _, rule := range rules.names() {
			checkTestsOf(t, files, rules.page, rule, testsNamed(section(text, rule)))
		}
	}
}

func checkTestsOf(t *testing.T, files map[string]string, where, rule string, named []string) {
	t.Helper()
	if len(named) == 0 {
		t.Errorf("%s: no section, or no tests, for %s", where, rule)
	}
	for _, name := range named {
		have := filesOf(files, name)
		names := func(file string) bool { return naming(rule).MatchString(files[file]) }
		if len(have) > 0 && !slices.ContainsFunc(have, names) {
			t.Errorf("%s: %s lists %s, and %v do not name %s", where, rule, name, have, rule)
		}
	}
}

// testsNamed returns the tests that a text names in backquotes.
func testsNamed(text string) []string { return names("`((?:Test|Fuzz)\\w+)`", text) }

// filesOf returns the files that have a test of that name.
func filesOf(files map[string]string, name string) (found []string) {
	for path, text := range files {
		if strings.Contains(text, "\nfunc "+name+"(") {
			found = append(found, path)
		}
	}
	slices.Sort(found)
	return found
}
