package election

import (
	"math"
	"testing"
	"time"
)

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// E1: a holder does not use half a second or a tenth of the lease, whichever is more.
func TestMarginAndDeadline(t *testing.T) {
	for _, c := range []struct{ lease, margin float64 }{
		{2, 0.5}, {3, 0.5}, {5, 0.5}, {6, 0.6}, {15, 1.5}, {60, 6},
	} {
		if got := margin(seconds(c.lease)); got != seconds(c.margin) {
			t.Errorf("Margin(%v s) = %v, want %v s", c.lease, got, c.margin)
		}
		want := time.Hour + seconds(c.lease) - seconds(c.margin)
		if got := Deadline(time.Hour, seconds(c.lease)); got != want {
			t.Errorf("Deadline(1h, %v s) = %v, want %v", c.lease, got, want)
		}
	}
}

// E1 and E2 together: a follower that saw the holder's last write no earlier than it was sent still
// waits when the holder's fence has ended, for all durations and with clocks that run 1 % apart.
func TestFenceEndsBeforeAnyWait(t *testing.T) {
	for holder := 2 * time.Second; holder <= 5*time.Minute; holder += time.Second {
		for _, own := range []time.Duration{2 * time.Second, 5 * time.Second, time.Minute} {
			fence := Deadline(0, holder)
			slow, fast := fence*101/100, wait(own, holder, 0)*99/100
			if slow >= fast {
				t.Fatalf("lease %v, follower's %v: the fence ends after %v, the claim comes after %v",
					holder, own, slow, fast)
			}
		}
	}
}

// E2: the largest of the three.
func TestWait(t *testing.T) {
	for _, c := range []struct{ own, object, last, want time.Duration }{
		{5, MaxLease + 1, 5, MaxLease}, {5, 5, 1 << 60, MaxLease}, {5, 5, 5, 5}, {9, 5, 5, 9},
		{5, 9, 5, 9}, {5, 5, 9, 9}, {5, 0, 0, 5}, {5, 0, 9, 9}, {5, -3, 0, 5},
	} {
		if got := wait(c.own, c.object, c.last); got != c.want {
			t.Errorf("Wait(%d, %d, %d) = %d, want %d", c.own, c.object, c.last, got, c.want)
		}
	}
}

// E1: a renewal that is never answered leaves time for others before the deadline.
func TestRequestTimeout(t *testing.T) {
	for _, c := range []struct {
		lease, want float64
		tries       int // that fit between a confirmed renewal and its deadline, with the pauses
	}{
		{2, 0.5, 1}, {3, 0.6, 2}, {5, 1, 3}, {15, 3, 3}, {60, 12, 3},
	} {
		lease := seconds(c.lease)
		timeout := RequestTimeout(lease)
		if timeout != seconds(c.want) {
			t.Errorf("RequestTimeout(%v) = %v, want %v s", lease, timeout, c.want)
		}
		left := Deadline(0, lease) - lease/5
		if got := int((left + retryAfter) / (timeout + retryAfter)); got < c.tries {
			t.Errorf("lease %v: %d tries of %v fit into %v, want %d", lease, got, timeout, left, c.tries)
		}
	}
}

// E5: the backoff after a failure to own grows up to a limit.
func TestBackoff(t *testing.T) {
	for n, want := range map[int]float64{1: 1, 2: 2, 3: 4, 4: 8, 5: 16, 6: 30, 7: 30, 1000: 30} {
		if got := ownBackoff.After(n); got != seconds(want) {
			t.Errorf("after %d failures: %v, want %v s", n, got, want)
		}
	}
}

// E12: failed requests are repeated for ever: soon while an address depends on them, with growing
// pauses while none does.
func TestRetryDelay(t *testing.T) {
	for _, c := range []struct {
		state  State
		failed int
		want   float64
	}{
		{Holding, 0, 0.2}, {Holding, 9, 0.2}, {Standby, 0, 0.2}, {Standby, 1, 0.4}, {Standby, 2, 0.8},
		{Confirming, 3, 1.6}, {Leaving, 4, 2}, {Claiming, 4, 3}, {Standby, 1 << 40, 3},
	} {
		m := &Machine{state: c.state, inflight: inflight{failures: c.failed}}
		if got := m.retryDelay(); got != seconds(c.want) {
			t.Errorf("delay in %s after %d failures = %v, want %v s", c.state, c.failed, got, c.want)
		}
	}
}

// Terms grow, and begin again after the last value of an int32, which only a person can have
// written.
func TestNextTerm(t *testing.T) {
	for seen, want := range map[int64]int64{
		0: 1, 7: 8, math.MaxInt32 - 1: math.MaxInt32, math.MaxInt32: 1,
	} {
		if got := nextTerm(seen); got != want {
			t.Errorf("nextTerm(%d) = %d, want %d", seen, got, want)
		}
	}
}
