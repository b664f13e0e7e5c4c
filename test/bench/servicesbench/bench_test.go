package servicesbench

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/test/benchreport"
	"github.com/kvip/kvip/test/lab/cluster"
	"github.com/kvip/kvip/test/lab/servicelab"
)

const ms = time.Millisecond

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func sample(services, run int) result {
	return result{
		Services: services, Run: run, Creating: 1500 * ms, Address: spread{100 * ms, 200 * ms, 300 * ms},
		Answer: spread{110 * ms, 210 * ms, 310 * ms},
		Dead:   "cp2", DeadAddresses: services / 3, Elsewhere: spread{P50: 400 * ms, Max: 450 * ms},
		Allocator: "cp1",
		idle: idle{For: time.Minute, Reads: 0.25, Writes: 4, CPU: [nodes]float64{2, 1, 1.25},
			RSS: [nodes]float64{60, 50, 55}, Peak: [nodes]float64{90, 70, 75}},
		Setting: benchreport.Setting{Kernel: "6.1", Kubernetes: "v1.36.3", Etcd: "v3.6.16",
			Machine: "2 cores of X, 8 GiB"},
		Version: "v1", Date: time.Date(2026, 11, 25, 1, 2, 3, 0, time.UTC),
	}
}

func TestOptions(t *testing.T) {
	parse := func(runs, n string) (options, error) {
		return parseOptions(func(name string) string {
			return map[string]string{"RUNS": runs, "N": n}[name]
		})
	}
	all, err := parse("", "")
	must(t, err)
	if all.runs != 3 || !slices.Equal(all.counts, []int{10, 100, 1000, 5000}) {
		t.Errorf("without options: %+v", all)
	}
	some, err := parse("1", "100, 7,100")
	must(t, err)
	if some.runs != 1 || !slices.Equal(some.counts, []int{7, 100}) {
		t.Errorf("with options: %+v", some)
	}
	for _, bad := range [][2]string{{"many", ""}, {"-1", ""}, {"", "0"}, {"", "ten"}, {"", "9000"}} {
		if _, err := parse(bad[0], bad[1]); err == nil {
			t.Errorf("%v: accepted", bad)
		}
	}
}

func TestResultsAreReadAsTheyWereWritten(t *testing.T) {
	docs := t.TempDir()
	r, err := openReport(docs)
	must(t, err)
	first, second := sample(10, 1), sample(5000, 1)
	must(t, errors.Join(r.add(first), r.add(second)))
	r, err = openReport(docs)
	must(t, err)
	if !reflect.DeepEqual(r.results, []result{first, second}) {
		t.Errorf("read again: %+v", r.results)
	}
	if !r.has(key{"v1", 5000, 1}) || r.has(key{"v1", 5000, 2}) || r.has(key{"v2", 5000, 1}) {
		t.Error("it is not known what was measured")
	}
	must(t, errors.Join(r.write(), r.write()))
	for _, name := range []string{"benchmarks.md", "benchmarks/services.svg"} {
		if info, err := os.Stat(filepath.Join(docs, name)); err != nil || info.Size() == 0 {
			t.Errorf("%s was not written: %v", name, err)
		}
	}
	must(t, os.WriteFile(filepath.Join(docs, "benchmarks", "services.csv"),
		[]byte(strings.Join(columns, ",")+"\n"+strings.Repeat("x,", len(columns)-1)+"x\n"), 0o644))
	if _, err := openReport(docs); err == nil ||
		!strings.Contains(err.Error(), "services.csv, row 1") {
		t.Errorf("a spoilt row: %v", err)
	}
}

