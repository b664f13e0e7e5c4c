package backoff

import (
	"context"
	"math"
	"testing"
	"testing/synctest"
	"time"
)

func TestAfter(t *testing.T) {
	b := Backoff{Min: 100 * time.Millisecond, Max: time.Second}
	unlimited := Backoff{Min: time.Second}
	for _, c := range []struct {
		name     string
		b        Backoff
		failures int
		want     time.Duration
	}{
		{"no failure", b, 0, 0},
		{"a negative count", b, -3, 0},
		{"first failure", b, 1, 100 * time.Millisecond},
		{"second failure doubles", b, 2, 200 * time.Millisecond},
		{"fourth failure", b, 4, 800 * time.Millisecond},
		{"limit", b, 5, time.Second},
		{"far beyond the limit", b, math.MaxInt, time.Second},
		{"limit below the first pause", Backoff{Min: 2 * time.Second, Max: time.Second}, 1, time.Second},
		{"zero value", Backoff{}, 7, 0},
		{"no limit", unlimited, 4, 8 * time.Second},
	} {
		if got := c.b.After(c.failures); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	if d := unlimited.After(math.MaxInt); d < 12*time.Hour || d > 24*time.Hour {
		t.Errorf("without a limit the pause grows to %v", d)
	}
}

func TestJitterOnlyShortens(t *testing.T) {
	b := Backoff{Min: time.Second, Max: 4 * time.Second, Jitter: 0.25}
	shortest, longest := time.Hour, time.Duration(0)
	for range 1000 {
		d := b.After(9)
		shortest, longest = min(shortest, d), max(longest, d)
	}
	if shortest < 3*time.Second || longest > 4*time.Second {
		t.Errorf("pauses of %v to %v, want 3s to 4s", shortest, longest)
	}
	if longest-shortest < 500*time.Millisecond {
		t.Errorf("pauses of %v to %v do not vary", shortest, longest)
	}
}

func TestSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		if !Sleep(t.Context(), time.Minute) || time.Since(began) != time.Minute {
			t.Errorf("slept %v, want 1m", time.Since(began))
		}
		if !Sleep(t.Context(), 0) || !Sleep(t.Context(), -time.Second) {
			t.Error("a pause of nothing was interrupted")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began = time.Now()
		if Sleep(ctx, time.Minute) || time.Since(began) != time.Second {
			t.Errorf("the context ended after 1s, Sleep returned after %v", time.Since(began))
		}
		if Sleep(ctx, 0) {
			t.Error("Sleep reports a pause after the context ended")
		}
	})
}

func TestSignal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewSignal()
		s.Notify()
		s.Notify()
		began := time.Now()
		if !s.Wait(t.Context(), time.Hour) || time.Since(began) != 0 {
			t.Errorf("a pending notification was seen after %v", time.Since(began))
		}
		if !s.Wait(t.Context(), time.Hour) || time.Since(began) != time.Hour {
			t.Errorf("two notifications woke twice, after %v", time.Since(began))
		}
		go func() {
			time.Sleep(time.Second)
			s.Notify()
		}()
		began = time.Now()
		if !s.Wait(t.Context(), time.Hour) || time.Since(began) != time.Second {
			t.Errorf("notified after 1s, woken after %v", time.Since(began))
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if s.Wait(ctx, time.Hour) {
			t.Error("Wait goes on after the context ended")
		}
		Signal(nil).Notify()
		if !Signal(nil).Wait(t.Context(), time.Second) {
			t.Error("a nil Signal ends the wait as an ended context does")
		}
	})
}

func TestRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := Backoff{Min: time.Second, Max: 2 * time.Second}
		began := time.Now()
		var seen []int
		try := func(failures int) error {
			seen = append(seen, failures)
			if failures < 3 {
				return context.DeadlineExceeded
			}
			return nil
		}
		if !b.Retry(t.Context(), try) || time.Since(began) != 5*time.Second {
			t.Errorf("succeeded after %v, want 5s", time.Since(began))
		}
		if len(seen) != 4 || seen[0] != 0 || seen[3] != 3 {
			t.Errorf("failures %v", seen)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		if b.Retry(ctx, func(int) error { return context.Canceled }) {
			t.Error("success after the context ended")
		}
	})
}
