package election

import (
	"flag"
	"strings"
	"testing"
	"time"
)

var (
	cases = flag.Int("cases", 0, "number of simulated histories of each property (default 2000; "+
		"100 with the race detector or -short)")
	first   = flag.Uint64("first", 1, "seed of the first history")
	simSeed = flag.Uint64("sim.seed", 0, "run only this history and print it")
)

// seeds returns the seeds to simulate. only is one that the command line names, or 0.
func seeds(only uint64) (from, to uint64) {
	count := *cases
	switch {
	case only != 0:
		return only, only
	case count > 0:
	case raceDetector || testing.Short():
		count = 100
	default:
		count = 2000
	}
	return *first, *first + uint64(count) - 1
}

// TestNeverTwoOwners is the property of E1 to E5, E8 and E9 together. Requests are lost or late,
// nodes freeze and die, people edit the Lease; at no instant do two kernels have the address, and
// once the faults end exactly one has it.
func TestNeverTwoOwners(t *testing.T) {
	seed, last := seeds(*simSeed)
	for ; seed <= last && !t.Failed(); seed++ {
		w := simulate(seed)
		if *simSeed != 0 {
			t.Log(strings.Join(w.trace, "\n"))
		}
		if w.overlap != "" {
			t.Errorf("two owners at %s; run it alone with -sim.seed=%d", w.overlap, seed)
		} else if o := w.owners(); len(o) != 1 || o[0] != w.lease.Holder {
			t.Errorf("%v own at the end, the Lease names %q; run it alone with -sim.seed=%d",
				o, w.lease.Holder, seed)
		}
	}
}

// simulate runs the history of a seed. Every third one has the same lease duration on all nodes;
// the others have different ones (E2).
func simulate(seed uint64) *simulation {
	w := newSimulation(simConfig{
		seed: seed, faults: 60 * time.Second, total: 130 * time.Second, noDelete: seed%3 != 0,
		durations: [][3]time.Duration{
			{5 * time.Second, 5 * time.Second, 5 * time.Second},
			{3 * time.Second, 5 * time.Second, 9 * time.Second},
			{15 * time.Second, 4 * time.Second, 4 * time.Second},
		}[seed%3],
	})
	w.run()
	return w
}

// FuzzNeverTwoOwners looks for a history with two owners beyond the seeds of TestNeverTwoOwners.
func FuzzNeverTwoOwners(f *testing.F) {
	f.Add(uint64(1 << 40))
	f.Fuzz(func(t *testing.T, seed uint64) {
		if w := simulate(seed); w.overlap != "" {
			t.Errorf("two owners at %s", w.overlap)
		}
	})
}
