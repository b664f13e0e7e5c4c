package monitoring

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/kvip/kvip/test/testutil"
)

const root = "../.."

// rule is one alarm.
type rule struct {
	Alert       string            `json:"alert"`
	Expr        string            `json:"expr"`
	For         string            `json:"for"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

// ruleFiles returns the committed files of rules.
func ruleFiles(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "deploy/monitoring/*.yaml"))
	if err != nil || len(files) != 3 {
		t.Fatalf("found rules in %v: %v", files, err)
	}
	return files
}

// read decodes a YAML file.
func read[T any](t *testing.T, file string) (value T) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(text, &value); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return value
}

// rules returns the alarms of a file in their order.
func rules(t *testing.T, file string) (all []rule) {
	t.Helper()
	type group struct {
		Name  string `json:"name"`
		Rules []rule `json:"rules"`
	}
	for _, g := range read[struct {
		Groups []group `json:"groups"`
	}](t, file).Groups {
		all = append(all, g.Rules...)
	}
	return all
}

// tool returns the path of a program of Debian's package prometheus.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		testutil.Unavailable(t, name+" is missing: hack/deps.sh prometheus installs it")
	}
	return path
}

func TestPromtoolAcceptsTheRules(t *testing.T) {
	args := append([]string{"check", "rules", "--lint=all", "--lint-fatal"}, ruleFiles(t)...)
	if out, err := exec.CommandContext(t.Context(), tool(t, "promtool"),
		args...).CombinedOutput(); err != nil {
		t.Errorf("promtool check rules: %v\n%s", err, out)
	}
}

// TestAlarmsFireWithTheFaultAndNotWithoutIt runs promtool's own tests, which have series for both.
func TestAlarmsFireWithTheFaultAndNotWithoutIt(t *testing.T) {
	for _, file := range ruleFiles(t) {
		out, err := exec.CommandContext(t.Context(), tool(t, "promtool"), "test", "rules",
			filepath.Join("testdata", filepath.Base(file))).CombinedOutput()
		if err != nil {
			t.Errorf("promtool test rules: %v\n%s", err, out)
		}
	}
}

// ruleTests is a file of promtool's tests.
type ruleTests struct {
	RuleFiles []string `json:"rule_files"`
	Interval  string   `json:"evaluation_interval"`
	Tests     []struct {
		Name   string              `json:"name"`
		Step   string              `json:"interval"`
		Series []map[string]string `json:"input_series"`
		Alerts []struct {
			At    string           `json:"eval_time"`
			Alert string           `json:"alertname"`
			Fires []map[string]any `json:"exp_alerts"`
		} `json:"alert_rule_test"`
	} `json:"tests"`
}

// TestEveryAlarmHasAFaultAndAQuietDay: promtool's tests fire each alarm, and ask for each whether
// it is quiet where all is well.
func TestEveryAlarmHasAFaultAndAQuietDay(t *testing.T) {
	for _, file := range ruleFiles(t) {
		fires, quiet := map[string]bool{}, map[string]bool{}
		for _, story := range read[ruleTests](t, filepath.Join("testdata", filepath.Base(file))).Tests {
			for _, a := range story.Alerts {
				fires[a.Alert] = fires[a.Alert] || len(a.Fires) > 0
				quiet[a.Alert] = quiet[a.Alert] || story.Name == "all is well" && len(a.Fires) == 0
			}
		}
		for _, r := range rules(t, file) {
			if !fires[r.Alert] || !quiet[r.Alert] {
				t.Errorf("%s: %s is fired: %v, is asked for where all is well: %v", file, r.Alert,
					fires[r.Alert], quiet[r.Alert])
			}
		}
	}
}

// TestAlarmsLookAlike: what people filter and page by.
func TestAlarmsLookAlike(t *testing.T) {
	for _, file := range ruleFiles(t) {
		for _, r := range rules(t, file) {
			severity := r.Labels["severity"]
			if !strings.HasPrefix(r.Alert, "Kvip") ||
				!slices.Contains([]string{"critical", "warning", "info"}, severity) {
				t.Errorf("%s: %s has severity %q", file, r.Alert, severity)
			}
			if summary := r.Annotations["summary"]; !strings.HasSuffix(summary, ".") ||
				strings.Contains(summary, "{{") || r.Annotations["description"] == "" {
				t.Errorf("%s: %s needs a summary without variables and a description", file, r.Alert)
			}
		}
	}
}

// TestOperationsPageListsTheAlarms: all of them, in their order, with how long they wait and how
// severe they are.
func TestOperationsPageListsTheAlarms(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs/operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	var have, want []string
	for _, row := range regexp.MustCompile(
		"(?m)^\\| `(Kvip\\w+)` \\| (\\w+) \\| (\\w+) \\|").FindAllStringSubmatch(string(text), -1) {
		have = append(have, strings.Join(row[1:], " "))
	}
	for _, file := range ruleFiles(t) {
		for _, r := range rules(t, file) {
			if r.For == "" {
				r.For = "0"
			}
			want = append(want, strings.Join([]string{r.Alert, r.Labels["severity"], r.For}, " "))
		}
	}
	if !slices.Equal(have, want) {
		t.Errorf("docs/operations.md lists\n%s\nand the rules are\n%s", strings.Join(have, "\n"),
			strings.Join(want, "\n"))
	}
}
