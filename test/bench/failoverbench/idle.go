package failoverbench

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"

	"github.com/kvip/kvip/test/benchreport"
	"github.com/kvip/kvip/test/failover"
	"github.com/kvip/kvip/test/lab/cluster"
)

// idleFor is how long agents are looked at that have nothing to do.
const idleFor = time.Minute

// measureIdle looks at agents that run and are ready, without a client.
func measureIdle(ctx context.Context, c *cluster.Cluster, t failover.Tool, holder string,
	s benchreport.Setting) ([]idle, error) {
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
			RSS: benchreport.Memory(n.Agent().PID()), Writes: float64(written) / took,
			Version: t.Version(), Machine: s.Machine, Date: start,
		})
	}
	return all, nil
}

// countWrites counts every change of a Lease in kube-system but those by which API servers
// and others show that they live. The count runs until stop.
func countWrites(ctx context.Context, c *cluster.Cluster) (writes *atomic.Int64, stop func(),
	err error) {
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
		all = append(all, benchreport.CPUTime(a.PID()))
	}
	return all, nil
}
