package labdemo

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/kvip/kvip/test/demo/screen"
	"github.com/kvip/kvip/test/failover"
	"github.com/kvip/kvip/test/lab/cluster"
)

const (
	readyWithin = time.Minute            // for the nodes to be ready
	watchAfter  = 300 * time.Millisecond // after the address answers again
)

// demo is a cluster with kvip on each node.
type demo struct {
	out     *screen.Screen
	cluster *cluster.Cluster
	tool    *failover.Kvip
	vip     netip.Addr
	watch   atomic.Pointer[failover.Watch]
	page    string                    // that its client asks for, as in failover.Fault
	repairs map[*cluster.Node]*repair // of nodes that were broken
}

// run starts kvip, shows every fault, and returns an error if a result is wrong.
func (d *demo) run(ctx context.Context) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := d.begin(ctx); err != nil {
		return err
	}
	stopLive := d.out.Live(ctx, d.status)
	defer func() { err = errors.Join(err, d.watch.Load().Stop()) }()
	defer func() {
		cancel()
		for _, m := range d.repairs {
			<-m.done
		}
	}()
	defer stopLive()
	var rows []row
	faults := slices.DeleteFunc(failover.Faults(), func(f failover.Fault) bool { return f.Variant })
	for i, f := range faults {
		if err := d.ask(f.Page); err != nil {
			return err
		}
		holder, err := d.holder(ctx, f)
		if err != nil {
			return err
		}
		d.out.Say("\n%d/%d  %s, on %s", i+1, len(faults), f.Name, holder.Name)
		result, err := failover.Run(ctx, d.watch.Load(), f, holder,
			failover.Pace{After: watchAfter, Quick: true})
		if err != nil {
			return err
		}
		for _, line := range screen.Timeline(result, d.watch.Load().Requests(result.Start)) {
			d.out.Say("     %s", line)
		}
		rows = append(rows, row{f, result})
		d.repairs[holder] = startRepair(ctx, holder, d.tool)
	}
	stopLive()
	d.out.Say("\n%s", table(rows))
	return verdict(rows)
}

// begin runs kvip on each node and waits until one of them serves the client.
func (d *demo) begin(ctx context.Context) error {
	d.out.Say("each node runs what `kvip manifest pod --vip %s` prints:", d.vip)
	for _, n := range d.cluster.Nodes {
		if err := d.tool.Start(n); err != nil {
			return err
		}
	}
	for _, n := range d.cluster.Nodes {
		d.out.Say("  %s  %s  kvip with pid %d", n.Name, n.Host.Addr(true), n.Agent().PID())
	}
	d.out.Say("no node has held the VIP yet, so kvip waits for one lease duration (%s) before the "+
		"first take", failover.Lease)
	watch, err := failover.StartWatch(d.cluster, d.vip, d.page)
	if err != nil {
		return err
	}
	d.watch.Store(watch)
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	if err = failover.AllReady(ctx, d.cluster, d.tool); err == nil {
		_, err = watch.Steady(ctx)
	}
	if err != nil {
		return errors.Join(err, watch.Stop())
	}
	return nil
}

// ask makes the client ask for a page.
func (d *demo) ask(page string) error {
	if page == d.page {
		return nil
	}
	watch, err := failover.StartWatch(d.cluster, d.vip, page)
	if err != nil {
		return err
	}
	d.page = page
	return d.watch.Swap(watch).Stop()
}

// holder waits until there is a holder that serves the client, and a node to take over from it, in
// mode fast; where etcd will lose a member, until no other is missing.
func (d *demo) holder(ctx context.Context, f failover.Fault) (*cluster.Node, error) {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	for {
		n, err := d.watch.Load().Steady(ctx)
		if err != nil {
			return nil, err
		}
		servers, heirs := 0, 0
		for _, other := range d.cluster.Nodes {
			server, agent, err := d.repairs[other].state()
			if err != nil {
				return nil, err
			}
			servers += count(server)
			heirs += count(agent && other != n)
		}
		_, whole, _ := d.repairs[n].state()
		if whole && heirs > 0 && (servers == len(d.cluster.Nodes) || !f.Etcd) &&
			d.tool.Settled(ctx, d.cluster) == nil {
			return n, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for a node that could take over: %w", ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func count(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

// status returns the live line.
func (d *demo) status() string {
	var holders []string
	watch := d.watch.Load()
	for _, h := range watch.Holders(d.vip) {
		holders = append(holders, h.Name)
	}
	var names []string
	for _, n := range d.cluster.Nodes {
		names = append(names, n.Name)
	}
	now := time.Now()
	return screen.StatusLine(names, holders, watch.Requests(now.Add(-screen.StripFor)), now)
}
