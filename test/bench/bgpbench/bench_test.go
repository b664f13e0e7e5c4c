package bgpbench

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
)

const ms = time.Millisecond

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// sample is a run in which clients behind both routers had an outage.
func sample(tool, fault string, number int, outage time.Duration) run {
	return run{
		tool: tool, fault: fault, number: number, version: "v1",
		setting: benchreport.Setting{Kernel: "6.1", Kubernetes: "v1.36.3", Machine: "2 cores of X"},
		result: result{
			victim: "cp1", start: time.Date(2026, 12, 1, 1, 2, 3, 0, time.UTC),
			outage: [2]time.Duration{outage, outage / 2}, gone: [2]time.Duration{outage, 5 * ms},
			back: [2]time.Duration{notMeasured, notMeasured}, worsened: notMeasured,
			sent: 4000, requests: 200, samples: 300, gap: 7 * ms,
		},
	}
}

// named is a speaker that is not started.
func named(t *testing.T, name string) speaker {
	t.Helper()
	kind, timers, ok := strings.Cut(name, "-")
	if !ok {
		t.Fatalf("no timers in %q", name)
	}
	return &kvip{agent: agent{identity: identity{kind, timers, "v1"}}}
}

func TestFaultsAreComplete(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range faults() {
		if f.key == "" || f.name == "" || f.inject == nil || seen[f.key] {
			t.Errorf("fault %q: incomplete, or twice", f.key)
		}
		seen[f.key] = true
		if f.targets == (targets{}) && !f.lossless {
			t.Errorf("fault %q has no target", f.key)
		}
		if !f.meets(named(t, "kvip-300ms")) {
			t.Errorf("fault %q: kvip does not meet it", f.key)
		}
	}
	if len(lanes(faults()[0])) != 1 {
		t.Errorf("lanes of the first fault: %v", lanes(faults()[0]))
	}
}

func TestSpeakersHaveTitlesAndTimers(t *testing.T) {
	for _, name := range speakerNames {
		one := named(t, name)
		if titles[name] == "" || nameOf(one) != name {
			t.Errorf("speaker %s: title %q", name, titles[name])
		}
		if bfd := bfdTimers(one.timers()); (bfd == nil) != (one.timers() == holdTimers) {
			t.Errorf("speaker %s: timers %+v", name, bfd)
		}
	}
}

