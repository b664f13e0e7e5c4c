package arp

import "time"

// offsets of the frames of a burst after its start. The early repeats cover loss and
// neighbours whose entry is locked for up to a second after a change (locktime in
// arp(7)), the late ones a switch that is still opening its port.
var offsets = [...]time.Duration{
	0, 50 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond,
	1100 * time.Millisecond, 2200 * time.Millisecond,
}

// Schedule returns when the next announcement is due, counted from the start of the
// burst, given how long ago that was. The one due at elapsed itself counts as sent, and
// what was missed while the process stood still is not made up for. A negative elapsed
// yields 0, the start.
func Schedule(elapsed, interval time.Duration) time.Duration {
	for _, offset := range offsets {
		if elapsed < offset {
			return offset
		}
	}
	last := offsets[len(offsets)-1]
	if interval <= 0 {
		interval = DefaultInterval
	}
	return last + (1+(elapsed-last)/interval)*interval
}
