package failoverbench

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/test/benchreport"
	"github.com/kvip/kvip/test/failover"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

const ms = time.Millisecond

func sampleRun(tool, fault string, number int, outage time.Duration, two int) run {
	return run{
		Tool: tool, Fault: fault, Number: number, Outage: outage, Failed: 3, FailedFor: outage,
		Samples: 400, Two: two, Gap: 7 * ms,
		Setting: benchreport.Setting{Kernel: "6.1", Kubernetes: "v1.36.3", Etcd: "v3.6.16",
			Machine: "2 cores of X, 8 GiB"},
		Version: "v1", Date: time.Date(2026, 11, 23, 1, 2, 3, 0, time.UTC),
	}
}

func TestSummary(t *testing.T) {
	runs := []run{sampleRun("kvip", "x", 1, 30*ms, 0), sampleRun("kvip", "x", 2, 10*ms, 3),
		sampleRun("kvip", "x", 3, 20*ms, 1)}
	want := summary{
		Runs: 3, P50: 20 * ms, P95: 30 * ms, Max: 30 * ms, Failed: 3, MostFailed: 3,
		FailedFor: 30 * ms, Two: 4, Samples: 1200, Gap: 7 * ms,
	}
	if got := summarise(runs); got != want {
		t.Errorf("summary %+v, want %+v", got, want)
	}
	if got := summarise(nil); got != (summary{}) {
		t.Errorf("summary of nothing %+v", got)
	}
}

func TestOnlyTheLastVersionCounts(t *testing.T) {
	old, kept, other := sampleRun("kvip", "x", 1, ms, 0), sampleRun("kvip", "x", 1, 2*ms, 0),
		sampleRun("keepalived", "x", 1, ms, 0)
	kept.Version, other.Version = "v2", "2.2.7"
	got := current([]run{old, other, kept})
	if len(got) != 2 || len(of(got, "kvip", "x")) != 1 || of(got, "kvip", "x")[0].Outage != 2*ms {
		t.Errorf("kept %+v", got)
	}
	idles := currentIdle([]idle{{Tool: "kvip", Version: "v1"}, {Tool: "kvip", Version: "v2"}})
	if len(idles) != 1 || idles[0].Version != "v2" {
		t.Errorf("kept idle %+v", idles)
	}
}

func TestResultsSurviveAnInterruption(t *testing.T) {
	docs := t.TempDir()
	r, err := openReport(docs)
	must(t, err)
	first, second := sampleRun("kvip", "node-off", 1, 1234500*time.Microsecond, 0),
		sampleRun("keepalived", "node-off", 1, 40*ms, 5)
	must(t, r.add(first))
	must(t, r.add(second))
	agent := idle{Tool: "kvip", Node: "cp1", Role: "holder", CPU: 0.75, RSS: 28.5, Writes: 1,
		Version: "v1", Machine: "M", Date: first.Date}
	must(t, r.addIdle([]idle{agent}))

	path := filepath.Join(docs, "benchmarks", "failover.csv")
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	must(t, err)
	_, err = f.WriteString("kvip,node-off,2,12") // the power went
	must(t, errors.Join(err, f.Close()))

	r, err = openReport(docs)
	must(t, err)
	if !reflect.DeepEqual(r.runs, []run{first, second}) || !reflect.DeepEqual(r.idles, []idle{agent}) {
		t.Errorf("read again: %+v and %+v", r.runs, r.idles)
	}
	must(t, r.add(sampleRun("kvip", "node-off", 2, ms, 0)))
	r, err = openReport(docs)
	must(t, err)
	if len(r.runs) != 3 {
		t.Errorf("%d runs after a third was added", len(r.runs))
	}
	must(t, r.write())
	must(t, r.write())
	for _, name := range []string{"benchmarks.md", "benchmarks/failover.svg"} {
		if info, err := os.Stat(filepath.Join(docs, name)); err != nil || info.Size() == 0 {
			t.Errorf("%s was not written: %v", name, err)
		}
	}
}

