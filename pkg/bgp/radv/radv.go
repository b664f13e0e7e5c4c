// Package radv makes this node known to the router on a link, as unnumbered BGP needs it: FRR, and
// routers that follow it, learn the link-local address of a peer from its router advertisements
// (FRR documentation, "Interface neighbors"). The advertisements have a router lifetime of 0, so
// that no host uses this node as its default gateway (RFC 4861 section 4.2).
package radv

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/kvip/kvip/pkg/backoff"
	"github.com/kvip/kvip/pkg/boottime"
)

const (
	// interval is the time between two advertisements of a link.
	interval = 10 * time.Second
	// initialInterval is the time between the first ones, each with a solicitation, so that the
	// router advertises itself soon (RFC 4861 section 10, RTR_SOLICITATION_INTERVAL and
	// MAX_RTR_SOLICITATIONS).
	initialInterval = 4 * time.Second
	initialCount    = 3
	// retryInterval is the time until the next attempt after an error.
	retryInterval = time.Second
)

// Config configures a Sender. The zero value is usable.
type Config struct {
	// Permit reports whether the agent may send. Nil: always.
	Permit func() bool
	// Clock is the clock; nil means boottime.Now.
	Clock boottime.Clock
	// Log receives what does not work, once until it works again. Nil discards.
	Log *slog.Logger
}

// Sender advertises this node on links. Make it with New. It is safe for concurrent use.
type Sender struct {
	cfg  Config
	wake backoff.Signal

	mu    sync.Mutex
	links map[string]*state
}

// state is that of one link.
type state struct {
	sent    int           // how often
	due     time.Duration // an instant since boot
	problem string
}

// New returns a Sender without links. It starts nothing.
func New(cfg Config) *Sender {
	if cfg.Permit == nil {
		cfg.Permit = func() bool { return true }
	}
	if cfg.Clock == nil {
		cfg.Clock = boottime.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Sender{cfg: cfg, wake: backoff.NewSignal(), links: map[string]*state{}}
}

// SetLinks sets the names of the links. It sends at once on a link that is new.
func (s *Sender) SetLinks(names []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name := range s.links {
		if !slices.Contains(names, name) {
			delete(s.links, name)
		}
	}
	for _, name := range names {
		if s.links[name] == nil {
			s.links[name] = &state{}
		}
	}
	s.wake.Notify()
}

// Run sends until ctx ends.
func (s *Sender) Run(ctx context.Context) error {
	for {
		timer := time.NewTimer(s.turn(s.cfg.Clock()))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-s.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// turn sends what is due. It returns the time until the next turn.
func (s *Sender) turn(now time.Duration) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	pause := interval
	for name, one := range s.links {
		if now >= one.due {
			one.due = now + s.advance(name, one)
		}
		pause = min(pause, one.due-now)
	}
	return pause
}

// advance sends on a link, and returns the time until the next time.
func (s *Sender) advance(name string, one *state) time.Duration {
	if !s.cfg.Permit() {
		return retryInterval
	}
	initial := one.sent < initialCount
	if err := send(name, initial); err != nil {
		if text := err.Error(); one.problem != text {
			s.cfg.Log.Warn("cannot send a router advertisement; trying again", "link", name, "err", err)
			one.problem = text
		}
		return retryInterval
	}
	if one.problem != "" {
		s.cfg.Log.Info("router advertisements are sent again", "link", name)
	}
	one.sent, one.problem = one.sent+1, ""
	if initial {
		return initialInterval
	}
	return interval
}

// send sends an advertisement on a link, and a solicitation.
func send(name string, solicit bool) (err error) {
	c, err := open(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	if err := c.write(allNodes, advertisement(c.mac)); err != nil || !solicit {
		return err
	}
	return c.write(allRouters, solicitation(c.mac))
}
