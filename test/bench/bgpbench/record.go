package bgpbench

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/kvip/kvip/test/benchreport"
)

// columns are those of bgp.csv: one row for each fault of each run. -1 is a time that does not
// exist.
var columns = []string{
	"tool", "fault", "run", "victim", "outage_frr_ms", "outage_bird_ms", "gone_frr_ms",
	"gone_bird_ms", "back_frr_ms", "back_bird_ms", "worse_ms", "lost_packets", "sent_packets",
	"failed_requests", "rehashed_requests", "requests", "samples", "misrouted_samples", "bare_ms",
	"max_gap_ms",
	"kernel", "kubernetes", "tool_version", "date", "machine",
}

// run is one row.
type run struct {
	result
	tool, fault string
	number      int
	version     string
	setting     benchreport.Setting
}

// key identifies a measurement.
type key struct {
	tool, version, fault string
	number               int
}

func newRun(one speaker, f fault, number int, r result, s benchreport.Setting) run {
	return run{result: r, tool: nameOf(one), fault: f.key, number: number, version: one.version(),
		setting: s}
}

func (r run) row() []string {
	row := []string{r.tool, r.fault, strconv.Itoa(r.number), r.victim}
	for _, d := range []time.Duration{
		r.outage[0], r.outage[1], r.gone[0], r.gone[1], r.back[0], r.back[1], r.worsened,
	} {
		row = append(row, benchreport.Millis(d))
	}
	for _, n := range []int{r.lost, r.sent, r.failed, r.rehashed, r.requests, r.samples, r.misrouted} {
		row = append(row, strconv.Itoa(n))
	}
	return append(row, benchreport.Millis(r.bare), benchreport.Millis(r.gap), r.setting.Kernel,
		r.setting.Kubernetes, r.version, benchreport.Stamp(r.start), r.setting.Machine)
}

// readRuns reads what row wrote.
func readRuns(t *benchreport.Table) ([]run, error) {
	var all []run
	for n, row := range t.Rows {
		f := benchreport.Fields{Row: row}
		r := run{
			tool: row[0], fault: row[1], number: f.Int(2), version: row[22],
			setting: benchreport.Setting{Kernel: row[20], Kubernetes: row[21], Machine: row[24]},
			result: result{
				victim: row[3], start: f.Time(23),
				outage: [2]time.Duration{f.Millis(4), f.Millis(5)},
				gone:   [2]time.Duration{f.Millis(6), f.Millis(7)},
				back:   [2]time.Duration{f.Millis(8), f.Millis(9)}, worsened: f.Millis(10),
				lost: f.Int(11), sent: f.Int(12), failed: f.Int(13), rehashed: f.Int(14),
				requests: f.Int(15), samples: f.Int(16), misrouted: f.Int(17), bare: f.Millis(18),
				gap: f.Millis(19),
			},
		}
		if f.Err != nil {
			return nil, fmt.Errorf("read %s, row %d: %w", t.Path, n+1, f.Err)
		}
		all = append(all, r)
	}
	return all, nil
}

// done returns what need not be measured again.
func done(runs []run) map[key]bool {
	have := map[key]bool{}
	for _, r := range runs {
		have[key{r.tool, r.version, r.fault, r.number}] = true
	}
	return have
}

// current keeps, of each tool, the runs of the version that was measured last.
func current(runs []run) []run {
	last := map[string]string{}
	for _, r := range runs {
		last[r.tool] = r.version
	}
	return slices.DeleteFunc(slices.Clone(runs), func(r run) bool { return last[r.tool] != r.version })
}

// of keeps the runs of one tool under one fault.
func of(runs []run, tool, fault string) []run {
	return slices.DeleteFunc(slices.Clone(runs),
		func(r run) bool { return r.tool != tool || r.fault != fault })
}

// outageOf is what the target of a fault limits.
func outageOf(f fault, r result) time.Duration {
	if f.outage != nil {
		return f.outage(r)
	}
	return worst(r.outage)
}

// lostAny reports whether a client lost something that it uses: packets or, of API servers,
// requests. A request that the router moved to another node was not lost by the speaker.
func lostAny(f fault, r result) bool {
	return f.requests && r.failed > r.rehashed || !f.requests && r.lost > 0
}

// missed reports whether one run is worse than kvip's targets.
func missed(f fault, timers string, r result) bool {
	if r.misrouted > 0 || f.lossless && lostAny(f, r) {
		return true
	}
	if limit := f.limit(timers); limit > 0 && outageOf(f, r) > limit {
		return true
	}
	limit := f.gone.of(timers)
	return limit > 0 && (min(r.gone[0], r.gone[1]) < 0 || worst(r.gone) > limit)
}

// spread is what a table shows of times.
type spread struct {
	runs          int
	p50, p95, max time.Duration
}

// spreadOf returns the spread of those times that exist.
func spreadOf(runs []run, value func(run) time.Duration) (s spread) {
	var list []time.Duration
	for _, r := range runs {
		if d := value(r); d >= 0 {
			list = append(list, d)
		}
	}
	if len(list) == 0 {
		return s
	}
	slices.Sort(list)
	return spread{len(list), benchreport.Percentile(list, 50), benchreport.Percentile(list, 95),
		list[len(list)-1]}
}
