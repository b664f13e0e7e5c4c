package main

import (
	"fmt"
	"strconv"
	"time"

	"github.com/kvip/kvip/test/drill"
)

// runColumns are those of failover.csv: one row for each fault of each run.
var runColumns = []string{
	"tool", "fault", "run", "outage_ms", "samples", "two_holder_samples", "max_gap_ms",
	"kernel", "kubernetes", "etcd", "tool_version", "date", "machine",
}

// setting is what a figure was measured on.
type setting struct {
	Kernel, Kubernetes, Etcd string
	Machine                  string // as in "2 cores of AMD EPYC 7B13, 24 GiB"
}

// run is one fault, injected once.
type run struct {
	Tool, Fault string // Fault is a drill.Fault's Key
	Number      int    // from 1
	Outage      time.Duration
	Samples     int
	Two         int           // samples with two holders
	Gap         time.Duration // longest time without a sample
	setting
	Version string // of the tool
	Date    time.Time
}

// newRun makes the record of a result.
func newRun(t drill.Tool, f drill.Fault, number int, r drill.Result, s setting) run {
	return run{
		Tool: t.Name(), Fault: f.Key, Number: number, Outage: r.Outage,
		Samples: r.Holding.Samples, Two: r.Holding.TwoHolders, Gap: r.Holding.MaxGap,
		setting: s, Version: t.Version(), Date: r.Start,
	}
}

func (r run) row() []string {
	return []string{
		r.Tool, r.Fault, strconv.Itoa(r.Number), millis(r.Outage), strconv.Itoa(r.Samples), strconv.Itoa(r.Two), millis(r.Gap),
		r.Kernel, r.Kubernetes, r.Etcd, r.Version, r.Date.UTC().Format(time.RFC3339), r.Machine,
	}
}

// readRuns is the reverse of row, for a whole table.
func readRuns(t *table) ([]run, error) {
	var all []run
	for i, row := range t.rows {
		f := fields{row: row}
		r := run{
			Tool: row[0], Fault: row[1], Number: f.int(2), Outage: f.millis(3), Samples: f.int(4), Two: f.int(5), Gap: f.millis(6),
			setting: setting{Kernel: row[7], Kubernetes: row[8], Etcd: row[9], Machine: row[12]},
			Version: row[10], Date: f.time(11),
		}
		if f.err != nil {
			return nil, fmt.Errorf("read %s, row %d: %w", t.path, i+1, f.err)
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

func millis(d time.Duration) string {
	return strconv.FormatFloat(float64(d)/float64(time.Millisecond), 'f', 1, 64)
}

// fields converts the fields of a row and keeps the first error.
type fields struct {
	row []string
	err error
}

func (f *fields) int(i int) int {
	n, err := strconv.Atoi(f.row[i])
	f.note(err)
	return n
}

func (f *fields) float(i int) float64 {
	x, err := strconv.ParseFloat(f.row[i], 64)
	f.note(err)
	return x
}

func (f *fields) millis(i int) time.Duration {
	return time.Duration(f.float(i) * float64(time.Millisecond))
}

func (f *fields) time(i int) time.Time {
	t, err := time.Parse(time.RFC3339, f.row[i])
	f.note(err)
	return t
}

func (f *fields) note(err error) {
	if f.err == nil {
		f.err = err
	}
}
