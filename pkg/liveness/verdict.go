package liveness

import (
	"slices"
	"time"
)

// View says who is alive.
type View struct {
	// Fresh says that this node may judge: its own renewal is confirmed and was seen back within
	// its duration (S2). Otherwise Alive is the last verdict, unchanged.
	Fresh bool
	// Alive are the nodes that count as alive, sorted. It contains the own node from the first
	// verdict on, and is empty before: then nothing may be taken or given up. The caller must not change it.
	Alive []string
	// FreshUntil is when the verdict stops being fresh unless a renewal is seen back, since boot; 0 if it
	// is not fresh. Nothing else changes by time alone.
	FreshUntil time.Duration

	overdue time.Duration // when the first of the living will have been silent for its duration, 0 if there is none
}

// RenewAt returns when to send the next renewal, given when the last one left, when the next
// is due and how many nodes announce. It is earlier than due where one sent then decides that a silent peer is dead: a death
// is certain only once this node has seen back a renewal sent after the peer's duration. Beyond 20 nodes it is always due,
// so that a death does not make all of them write at once (S1).
func (v View) RenewAt(sent, due time.Duration, nodes int) time.Duration {
	if nodes > writesPerSecond || v.overdue <= sent {
		return due
	}
	return min(due, v.overdue)
}

// View judges at instant now. The first verdict is withheld until every Lease that was
// there before has changed or stayed silent for its duration: a node that starts cannot know which, and the addresses
// it kept over a restart must not go to a node that died long ago.
func (j *FailureDetector) View(now time.Duration) View {
	if !j.proved || now >= j.until {
		return View{Alive: j.alive}
	}
	undecided := j.countOut()
	v := View{overdue: j.overdue()}
	if j.judged || !undecided {
		j.judged, j.alive = true, j.living()
		v.Fresh, v.FreshUntil = true, j.until
	}
	v.Alive = j.alive
	return v
}

// countOut counts out who was silent for its whole duration in a view that is known to be complete for that time, and says
// whether there are peers of whom nothing is known yet (S2).
func (j *FailureDetector) countOut() (undecided bool) {
	for node, p := range j.peers {
		if j.proven >= p.changed+p.duration {
			p.dead = true
		}
		if p.deleted && (p.dead || p.left) {
			delete(j.peers, node)
		}
		undecided = undecided || p.counts() && !p.moved
	}
	return undecided
}

// counts says whether a peer is taken for alive.
func (p *peer) counts() bool { return !p.dead && !p.left }

func (j *FailureDetector) living() []string {
	alive := []string{j.self}
	for node, p := range j.peers {
		if p.counts() {
			alive = append(alive, node)
		}
	}
	slices.Sort(alive)
	return alive
}

func (j *FailureDetector) overdue() (first time.Duration) {
	for _, p := range j.peers {
		if end := p.changed + p.duration; p.counts() && (first == 0 || end < first) {
			first = end
		}
	}
	return first
}
