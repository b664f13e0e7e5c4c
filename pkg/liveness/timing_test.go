package liveness

import (
	"testing"
	"time"
)

// TestS1IntervalAndDuration: at most 20 writes per second of all nodes, five intervals per Lease.
func TestS1IntervalAndDuration(t *testing.T) {
	for _, c := range []struct {
		nodes              int
		interval, duration time.Duration
	}{
		{-1, time.Second, 5 * time.Second},
		{0, time.Second, 5 * time.Second},
		{1, time.Second, 5 * time.Second},
		{20, time.Second, 5 * time.Second},
		{21, 1050 * time.Millisecond, 6 * time.Second}, // 5.25 s, and a Lease counts whole seconds
		{24, 1200 * time.Millisecond, 6 * time.Second},
		{100, 5 * time.Second, 25 * time.Second},
		{1000, 50 * time.Second, 250 * time.Second},
	} {
		if i, d := Interval(c.nodes), Duration(c.nodes); i != c.interval || d != c.duration {
			t.Errorf("%d nodes: every %v for %v, want %v and %v", c.nodes, i, d, c.interval, c.duration)
		}
	}
	for nodes := 1; nodes <= 5000; nodes++ {
		i, d := Interval(nodes), Duration(nodes)
		if rate := float64(nodes) / i.Seconds(); rate > writesPerSecond+1e-6 {
			t.Errorf("%d nodes write %v times per second", nodes, rate)
		}
		if d < 5*i || d >= 5*i+time.Second || d%time.Second != 0 {
			t.Errorf("%d nodes: %v is not five intervals of %v in whole seconds", nodes, d, i)
		}
	}
}

// TestS2BackoffStaysBelowTheDuration: after an interval, an outage too short to count as one, and
// the longest pause after it, a node still has time to renew before it counts as dead.
func TestS2BackoffStaysBelowTheDuration(t *testing.T) {
	for _, c := range []struct {
		failures       int
		duration, want time.Duration
	}{
		{-3, 5 * time.Second, 0},
		{0, 5 * time.Second, 0},
		{1, 5 * time.Second, 250 * time.Millisecond},
		{2, 5 * time.Second, 500 * time.Millisecond},
		{3, 5 * time.Second, 500 * time.Millisecond},
		{1 << 40, 5 * time.Second, 500 * time.Millisecond},
		{4, 25 * time.Second, 2 * time.Second},
		{6, 25 * time.Second, 2500 * time.Millisecond},
		{1, 0, 0},
	} {
		if got := Backoff(c.failures, c.duration); got != c.want {
			t.Errorf("%d failures with %v: %v, want %v", c.failures, c.duration, got, c.want)
		}
	}
	for nodes := 1; nodes <= 5000; nodes++ {
		d := Duration(nodes)
		if silent := Interval(nodes) + maxGap(d) + Backoff(1<<20, d); silent >= d {
			t.Errorf("%d nodes: silence of %v counts as no outage, and a Lease lasts %v",
				nodes, silent, d)
		}
	}
}
