package election

import (
	"flag"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

var fastSeed = flag.Uint64("fast.seed", 0, "run only this history of mode fast and print it")

// TestNeverTwoOpen is the property of F1 to F11 together: at no instant are two nodes open, and
// once the faults end exactly one is.
func TestNeverTwoOpen(t *testing.T) {
	failed := 0
	seed, last := seeds(*fastSeed)
	for ; seed <= last && failed < 5; seed++ {
		w := simulateFast(seed)
		if *fastSeed != 0 {
			t.Log("\n" + strings.Join(w.trace, "\n"))
		}
		if w.overlap != "" {
			failed++
			t.Errorf("two open at %s; run it alone with -fast.seed=%d", w.overlap, seed)
			continue
		}
		if o := w.openNodes(); len(o) != 1 || o[0] != w.lease.Holder {
			failed++
			t.Errorf("%v open at the end; run it alone with -fast.seed=%d\n%s", o, seed, w.describe())
		}
	}
}

// randomFastConfig draws the circumstances of a history.
func randomFastConfig(seed uint64) fastConfig {
	rng := rand.New(rand.NewPCG(seed, 3))
	count := []int{3, 3, 3, 4, 5}[rng.IntN(5)]
	second := func(of ...int) time.Duration {
		return time.Duration(of[rng.IntN(len(of))]) * time.Second
	}
	window := func() time.Duration {
		return []time.Duration{350, 350, 700, 1400}[rng.IntN(4)] * time.Millisecond
	}
	c := fastConfig{seed: seed, verbose: *fastSeed != 0}
	lease, long, same, w := second(3, 4, 5), second(5, 8, 12), rng.IntN(5) > 0, window()
	for range count {
		if !same {
			long, w = second(5, 8, 12), window()
		}
		c.lease, c.long = append(c.lease, lease), append(c.long, max(lease, long))
		c.window = append(c.window, w)
	}
	if !same && count > 3 && rng.IntN(2) == 0 {
		c.window[count-1] = 0
	}
	c.drain = second(0, 3, 20)
	for kind := range faultKinds {
		if rng.IntN(3) == 0 {
			c.kinds = append(c.kinds, kind)
		}
	}
	c.every = time.Duration(float64(2*time.Second) / []float64{0.5, 1, 2, 4}[rng.IntN(4)])
	c.faults = 12*time.Second + time.Duration(rng.Int64N(int64(30*time.Second)))
	c.total = c.faults + 40*time.Second
	return c
}

func simulateFast(seed uint64) *fastSim {
	w := newFastSim(randomFastConfig(seed))
	w.at(6*time.Second+w.upTo(4*time.Second), w.injectFault)
	w.run(w.cfg.total)
	if w.overlap == "" && !slices.Contains(w.cfg.kinds, faultShutdown) {
		w.run(w.cfg.total + time.Second)
	}
	return w
}
