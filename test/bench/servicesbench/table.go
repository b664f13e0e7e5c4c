package servicesbench

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kvip/kvip/test/benchreport"
	"github.com/kvip/kvip/test/failover"
)

// The targets, for 5000 Services on three nodes.
const (
	addressWithin   = 10 * time.Second // from its creation, each
	elsewhereWithin = time.Second      // all of a dead node's
	idleCPU         = 3.0              // percent of a core, a node
	idleRSS         = 150.0            // MB, a node
	// writes with most Services, by those with fewest: not at all, and a tenth for chance
	writesGrow = 1.1
)

const mbPerMiB = 1.048576

// worst is the worst of all runs with one number of Services.
type worst struct {
	services, runs              int
	creating, address, answer   time.Duration
	median                      time.Duration // of the median runs' addresses
	elsewhere                   time.Duration
	dead                        int
	cpu, rss, peak              float64 // of any node; MB
	reads, writes               float64
	announcing, alsoGivingAddrs float64 // CPU of the nodes without and with the allocator
}

// summarise returns one for each number of Services, in order.
func summarise(results []result) []worst {
	var all []worst
	for _, r := range results {
		i := slices.IndexFunc(all, func(w worst) bool { return w.services == r.Services })
		if i < 0 {
			all = append(all, worst{services: r.Services})
			i = len(all) - 1
		}
		all[i].add(r)
	}
	slices.SortFunc(all, func(a, b worst) int { return a.services - b.services })
	return all
}

func (w *worst) add(r result) {
	w.runs++
	w.creating, w.address, w.answer = max(w.creating, r.Creating), max(w.address, r.Address.Max),
		max(w.answer, r.Answer.Max)
	w.median, w.elsewhere, w.dead = max(w.median, r.Address.P50), max(w.elsewhere, r.Elsewhere.Max),
		max(w.dead, r.DeadAddresses)
	w.reads, w.writes = max(w.reads, r.Reads), max(w.writes, r.Writes)
	for i := range nodes {
		w.cpu, w.rss, w.peak = max(w.cpu, r.CPU[i]), max(w.rss, r.RSS[i]*mbPerMiB),
			max(w.peak, r.Peak[i]*mbPerMiB)
		if r.Allocator == nodeName(i) {
			w.alsoGivingAddrs = max(w.alsoGivingAddrs, r.CPU[i])
		} else {
			w.announcing = max(w.announcing, r.CPU[i])
		}
	}
}

func nodeName(i int) string { return fmt.Sprintf("cp%d", i+1) }

// servicesTable has a row for each number of Services, with the worst of all runs.
func servicesTable(results []result) string {
	if len(results) == 0 {
		return "Nothing has been measured yet."
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n", circumstances(results))
	b.WriteString("| Services | created within | each has its address after, p50 | at most | each " +
		"answers ARP after at most | a dead node's addresses | answer elsewhere after at most " +
		"| CPU idle, announcing | also giving out addresses | memory (RSS) | peak | API reads | API " +
		"writes |\n")
	b.WriteString("|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n")
	fmt.Fprintf(&b, "| target | | | ≤ %s | | | ≤ %s | ≤ %.0f %% | ≤ %.0f %% | ≤ %.0f MB | | | not "+
		"more with more Services |\n",
		failover.Figure(addressWithin), failover.Figure(elsewhereWithin), idleCPU, idleCPU, idleRSS)
	all := summarise(results)
	for _, w := range all {
		fmt.Fprintf(&b, "| %d | %s | %s | %s | %s | %d | %s | %s | %s | %s | %.0f MB | %.2f/s | %s |\n",
			w.services, failover.Figure(w.creating), failover.Figure(w.median),
			late(w.address, addressWithin), failover.Figure(w.answer), w.dead,
			late(w.elsewhere, elsewhereWithin),
			above(w.announcing, idleCPU, "%.2f %%"), above(w.alsoGivingAddrs, idleCPU, "%.2f %%"),
			above(w.rss, idleRSS, "%.0f MB"), w.peak, w.reads,
			above(w.writes, all[0].writes*writesGrow, "%.2f/s"))
	}
	b.WriteString("\n![Each measurement against the number of Services](benchmarks/services.svg)\n")
	return b.String()
}

func late(d, target time.Duration) string {
	if d > target {
		return "**" + failover.Figure(d) + ", missed**"
	}
	return failover.Figure(d)
}

func above(x, target float64, format string) string {
	text := fmt.Sprintf(format, x)
	if x > target {
		return "**" + text + ", missed**"
	}
	return text
}

// circumstances says on what and when the runs were made.
func circumstances(results []result) string {
	values := func(of func(result) string) string { return benchreport.Distinct(results, of) }
	least, most := len(results), 0
	for _, w := range summarise(results) {
		least, most = min(least, w.runs), max(most, w.runs)
	}
	runs := benchreport.Range(least, most, "run")
	return fmt.Sprintf("Measured on %s: %s; Linux %s, Kubernetes %s, etcd %s, kvip %s. Each figure "+
		"is the worst of %s, and of all nodes.",
		values(func(r result) string { return r.Date.UTC().Format(time.DateOnly) }),
		values(func(r result) string { return r.Machine }),
		values(func(r result) string { return r.Kernel }),
		values(func(r result) string { return r.Kubernetes }),
		values(func(r result) string { return r.Etcd }),
		values(func(r result) string { return r.Version }), runs)
}
