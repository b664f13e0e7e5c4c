package allocator

import "time"

// versions are those of a reconcile's inputs. While they are the same, and everything is written,
// there is nothing to do: with thousands of Services a reconcile is expensive, and Leases are
// renewed all the time.
type versions struct {
	term, cache, placement, leases, sessions uint64

	at time.Duration
}

func (a *Allocator) currentVersions(term uint64) versions {
	_, leases := a.foreign.state()
	_, sessions := a.sessions.state()
	return versions{
		term: term, cache: a.cfg.Cache.Changes(), placement: a.cfg.PlacementVersion(), leases: leases,
		sessions: sessions, at: a.cfg.Clock(),
	}
}

// upToDate reports whether a reconcile of v would repeat the last one. Failed writes are repeated
// after pollInterval.
func (a *Allocator) upToDate(v versions) bool {
	last, pause := a.reconciled, resyncInterval
	if a.unwritten || !a.queue.isWaiting() {
		pause = pollInterval
	}
	age := v.at - last.at
	v.at = last.at
	return a.term == v.term && v == last && age < pause
}
