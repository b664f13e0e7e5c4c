package boottime

import (
	"sync/atomic"
	"time"
)

// Heartbeat is when a loop last came round, for whoever watches over it (E12). Its zero value says that the
// loop has not begun. It is safe for concurrent use.
type Heartbeat struct{ at atomic.Int64 }

// Mark says that the loop comes round now, a time since boot.
func (b *Heartbeat) Mark(now time.Duration) { b.at.Store(int64(now)) }

// At returns the time since boot of the last turn, 0 before the first.
func (b *Heartbeat) At() time.Duration { return time.Duration(b.at.Load()) }
