package election

import (
	"fmt"
	"testing"
	"time"
)

func TestClearlyBetter(t *testing.T) {
	for _, c := range []struct {
		one, other time.Duration
		want       bool
	}{
		{200 * time.Millisecond, time.Second, true}, {201 * time.Millisecond, time.Second, false},
		{0, time.Second, false}, {time.Millisecond, 0, false}, {0, 0, false}, {time.Minute, time.Minute, false},
	} {
		if got := clearlyBetter(c.one, c.other); got != c.want {
			t.Errorf("%v against %v: %v", c.one, c.other, got)
		}
	}
}

func TestPatienceDoubles(t *testing.T) {
	for moves, want := range map[int]time.Duration{
		-1: 0, 0: 0, 1: 20 * time.Second, 2: 40 * time.Second, MaxMoves: 320 * time.Second, MaxMoves + 9: 320 * time.Second,
	} {
		if got := slownessBefore(moves); got != want {
			t.Errorf("%d moves: %v, want %v", moves, got, want)
		}
	}
}

// slowHolder is a node that took the address after so many moves for slowness.
func slowHolder(t *testing.T, moves int) *script {
	t.Helper()
	s := &script{}
	s.play(t, "node a", "10s link up aa", "10s health healthy 3ms", "10.1s lease holder=z term=6",
		fmt.Sprintf("10.2s lease holder= term=6 proof=z/6/APIServerSlow moves=%d", moves))
	return s
}

func (s *script) play(t *testing.T, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if err := s.line(line); err != nil {
			t.Fatal(err)
		}
	}
}

// TestPatienceOfTheGroup: a holder that is slow marks the lease, and leaves, only after the
// patience that the lease names; a minute that is not quiet gives none of it back.
func TestPatienceOfTheGroup(t *testing.T) {
	wish := "lease but requested-by=b requested-latency=3ms"
	for name, c := range map[string]struct {
		moves int
		lines []string
		want  State
		after int // moves in the lease
	}{
		"the first at once":              {0, []string{"20s health slow 1.5s", "20.1s " + wish, "20.2s tick"}, Standby, 1},
		"the second not at once":         {1, []string{"20s health slow 1.5s", "39.9s " + wish, "39.95s tick"}, Holding, 1},
		"but after 20 s":                 {1, []string{"20s health slow 1.5s", "40.2s " + wish, "40.4s tick"}, Standby, 2},
		"of slowness without a break":    {1, []string{"20s health slow 1.5s", "30s health healthy 3ms", "30.1s health slow 1.5s", "40.2s " + wish, "40.4s tick"}, Holding, 1},
		"the third after 40 s":           {2, []string{"20s health slow 1.5s", "60.2s " + wish, "60.4s tick"}, Standby, 3},
		"not before":                     {2, []string{"20s health slow 1.5s", "59.9s " + wish, "59.95s tick"}, Holding, 2},
		"no more than so many":           {MaxMoves, []string{"20s health slow 1.5s", "341s " + wish, "341.2s tick"}, Standby, MaxMoves},
		"a quiet minute halves it":       {1, []string{"72s tick", "80s health slow 1.5s", "80.1s " + wish, "80.2s tick"}, Standby, 1},
		"one that is not quiet does not": {1, []string{"30s health slow 1s", "31s health healthy 3ms", "72s tick"}, Holding, 1},
		"two quiet minutes":              {2, []string{"132s tick"}, Holding, 0},
		"not ready is no slowness":       {1, []string{"20s health not-ready 3ms", "20.1s lease but requested-by=b", "20.2s tick"}, Standby, 1},
		"nor is death":                   {1, []string{"20s health dead", "20.1s tick"}, Standby, 1},
		"what people write is bounded":   {0, []string{"10.3s lease but moves=99", "11.5s tick"}, Holding, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := slowHolder(t, c.moves)
			s.play(t, c.lines...)
			if got := s.m.Status().State; got != c.want || s.server.Moves != c.after {
				t.Errorf("%s with %d moves in the lease, want %s with %d\n%s", got, s.server.Moves, c.want, c.after, s.out.String())
			}
		})
	}
}

// TestOverloadFollowsTheAddress: every node that has the address becomes slow, and fast again
// without it. The address moves once in ten seconds and twice in a minute.
func TestOverloadFollowsTheAddress(t *testing.T) {
	for seed := uint64(1); seed <= 20; seed++ {
		d := 5 * time.Second
		w := newWorld(simConfig{seed: seed, lengths: [3]time.Duration{d, d, d}, total: 5 * time.Minute})
		slow := map[*simNode]time.Duration{}
		var moves []time.Duration
		holder := ""
		var look func()
		look = func() {
			for _, n := range w.nodes {
				if n.expires <= w.now || w.now < 20*time.Second {
					slow[n] = w.now
				}
				h := Health{Verdict: Healthy, Latency: 3 * time.Millisecond}
				if span := w.now - slow[n]; span > 1250*time.Millisecond {
					h = Health{Verdict: NotReady, Slow: true, Latency: span}
				}
				n.step(h)
			}
			if o := w.owners(); len(o) == 1 && o[0] != holder {
				moves, holder = append(moves, w.now), o[0]
			}
			w.at(w.now+50*time.Millisecond, look)
		}
		w.at(time.Second, look)
		w.run()
		within := func(span time.Duration) (most int) {
			for i := range moves {
				n := 0
				for _, at := range moves[i:] {
					if at-moves[i] < span {
						n++
					}
				}
				most = max(most, n)
			}
			return most
		}
		moves = moves[1:] // the first holder
		if w.overlap != "" || len(moves) < 2 || within(10*time.Second) > 1 || within(time.Minute) > 2 {
			t.Errorf("seed %d: moves at %v, overlap %q", seed, moves, w.overlap)
		}
	}
}
