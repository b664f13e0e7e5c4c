package netlab

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// sampling takes samples at an interval until Stop, or until one fails.
type sampling struct {
	stop chan struct{}
	done chan struct{}

	mu  sync.Mutex
	err error
}

// startSampling calls take at each interval, and end after the last one. It has a thread of its own
// with a higher priority, so that busy processes do not delay it.
func startSampling(every time.Duration, take func() error, end func()) *sampling {
	s := &sampling{stop: make(chan struct{}), done: make(chan struct{})}
	onThread(func() {
		defer close(s.done)
		defer end()
		_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), -10) // not essential
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-s.stop:
				return
			case <-tick.C:
			}
			if err := take(); err != nil {
				s.mu.Lock()
				s.err = err
				s.mu.Unlock()
				return
			}
		}
	})
	return s
}

// Stop ends the sampler and returns its error, if any. What it recorded stays readable.
func (s *sampling) Stop() error {
	select {
	case <-s.stop:
	default:
		close(s.stop)
	}
	<-s.done
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}
