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
	simSeed  = flag.Uint64("sim.seed", 0, "run only this history and print it")
)

// check is the property of S2, at every instant of every node.
func (n *node) check(before View) {
	v, w := n.verdict, n.w
	if !v.Fresh && !slices.Equal(before.Alive, v.Alive) {
		w.fail("%s changes its verdict from %v to %v without being fresh", n.name, before.Alive, v.Alive)
	}
	if !slices.Equal(before.Alive, v.Alive) {
		w.note("%s: %s", n.name, text(v))
	}
	for _, p := range w.nodes {
		alive := slices.Contains(v.Alive, p.name)
		switch {
		case len(v.Alive) == 0: // not judged yet
		case !alive && !p.everBad && (slices.Contains(before.Alive, p.name) || p.wrote != 0 && p.wrote < n.since):
			w.fail("%s counts %s out, which never failed", n.name, p.name)
		case alive && !p.up && len(before.Alive) == 0 && p.since < n.since:
			w.fail("%s starts with %s, which was dead before", n.name, p.name)
		case alive && !p.up && w.now > n.knowsBy(p):
			w.fail("%s still counts %s, dead since %v", n.name, p.name, p.since)
		}
	}
}

// knowsBy is when n must have judged p dead: its last sign of life, the duration, one more renewal that may have to wait
// for the answer to one before it; later after a fault, which costs a failed renewal, the longest pause and a new watch,
// and gives p its duration anew.
func (n *node) knowsBy(p *node) time.Duration {
	known := p.since + lifetime + 5*latency + 2*tick
	if hurt := max(n.w.ended, n.faulted); hurt+rejoin+timeout+lifetime > p.since {
		recovered := max(hurt+timeout+Backoff(99, lifetime), hurt+rejoin) + 3*latency
		known = max(known, recovered+lifetime+5*latency+2*tick)
	}
	return known
}

func property(t *testing.T, story func(w *world)) {
	t.Helper()
	first, last := uint64(1), uint64(*simCases)
	if *simSeed != 0 {
		first, last = *simSeed, *simSeed
	}
	for seed := first; seed <= last; seed++ {
		w := newWorld(seed, 2+int(seed%5))
		story(w)
		if *simSeed != 0 {
			t.Log(strings.Join(w.trace, "\n"))
		}
		if w.failure != "" {
			t.Fatalf("seed %d: %s (play it alone with -run '%s$' -sim.seed=%d -v)", seed, w.failure, t.Name(), seed)
		}
	}
}

// TestS2OutagesMoveNothing: whatever outages the API has, how long and in whatever phase, refusing or
// swallowing, nobody is ever counted out.
func TestS2OutagesMoveNothing(t *testing.T) {
	property(t, func(w *world) {
		w.run(15*time.Second, func(*world) {})
		w.run(90*time.Second, outages)
		w.settle()
	})
}

// TestS2Deaths: with a live API, the dead are counted out by all in time and nobody else ever is, also while
// watches are stuck and single nodes are cut off.
func TestS2Deaths(t *testing.T) {
	property(t, func(w *world) {
		w.run(15*time.Second, func(*world) {})
		w.run(90*time.Second, troubles)
		w.settle()
	})
}

// TestS2Everything has outages and troubles together.
func TestS2Everything(t *testing.T) {
	property(t, func(w *world) {
		w.run(120*time.Second, func(w *world) { outages(w); troubles(w) })
		w.settle()
	})
}

// outages takes the API away about every ten seconds, for 50 ms to minutes, mostly about as long as a Lease lasts.
func outages(w *world) {
	if w.now < w.outage || w.rng.IntN(1000) > 0 {
		return
	}
	length := 50*time.Millisecond + spread(w.rng, 12*time.Second)
	if w.rng.IntN(10) == 0 {
		length = spread(w.rng, 2*time.Minute)
	}
	w.outage, w.ended, w.swallow = w.now+length, w.now+length, w.rng.IntN(2) == 0
	w.note("the API is away for %v, swallowing requests: %v", length, w.swallow)
}

// troubles stops and starts nodes, cuts them off and holds up their watches. Node 0 has only its watch held up.
func troubles(w *world) {
	if w.rng.IntN(300) > 0 {
		return
	}
	n := w.nodes[w.rng.IntN(len(w.nodes))]
	length := spread(w.rng, 15*time.Second)
	switch kind := w.rng.IntN(3); {
	case !n.up:
		w.note("%s starts", n.name)
		n.start()
	case kind == 0 || n == w.nodes[0]:
		n.stuck, n.faulted = w.now+length, max(n.faulted, w.now+length)
		w.note("%s's watch is stuck for %v", n.name, length)
	case kind == 1:
		n.cut, n.faulted, n.everBad = w.now+length, max(n.faulted, w.now+length), true
		w.note("%s is cut off for %v", n.name, length)
	default:
		w.note("%s dies", n.name)
		n.stop()
	}
}

func spread(rng *rand.Rand, d time.Duration) time.Duration {
	return time.Duration(rng.Int64N(int64(d)))
}

// settle lets every fault end, and looks who counts whom then.
func (w *world) settle() {
	w.run(max(0, w.outage-w.now)+30*time.Second, func(*world) {})
	w.agree()
}

// agree is the state long after the last fault: everybody who runs knows exactly who runs.
func (w *world) agree() {
	var up []string
	for _, n := range w.nodes {
		if n.up {
			up = append(up, n.name)
		}
	}
	for _, n := range w.nodes {
		if n.up && w.failure == "" && (!n.verdict.Fresh || !slices.Equal(n.verdict.Alive, up)) {
			w.fail("%s ends with %s, up are %v", n.name, text(n.verdict), up)
		}
	}
}
