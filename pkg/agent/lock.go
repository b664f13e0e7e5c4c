package agent

import (
	"context"
	"io"
	"log/slog"
	"time"

	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/vip"
)

// lockAgain is the time between attempts to become the only kvip for an address here.
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
		told := false
		for {
			c, err := vip.Lock(addr)
			if err == nil {
				held = append(held, c)
				break
			}
			if !told {
				log.Warn("waiting for another kvip on this host to end", "vip", addr, "reason", err)
				pages.hold("another kvip on this host serves the address: " + err.Error())
				told = true
			}
			if !pause(ctx, lockAgain) {
				return unlock
			}
		}
	}
	pages.hold("")
	return unlock
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
