package agent

import (
	"context"
	"io"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/vip"
)

// lockAgain is the least time between attempts to become the only kvip for an address here. Twice
// that is the most: two that begin at one time must not meet again and again.
const lockAgain = 200 * time.Millisecond

// lockAll waits until this is the only kvip for each address in this network namespace,
// or ctx ends. During an upgrade the old pod may still be leaving (E8).
func lockAll(ctx context.Context, cfg config.Config, pages *pages, log *slog.Logger) (unlock func()) {
	var held []io.Closer
	unlock = func() {
		for _, c := range held {
			if err := c.Close(); err != nil {
				log.Debug("cannot close a lock", "reason", err)
			}
		}
	}
	for _, addr := range cfg.VIPs {
		c := lockOne(ctx, func() (io.Closer, error) { return vip.Lock(addr) }, func(err error) {
			log.Warn("waiting for another kvip on this host to end", "vip", addr, "reason", err)
			pages.hold("another kvip on this host serves the address: " + err.Error())
		})
		if c == nil {
			return unlock
		}
		held = append(held, c)
	}
	pages.hold("")
	return unlock
}

// lockServices waits until this is the only kvip that serves Services in this network namespace, or ctx
// ends.
func lockServices(ctx context.Context, pages *pages, log *slog.Logger) (unlock func()) {
	c := lockOne(ctx, vip.LockServices, func(err error) {
		log.Warn("waiting for another kvip on this host to end", "reason", err)
		why := err.Error()
		pages.servicesWait.Store(&why)
	})
	if c == nil {
		return func() {}
	}
	pages.servicesWait.Store(nil)
	return func() {
		if err := c.Close(); err != nil {
			log.Debug("cannot close a lock", "reason", err)
		}
	}
}

// lockOne tries until it has the lock, and tells the first failure; nil if ctx ended first.
func lockOne(ctx context.Context, lock func() (io.Closer, error), tell func(error)) io.Closer {
	for told := false; ; {
		c, err := lock()
		if err == nil {
			return c
		}
		if !told {
			tell(err)
			told = true
		}
		if !pause(ctx, lockAgain+rand.N(lockAgain)) {
			return nil
		}
	}
}

// pause sleeps and reports whether ctx is still alive.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return ctx.Err() == nil
	}
}
