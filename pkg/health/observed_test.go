package health

import (
	"testing"
	"time"
)

// TestB6Observed: an answer shows the state, and so does each request without one while silence is
// reported, but not before: then the state may be older than a pause.
func TestB6Observed(t *testing.T) {
	p := &Prober{cfg: Config{Clock: func() time.Duration { return 100 * time.Second }}}
	now := time.Now()
	for i, step := range []struct {
		age      time.Duration // of the request
		answered bool
		reported Outcome
		want     time.Duration
	}{
		{5 * time.Second, false, 0, 0},
		{4 * time.Second, true, 0, 96 * time.Second},
		{3 * time.Second, false, 0, 96 * time.Second},
		{2 * time.Second, false, OutcomeHung, 98 * time.Second},
		{4 * time.Second, true, OutcomeSlow, 98 * time.Second}, // an older request
	} {
		p.schedule.reported = step.reported
		if p.noteObserved(now, now.Add(-step.age), step.answered); p.observed != step.want {
			t.Errorf("step %d: observed at %v, want %v", i, p.observed, step.want)
		}
	}
}