func TestDamagedResultsAreRefused(t *testing.T) {
	for name, text := range map[string]string{
		"other columns": "a,b,c\n1,2,3\n",
		"no number": strings.Join(runColumns, ",") +
			"\nkvip,x,one,1,1,1,0,1,1,1,k,k,e,v,2026-11-23T00:00:00Z,m\n",
		"short row": strings.Join(runColumns, ",") + "\nkvip,x,1\n",
	} {
		docs := t.TempDir()
		must(t, os.Mkdir(filepath.Join(docs, "benchmarks"), 0o755))
		path := filepath.Join(docs, "benchmarks", "failover.csv")
		must(t, os.WriteFile(path, []byte(text), 0o644))
		if _, err := openReport(docs); err == nil || !strings.Contains(err.Error(), "failover.csv") {
			t.Errorf("%s: %v", name, err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != text {
			t.Errorf("%s: the file was changed: %v", name, err)
		}
	}
}

// fakeTool is a tool of a version.
type fakeTool struct {
	failover.Tool
	name, version string
}

func (f fakeTool) Name() string    { return f.name }
func (f fakeTool) Version() string { return f.version }

func TestOnlyMissingRunsAreMade(t *testing.T) {
	s := &session{opts: options{
		runs: 2, faults: []string{"move", "api-killed", "node-off", "node-off-quick", idleKey},
	}}
	have := done([]run{sampleRun("kvip", "api-killed", 1, ms, 0),
		sampleRun("keepalived", "node-off", 1, ms, 0)})
	for _, tt := range []struct {
		tool, version string
		number        int
		want          string
	}{
		{"kvip", "v1", 1, "move node-off"}, {"kvip", "v1", 2, "move api-killed node-off"},
		{"kvip", "v2", 1, "move api-killed node-off"}, {"kvip", "v1", 3, ""},
		{"keepalived", "v1", 1, "api-killed"}, {"kvip-200ms", "v1", 1, "node-off-quick"},
	} {
		var got []string
		for _, f := range s.missing(have, fakeTool{name: tt.tool, version: tt.version}, tt.number) {
			got = append(got, f.Key)
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%+v: missing %v", tt, got)
		}
	}
}

func TestOptions(t *testing.T) {
	parse := func(runs, tool, fault string) (options, error) {
		return parseOptions(func(name string) string {
			return map[string]string{"RUNS": runs, "TOOL": tool, "FAULT": fault}[name]
		})
	}
	all, err := parse("", "", "")
	must(t, err)
	if all.runs != 20 || len(all.tools) != 3 || len(all.faults) != len(failover.Faults())+1 {
		t.Errorf("without options: %+v", all)
	}
	some, err := parse("3", "keepalived", "node-off, api-killed")
	must(t, err)
	if some.runs != 3 || !slices.Equal(some.tools, []string{"keepalived"}) ||
		!slices.Equal(some.faults, []string{"api-killed", "node-off"}) {
		t.Errorf("with options: %+v", some)
	}
	for _, bad := range [][3]string{{"many", "", ""}, {"-1", "", ""}, {"", "kube-vip", ""},
		{"", "", "flood"}} {
		if _, err := parse(bad[0], bad[1], bad[2]); err == nil {
			t.Errorf("%v: accepted", bad)
		}
	}
}

func TestTableNamesMisses(t *testing.T) {
	old := sampleRun("keepalived", "agent-sigstop", 1, 90*ms, 300)
	old.Failed = -1 // measured before failed requests were counted
	lossless := sampleRun("kvip", "move", 1, 30*ms, 0)
	broken := sampleRun("kvip", "agent-sigterm", 1, 30*ms, 0)
	lossless.Failed, lossless.FailedFor = 0, 0
	broken.Failed, broken.Broken = 0, 7
	table := failoverTable([]run{
		lossless, broken, sampleRun("kvip", "api-sigterm", 1, 30*ms, 0),
		sampleRun("kvip", "api-killed", 1, 80*ms, 0), sampleRun("kvip", "api-hung", 1, 2500*ms, 0),
		sampleRun("kvip", "etcd-killed", 1, 501*ms, 0),
		sampleRun("kvip-200ms", "node-off-quick", 1, 200*ms, 0),
		sampleRun("kvip", "agent-sigstop", 1, 300*ms, 2), old,
	})
	for _, want := range []string{
		"| kvip move | ≤ 100 ms, none failed | 30 ms | 30 ms | 30 ms | 0 in 0 ms, 0 of 200 connections |",
		"| 30 ms | **0 in 30 ms, 7 of 200 connections, missed** |",
		"| API server SIGTERM, shutdown delay | ≤ 100 ms, none failed | 30 ms | 30 ms | 30 ms | " +
			"**3 in 30 ms, missed** |",
		"| API server killed | ≤ 80 ms | 80 ms | 80 ms | 80 ms | 3 in 80 ms | 0 of 400 | - | - |",
		"| 2.50 s | **2.50 s, missed** | 2.50 s | 3 in 2.50 s | 0 of 400 |",
		"| ≤ 500 ms in all | 501 ms | 501 ms | 501 ms | **3 in 501 ms, missed** |",
		"| node off, --failover-timeout 200ms | ≤ 280 ms | 200 ms |",
		"| ≤ 450 ms | 300 ms | 300 ms | 300 ms | 3 in 300 ms | **2 of 400, missed** | 90 ms | " +
			"90 ms | 90 ms | - | 300 of 400 |",
		"Measured on 2026-11-23: 2 cores of X, 8 GiB; Linux 6.1, Kubernetes v1.36.3, etcd v3.6.16, " +
			"kvip v1 (1 run a fault)",
	} {
		if !strings.Contains(table, want) {
			t.Errorf("the table lacks %q:\n%s", want, table)
		}
	}
	if got := failoverTable(nil); strings.Contains(got, "|") {
		t.Errorf("table of nothing:\n%s", got)
	}
}

func TestIdleTableNamesMisses(t *testing.T) {
	table := idleTable([]idle{
		{Tool: "kvip", Node: "cp1", Role: "holder", CPU: 1.5, RSS: 28, Writes: 1, Version: "v1"},
		{Tool: "kvip", Node: "cp2", Role: "standby", CPU: 0.9, RSS: 41, Version: "v1"},
		{Tool: "kvip", Node: "cp3", Role: "standby", CPU: 0.8, RSS: 28, Version: "v1"},
		{Tool: "keepalived", Node: "cp1", Role: "holder", CPU: 1.5, RSS: 12, Version: "2.2.7"},
	})
	for _, want := range []string{
		"| kvip v1 | holder, cp1 | **1.50 (missed)** % | 28.00 MiB | 1.00 a second |",
		"| kvip v1 | standby, cp2 | **0.90 (missed)** % | **41.00 (missed)** MiB | 0.00 a second |",
		"| kvip v1 | standby, cp3 | 0.80 % | 28.00 MiB | 0.00 a second |",
		"| keepalived 2.2.7 | holder, cp1 | 1.50 % | 12.00 MiB | 0.00 a second |",
	} {
		if !strings.Contains(table, want) {
			t.Errorf("the table lacks %q:\n%s", want, table)
		}
	}
	if got := idleTable(nil); strings.Contains(got, "|") {
		t.Errorf("table of nothing:\n%s", got)
	}
}

func TestPlotIsWellFormed(t *testing.T) {
	var runs []run
	for _, f := range failover.Faults() {
		for n := range 20 {
			for _, tool := range lanes(f) {
				runs = append(runs, sampleRun(tool, f.Key, n+1, f.Target, n%2))
			}
		}
	}
	svg := plot(runs)
	var circles, texts int
	for d := xml.NewDecoder(strings.NewReader(svg)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		must(t, err)
		if start, ok := token.(xml.StartElement); ok {
			switch start.Name.Local {
			case "circle":
				circles++
			case "text":
				texts++
			}
		}
	}
	if want := len(runs) + 3; circles != want { // and three in the legend
		t.Errorf("%d circles, want %d", circles, want)
	}
	if texts < len(failover.Faults()) || strings.Contains(svg, "%!") || strings.Contains(svg, "NaN") {
		t.Errorf("the plot is not well made (%d texts)", texts)
	}
	if path := os.Getenv("KVIP_TEST_PLOT"); path != "" { // to look at it
		must(t, os.WriteFile(path, []byte(svg), 0o644))
	}
}

func TestAxisIsLogarithmicAndBounded(t *testing.T) {
	decade := across(100*ms) - across(10*ms)
	if got := across(time.Second) - across(100*ms); got < decade-0.01 || got > decade+0.01 {
		t.Errorf("decades of %.2f and %.2f pixels", decade, got)
	}
	if across(0) != plotLeft || across(time.Hour) != plotRight {
		t.Errorf("ends at %.1f and %.1f", across(0), across(time.Hour))
	}
}
