package main

import (
	"slices"
	"time"

	"github.com/kvip/kvip/test/benchreport"
)

// summary is what the table says about one tool under one fault.
type summary struct {
	Runs          int
	P50, P95, Max time.Duration
	Two, Samples  int // over all runs
	Gap           time.Duration
}

// summarise returns the zero summary if there are no runs.
func summarise(runs []run) summary {
	if len(runs) == 0 {
		return summary{}
	}
	var outages []time.Duration
	s := summary{Runs: len(runs)}
	for _, r := range runs {
		outages = append(outages, r.Outage)
		s.Two += r.Two
		s.Samples += r.Samples
		s.Gap = max(s.Gap, r.Gap)
	}
	slices.Sort(outages)
	s.P50, s.P95, s.Max = benchreport.Percentile(outages, 50), benchreport.Percentile(outages, 95), outages[len(outages)-1]
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
	return slices.DeleteFunc(slices.Clone(runs), func(r run) bool { return r.Tool != tool || r.Fault != fault })
}
