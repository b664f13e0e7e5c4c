package speaker

import (
	"sync"
	"time"
)

const (
	// pausedAfter is the time without any sign that this process runs after which it or its host
	// counts as paused (E9): other nodes may have its addresses now.
	pausedAfter = 3 * time.Second
	// signInterval is the time between two signs while a reconcile runs.
	signInterval = pausedAfter / 6
)

// pauseDetector detects that this process or its host stood still (S3). Each call is a sign that it
// runs. A goroutine gives signs during a reconcile, which may take long: all goroutines of a paused
// process stand still, so a pause during a reconcile is detected as well. It is safe for concurrent
// use.
type pauseDetector struct {
	mu     sync.Mutex
	signAt time.Duration // of the last sign; 0 before the first
	paused time.Duration // the longest pause since the last reset
}

// check records a sign at now, and reports whether there was a pause since the last reset.
func (p *pauseDetector) check(now time.Duration) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.record(now) > 0
}

// reset records a sign and returns the longest pause since the last reset, 0 without one.
func (p *pauseDetector) reset(now time.Duration) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	paused := p.record(now)
	p.paused = 0
	return paused
}

// record records a sign. A caller that was delayed between its clock and the lock changes nothing.
func (p *pauseDetector) record(now time.Duration) time.Duration {
	if p.signAt != 0 && now-p.signAt > pausedAfter {
		p.paused = max(p.paused, now-p.signAt)
	}
	p.signAt = max(p.signAt, now)
	return p.paused
}
