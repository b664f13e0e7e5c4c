package servicesbench

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/kvip/kvip/test/benchreport"
	"github.com/kvip/kvip/test/lab/cluster"
	"github.com/kvip/kvip/test/lab/servicelab"
)

// measureIdle looks at the agents of all nodes for a while.
func measureIdle(ctx context.Context, l *servicelab.Lab, d time.Duration) (idle, error) {
	logs, before := audited(l), cpuTimes(l)
	start := time.Now()
	select {
	case <-ctx.Done():
		return idle{}, ctx.Err()
	case <-time.After(d):
	}
	result := idle{For: time.Since(start)}
	seconds := result.For.Seconds()
	for i, used := range cpuTimes(l) {
		result.CPU[i] = (used - before[i]).Seconds() / seconds * 100
	}
	for i, n := range l.Nodes {
		if n.Agent() == nil || !n.Agent().Running() {
			return idle{}, fmt.Errorf("measure agent of %s: it does not run", n.Name)
		}
		result.RSS[i], result.Peak[i] = benchreport.Memory(n.Agent().PID()), peak(n.Agent().PID())
		events, err := n.AuditEvents(logs[i])
		if err != nil {
			return idle{}, err
		}
		reads, writes := requests(events)
		result.Reads += float64(reads) / seconds
		result.Writes += float64(writes) / seconds
	}
	return result, nil
}

func audited(l *servicelab.Lab) (lengths [nodes]int64) {
	for i, n := range l.Nodes {
		lengths[i] = n.AuditOffset()
	}
	return lengths
}

// cpuTimes are what the agents have used since they began; nothing for one that does not run.
func cpuTimes(l *servicelab.Lab) (used [nodes]time.Duration) {
	for i, n := range l.Nodes {
		if a := n.Agent(); a != nil && a.Running() {
			used[i] = benchreport.CPUTime(a.PID())
		}
	}
	return used
}

// requests counts those of kvip's agents. One for a watch counts when it begins and when it ends.
func requests(events []cluster.AuditEvent) (reads, writes int) {
	for _, e := range events {
		switch {
		case e.UserAgent != "kvip":
		case slices.Contains([]string{"get", "list", "watch"}, e.Verb):
			reads++
		default:
			writes++
		}
	}
	return reads, writes
}

var highWater = regexp.MustCompile(`(?m)^VmHWM:\s*(\d+) kB`)

// peak is the largest resident set that a process has had, in MiB (proc_pid_status(5)).
func peak(pid int) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	found := highWater.FindSubmatch(text)
	if found == nil {
		return 0
	}
	kib, _ := strconv.ParseFloat(string(found[1]), 64) // digits
	return kib / 1024
}
