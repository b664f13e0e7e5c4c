package liveness

import "time"

// Renewal of the own Lease that the API server confirmed.
type Renewal struct {
	Version  string        // what the watch will show of it
	Sent     time.Duration // when its request left, since boot
	Duration time.Duration // of the Lease that it wrote
}

// Observation is a Lease as the watch or a list shows it. The zero values: a Duration below the least
// that Duration returns is taken as that.
type Observation struct {
	Node     string
	Version  string        // resourceVersion or a counter of renewals: any change means alive
	Duration time.Duration // how long the node may be silent
	Released bool          // the node left in order: the Lease names no holder
}

// FailureDetector is one node's view of who is alive. Create it with NewFailureDetector; it is not safe for
// concurrent use.
type FailureDetector struct {
	self  string
	peers map[string]*peer

	shown    string     // version of the own Lease that the watch showed last
	awaiting []answered // own renewals that the watch has not shown yet, in order
	proved   bool       // some renewal was ever confirmed and seen back
	// proven is when the latest such renewal was sent. The watch shows changes in the order in
	// which they were made: whatever another node wrote before this instant has been seen.
	proven time.Duration
	until  time.Duration // end of that renewal's duration: fresh before, stale from here on

	judged bool     // a first verdict was given
	alive  []string // the standing verdict
}

// answered is a renewal and the instant of its confirmation.
type answered struct {
	Renewal
	at time.Duration
}

// peer is what is known of another node.
type peer struct {
	version  string
	duration time.Duration
	changed  time.Duration // when its last change was seen, or when it got its duration anew
	moved    bool          // it was seen to change: it lived when, or after, this node began to look
	left     bool
	deleted  bool
	dead     bool
}

// NewFailureDetector returns the judge of the node called self, which knows nothing yet.
func NewFailureDetector(self string) *FailureDetector {
	return &FailureDetector{self: self, peers: map[string]*peer{}}
}

// RecordRenewal takes in that the API server confirmed a renewal of the own Lease at instant now.
func (j *FailureDetector) RecordRenewal(r Renewal, now time.Duration) {
	a := answered{r, now}
	if r.Version == j.shown { // the watch was quicker than the answer
		j.awaiting = nil
		j.confirmFresh(a, now)
		return
	}
	j.awaiting = append(j.unexpired(now), a)
}

// unexpired forgets renewals that a broken watch did not show in time: they prove nothing any more.
func (j *FailureDetector) unexpired(now time.Duration) []answered {
	rest := j.awaiting
	for len(rest) > 0 && rest[0].Sent+rest[0].Duration <= now {
		rest = rest[1:]
	}
	return rest
}

// Observe takes in one Lease as the watch shows it at instant now, also the own one. The same
// version again, as after a list, is no change. What one list shows goes to Sync instead.
func (j *FailureDetector) Observe(s Observation, now time.Duration) {
	if s.Node == j.self {
		j.ownLeaseSeen(s, now)
		return
	}
	p, known := j.peers[s.Node]
	switch {
	case !known: // in a view that was fresh once, a new Lease is a sign of life; before, it may be old
		p = &peer{moved: j.proved}
		j.peers[s.Node] = p
	case p.version == s.Version && !p.deleted:
		return
	default:
		p.moved = true
	}
	p.version, p.duration, p.left = s.Version, max(s.Duration, Duration(1)), s.Released
	p.changed, p.deleted, p.dead = now, false, false
}

// Sync takes in a complete list of the Leases, shown at instant now. The own Lease counts
// last, since a proof that the view is new must not come before the view; Leases that are missing were deleted.
func (j *FailureDetector) Sync(all []Observation, now time.Duration) {
	listed := make(map[string]bool, len(all))
	var own []Observation
	for _, s := range all {
		listed[s.Node] = true
		if s.Node == j.self {
			own = append(own, s)
			continue
		}
		j.Observe(s, now)
	}
	for node := range j.peers {
		if !listed[node] {
			j.Delete(node)
		}
	}
	for _, s := range own {
		j.ownLeaseSeen(s, now)
	}
}

// Delete takes in that a node's Lease was deleted. That is silence and no farewell: a node
// that lives writes a new one within its duration, and until then keeps what it has.
func (j *FailureDetector) Delete(node string) {
	if node == j.self {
		j.shown = ""
	}
	if p, known := j.peers[node]; known {
		p.deleted = true
	}
}

// ownLeaseSeen looks for the own renewal that the watch shows. Those sent before it prove nothing more.
func (j *FailureDetector) ownLeaseSeen(s Observation, now time.Duration) {
	j.shown = s.Version
	if s.Released { // emptied by hand, or by this node on leaving: the others count it out until it renews
		j.until = min(j.until, now)
		return
	}
	for i, a := range j.awaiting {
		if a.Version == s.Version {
			j.awaiting = j.awaiting[i+1:]
			j.confirmFresh(a, now)
			return
		}
	}
}

// confirmFresh takes a renewal as the proof of a new view. If the proof before it had run out, or the API may have been out of
// reach between the two for longer than a peer's patience allows for, every peer gets its duration anew (S2).
func (j *FailureDetector) confirmFresh(a answered, now time.Duration) {
	gap := !j.proved || now >= j.until || a.at-j.proven > maxGap(a.Duration)
	if gap {
		for _, p := range j.peers {
			p.changed = now
		}
	}
	j.proved, j.proven, j.until = true, a.Sent, a.Sent+a.Duration
}
