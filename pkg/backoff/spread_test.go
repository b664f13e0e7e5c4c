package backoff

import (
	"slices"
	"testing"
	"time"
)

// At any number of phases, no gap between neighbours is much longer than the average, and none is
// much shorter.
func TestSpreadDividesThePeriodEvenly(t *testing.T) {
	const period = 10 * time.Second
	var s Spread
	var phases []time.Duration
	for n := 1; n <= 1000; n++ {
		phase := s.Next(period)
		if phase < 0 || phase >= period {
			t.Fatalf("phase %d is %v", n, phase)
		}
		phases = append(phases, phase)
		sorted := slices.Sorted(slices.Values(phases))
		sorted = append(sorted, sorted[0]+period)
		for i := range n {
			gap := sorted[i+1] - sorted[i]
			if average := period / time.Duration(n); gap > 2*average || gap < average/3 {
				t.Fatalf("a gap of %v among %d phases", gap, n)
			}
		}
	}
}

func TestSpreadStartsAtZero(t *testing.T) {
	var s Spread
	if first, second := s.Next(time.Second), s.Next(time.Second); first != 0 ||
		second.Round(time.Millisecond) != 618*time.Millisecond {
		t.Errorf("phases %v and %v", first, second)
	}
	if phase := s.Next(0); phase != 0 {
		t.Errorf("phase %v of no period", phase)
	}
}
