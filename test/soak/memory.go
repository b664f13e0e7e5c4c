package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kvip/kvip/test/lab/cluster"
	"github.com/kvip/kvip/test/lab/servicelab"
	"github.com/kvip/kvip/test/lab/wait"
	"github.com/kvip/kvip/test/soak/growth"
)

// size is what an agent uses when it is quiet.
type size struct {
	goroutines float64
	heap       float64 // MiB that lived after the last collection of garbage
	resident   float64 // MiB
}

// sizeOf reads it from the agent's /metrics page. The collector starts the next collection when the
// heap has doubled (GOGC's default), so half of that is what lived after the last.
func sizeOf(l *servicelab.Lab, n *cluster.Node) (size, error) {
	m, err := l.Metrics(n)
	if err != nil {
		return size{}, err
	}
	const mib = 1 << 20
	s := size{goroutines: m["go_goroutines"], heap: m["go_memstats_next_gc_bytes"] / 2 / mib,
		resident: m["process_resident_memory_bytes"] / mib}
	if s.goroutines == 0 || s.heap == 0 || s.resident == 0 {
		return s, fmt.Errorf("read /metrics of %s: goroutines or memory are missing", n.Name)
	}
	return s, nil
}

// reconnectedWithin bounds how long the agent waits before it opens a watch again that churn broke:
// three seconds and a request.
const reconnectedWithin = 4 * time.Second

// sizeAtRest returns the size of the elder agent when all of its watches are open. Each needs three
// goroutines, and addresses are as wanted even before they are: the agent need not see a change for
// that. So the number of goroutines is the largest within reconnectedWithin.
func (w *environment) sizeAtRest(ctx context.Context) (s size, err error) {
	most := 0.0
	for end := time.Now().Add(reconnectedWithin); time.Now().Before(end); {
		now, failed := sizeOf(w.lab, w.lab.Nodes[elder])
		if failed == nil {
			s, most = now, max(most, now.goroutines)
		} else {
			err = failed // of a machine that is busy; one answer is enough
		}
		if err := wait.Pause(ctx, lookEvery); err != nil {
			return size{}, err
		}
	}
	if most == 0 {
		return size{}, err
	}
	s.goroutines = most
	return s, nil
}

// minimum is how many sizes a judgement needs.
const minimum = growth.Minimum

// checkGrowth is an error if the sizes of an agent grew.
func checkGrowth(sizes []size) error {
	if len(sizes) < minimum {
		return fmt.Errorf("judge growth: %d sizes, want %d: let it run for longer", len(sizes), minimum)
	}
	var errs []error
	for _, c := range []struct {
		what          string
		of            func(size) float64
		factor, slack float64
	}{
		{"goroutines", func(s size) float64 { return s.goroutines }, 1, 10},
		{"MiB of heap", func(s size) float64 { return s.heap }, 1.25, 4},
		{"MiB resident", func(s size) float64 { return s.resident }, 1.25, 10},
	} {
		var values []float64
		for _, s := range sizes {
			values = append(values, c.of(s))
		}
		errs = append(errs, growth.Check(c.what, values, c.factor, c.slack))
	}
	return errors.Join(errs...)
}
