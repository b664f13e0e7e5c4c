package arp

import (
	"testing"
	"time"
)

func TestSchedule(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct{ elapsed, interval, want time.Duration }{
		{-1, 0, 0},
		{0, 0, 50 * ms},
		{49 * ms, 0, 50 * ms},
		{50 * ms, 0, 200 * ms},
		{51 * ms, 0, 200 * ms},
		{499 * ms, 0, 500 * ms},
		{500 * ms, 0, 1100 * ms},
		{2199 * ms, 0, 2200 * ms},
		{2200 * ms, 0, 12200 * ms},
		{12200 * ms, 0, 22200 * ms},
		{12200 * ms, time.Second, 13200 * ms},
		{12201 * ms, time.Second, 13200 * ms},
		{time.Hour, time.Second, time.Hour + 200*ms}, // frozen for long: nothing is made up for
	} {
		if got := Schedule(c.elapsed, c.interval); got != c.want {
			t.Errorf("Schedule(%v, %v) = %v, want %v", c.elapsed, c.interval, got, c.want)
		}
	}
}

// TestScheduleAlwaysAdvances: the next instant is always later, by at most an interval.
func TestScheduleAlwaysAdvances(t *testing.T) {
	for elapsed := time.Duration(0); elapsed < time.Minute; elapsed += 7 * time.Millisecond {
		next := Schedule(elapsed, 3*time.Second)
		if next <= elapsed || next > elapsed+3*time.Second {
			t.Fatalf("after %v comes %v", elapsed, next)
		}
	}
}
