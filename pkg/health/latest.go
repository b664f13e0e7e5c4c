package health

import (
	"sync/atomic"

	"github.com/kvip/kvip/pkg/election"
)

// Latest keeps what a Prober reported. The zero value has no state. It is safe for concurrent use.
type Latest struct {
	state atomic.Pointer[State]
	seen  atomic.Bool
}

// Store replaces the state.
func (l *Latest) Store(s State) {
	l.state.Store(&s)
	if s.Verdict == election.Healthy || s.Verdict == election.NotReady {
		l.seen.Store(true)
	}
}

// Load returns the state, nil before the first one. The caller must not change it.
func (l *Latest) Load() *State { return l.state.Load() }

// Seen reports whether an API server was alive on this node at some time.
func (l *Latest) Seen() bool { return l.seen.Load() }
