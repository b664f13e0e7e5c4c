// Package boottime reads the one clock that every deadline in kvip is measured on.
// It does not sleep, tick or know about wall-clock time.
package boottime

import (
	"time"

	"golang.org/x/sys/unix"
)

// Clock returns the time since boot. Drivers take one so that tests can supply their own.
type Clock func() time.Duration

// Now returns CLOCK_BOOTTIME as a duration since boot. Unlike Go's monotonic
// clock it keeps counting while the machine is suspended (clock_gettime(2)).
func Now() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0 // cannot happen: the clock exists since Linux 2.6.39
	}
	return time.Duration(ts.Nano())
}
