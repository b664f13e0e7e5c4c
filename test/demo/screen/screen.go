package screen

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// redrawEvery is how often the live line is drawn.
const redrawEvery = 100 * time.Millisecond

// Screen prints lines and, on a terminal, keeps one line below them up to date. It may be used
// by several goroutines.
type Screen struct {
	mu       sync.Mutex
	out      io.Writer
	terminal bool
	below    string // the live line that is shown now
}

// NewScreen returns a screen that prints to f, a terminal or not.
func NewScreen(f *os.File) *Screen {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return &Screen{out: f, terminal: err == nil}
}

// Terminal reports whether there is a live line.
func (s *Screen) Terminal() bool { return s.terminal }

// Write prints whole lines above the live one.
func (s *Screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clear()
	n, err := s.out.Write(b)
	s.draw()
	return n, err
}

// Say prints one line, or several.
func (s *Screen) Say(format string, args ...any) {
	// a lost terminal is not an error
	_, _ = fmt.Fprintf(s, strings.TrimSuffix(format, "\n")+"\n", args...)
}

// Live redraws a line until stop, which may be called twice, or ctx ends.
func (s *Screen) Live(ctx context.Context, line func() string) (stop func()) {
	if !s.terminal {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for tick := time.NewTicker(redrawEvery); ; {
			select {
			case <-ctx.Done():
				tick.Stop()
				s.show("")
				return
			case <-tick.C:
				s.show(line())
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

func (s *Screen) show(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clear()
	s.below = line
	s.draw()
}

// clear removes the live line from a terminal. The caller holds the lock.
func (s *Screen) clear() {
	if s.below != "" {
		_, _ = io.WriteString(s.out, "\r\x1b[K")
	}
}

func (s *Screen) draw() {
	if s.below != "" {
		_, _ = io.WriteString(s.out, s.below)
	}
}
