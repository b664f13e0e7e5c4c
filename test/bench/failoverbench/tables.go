package failoverbench

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kvip/kvip/test/benchreport"
	"github.com/kvip/kvip/test/failover"
)

// The targets of an idle agent.
const (
	holderCPU  = 1.0  // percent of a core
	standbyCPU = 0.8  // the same
	idleRSS    = 40.0 // MiB
	idleWrites = 2.0  // per second, by the whole cluster
)

// The sections of benchmarks.md that this program writes.
var (
	failoverSection = benchreport.Section{Name: "failover", Target: "bench-failover"}
	idleSection     = benchreport.Section{Name: "idle", Target: "bench-failover"}
)

// failoverTable shows both tools beside each other, a row for each fault.
func failoverTable(runs []run) string {
	if len(runs) == 0 {
		return "Nothing has been measured yet."
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n", circumstances(runs))
	b.WriteString("| fault on the holder | target | kvip p50 | p95 | max | failed | two holders " +
		"| keepalived p50 | p95 | max | failed | two holders |\n")
	b.WriteString("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n")
	for _, f := range failover.Faults() {
		kvip := of(runs, cmp.Or(f.Tool, failover.KvipName), f.Key)
		fmt.Fprintf(&b, "| %s | %s |%s|%s|\n", f.Name, targetText(f), cells(summarise(kvip), f, true),
			cells(summarise(of(runs, failover.KeepalivedName, f.Key)), f, false))
	}
	b.WriteString("\n![Outage of each run, on a logarithmic scale](benchmarks/failover.svg)\n")
	return b.String()
}

// targetText is what kvip must reach.
func targetText(f failover.Fault) string {
	text := "≤ " + failover.Figure(f.Target)
	if f.Sum {
		text += " in all"
	}
	if f.Lossless {
		text += ", none failed"
	}
	return text
}

// cells are the five columns of one tool. For kvip misses are named.
func cells(s summary, f failover.Fault, judge bool) string {
	if s.Runs == 0 {
		return " - | - | - | - | - "
	}
	missed := func(text string, miss bool) string {
		if judge && miss {
			return "**" + text + ", missed**"
		}
		return text
	}
	failed, lost := "-", false
	if s.Failed >= 0 {
		failed = fmt.Sprintf("%d in %s", s.Failed, failover.Figure(s.FailedFor))
		lost = f.Lossless && s.MostFailed > 0 || f.Sum && s.FailedFor > f.Target
	}
	if f.Connections > 0 && s.Failed >= 0 {
		failed += fmt.Sprintf(", %d of %d connections", s.Broken, s.Runs*f.Connections)
		lost = lost || f.Lossless && s.Broken > 0
	}
	return fmt.Sprintf(" %s | %s | %s | %s | %s ", failover.Figure(s.P50),
		missed(failover.Figure(s.P95), !f.Sum && s.P95 > f.Target), failover.Figure(s.Max),
		missed(failed, lost), missed(fmt.Sprintf("%d of %d", s.Two, s.Samples), s.Two > 0))
}

// circumstances says on what and when the runs were made.
func circumstances(runs []run) string {
	values := func(of func(run) string) string { return benchreport.Distinct(runs, of) }
	day := func(r run) string { return r.Date.UTC().Format(time.DateOnly) }
	text := fmt.Sprintf("Measured on %s: %s; Linux %s, Kubernetes %s, etcd %s", values(day),
		values(func(r run) string { return r.Machine }), values(func(r run) string { return r.Kernel }),
		values(func(r run) string { return r.Kubernetes }), values(func(r run) string { return r.Etcd }))
	for _, tool := range toolNames {
		if own := slices.DeleteFunc(slices.Clone(runs),
			func(r run) bool { return r.Tool != tool }); len(own) > 0 {
			text += fmt.Sprintf(", %s %s (%s a fault)", tool, own[0].Version, counts(own))
		}
	}
	gap := time.Duration(0)
	for _, r := range runs {
		gap = max(gap, r.Gap)
	}
	return text + fmt.Sprintf(". The longest time without a sample was %s.", failover.Figure(gap))
}

// counts says how many runs each fault had, as "20 runs" or "18 to 20 runs".
func counts(runs []run) string {
	least, most := 0, 0
	for _, f := range failover.Faults() {
		n := 0
		for _, r := range runs {
			if r.Fault == f.Key {
				n++
			}
		}
		if n > 0 && (least == 0 || n < least) {
			least = n
		}
		most = max(most, n)
	}
	return benchreport.Range(least, most, "run")
}

// currentIdle keeps, of each tool, the agents of the version that was measured last.
func currentIdle(all []idle) []idle {
	last := map[string]string{}
	for _, i := range all {
		last[i.Tool] = i.Version
	}
	return slices.DeleteFunc(slices.Clone(all), func(i idle) bool { return last[i.Tool] != i.Version })
}

// idleTable has a row for each agent.
func idleTable(agents []idle) string {
	if len(agents) == 0 {
		return "Nothing has been measured yet."
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Measured on %s for %.0f s without a client: %s.\n\n",
		agents[0].Date.UTC().Format(time.DateOnly), idleFor.Seconds(), agents[0].Machine)
	b.WriteString("| agent | role | CPU of one core | memory (RSS) | API writes, whole cluster " +
		"|\n|---|---|--:|--:|--:|\n")
	fmt.Fprintf(&b, "| target for kvip | | holder ≤ %g %%, standby ≤ %g %% | ≤ %.0f MB "+
		"| ≤ %.0f a second |\n", holderCPU, standbyCPU, idleRSS, idleWrites)
	for _, a := range agents {
		cpu := standbyCPU
		if a.Role == "holder" {
			cpu = holderCPU
		}
		fmt.Fprintf(&b, "| %s %s | %s, %s | %s %% | %s MiB | %s a second |\n", a.Tool, a.Version, a.Role,
			a.Node,
			judged(a, a.CPU, cpu), judged(a, a.RSS, idleRSS), judged(a, a.Writes, idleWrites))
	}
	return b.String()
}

func judged(a idle, value, target float64) string {
	if a.Tool == "kvip" && value > target {
		return fmt.Sprintf("**%.2f (missed)**", value)
	}
	return fmt.Sprintf("%.2f", value)
}
