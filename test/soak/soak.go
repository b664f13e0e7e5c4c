package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A round is churn for a while and then quiet: there are about so many, each at least as long as
// shortest.
const (
	rounds   = 60
	shortest = 8 * time.Second
)

// soak runs rounds for as long as the options say.
func soak(ctx context.Context, o options) (err error) {
	asking, stop := context.WithCancel(ctx)
	w, err := newEnvironment(asking, o)
	if err != nil {
		stop()
		return err
	}
	defer func() {
		stop()
		w.asker.Close()
		err = errors.Join(err, w.close())
	}()
	say("%s of churn with up to %d Services, SEED=%d", o.duration, o.services, o.seed)
	sizes, err := w.run(ctx, o.duration)
	if err != nil {
		w.printLogs()
		return fmt.Errorf("SEED=%d: %w", o.seed, err)
	}
	say("done: %v", w.counts)
	return checkGrowth(sizes)
}

// run returns the sizes of the elder agent at the end of each round.
func (w *environment) run(ctx context.Context, d time.Duration) (sizes []size, err error) {
	if err := w.populate(ctx); err != nil {
		return nil, err
	}
	for end := time.Now().Add(d); time.Now().Before(end) || len(sizes) < minimum; {
		samples, err := w.round(ctx, max(d/rounds, shortest))
		if err != nil {
			return sizes, err
		}
		s, err := w.sizeAtRest(ctx)
		if err != nil {
			return sizes, err
		}
		sizes = append(sizes, s)
		say("round %d: %d addresses, %d samples without a double; %s has %.0f goroutines, %.1f MiB of "+
			"heap, %.1f MiB resident",
			len(sizes), len(w.addresses), samples, w.lab.Nodes[elder].Name, s.goroutines, s.heap, s.resident)
	}
	return sizes, nil
}

// populate creates half of the Services.
func (w *environment) populate(ctx context.Context) error {
	for i := 0; i < len(w.services); i += 2 {
		if err := errors.Join(w.move(ctx, i), w.toggle(ctx, i)); err != nil {
			return err
		}
	}
	return w.settle(ctx)
}

// round is churn, with a look at every instant, and then quiet.
func (w *environment) round(ctx context.Context, d time.Duration) (samples int, err error) {
	limited, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	type watched struct {
		samples int
		err     error
	}
	ended := make(chan watched, 1)
	go func() {
		n, err := w.watch(limited)
		cancel() // nothing more is to happen after a finding
		ended <- watched{n, err}
	}()
	err = w.churn(limited)
	cancel()
	seen := <-ended
	if err := errors.Join(err, seen.err, ctx.Err(), w.checkAgents()); err != nil {
		return seen.samples, err
	}
	return seen.samples, w.settle(ctx)
}

// printLogs prints the end of each agent's log, before the next start removes it.
func (w *environment) printLogs() {
	for _, n := range w.lab.Nodes {
		say("the end of the log of %s:\n%s", n.Name, tail(w.lab.LogOf(n)))
	}
}
