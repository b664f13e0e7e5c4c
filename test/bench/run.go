package main

import (
	"fmt"
	"strconv"
	"time"

	"github.com/kvip/kvip/test/benchreport"
	"github.com/kvip/kvip/test/failover"
)

// runColumns are those of failover.csv: one row for each fault of each run.
var runColumns = []string{
	"tool", "fault", "run", "outage_ms", "samples", "two_holder_samples", "max_gap_ms",
	"kernel", "kubernetes", "etcd", "tool_version", "date", "machine",
}

// run is one fault, injected once.
type run struct {
	Tool, Fault string // Fault is a failover.Fault's Key
	Number      int    // from 1
	Outage      time.Duration
	Samples     int
	Two         int           // samples with two holders
	Gap         time.Duration // longest time without a sample
	benchreport.Setting
	Version string // of the tool
	Date    time.Time
}

// newRun makes the record of a result.
func newRun(t failover.Tool, f failover.Fault, number int, r failover.Result, s benchreport.Setting) run {
	return run{
		Tool: t.Name(), Fault: f.Key, Number: number, Outage: r.Outage,
		Samples: r.Holding.Samples, Two: r.Holding.TwoHolders, Gap: r.Holding.MaxGap,
		Setting: s, Version: t.Version(), Date: r.Start,
	}
}

func (r run) row() []string {
	return []string{
		r.Tool, r.Fault, strconv.Itoa(r.Number), benchreport.Millis(r.Outage), strconv.Itoa(r.Samples), strconv.Itoa(r.Two), benchreport.Millis(r.Gap),
		r.Kernel, r.Kubernetes, r.Etcd, r.Version, benchreport.Stamp(r.Date), r.Machine,
	}
}

// readRuns is the reverse of row, for a whole table.
func readRuns(t *benchreport.Table) ([]run, error) {
	var all []run
	for i, row := range t.Rows {
		f := benchreport.Fields{Row: row}
		r := run{
			Tool: row[0], Fault: row[1], Number: f.Int(2), Outage: f.Millis(3), Samples: f.Int(4), Two: f.Int(5), Gap: f.Millis(6),
			Setting: benchreport.Setting{Kernel: row[7], Kubernetes: row[8], Etcd: row[9], Machine: row[12]},
			Version: row[10], Date: f.Time(11),
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
