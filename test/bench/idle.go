package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"

	"github.com/kvip/kvip/test/cluster"
	"github.com/kvip/kvip/test/drill"
)

// idleFor is how long agents are looked at that have nothing to do.
const idleFor = time.Minute

// idleColumns are those of idle.csv: one row for each agent.
var idleColumns = []string{
	"tool", "node", "role", "seconds", "cpu_percent", "rss_mib", "lease_writes_per_s", "tool_version", "date", "machine",
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
		i.Tool, i.Node, i.Role, strconv.Itoa(int(idleFor.Seconds())), decimal(i.CPU), decimal(i.RSS), decimal(i.Writes),
		i.Version, i.Date.UTC().Format(time.RFC3339), i.Machine,
	}
}

func readIdle(t *table) ([]idle, error) {
	var all []idle
	for n, row := range t.rows {
		f := fields{row: row}
		i := idle{
			Tool: row[0], Node: row[1], Role: row[2], CPU: f.float(4), RSS: f.float(5), Writes: f.float(6),
			Version: row[7], Date: f.time(8), Machine: row[9],
		}
		if f.err != nil {
			return nil, fmt.Errorf("read %s, row %d: %w", t.path, n+1, f.err)
		}
		all = append(all, i)
	}
	return all, nil
}

func decimal(x float64) string { return strconv.FormatFloat(x, 'f', 2, 64) }

// measureIdle looks at agents that run and are ready, without a client.
func measureIdle(ctx context.Context, c *cluster.Cluster, t drill.Tool, holder string, s setting) ([]idle, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*idleFor)
	defer cancel()
	writes, stop, err := countWrites(ctx, c)
	if err != nil {
		return nil, err
	}
	defer stop()
	before, err := cpuTimes(c)
	if err != nil {
		return nil, err
	}
	start, counted := time.Now(), writes.Load()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(idleFor):
	}
	took, written := time.Since(start).Seconds(), writes.Load()-counted
	after, err := cpuTimes(c)
	if err != nil {
		return nil, err
	}
	var all []idle
	for i, n := range c.Nodes {
		role := "standby"
		if n.Name == holder {
			role = "holder"
		}
		all = append(all, idle{
			Tool: t.Name(), Node: n.Name, Role: role, CPU: (after[i] - before[i]).Seconds() / took * 100,
			RSS: memory(n.Agent().PID()), Writes: float64(written) / took,
			Version: t.Version(), Machine: s.Machine, Date: start,
		})
	}
	return all, nil
}

// countWrites counts every change of a Lease in kube-system but those by which API servers
// and others show that they live. The count runs until stop.
func countWrites(ctx context.Context, c *cluster.Cluster) (writes *atomic.Int64, stop func(), err error) {
	conf, err := c.RESTConfig(c.Nodes[0])
	if err != nil {
		return nil, nil, err
	}
	conf.Timeout = 0 // which would end the watch
	kube, err := kubernetes.NewForConfig(conf)
	if err != nil {
		return nil, nil, err
	}
	leases := kube.CoordinationV1().Leases(metav1.NamespaceSystem)
	options := metav1.ListOptions{LabelSelector: "apiserver.kubernetes.io/identity!=kube-apiserver"}
	list, err := leases.List(ctx, options)
	if err != nil {
		return nil, nil, fmt.Errorf("list leases: %w", err)
	}
	options.ResourceVersion = list.ResourceVersion
	w, err := leases.Watch(ctx, options)
	if err != nil {
		return nil, nil, fmt.Errorf("watch leases: %w", err)
	}
	writes = new(atomic.Int64)
	go func() {
		for ev := range w.ResultChan() {
			if ev.Type == watch.Added || ev.Type == watch.Modified || ev.Type == watch.Deleted {
				writes.Add(1)
			}
		}
	}()
	return writes, w.Stop, nil
}

// cpuTimes returns what the agent of each node has used since it was started.
func cpuTimes(c *cluster.Cluster) ([]time.Duration, error) {
	var all []time.Duration
	for _, n := range c.Nodes {
		a := n.Agent()
		if a == nil || !a.Running() {
			return nil, fmt.Errorf("measure agent of %s: it does not run", n.Name)
		}
		all = append(all, cpuTime(a.PID()))
	}
	return all, nil
}

// cpuTime is that of a process, of its running descendants, and of all it has waited for
// (proc_pid_stat(5)): a program that starts a command each second pays for it.
func cpuTime(pid int) time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0 // ended meanwhile: its parent has its time
	}
	used := statTime(string(text))
	for _, child := range children(pid) {
		used += cpuTime(child)
	}
	return used
}

// statTime adds up utime, stime, cutime and cstime, in ticks of 10 ms. The name, in
// parentheses, may contain anything.
func statTime(stat string) time.Duration {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	const utime = 14 - 3 // fields after the name begin with the third
	var ticks int64
	for i := utime; i < utime+4 && i < len(fields); i++ {
		n, _ := strconv.ParseInt(fields[i], 10, 64) // the kernel writes numbers
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// memory is the resident set of a process and its descendants in MiB.
func memory(pid int) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	total := 0.0
	if fields := strings.Fields(string(text)); len(fields) > 1 {
		pages, _ := strconv.ParseFloat(fields[1], 64)
		total = pages * float64(os.Getpagesize()) / (1 << 20)
	}
	for _, child := range children(pid) {
		total += memory(child)
	}
	return total
}

func children(pid int) []int {
	var all []int
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, file := range lists {
		text, _ := os.ReadFile(file) // a thread that has ended has none
		for _, field := range strings.Fields(string(text)) {
			if child, err := strconv.Atoi(field); err == nil {
				all = append(all, child)
			}
		}
	}
	return all
}
