package boottime

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestNowAdvancesWithASleep by at least the sleep: deadlines are compared with it.
func TestNowAdvancesWithASleep(t *testing.T) {
	before := Now()
	time.Sleep(2 * time.Millisecond)
	if after := Now(); before <= 0 || after-before < 2*time.Millisecond {
		t.Fatalf("Now went from %v to %v over a sleep of 2ms", before, after)
	}
}

func TestNowNeverGoesBack(t *testing.T) {
	last := Now()
	for range 10_000 {
		now := Now()
		if now < last {
			t.Fatalf("%v after %v", now, last)
		}
		last = now
	}
}

// TestNowIsTheKernelsUptime: /proc/uptime counts suspended time too (proc_uptime(5)).
func TestNowIsTheKernelsUptime(t *testing.T) {
	before := Now()
	text, err := os.ReadFile("/proc/uptime")
	if err != nil {
		t.Fatal(err)
	}
	after := Now()
	seconds, err := strconv.ParseFloat(strings.Fields(string(text))[0], 64)
	if err != nil {
		t.Fatal(err)
	}
	const resolution = 10 * time.Millisecond
	uptime := time.Duration(seconds * float64(time.Second))
	if uptime < before-2*resolution || uptime > after+2*resolution {
		t.Errorf("uptime %v is not between %v and %v", uptime, before, after)
	}
}

// TestNowIncludesSuspendedTime: CLOCK_MONOTONIC does not, so it is never ahead.
func TestNowIncludesSuspendedTime(t *testing.T) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		t.Fatal(err)
	}
	if monotonic, now := time.Duration(ts.Nano()), Now(); now < monotonic {
		t.Errorf("%v is behind CLOCK_MONOTONIC at %v", now, monotonic)
	}
}

func TestNowDoesNotAllocate(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() { Now() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkNow(b *testing.B) {
	for b.Loop() {
		Now()
	}
}
