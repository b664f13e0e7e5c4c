package election

import (
	"flag"
	"strings"
	"testing"
	"time"
)

var (
	simCases = flag.Int("sim.cases", 1500, "how many simulated histories the property test runs")
	simSeed  = flag.Uint64("sim.seed", 0, "run only this history and print it")
)

// TestNeverTwoOwners is the property of E1 to E5, E8 and E9 together: whatever is lost,
// late, frozen, killed or edited by hand, no instant has two kernels with the address,
// and once the faults end exactly one has it.
func TestNeverTwoOwners(t *testing.T) {
	lengths := [][3]time.Duration{
		{5 * time.Second, 5 * time.Second, 5 * time.Second},
		{3 * time.Second, 5 * time.Second, 9 * time.Second}, // D different on each node (E2)
		{15 * time.Second, 4 * time.Second, 4 * time.Second},
	}
	if *simSeed != 0 {
		w := simulate(*simSeed, lengths[*simSeed%3])
		t.Log(strings.Join(w.trace, "\n"))
		judge(t, w)
		return
	}
	for seed := uint64(1); seed <= uint64(*simCases); seed++ {
		judge(t, simulate(seed, lengths[seed%3]))
		if t.Failed() {
			t.Fatalf("run it alone with -sim.seed=%d", seed)
		}
	}
}

func simulate(seed uint64, lengths [3]time.Duration) *world {
	cfg := simConfig{seed: seed, lengths: lengths, faults: 60 * time.Second, total: 130 * time.Second}
	if lengths[0] != lengths[1] || lengths[1] != lengths[2] {
		cfg.noDelete = true
	}
	w := newWorld(cfg)
	w.run()
	return w
}

func judge(t *testing.T, w *world) {
	t.Helper()
	if w.overlap != "" {
		t.Errorf("seed %d: two owners at %s", w.cfg.seed, w.overlap)
		return
	}
	if o := w.owners(); len(o) != 1 || o[0] != w.lease.Holder {
		t.Errorf("seed %d: %v own at the end, the lease names %q", w.cfg.seed, o, w.lease.Holder)
	}
}
