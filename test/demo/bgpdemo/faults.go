package bgpdemo

import (
	"context"
	"fmt"
	"time"

	"github.com/kvip/kvip/test/lab/kindcluster"
)

const (
	restoreWithin = 6 * time.Minute // until all is as it was

	// Limits of the time in which requests fail. They leave room for a busy machine: `make
	// bench-failover` measures. A dead node is found by BFD in 1.5 s; it may have led etcd. A dead
	// router is found by its neighbours: by the client with BFD, by the nodes with routes.sh.
	serverLimit = time.Second
	nodeLimit   = 5 * time.Second
	routerLimit = 5 * time.Second
)

// fault is something that breaks and comes back.
type fault struct {
	name    string // for the table
	command string
	limit   time.Duration
	inject  func(context.Context) error
	// restore starts what was killed. Command is empty if it returns without that.
	restored       string // for errors
	restoreCommand string
	restore        func(context.Context) error
}

// faults are all that happens, in this order. Each has another victim.
func (d *demo) faults() []fault {
	controls := d.Cluster.ControlPlanes()
	worker := d.Cluster.Nodes[len(d.Cluster.Nodes)-1]
	all := []fault{
		d.serverFault(controls[1]),
		d.nodeFault("control-plane node", controls[2]),
		d.nodeFault("worker", worker),
	}
	for i, kind := range []string{"FRR", "BIRD"} {
		all = append(all, d.routerFault(kind, d.fabric.routers[i]))
	}
	return all
}

// serverFault kills the API server of a node. The kubelet starts it again.
func (d *demo) serverFault(n *kindcluster.Node) fault {
	return fault{
		name: "API server killed", command: "kill -KILL kube-apiserver      # on " + n.Name,
		limit: serverLimit, restored: "API server is back",
		inject:  func(ctx context.Context) error { return n.Kill(ctx, "kube-apiserver") },
		restore: func(context.Context) error { return nil },
	}
}

// nodeFault kills the container of a node.
func (d *demo) nodeFault(role string, n *kindcluster.Node) fault {
	return fault{
		name: role + " killed", command: "docker kill " + n.Name, limit: nodeLimit,
		restored: role + " is back", restoreCommand: "docker start " + n.Name,
		inject: func(ctx context.Context) error { return n.Docker(ctx, "kill") },
		restore: func(ctx context.Context) error {
			if err := d.Cluster.Start(ctx, n); err != nil {
				return err
			}
			return d.fabric.addRoutes(ctx, n)
		},
	}
}

// routerFault kills the container of a router.
func (d *demo) routerFault(kind string, m *machine) fault {
	return fault{
		name: "router " + kind + " killed", command: "docker kill " + m.name, limit: routerLimit,
		restored: "router " + kind + " is back", restoreCommand: "docker start " + m.name,
		inject: func(ctx context.Context) error {
			_, err := d.fabric.engine.Docker(ctx, "kill", m.name)
			return err
		},
		restore: func(ctx context.Context) error { return d.fabric.restart(ctx, m) },
	}
}

// runFault breaks one thing, adds what was lost to the table, and restores it.
func (d *demo) runFault(ctx context.Context, f fault) error {
	if err := d.watch.quiet(ctx, time.Now()); err != nil {
		return fmt.Errorf("before %s: %w", f.name, err)
	}
	d.Out.Say("\n%s\n$ %s", f.name, f.command)
	began := time.Now()
	if err := f.inject(ctx); err != nil {
		return err
	}
	if err := d.record(ctx, f.name, began, f.limit, func(ctx context.Context) error {
		return d.watch.quiet(ctx, began.Add(observeFor))
	}); err != nil {
		return err
	}
	if f.restoreCommand != "" {
		d.Out.Say("$ %s", f.restoreCommand)
	}
	// What boots takes CPU time from all nodes, which share a machine: the return is not measured.
	began = time.Now()
	if err := f.restore(ctx); err != nil {
		return fmt.Errorf("%s: %w", f.restored, err)
	}
	if err := d.whole(ctx); err != nil {
		return fmt.Errorf("%s: %w", f.restored, err)
	}
	d.Out.Say("  all nodes are Ready and both routers use all paths again after %.0f s",
		time.Since(began).Seconds())
	return nil
}

// record waits until something is over and adds a row.
func (d *demo) record(ctx context.Context, name string, began time.Time, limit time.Duration,
	over func(context.Context) error) error {
	if err := over(ctx); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	r := row{name: name, limit: limit}
	var err error
	if r.api, r.service, err = d.watch.lost(ctx, began); err != nil {
		return err
	}
	for _, line := range r.lines() {
		d.Out.Say("  %s", line)
	}
	d.rows = append(d.rows, r)
	return nil
}

// whole waits until nodes, pods, routers and client are as they were at the beginning.
func (d *demo) whole(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, restoreWithin)
	defer cancel()
	if err := d.Cluster.WaitReady(ctx); err != nil {
		return err
	}
	return kindcluster.Eventually(ctx, pollEvery, func() error {
		if err := d.fabric.spread(ctx, vip, d.Cluster.ControlPlanes()); err != nil {
			return err
		}
		return d.fabric.spread(ctx, d.service, d.workers())
	})
}

// workers returns the worker nodes.
func (d *demo) workers() (nodes []*kindcluster.Node) {
	for _, n := range d.Cluster.Nodes {
		if !n.ControlPlane {
			nodes = append(nodes, n)
		}
	}
	return nodes
}
