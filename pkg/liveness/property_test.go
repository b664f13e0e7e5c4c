package liveness

import (
	"flag"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	simCases = flag.Int("sim.cases", 40, "how many simulated histories each property test runs")
	simSeed  = flag.Uint64("sim.seed", 0, "run only this history, and print it")
)

// check asserts S2 at an instant of a node, given its View of the instant before.
func (n *node) check(before View) {
	v, w := n.view, n.w
	if !v.Fresh && !slices.Equal(before.Alive, v.Alive) {
		w.fail("%s changes its view from %v to %v while it is stale", n.name, before.Alive, v.Alive)
	}
	if !slices.Equal(before.Alive, v.Alive) {
		w.logf("%s: %s", n.name, text(v))
	}
	for _, p := range w.nodes {
		alive := slices.Contains(v.Alive, p.name)
		switch {
		case len(v.Alive) == 0: // there was no fresh View yet
		case !alive && !p.everFaulty &&
			(slices.Contains(before.Alive, p.name) || p.wrote != 0 && p.wrote < n.since):
			w.fail("%s takes %s for dead, which never failed", n.name, p.name)
		case alive && !p.up && len(before.Alive) == 0 && p.since < n.since:
			w.fail("the first view of %s has %s, which died before", n.name, p.name)
		case alive && !p.up && w.now > n.detectsBy(p):
			w.fail("%s takes %s for alive, which is dead since %v", n.name, p.name, p.since)
		}
	}
}

// detectsBy returns when n must have detected that p is dead: after its last sign of life, the
// duration, and one more renewal that may wait for the response to an earlier one. It is later
// after a fault, which costs a failed renewal, the longest pause and a new watch, and starts p's
// duration again.
func (n *node) detectsBy(p *node) time.Duration {
	known := p.since + lifetime + 5*latency + 2*tick
	if hurt := max(n.w.ended, n.faulted); hurt+rejoin+timeout+lifetime > p.since {
		recovered := max(hurt+timeout+Backoff(99, lifetime), hurt+rejoin) + 3*latency
		known = max(known, recovered+lifetime+5*latency+2*tick)
	}
	return known
}

// property runs a scenario with many seeds, or with -sim.seed.
func property(t *testing.T, scenario func(w *world)) {
	t.Helper()
	first, last := uint64(1), uint64(*simCases)
	if testing.Short() {
		last = min(last, 5)
	}
	if *simSeed != 0 {
		first, last = *simSeed, *simSeed
	}
	for seed := first; seed <= last; seed++ {
		w := newWorld(seed, 2+int(seed%5))
		scenario(w)
		if *simSeed != 0 {
			t.Log(strings.Join(w.trace, "\n"))
		}
		if w.failure != "" {
			t.Fatalf("seed %d: %s (run it alone with -run '%s$' -sim.seed=%d -v)",
				seed, w.failure, t.Name(), seed)
		}
	}
}

// TestS2OutagesMoveNothing: no node is ever taken for dead in an outage of the API, however long it
// is, whenever it begins, and whether requests are refused or lost.
func TestS2OutagesMoveNothing(t *testing.T) {
	property(t, func(w *world) {
		w.run(15*time.Second, func(*world) {})
		w.run(90*time.Second, outages)
		w.settle()
	})
}

// TestS2Deaths: while the API works, all nodes detect the dead in time, and take no other node for
// dead, also while watches are stuck and single nodes are disconnected.
func TestS2Deaths(t *testing.T) {
	property(t, func(w *world) {
		w.run(15*time.Second, func(*world) {})
		w.run(90*time.Second, nodeFaults)
		w.settle()
	})
}

// TestS2Everything has outages and faults of nodes together.
func TestS2Everything(t *testing.T) {
	property(t, func(w *world) {
		w.run(120*time.Second, func(w *world) { outages(w); nodeFaults(w) })
		w.settle()
	})
}

// outages begins an outage about every ten seconds, of 50 ms to minutes, mostly about as long as a
// Lease lasts.
func outages(w *world) {
	if w.now < w.outage || w.rng.IntN(1000) > 0 {
		return
	}
	length := 50*time.Millisecond + spread(w.rng, 12*time.Second)
	if w.rng.IntN(10) == 0 {
		length = spread(w.rng, 2*time.Minute)
	}
	w.outage, w.ended, w.losing = w.now+length, w.now+length, w.rng.IntN(2) == 0
	w.logf("the API is away for %v, requests are lost: %v", length, w.losing)
}

// nodeFaults stops, starts and disconnects nodes, and stops their watches. Only the watch of node 0
// is ever stopped.
func nodeFaults(w *world) {
	if w.rng.IntN(300) > 0 {
		return
	}
	n := w.nodes[w.rng.IntN(len(w.nodes))]
	length := spread(w.rng, 15*time.Second)
	switch kind := w.rng.IntN(3); {
	case !n.up:
		w.logf("%s starts", n.name)
		n.start()
	case kind == 0 || n == w.nodes[0]:
		n.stuck, n.faulted = w.now+length, max(n.faulted, w.now+length)
		w.logf("%s's watch is stuck for %v", n.name, length)
	case kind == 1:
		n.disconnected, n.faulted, n.everFaulty = w.now+length, max(n.faulted, w.now+length), true
		w.logf("%s is disconnected for %v", n.name, length)
	default:
		w.logf("%s dies", n.name)
		n.stop()
	}
}

func spread(rng *rand.Rand, d time.Duration) time.Duration {
	return time.Duration(rng.Int64N(int64(d)))
}

// settle lets every fault end. Then every running node must know which nodes run.
func (w *world) settle() {
	w.run(max(0, w.outage-w.now)+30*time.Second, func(*world) {})
	var up []string
	for _, n := range w.nodes {
		if n.up {
			up = append(up, n.name)
		}
	}
	for _, n := range w.nodes {
		if n.up && w.failure == "" && (!n.view.Fresh || !slices.Equal(n.view.Alive, up)) {
			w.fail("%s ends with %s, running are %v", n.name, text(n.view), up)
		}
	}
}
