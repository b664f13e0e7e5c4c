package election

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// E6: a fifth of the latency is clearly better, and an unknown latency is not.
func TestClearlyBetter(t *testing.T) {
	for _, c := range []struct {
		one, other time.Duration
		want       bool
	}{
		{200 * time.Millisecond, time.Second, true}, {201 * time.Millisecond, time.Second, false},
		{0, time.Second, false}, {time.Millisecond, 0, false}, {0, 0, false},
		{time.Minute, time.Minute, false},
	} {
		if got := clearlyBetter(c.one, c.other); got != c.want {
			t.Errorf("%v against %v: %v", c.one, c.other, got)
		}
	}
}

func TestSlownessBeforeDoubles(t *testing.T) {
	for slowMoves, want := range map[int]time.Duration{
		-1: 0, 0: 0, 1: 20 * time.Second, 2: 40 * time.Second,
		MaxSlowMoves: 320 * time.Second, MaxSlowMoves + 9: 320 * time.Second,
	} {
		if got := slownessBefore(slowMoves); got != want {
			t.Errorf("%d moves: %v, want %v", slowMoves, got, want)
		}
	}
}

// E6: a slow holder marks the Lease, and leaves, only after the time that follows from the count of
// moves in the Lease. A minute without slowness subtracts one move, another minute does not.
func TestSlownessOfTheGroup(t *testing.T) {
	words := strings.NewReplacer("SLOW", "health slow 1.5s", "FAST", "health healthy 3ms",
		"REQUEST", "lease but requested-by=b requested-latency=3ms")
	for name, c := range map[string]struct {
		slowMoves int
		lines     string
		want      State
		after     int // slowMoves in the Lease
	}{
		"first move at once":      {0, "20s SLOW; 20.1s REQUEST; 20.2s tick", Standby, 1},
		"second move not at once": {1, "20s SLOW; 39.9s REQUEST; 39.95s tick", Holding, 1},
		"second move after 20 s":  {1, "20s SLOW; 40.2s REQUEST; 40.4s tick", Standby, 2},
		"slowness with a break": {1, "20s SLOW; 30s FAST; 31s SLOW; 41s REQUEST; 41.2s tick", Holding,
			1},
		"third move after 40 s": {2, "20s SLOW; 60.2s REQUEST; 60.4s tick", Standby, 3},
		"third move not before": {2, "20s SLOW; 59.9s REQUEST; 59.95s tick", Holding, 2},
		"at most MaxSlowMoves": {MaxSlowMoves, "20s SLOW; 341s REQUEST; 341.2s tick", Standby,
			MaxSlowMoves},
		"a quiet minute":          {1, "72s tick; 80s SLOW; 80.1s REQUEST; 80.2s tick", Standby, 1},
		"a minute with slowness":  {1, "30s health slow 1s; 31s FAST; 72s tick", Holding, 1},
		"two quiet minutes":       {2, "132s tick", Holding, 0},
		"not ready is not slow":   {1, "20s health not-ready 3ms; 20.1s REQUEST; 20.2s tick", Standby, 1},
		"dead is not slow":        {1, "20s health dead; 20.1s tick", Standby, 1},
		"another program's count": {0, "10.3s lease but moves=99; 11.5s tick", Holding, 0},
		"an unknown latency":      {0, "20s SLOW; 21s lease but requested-by=b; 22s tick", Holding, 0},
		"a latency above a fifth": {0, "20s SLOW; 21s REQUEST requested-latency=1s; 22s tick", Holding,
			0},
	} {
		t.Run(name, func(t *testing.T) {
			s := &replay{}
			s.play(t, "node a", "10s link up aa", "10s health healthy 3ms", "10.1s lease holder=z term=6",
				fmt.Sprintf("10.2s lease holder= term=6 proof=z/6/APIServerSlow moves=%d", c.slowMoves))
			s.play(t, strings.Split(words.Replace(c.lines), "; ")...)
			if got := s.m.Status().State; got != c.want || s.server.SlowMoves != c.after {
				t.Errorf("%s with %d moves in the Lease, want %s with %d\n%s",
					got, s.server.SlowMoves, c.want, c.after, s.out.String())
			}
		})
	}
}

// E6: each node that has the address becomes slow, and fast again without it. The address moves at
// most once in ten seconds and twice in a minute.
func TestOverloadFollowsTheAddress(t *testing.T) {
	seeds := uint64(20)
	if testing.Short() {
		seeds = 5
	}
	for seed := uint64(1); seed <= seeds; seed++ {
		d := 5 * time.Second
		cfg := simConfig{seed: seed, durations: [3]time.Duration{d, d, d}, total: 5 * time.Minute}
		w := newSimulation(cfg)
		slowMoves := w.overload()
		often := most(slowMoves, 10*time.Second) > 1 || most(slowMoves, time.Minute) > 2
		if w.overlap != "" || len(slowMoves) < 2 || often {
			t.Errorf("seed %d: moves at %v, overlap %q", seed, slowMoves, w.overlap)
		}
	}
}

// overload runs a simulation in which the owner's API server becomes slow, and returns when the
// address moved.
func (w *simulation) overload() (slowMoves []time.Duration) {
	fastAt := map[*simNode]time.Duration{}
	holder := ""
	var observe func()
	observe = func() {
		for _, n := range w.nodes {
			if n.expires <= w.now || w.now < 20*time.Second {
				fastAt[n] = w.now
			}
			h := Health{Verdict: Healthy, Latency: 3 * time.Millisecond}
			if span := w.now - fastAt[n]; span > 1250*time.Millisecond {
				h = Health{Verdict: NotReady, Slow: true, Latency: span}
			}
			n.step(h)
		}
		if o := w.owners(); len(o) == 1 && o[0] != holder {
			slowMoves, holder = append(slowMoves, w.now), o[0]
		}
		w.at(w.now+50*time.Millisecond, observe)
	}
	w.at(time.Second, observe)
	w.run()
	return slowMoves[min(1, len(slowMoves)):] // without the first owner
}

// most returns the largest number of instants within any span.
func most(instants []time.Duration, span time.Duration) (largest int) {
	for i, from := range instants {
		n := 0
		for _, at := range instants[i:] {
			if at-from < span {
				n++
			}
		}
		largest = max(largest, n)
	}
	return largest
}
