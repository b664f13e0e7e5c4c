package kindcluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// Start starts a node that is down, with the address that it had: Docker would give it the next
// free one, and an etcd member with a new address is unknown to the others.
func (c *Cluster) Start(ctx context.Context, n *Node) error {
	if err := c.pin(ctx, n); err != nil {
		return err
	}
	return n.Docker(ctx, "start")
}

// Restart stops all nodes at once, and starts them at once with their addresses.
func (c *Cluster) Restart(ctx context.Context) error {
	if err := c.each(func(n *Node) error { return n.Docker(ctx, "kill") }); err != nil {
		return err
	}
	for _, n := range c.Nodes {
		if err := c.pin(ctx, n); err != nil {
			return err
		}
	}
	return c.each(func(n *Node) error { return n.Docker(ctx, "start") })
}

// pin makes sure that a stopped node gets its address at its next start. In a network that kind
// made, Docker does not allow it.
func (c *Cluster) pin(ctx context.Context, n *Node) error {
	if !c.madeNetwork {
		return nil
	}
	if _, err := c.cfg.Engine.Docker(ctx, "network", "disconnect", NetworkName, n.Name); err != nil {
		return err
	}
	if _, err := c.cfg.Engine.Docker(ctx, "network", "connect", "--ip", n.Addr.String(), NetworkName,
		n.Name); err != nil {
		return fmt.Errorf("give %s its address: %w", n.Name, err)
	}
	return nil
}

// each does the same to all nodes at once.
func (c *Cluster) each(f func(*Node) error) error {
	errs := make([]error, len(c.Nodes))
	var wg sync.WaitGroup
	for i, n := range c.Nodes {
		wg.Go(func() { errs[i] = f(n) })
	}
	wg.Wait()
	return errors.Join(errs...)
}