func TestResultsSurviveAnInterruption(t *testing.T) {
	docs := t.TempDir()
	r, err := openReport(docs)
	must(t, err)
	first, second := sample("kvip-300ms", "node-off", 1, 900*ms),
		sample("bird-50ms", "node-off", 1, ms)
	first.back, first.worsened = [2]time.Duration{1500 * ms, 1600 * ms}, 40*ms
	must(t, r.add(first))
	must(t, r.add(second))
	path := filepath.Join(docs, "benchmarks", "bgp.csv")
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	must(t, err)
	_, err = f.WriteString("kvip-300ms,node-off,2,12") // the power went
	must(t, errors.Join(err, f.Close()))
	r, err = openReport(docs)
	must(t, err)
	if !reflect.DeepEqual(r.runs, []run{first, second}) {
		t.Errorf("read again: %+v", r.runs)
	}
	s := &session{opts: options{runs: 2, faults: []string{"node-off", "agent-sigkill"}}}
	for number, want := range map[int]string{1: "agent-sigkill", 2: "agent-sigkill node-off"} {
		var got []string
		for _, f := range s.missing(r.done(), named(t, "kvip-300ms"), number) {
			got = append(got, f.key)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("round %d: missing %v", number, got)
		}
	}
	must(t, r.write())
	must(t, r.write())
	for _, name := range []string{"benchmarks.md", "benchmarks/bgp.svg"} {
		if info, err := os.Stat(filepath.Join(docs, name)); err != nil || info.Size() == 0 {
			t.Errorf("%s was not written: %v", name, err)
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
	if all.runs != 20 || len(all.speakers) != 7 || len(all.faults) != len(faults()) {
		t.Errorf("without options: %+v", all)
	}
	some, err := parse("3", "bird-50ms,kvip-50ms", "node-off")
	must(t, err)
	if some.runs != 3 || !slices.Equal(some.speakers, []string{"kvip-50ms", "bird-50ms"}) ||
		!slices.Equal(some.faults, []string{"node-off"}) {
		t.Errorf("with options: %+v", some)
	}
	for _, bad := range [][3]string{{"many", "", ""}, {"-1", "", ""}, {"", "kvip", ""},
		{"", "", "flood"}} {
		if _, err := parse(bad[0], bad[1], bad[2]); err == nil {
			t.Errorf("%v: accepted", bad)
		}
	}
}

func TestTablesNameMisses(t *testing.T) {
	slow, lossy := sample("kvip-300ms", "node-off", 1, 1600*ms),
		sample("kvip-50ms", "agent-sigterm", 1, 0)
	lossy.lost, lossy.misrouted = 3, 2
	late := sample("kvip-50ms", "agent-sigstop", 1, 500*ms)
	worse := sample("kvip-300ms", "etcd-killed", 1, 400*ms)
	worse.worsened, worse.failed, worse.rehashed = 300*ms, 9, 2
	away := sample("kvip-300ms", "bfd-lost", 1, 900*ms) // FRR's route does not return
	away.back[1] = 1000 * ms
	got := text([]run{slow, lossy, late, worse, away, sample("bird-300ms", "node-off", 1, 1700*ms),
		sample("kvip-hold", "node-off", 1, 8*time.Second)})
	for _, want := range []string{
		"| ≤ 1.50 s (3 × 50 ms: 300 ms, no BFD: 9.00 s) | 1.60 s / **1.60 s, missed** / 1.60 s; 0 of " +
			"4000 packets | - | 1.70 s / 1.70 s / 1.70 s; 0 of 4000 packets | - | " +
			"8.00 s / 8.00 s / 8.00 s; 0 of 4000 packets | - | - |",
		"| agent SIGTERM | nothing lost | - | **3 of 4000 packets, missed** | - |",
		"| agent SIGSTOP | FRR | - | 500 ms / **500 ms, missed** / 500 ms | - |",
		"| ≤ 200 ms | 100 ms / 100 ms / 100 ms; 9 of 200 requests (2 moved) | - |",
		"| ≤ 2.00 s, nothing lost | 20.00 s / **20.00 s, missed** / 20.00 s; 0 of 4000 packets | - |",
		"without the address in **2, missed** of 1800 samples",
		"Measured on 2026-12-01: 2 cores of X; Linux 6.1, Kubernetes v1.36.3, kvip-300ms v1 (1 run a " +
			"fault)",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the tables lack %q:\n%s", want, got)
		}
	}
	if got := text(nil); got != nothing {
		t.Errorf("tables of nothing:\n%s", got)
	}
}

func TestWorsePathIsFoundInTheLog(t *testing.T) {
	log := "time=2026-12-01T00:00:01.500Z level=INFO msg=\"announcement changed\" state=worse\n" +
		"time=2026-12-01T00:00:02.250Z level=INFO msg=\"announcement changed\" state=worse reason=x\n" +
		"time=2026-12-01T00:00:03Z level=INFO msg=\"announcement changed\" state=worse\n"
	from := time.Date(2026, 12, 1, 0, 0, 2, 0, time.UTC)
	if got := worseIn(log, from); got.Sub(from) != 250*ms {
		t.Errorf("worse at %s", got)
	}
	const best = "time=2026-12-01T00:00:04Z level=INFO msg=\"announcement changed\" state=announcing\n"
	if announcesIn("") || announcesIn(log) || !announcesIn(log+best+"msg=\"session up\"\n") ||
		announcesIn(best+log) {
		t.Error("the state of the announcement is not the last one")
	}
	if got := worseIn(log, from.Add(time.Minute)); !got.IsZero() {
		t.Errorf("worse at %s, want none", got)
	}
}

func TestPlotIsWellFormed(t *testing.T) {
	var runs []run
	for _, f := range faults() {
		for _, name := range lanes(f) {
			for n := range 3 {
				runs = append(runs, sample(name, f.key, n+1, time.Second))
			}
		}
	}
	svg := plot(runs)
	circles := 0
	for d := xml.NewDecoder(strings.NewReader(svg)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		must(t, err)
		if start, ok := token.(xml.StartElement); ok && start.Name.Local == "circle" {
			circles++
		}
	}
	if want := len(runs) + 3; circles != want { // and three in the legend
		t.Errorf("%d circles, want %d", circles, want)
	}
	if strings.Contains(svg, "%!") || strings.Contains(svg, "NaN") {
		t.Error("the plot is not well made")
	}
	if path := os.Getenv("KVIP_TEST_PLOT"); path != "" { // to look at it
		must(t, os.WriteFile(path, []byte(svg), 0o644))
	}
}
