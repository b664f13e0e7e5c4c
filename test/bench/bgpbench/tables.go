package bgpbench

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kvip/kvip/test/benchreport"
	"github.com/kvip/kvip/test/failover"
)

// section of benchmarks.md that this program writes.
var section = benchreport.Section{Name: "bgp", Target: "bench-failover MODE=bgp"}

// nothing is the section before the first run.
const nothing = "Nothing has been measured yet."

// titles are the columns of speakers.
var titles = map[string]string{
	"kvip-300ms": "kvip, BFD 3 × 300 ms", "kvip-50ms": "kvip, BFD 3 × 50 ms",
	"bird-300ms": "BIRD, BFD 3 × 300 ms", "bird-50ms": "BIRD, BFD 3 × 50 ms",
	"kvip-hold": "kvip, no BFD", "bird-hold": "BIRD, no BFD", "metallb-hold": "MetalLB, no BFD",
}

// text returns the tables of all results.
func text(runs []run) string {
	if len(runs) == 0 {
		return nothing
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n%s\n\n", circumstances(runs), routesText(runs))
	outageTable(&b, runs)
	fmt.Fprintf(&b, "\nThe time until the route over the failed node is gone from the kernel of each "+
		"router:\n\n")
	goneTable(&b, runs)
	b.WriteString("\n![Outage of each run, on a logarithmic scale](benchmarks/bgp.svg)\n")
	return b.String()
}

// header writes the first two lines of a table with a column for each speaker.
func header(b *strings.Builder, first ...string) {
	b.WriteString("| " + strings.Join(first, " | "))
	for _, name := range speakerNames {
		b.WriteString(" | " + titles[name])
	}
	b.WriteString(" |\n|---" + strings.Repeat("|--:", len(first)-1+len(speakerNames)) + "|\n")
}

// outageTable has a row for each fault, with p50, p95 and max, and what was lost.
func outageTable(b *strings.Builder, runs []run) {
	header(b, "fault", "target")
	for _, f := range faults() {
		fmt.Fprintf(b, "| %s | %s", f.name, targetText(f))
		for _, name := range speakerNames {
			b.WriteString(" | " + outageCell(f, name, of(runs, name, f.key)))
		}
		b.WriteString(" |\n")
	}
}

// targetText is what kvip must reach.
func targetText(f fault) string {
	t := f.targets
	if t == (targets{}) {
		return "nothing lost"
	}
	text := "≤ " + failover.Figure(t.slow)
	if t.quick != t.slow {
		text += fmt.Sprintf(" (3 × 50 ms: %s, no BFD: %s)", failover.Figure(t.quick),
			failover.Figure(t.hold))
	}
	if f.lossless {
		text += ", nothing lost"
	}
	return text
}

// timersOf returns the timers in the name of a speaker.
func timersOf(name string) string {
	_, timers, _ := strings.Cut(name, "-")
	return timers
}

// outageCell is one cell. For kvip misses are named.
func outageCell(f fault, name string, runs []run) string {
	if len(runs) == 0 {
		return "-"
	}
	judge := strings.HasPrefix(name, kvipKind)
	var parts []string
	if f.targets != (targets{}) {
		s := spreadOf(runs, func(r run) time.Duration { return outageOf(f, r.result) })
		limit := f.limit(timersOf(name))
		parts = append(parts, figures(s, judge && limit > 0 && s.p95 > limit))
	}
	lost, sent, rehashed, what, broken := 0, 0, 0, "packets", false
	for _, r := range runs {
		broken = broken || lostAny(f, r.result)
		if f.requests {
			lost, sent, what = lost+r.failed, sent+r.requests, "requests"
			rehashed += r.rehashed
		} else {
			lost, sent = lost+r.lost, sent+r.sent
		}
	}
	losses := fmt.Sprintf("%d of %d %s", lost, sent, what)
	if rehashed > 0 {
		losses += fmt.Sprintf(" (%d moved)", rehashed)
	}
	return strings.Join(append(parts, mark(losses, judge && f.lossless && broken)), "; ")
}

// figures are p50, p95 and max.
func figures(s spread, miss bool) string {
	return fmt.Sprintf("%s / %s / %s", failover.Figure(s.p50), mark(failover.Figure(s.p95), miss),
		failover.Figure(s.max))
}

// mark names a miss.
func mark(text string, miss bool) string {
	if miss {
		return "**" + text + ", missed**"
	}
	return text
}

// goneTable has a row for each fault and router, with p50, p95 and max.
func goneTable(b *strings.Builder, runs []run) {
	header(b, "fault", "router")
	for _, f := range faults() {
		if f.stays {
			continue
		}
		for i, router := range []string{"FRR", "BIRD"} {
			fmt.Fprintf(b, "| %s | %s", f.name, router)
			for _, name := range speakerNames {
				s := spreadOf(of(runs, name, f.key), func(r run) time.Duration { return r.gone[i] })
				if s.runs == 0 {
					b.WriteString(" | -")
					continue
				}
				limit := f.gone.of(timersOf(name))
				judge := strings.HasPrefix(name, kvipKind) && limit > 0 && s.p95 > limit
				b.WriteString(" | " + figures(s, judge))
			}
			b.WriteString(" |\n")
		}
	}
}

// routesText is what the sampler saw.
func routesText(runs []run) string {
	samples, misrouted, gap := 0, 0, time.Duration(0)
	for _, r := range runs {
		if !strings.HasPrefix(r.tool, kvipKind) {
			continue
		}
		samples, misrouted, gap = samples+r.samples, misrouted+r.misrouted, max(gap, r.gap)
	}
	return fmt.Sprintf("A router had a route to a node of kvip without the address in %s of %d "+
		"samples; the longest time without a sample was %s.",
		mark(fmt.Sprint(misrouted), misrouted > 0), samples, failover.Figure(gap))
}

// circumstances says on what and when the runs were made.
func circumstances(runs []run) string {
	values := func(of func(run) string) string { return benchreport.Distinct(runs, of) }
	text := fmt.Sprintf("Measured on %s: %s; Linux %s, Kubernetes %s",
		values(func(r run) string { return r.start.UTC().Format(time.DateOnly) }),
		values(func(r run) string { return r.setting.Machine }),
		values(func(r run) string { return r.setting.Kernel }),
		values(func(r run) string { return r.setting.Kubernetes }))
	for _, name := range speakerNames {
		own := slices.DeleteFunc(slices.Clone(runs), func(r run) bool { return r.tool != name })
		if len(own) > 0 {
			text += fmt.Sprintf(", %s %s (%s a fault)", name, own[0].version, counts(own))
		}
	}
	return text + ". Cells are p50 / p95 / max."
}

// counts says how many runs each fault had.
func counts(runs []run) string {
	number := map[string]int{}
	for _, r := range runs {
		number[r.fault]++
	}
	least, most := len(runs), 0
	for _, n := range number {
		least, most = min(least, n), max(most, n)
	}
	return benchreport.Range(least, most, "run")
}
