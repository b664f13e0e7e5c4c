package failoverbench

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/kvip/kvip/test/benchreport"
	"github.com/kvip/kvip/test/failover"
)

// runColumns are those of failover.csv: one row for each fault of each run.
var runColumns = []string{
	"tool", "fault", "run", "outage_ms", "failed_requests", "failed_ms", "broken_connections",
	"samples", "two_holder_samples", "max_gap_ms",
	"kernel", "kubernetes", "etcd", "tool_version", "date", "machine",
}

// run is one fault, injected once.
type run struct {
	Tool, Fault string // Fault is a failover.Fault's Key
	Number      int    // from 1
	Outage      time.Duration
	Failed      int           // requests that failed; -1: not counted
	FailedFor   time.Duration // sum of the times in which none succeeded
	Broken      int           // long connections that broke
	Samples     int
	Two         int           // samples with two holders
	Gap         time.Duration // longest time without a sample
	benchreport.Setting
	Version string // of the tool
	Date    time.Time
}

// newRun makes the record of a result.
func newRun(t failover.Tool, f failover.Fault, number int, r failover.Result,
	s benchreport.Setting) run {
	return run{
		Tool: t.Name(), Fault: f.Key, Number: number, Outage: r.Outage,
		Failed: r.Failed, FailedFor: r.FailedFor, Broken: r.Broken,
		Samples: r.Holding.Samples, Two: r.Holding.TwoHolders, Gap: r.Holding.MaxGap,
		Setting: s, Version: t.Version(), Date: r.Start,
	}
}

func (r run) row() []string {
	return []string{
		r.Tool, r.Fault, strconv.Itoa(r.Number), benchreport.Millis(r.Outage), strconv.Itoa(r.Failed),
		benchreport.Millis(r.FailedFor), strconv.Itoa(r.Broken), strconv.Itoa(r.Samples),
		strconv.Itoa(r.Two),
		benchreport.Millis(r.Gap),
		r.Kernel, r.Kubernetes, r.Etcd, r.Version, benchreport.Stamp(r.Date), r.Machine,
	}
}

// readRuns is the reverse of row, for a whole table.
func readRuns(t *benchreport.Table) ([]run, error) {
	var all []run
	for i, row := range t.Rows {
		f := benchreport.Fields{Row: row}
		r := run{
			Tool: row[0], Fault: row[1], Number: f.Int(2), Outage: f.Millis(3), Failed: f.Int(4),
			FailedFor: f.Millis(5), Broken: f.Int(6), Samples: f.Int(7), Two: f.Int(8), Gap: f.Millis(9),
			Setting: benchreport.Setting{
				Kernel: row[10], Kubernetes: row[11], Etcd: row[12], Machine: row[15],
			},
			Version: row[13], Date: f.Time(14),
		}
		if f.Err != nil {
			return nil, fmt.Errorf("read %s, row %d: %w", t.Path, i+1, f.Err)
		}
		all = append(all, r)
	}
	return all, nil
}

// key says which runs need not be repeated: those of the same tool in the same version.
type key struct {
	tool, version, fault string
	number               int
}

func done(runs []run) map[key]bool {
	all := map[key]bool{}
	for _, r := range runs {
		all[key{r.Tool, r.Version, r.Fault, r.Number}] = true
	}
	return all
}

// idleColumns are those of idle.csv: one row for each agent.
var idleColumns = []string{
	"tool", "node", "role", "seconds", "cpu_percent", "rss_mib", "lease_writes_per_s", "tool_version",
	"date", "machine",
}

// idle is what one agent uses when nothing happens.
type idle struct {
	Tool, Node, Role string  // Role: "holder" or "standby"
	CPU              float64 // percent of one core, with the processes it starts
	RSS              float64 // MiB, of all its processes
	Writes           float64 // to Leases in kube-system per second, by the whole cluster
	Version, Machine string
	Date             time.Time
}

func (i idle) row() []string {
	return []string{
		i.Tool, i.Node, i.Role, strconv.Itoa(int(idleFor.Seconds())), benchreport.Decimal(i.CPU),
		benchreport.Decimal(i.RSS), benchreport.Decimal(i.Writes),
		i.Version, benchreport.Stamp(i.Date), i.Machine,
	}
}

func readIdle(t *benchreport.Table) ([]idle, error) {
	var all []idle
	for n, row := range t.Rows {
		f := benchreport.Fields{Row: row}
		i := idle{
			Tool: row[0], Node: row[1], Role: row[2], CPU: f.Float(4), RSS: f.Float(5), Writes: f.Float(6),
			Version: row[7], Date: f.Time(8), Machine: row[9],
		}
		if f.Err != nil {
			return nil, fmt.Errorf("read %s, row %d: %w", t.Path, n+1, f.Err)
		}
		all = append(all, i)
	}
	return all, nil
}

// summary is what the table says about one tool under one fault.
type summary struct {
	Runs          int
	P50, P95, Max time.Duration
	Failed        int // p95 of failed requests; -1: not counted in all runs
	MostFailed    int
	FailedFor     time.Duration // p95 of the sum of the times in which none succeeded
	Broken        int           // connections, over all runs
	Two, Samples  int           // over all runs
	Gap           time.Duration
}

// summarise returns the zero summary if there are no runs.
func summarise(runs []run) summary {
	if len(runs) == 0 {
		return summary{}
	}
	var outages, sums []time.Duration
	var failed []int
	s := summary{Runs: len(runs)}
	for _, r := range runs {
		outages, sums = append(outages, r.Outage), append(sums, r.FailedFor)
		failed = append(failed, r.Failed)
		s.Two += r.Two
		s.Broken += r.Broken
		s.Samples += r.Samples
		s.Gap = max(s.Gap, r.Gap)
	}
	slices.Sort(outages)
	slices.Sort(sums)
	slices.Sort(failed)
	s.FailedFor, s.Failed = benchreport.Percentile(sums, 95), benchreport.Percentile(failed, 95)
	s.MostFailed = failed[len(failed)-1]
	if failed[0] < 0 {
		s.Failed = -1
	}
	s.P50, s.P95, s.Max = benchreport.Percentile(outages, 50), benchreport.Percentile(outages, 95),
		outages[len(outages)-1]
	return s
}

// current keeps, of each tool, the runs of the version that was measured last.
func current(runs []run) []run {
	last := map[string]string{}
	for _, r := range runs {
		last[r.Tool] = r.Version
	}
	return slices.DeleteFunc(slices.Clone(runs), func(r run) bool { return last[r.Tool] != r.Version })
}

// of keeps the runs of one tool under one fault.
func of(runs []run, tool, fault string) []run {
	return slices.DeleteFunc(slices.Clone(runs),
		func(r run) bool { return r.Tool != tool || r.Fault != fault })
}
