package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kvip/kvip/test/lab/cluster"
	"github.com/kvip/kvip/test/lab/wait"
)

// lostUnderPressure is how many percent of the frames between all nodes get lost.
const lostUnderPressure = 5

// counts are what must not change under pressure, and how often agents ran late.
type counts struct {
	term   int64
	blinks float64 // times a fence shut for a late majority, of all nodes
	late   float64
}

// pressure keeps all CPUs busy and loses frames for a time. It fails if the address moves or a
// fence shuts.
func (c *chaos) pressure(ctx context.Context, d time.Duration) (err error) {
	before, err := c.read(ctx)
	if err != nil {
		return err
	}
	for _, begin := range []begin{hogs, loseFrames(lostUnderPressure)} {
		undo, err := begin(c, c.cluster.Nodes[0])
		if undo != nil {
			c.undo = append(c.undo, undo)
		}
		if err != nil {
			return err
		}
	}
	began := time.Now()
	for time.Since(began) < d {
		if err := wait.Pause(ctx, min(time.Minute, d-time.Since(began))); err != nil {
			return err
		}
		now, err := c.read(ctx)
		if err != nil {
			return err
		}
		report := c.sampler.Window(began, time.Time{})
		say("%v: term %d, %v blinks, %v late wake-ups, two holders in %d of %d samples, longest gap %v",
			time.Since(began).Round(time.Second), now.term, now.blinks-before.blinks,
			now.late-before.late, report.TwoHolders, report.Samples,
			report.MaxGap.Round(time.Millisecond))
		if now.term != before.term || now.blinks != before.blinks {
			c.printLogs()
			return fmt.Errorf("under pressure: term %d and %v blinks, before it %d and %v", now.term,
				now.blinks, before.term, before.blinks)
		}
	}
	return errors.Join(c.end(), c.check())
}

func (c *chaos) read(ctx context.Context) (n counts, err error) {
	if n.term, err = c.tool.Term(ctx, c.cluster); err != nil {
		return n, err
	}
	for _, node := range c.cluster.Nodes {
		for name, sum := range map[string]*float64{
			"kvip_blinks_total": &n.blinks, "kvip_late_wakeups_total": &n.late,
		} {
			value, err := c.tool.Metric(ctx, node, name)
			if err != nil {
				return n, err
			}
			*sum += value
		}
	}
	return n, nil
}

// loseFrames drops frames between all nodes.
func loseFrames(percent int) begin {
	return func(c *chaos, _ *cluster.Node) (func() error, error) {
		var errs []error
		for _, n := range c.cluster.Nodes {
			for _, other := range c.cluster.Others(n) {
				errs = append(errs, c.cluster.Lab.Lose(percent, n.Host, other))
			}
		}
		return c.cluster.Lab.Heal, errors.Join(errs...)
	}
}
