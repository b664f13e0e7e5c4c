package allocator

import "time"

// lookAnyway is after how long a turn is made although nothing is known to have changed.
const lookAnyway = 30 * time.Second

// basis is what a turn was based on. While it is the same, and all that was to be written is, there is
// nothing to do: with thousands of Services a turn is much work, and Leases are renewed all the time.
type basis struct {
	term, changes, placed, elections uint64
	at                               time.Duration
}

func (a *Allocator) basisNow(term uint64) basis {
	_, elections := a.elections.state()
	return basis{term: term, changes: a.cfg.Cache.Changes(), placed: a.cfg.PlacementVersion(), elections: elections, at: a.cfg.Clock()}
}

// settled is whether a turn on this basis could only do what the last one did. What could not be written is
// tried again a while later.
func (a *Allocator) settled(b basis) bool {
	last, pause := a.basis, lookAnyway
	if a.unwritten || !a.writer.waits() {
		pause = lookAgain
	}
	return a.term == b.term && last.term == b.term && last.changes == b.changes && last.placed == b.placed && last.elections == b.elections && b.at-last.at < pause
}
