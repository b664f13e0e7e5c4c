package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"time"

	"github.com/kvip/kvip/test/draw"
	"github.com/kvip/kvip/test/failover"
	"github.com/kvip/kvip/test/lab/cluster"
	"github.com/kvip/kvip/test/lab/netlab"
	"github.com/kvip/kvip/test/lab/wait"
)

const (
	// A fault lasts from shortest to longest, short ones more often.
	shortest, longest = 50 * time.Millisecond, 3 * time.Second
	// together is the probability that the next fault begins before the last one has ended.
	together = 0.3
	// perRound is how many faults happen between two recoveries.
	perRound      = 10
	logLines      = 60 // of each agent, after a failure
	recoverWithin = 2 * time.Minute
)

// chaos is a control plane and what happens to it.
type chaos struct {
	cluster *cluster.Cluster
	tool    *failover.Kvip
	sampler *netlab.Sampler
	random  *rand.Rand
	began   time.Time
	undo    []func() error
	counts  map[string]int
	killed  map[string]time.Time // when the agent of a node was killed last
}

// run starts a control plane, lets the faults happen and checks.
func run(ctx context.Context, o options) (err error) {
	c := &chaos{
		random: rand.New(rand.NewPCG(o.seed, 0)), counts: map[string]int{},
		killed: map[string]time.Time{},
	}
	if err := c.start(ctx); err != nil {
		return errors.Join(err, c.close())
	}
	defer func() { err = errors.Join(err, c.close()) }()
	if o.pressure > 0 {
		return c.pressure(ctx, o.pressure)
	}
	say("%d faults, SEED=%d", o.faults, o.seed)
	for done := 0; done < o.faults; {
		count := min(perRound, o.faults-done)
		if err := c.round(ctx, count); err != nil {
			c.printLogs()
			return fmt.Errorf("SEED=%d, after %d faults: %w", o.seed, done, err)
		}
		done += count
		report := c.sampler.Window(c.began, time.Now())
		say("%d faults: two holders in 0 of %d samples, longest time without one %v", done,
			report.Samples, report.MaxGap.Round(time.Millisecond))
	}
	say("done: %v", c.counts)
	return nil
}

func (c *chaos) start(ctx context.Context) (err error) {
	bin, err := cluster.Binaries(os.Stderr)
	if err != nil {
		return err
	}
	path, version, err := failover.FindKvip(ctx)
	if err != nil {
		return err
	}
	c.tool, err = failover.NewKvip(ctx, path, version, cluster.VIP4, cluster.VIP6)
	if err != nil {
		return err
	}
	c.cluster, err = cluster.Start(ctx, cluster.Config{Binaries: bin, Progress: os.Stderr})
	if err != nil {
		return err
	}
	for _, n := range c.cluster.Nodes {
		if err := c.tool.Start(n); err != nil {
			return err
		}
	}
	if c.sampler, err = c.cluster.Sample(cluster.VIP4, cluster.VIP6); err != nil {
		return err
	}
	c.began = time.Now()
	return c.recover(ctx)
}

func (c *chaos) close() error {
	var errs []error
	errs = append(errs, c.end())
	if c.sampler != nil {
		errs = append(errs, c.sampler.Stop())
	}
	if c.cluster != nil {
		errs = append(errs, c.cluster.Close())
	}
	return errors.Join(errs...)
}

// round lets some faults happen, and then the control plane recover.
func (c *chaos) round(ctx context.Context, count int) error {
	for range count {
		f := c.pick()
		n := c.victim()
		say("%s  %s on %s", time.Now().UTC().Format("15:04:05.000"), f.name, n.Name)
		undo, err := f.begin(c, n)
		if err != nil && !errors.Is(err, errNotNow) {
			return errors.Join(fmt.Errorf("%s on %s: %w", f.name, n.Name, err), c.end())
		}
		if undo != nil {
			c.undo = append(c.undo, undo)
		}
		c.counts[f.name]++
		if err := wait.Pause(ctx, c.span()); err != nil {
			return err
		}
		if c.random.Float64() >= together {
			if err := c.end(); err != nil {
				return err
			}
		}
		if err := c.check(); err != nil {
			return errors.Join(err, c.end())
		}
	}
	return errors.Join(c.end(), c.recover(ctx), c.check())
}

// end ends all faults.
func (c *chaos) end() error {
	var errs []error
	for _, undo := range c.undo {
		errs = append(errs, undo())
	}
	c.undo = nil
	return errors.Join(errs...)
}

// check returns an error if two nodes have answered for an address.
func (c *chaos) check() error {
	report := c.sampler.Window(c.began, time.Now())
	if report.TwoHolders > 0 {
		return fmt.Errorf("two holders in %d of %d samples: %+v", report.TwoHolders, report.Samples,
			report)
	}
	return nil
}

// recover heals everything and waits until one node holds each address in mode fast, and all agents
// could hold.
func (c *chaos) recover(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, recoverWithin)
	defer cancel()
	if err := c.cluster.Heal(ctx); err != nil {
		return err
	}
	if err := failover.AllReady(ctx, c.cluster, c.tool); err != nil {
		return fmt.Errorf("the control plane does not recover within %v: %w", recoverWithin, err)
	}
	return wait.For(ctx, "one holder of each address", func() bool {
		return len(c.sampler.Holders(cluster.VIP4)) == 1 && len(c.sampler.Holders(cluster.VIP6)) == 1
	})
}

// pick draws a fault.
func (c *chaos) pick() fault {
	return draw.Weighted(c.random, faults, func(f fault) int { return f.weight })
}

// victim draws a node, in half of the cases the holder.
func (c *chaos) victim() *cluster.Node {
	nodes := c.cluster.Nodes
	n := nodes[c.random.IntN(len(nodes))]
	holders := c.sampler.Holders(cluster.VIP4)
	if c.random.IntN(2) == 0 && len(holders) == 1 {
		n = c.cluster.Node(holders[0].Name)
	}
	return n
}

// span draws how long a fault lasts.
func (c *chaos) span() time.Duration {
	factor := math.Log(float64(longest) / float64(shortest))
	return time.Duration(float64(shortest) * math.Exp(c.random.Float64()*factor))
}

// printLogs prints what the agents report, and what they wrote lately.
func (c *chaos) printLogs() {
	if a := running(c.cluster.Nodes[0]); a != nil {
		var out bytes.Buffer
		n := c.cluster.Nodes[0]
		p, err := n.Host.Start(n.WithState(netlab.Command{
			Path: a.Path(), Args: []string{"status", "-o", "json"}, Stdout: &out, Output: &out,
		}))
		if err == nil {
			err = p.Err()
		}
		say("kvip status: %v\n%s", err, &out)
	}
	for _, n := range c.cluster.Nodes {
		text, err := os.ReadFile(c.tool.Log(n))
		if err != nil {
			say("%v", err)
			continue
		}
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		lines = lines[max(0, len(lines)-logLines):]
		say("the end of the log of %s:\n  %s", n.Name, strings.Join(lines, "\n  "))
	}
}