func TestTheTableSaysTheWorstAndNamesMisses(t *testing.T) {
	good, bad, old := sample(10, 1), sample(5000, 2), sample(5000, 1)
	old.Version = "v0"
	bad.Address.Max, bad.Elsewhere.Max, bad.Writes = 12*time.Second, 7*time.Second, 9
	bad.CPU, bad.RSS = [nodes]float64{5, 1, 4}, [nodes]float64{60, 150, 55}
	r := &report{results: []result{old, sample(5000, 1), good, bad}}
	table := servicesTable(r.current())
	for _, want := range []string{
		"| 10 | 1.50 s | 100 ms | 300 ms | 310 ms | 3 | 450 ms | 1.25 % | 2.00 % | 63 MB | 94 MB | " +
			"0.25/s | 4.00/s |",
		"| 5000 | 1.50 s | 100 ms | **12.00 s, missed** | 310 ms | 1666 | **7.00 s, missed** | **4.00 " +
			"%, missed** | **5.00 %, missed** | **157 MB, missed** | 94 MB | 0.25/s | **9.00/s, missed** |",
		"kvip v1. Each figure is the worst of 1 to 2 runs, and of all nodes.",
	} {
		if !strings.Contains(table, want) {
			t.Errorf("the table lacks %q:\n%s", want, table)
		}
	}
	if got := servicesTable(nil); strings.Contains(got, "|") {
		t.Errorf("table of nothing:\n%s", got)
	}
}

func TestPlotIsWellFormed(t *testing.T) {
	results := []result{sample(10, 1), sample(100, 1), sample(5000, 1)}
	results[0].DeadAddresses = 0 // then there is no time for them
	svg := plot(results)
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
	if want := len(results)*(1+1+nodes+nodes+1+1) - 1; circles != want {
		t.Errorf("%d circles, want %d", circles, want)
	}
	if strings.Contains(svg, "%!") || strings.Contains(svg, "NaN") {
		t.Error("the plot is not well made")
	}
	if path := os.Getenv("KVIP_TEST_PLOT"); path != "" { // to look at it
		must(t, os.WriteFile(path, []byte(svg), 0o644))
	}
}

func TestAxes(t *testing.T) {
	for x, want := range map[float64]float64{0: 1, 0.3: 0.4, 1: 1, 3: 4, 9: 10, 157: 200} {
		if got := roundUp(x); got < want*0.999 || got > want*1.001 {
			t.Errorf("round %g up: %g, want %g", x, got, want)
		}
	}
	if across(1, 0, 300) != 0 || across(100000, 0, 300) != 300 || across(100, 0, 300) != 100 {
		t.Errorf("places %g, %g and %g", across(1, 0, 300), across(100000, 0, 300), across(100, 0, 300))
	}
}

func TestAges(t *testing.T) {
	born := time.Unix(1000, 0)
	one, two := netip.MustParseAddr("10.80.32.1"), netip.MustParseAddr("10.80.32.2")
	sent := map[string]time.Time{"a": born, "b": born.Add(100 * ms)}
	all := map[string]given{"a": {one, born.Add(50 * ms)}, "b": {two, born.Add(400 * ms)}}
	answers := map[netip.Addr]servicelab.Answer{one: {At: born.Add(60 * ms)},
		two: {At: born.Add(500 * ms)}}
	creating, address, answered, err := ages(sent, all, answers)
	must(t, err)
	if creating != 100*ms || address != (spread{50 * ms, 300 * ms, 300 * ms}) ||
		answered != (spread{60 * ms, 400 * ms, 400 * ms}) {
		t.Errorf("created in %s, address %v, answer %v", creating, address, answered)
	}
	all["b"] = given{one, born.Add(400 * ms)}
	if _, _, _, err := ages(sent, all, answers); err == nil ||
		!strings.Contains(err.Error(), one.String()) {
		t.Errorf("two Services with one address: %v", err)
	}
}

func TestRequestsAreThoseOfKvip(t *testing.T) {
	var events []cluster.AuditEvent
	for _, e := range []string{"kvip get", "kvip watch", "kvip list", "kvip update", "kvip patch",
		"kvip create", "bench create", "kube-apiserver get"} {
		agent, verb, _ := strings.Cut(e, " ")
		events = append(events, cluster.AuditEvent{UserAgent: agent, Verb: verb})
	}
	if reads, writes := requests(events); reads != 3 || writes != 3 {
		t.Errorf("%d reads and %d writes, want 3 of each", reads, writes)
	}
	if got := peak(os.Getpid()); got < 1 {
		t.Errorf("this process used %.2f MiB at most", got)
	}
	if fmt.Sprint(nodeName(0), nodeName(2)) != "cp1cp3" {
		t.Errorf("nodes %s and %s", nodeName(0), nodeName(2))
	}
}
