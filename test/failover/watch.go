package failover

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/kvip/kvip/test/lab/cluster"
	"github.com/kvip/kvip/test/lab/netlab"
	"github.com/kvip/kvip/test/lab/wait"
)

const (
	askEvery   = 10 * time.Millisecond  // the client's interval
	askTimeout = 500 * time.Millisecond // the client's limit for one request
	lookEvery  = 20 * time.Millisecond  // how often a wait looks again
	steadyFor  = 300 * time.Millisecond // how long a client must be served to call it steady
)

// Watch sees who has the address and what a client gets there, until Stop.
type Watch struct {
	*netlab.Sampler
	*netlab.Client
	VIP netip.Addr

	c *cluster.Cluster
}

// StartWatch starts a sampler on the nodes, and on the client host a client of a page, as in
// Fault.Page.
func StartWatch(c *cluster.Cluster, vip netip.Addr, page string) (*Watch, error) {
	sampler, err := c.Sample(vip)
	if err != nil {
		return nil, err
	}
	client, err := c.StartClientOf(vip, cmp.Or(page, "/readyz"))
	if err != nil {
		return nil, errors.Join(err, sampler.Stop())
	}
	return &Watch{Sampler: sampler, Client: client, VIP: vip, c: c}, nil
}

// Stop ends both. What they saw stays readable.
func (w *Watch) Stop() error {
	w.Client.Stop()
	return w.Sampler.Stop()
}

// Holder returns the node that has the address, or nil if there is not exactly one.
func (w *Watch) Holder() *cluster.Node {
	holders := w.Holders(w.VIP)
	if len(holders) != 1 {
		return nil
	}
	return w.c.Node(holders[0].Name)
}

// Server returns the node whose API server has answered all of the client's requests lately,
// or "".
func (w *Watch) Server() string {
	now := time.Now()
	return server(w.Requests(now.Add(-steadyFor)), now)
}

// server returns who answered every request that started in the span before now, and nearly
// every one that was due: those that hang are not in the list yet.
func server(reqs []netlab.Request, now time.Time) string {
	name, answered := "", 0
	for _, r := range reqs {
		switch {
		case r.Start.Before(now.Add(-steadyFor)):
			continue
		case !r.OK(), name != "" && r.Server != name:
			return ""
		}
		name = r.Server
		answered++
	}
	if answered < int(steadyFor/askEvery)*6/10 {
		return ""
	}
	return name
}

// Steady waits until exactly one node has the address and the client is served by that node,
// and returns it.
func (w *Watch) Steady(ctx context.Context) (*cluster.Node, error) {
	for {
		if n := w.Holder(); n != nil && w.Server() == n.Name {
			return n, nil
		}
		if err := wait.Pause(ctx, lookEvery); err != nil {
			return nil, fmt.Errorf("wait for the address %s to be served: %w", w.VIP, err)
		}
	}
}

// AllReady waits until every node's API server and agent are ready, and the tool has settled.
func AllReady(ctx context.Context, c *cluster.Cluster, t Tool) error {
	for _, n := range c.Nodes {
		if err := NodeReady(ctx, n, t); err != nil {
			return err
		}
	}
	s, ok := t.(Settler)
	if !ok {
		return nil
	}
	return wait.Until(ctx, t.Name(), 10*lookEvery, func() error { return s.Settled(ctx, c) })
}

// NodeReady waits until the node's API server and agent are ready. An agent that does not run
// is not waited for.
func NodeReady(ctx context.Context, n *cluster.Node, t Tool) error {
	for {
		err := errors.Join(n.Ready(ctx), t.Ready(ctx, n))
		if err == nil {
			return nil
		}
		if a := n.Agent(); a == nil || !a.Running() {
			return fmt.Errorf("wait for node %s: its agent does not run, see %s", n.Name, t.Log(n))
		}
		if wait.Pause(ctx, 2*lookEvery) != nil {
			return fmt.Errorf("wait for node %s: %w", n.Name, err)
		}
	}
}
