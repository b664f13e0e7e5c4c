package speaker

import (
	"context"
	"errors"
	"net/netip"
	"time"
)

// note tells the log and the metrics what came and went.
func (a *Speaker) note(gained, lost []netip.Addr, next holdings) {
	owned, leaving := 0, 0
	for _, h := range next {
		if h.leaving {
			leaving++
		} else {
			owned++
		}
	}
	a.cfg.Metrics.ServiceAddresses(owned, leaving)
	for _, addr := range gained {
		if _, has := next[addr]; has {
			a.cfg.Metrics.ServiceMoved("taken")
			a.cfg.Log.Info("announcing an address", "vip", addr, "link", next[addr].link, "reason", next[addr].decision.Reason.Sentence())
		}
	}
	for _, addr := range lost {
		a.cfg.Metrics.ServiceMoved("given_up")
		a.cfg.Log.Info("gave an address up", "vip", addr)
	}
}

// HandOver gives up what other nodes are to have, as after a cordon an instant ago, and reports whether nothing is left. What
// no other node can have stays: nobody gains by its removal. Run must have returned.
func (a *Speaker) HandOver(ctx context.Context) bool {
	a.turn()
	end := time.NewTimer(overlap)
	defer end.Stop()
	for a.isLeaving() && a.awaitOwner(ctx, end.C) {
		continue
	}
	a.expire()
	return len(a.have) == 0
}

// isLeaving reports whether this node has an address that another is to have.
func (a *Speaker) isLeaving() bool {
	for _, h := range a.have {
		if h.leaving {
			return true
		}
	}
	return false
}

// Release hands everything over and removes it (S6): the others hear that this node is gone, and each
// address stays until its new owner is heard, a second at the most. Run must have returned. It needs
// the API server only for the sake of the others.
func (a *Speaker) Release(ctx context.Context) error {
	err := a.cfg.NodeLease.Release(ctx)
	end := time.NewTimer(overlap)
	defer end.Stop()
	for addr, h := range a.have {
		h.leaving, h.until = true, a.cfg.Clock()+overlap
		a.have[addr] = h
	}
	a.cfg.Announcer.Set(a.voices(a.have))
	for err == nil && len(a.have) > 0 && a.awaitOwner(ctx, end.C) {
		continue
	}
	a.cfg.Announcer.Set(nil)
	return errors.Join(err, a.remove(ctx, err == nil))
}

// remove takes everything off this host: the filter only after the addresses that it protects (S5). The Lease is
// this node's to delete only if it could be given up: else it may be another machine's of the same name.
func (a *Speaker) remove(ctx context.Context, gaveUp bool) error {
	err := a.cfg.Addresses.Clear()
	if err == nil {
		a.have = holdings{}
		err = a.cfg.Filter.Remove()
	}
	if gaveUp {
		err = errors.Join(err, a.cfg.NodeLease.Delete(ctx))
	}
	return err
}

// awaitOwner hears of new owners, and drops their addresses; false when the time is up.
func (a *Speaker) awaitOwner(ctx context.Context, end <-chan time.Time) bool {
	select {
	case <-ctx.Done():
		return false
	case <-end:
		return false
	case s := <-a.cfg.Announcer.Sightings():
		a.sighted(s)
	case <-time.After(gather):
		a.expire()
	}
	return true
}
