// Package backoff has the pauses between attempts, the phases that spread periodic ones, and the
// wake-ups that end them early. It does not decide whether another attempt is made.
package backoff

import (
	"context"
	"math/rand/v2"
	"time"
)

// Backoff is an exponential series of pauses. The zero value never pauses.
type Backoff struct {
	// Min is the pause after the first failure.
	Min time.Duration
	// Max limits every pause; 0 means no limit.
	Max time.Duration
	// Jitter shortens each pause by a random part of it: 0.2 yields 80 to 100 %. It must be
	// between 0 and 1.
	Jitter float64
}

// After returns the pause after the given number of failures in a row: Min doubled with each
// further failure, at most Max, shortened by Jitter. It is 0 without a failure.
func (b Backoff) After(failures int) time.Duration {
	if failures <= 0 || b.Min <= 0 {
		return 0
	}
	d := b.Min
	for ; failures > 1 && (b.Max <= 0 || d < b.Max) && d <= maxPause/2; failures-- {
		d *= 2
	}
	if b.Max > 0 {
		d = min(d, b.Max)
	}
	return d - time.Duration(rand.Float64()*b.Jitter*float64(d))
}

const maxPause = 24 * time.Hour // of a series without a limit

// Retry calls try until it returns nil, with a pause after each failure. try receives the number
// of failures so far, so that it can log the first one alone. Retry reports whether try succeeded:
// false means that ctx ended first.
func (b Backoff) Retry(ctx context.Context, try func(failures int) error) bool {
	for failures := 0; try(failures) != nil; {
		failures++
		if !Sleep(ctx, b.After(failures)) {
			return false
		}
	}
	return true
}

// Sleep pauses for d and reports whether it did: false means that ctx ended first. A d of 0 or
// less returns at once.
func Sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// Signal wakes one goroutine that receives from it. Several notifications before a receive count
// as one. Make it with NewSignal; a nil Signal is never notified.
type Signal chan struct{}

// NewSignal returns a Signal without a pending notification.
func NewSignal() Signal { return make(Signal, 1) }

// Notify wakes the receiver, now or at its next receive. It never blocks.
func (s Signal) Notify() {
	select {
	case s <- struct{}{}:
	default:
	}
}

// Wait pauses for at most d and returns early when s is notified. It reports whether ctx is still
// running.
func (s Signal) Wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(max(0, d))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-s:
	case <-timer.C:
	}
	return ctx.Err() == nil
}
