// Package liveness decides which announcing nodes are alive, from the Lease that each of them
// renews. It is pure: confirmed renewals and observed Leases go in with their instants, a View
// comes out.
//
// It renews and watches nothing, and does not choose owners of addresses: pkg/placement does.
// Instants are durations since the boot of the observing node. None is taken from an object, so no
// other node's clock matters. The rules S1 and S2 are in docs/design/services.md.
package liveness

import (
	"errors"
	"slices"
	"time"
)

// Renewal is a renewal of the node's own Lease that the API server confirmed.
type Renewal struct {
	Version  string        // the resourceVersion that the watch will show
	Sent     time.Duration // when the request left
	Duration time.Duration // of the Lease that it wrote
}

// ObservedLease is a Lease in a watch or a list.
type ObservedLease struct {
	Node     string
	Version  string        // resourceVersion: any change is a sign of life
	Duration time.Duration // how long the node may be silent, at least Duration(1)
	Released bool          // the Lease has no holder: the node left in an orderly way
}

// View is which nodes are alive at an instant.
type View struct {
	// Fresh reports whether this node may decide about others: its own renewal is confirmed and was
	// seen back within its duration (S2). Otherwise Alive is that of the last fresh View.
	Fresh bool
	// Alive are the nodes that are alive, sorted. It has the own node, and is empty before the
	// first fresh View: then no address may be acquired or released. Callers must not change it.
	Alive []string
	// Silent are the nodes that count as dead only because they are silent on the wire (S10),
	// sorted.
	Silent []string
	// FreshUntil is when the View stops being fresh unless a renewal is seen back; 0 if it is
	// not fresh. Nothing else changes by time alone.
	FreshUntil time.Duration

	// when the first other node will have been silent for its duration; 0: no other node
	overdue time.Duration
}

// RenewAt returns when to send the next renewal, given when the last one left, when the next one
// is due, and the number of nodes. It is earlier than due if a renewal sent then decides that a
// silent node is dead: a death is certain only after this node has seen back a renewal that was
// sent after that node's duration. Beyond 20 nodes it is due, so that a death does not make all
// nodes write at once (S1).
func (v View) RenewAt(sent, due time.Duration, nodes int) time.Duration {
	if nodes > writesPerSecond || v.overdue <= sent {
		return due
	}
	return min(due, v.overdue)
}

// FailureDetector detects which nodes are alive, as one node sees it. Make it with
// NewFailureDetector. It is not safe for concurrent use.
type FailureDetector struct {
	node   string
	others map[string]*otherNode

	shown   string             // version of the own Lease in the watch
	pending []confirmedRenewal // own renewals that the watch has not shown yet, in order
	started bool               // a renewal was ever seen back
	proven  time.Duration      // when the latest renewal seen back was sent; see confirmFresh
	until   time.Duration      // end of the duration of that renewal
	judged  bool               // there was a fresh View
	alive   []string           // of the last fresh View
}

// confirmedRenewal is a Renewal and the instant of its confirmation.
type confirmedRenewal struct {
	Renewal
	at time.Duration
}

// otherNode is what is known of another node.
type otherNode struct {
	version  string
	duration time.Duration
	changed  time.Duration // when its last change was seen, or its duration started again
	moved    bool          // it was seen to change, so it lived after this node started
	released bool
	deleted  bool
	dead     bool
	silent   bool // on the wire, since its Lease changed last (S10)
}

// counts reports whether the node counts as alive.
func (p *otherNode) counts() bool { return !p.dead && !p.released && !p.silent }

// NewFailureDetector returns a FailureDetector of the given node that knows no other nodes. The
// name of the node must not be empty: else its own Lease would be another node's.
func NewFailureDetector(node string) (*FailureDetector, error) {
	if node == "" {
		return nil, errors.New("configure failure detector: the name of the node is required")
	}
	return &FailureDetector{node: node, others: map[string]*otherNode{}}, nil
}

// RecordRenewal records a renewal that the API server confirmed at instant now.
func (d *FailureDetector) RecordRenewal(r Renewal, now time.Duration) {
	c := confirmedRenewal{r, now}
	if r.Version == d.shown { // the watch was faster than the response
		d.pending = nil
		d.confirmFresh(c, now)
		return
	}
	for len(d.pending) > 0 && d.pending[0].Sent+d.pending[0].Duration <= now {
		d.pending = d.pending[1:] // a broken watch did not show it in time: it proves nothing
	}
	d.pending = append(d.pending, c)
}

// Observe records one Lease that the watch shows at instant now, also the own one. A version that
// was seen before, as in a list, is not a change. Use Sync for a whole list.
func (d *FailureDetector) Observe(o ObservedLease, now time.Duration) {
	if o.Node == d.node {
		d.observeOwn(o, now)
		return
	}
	p, known := d.others[o.Node]
	switch {
	case !known: // after the first fresh View a new Lease is a sign of life, before it may be old
		p = &otherNode{moved: d.started}
		d.others[o.Node] = p
	case p.version == o.Version && !p.deleted:
		return
	default:
		p.moved = true
	}
	p.version, p.duration, p.released = o.Version, max(o.Duration, Duration(1)), o.Released
	p.changed, p.deleted, p.dead, p.silent = now, false, false, false
}

// Silent records that a node is silent on the wire (S10): it counts as dead until its Lease
// changes. It reports whether that is news. Before the first fresh View, and of a node that was
// never seen to renew its Lease, it proves nothing.
func (d *FailureDetector) Silent(node string) bool {
	p := d.others[node]
	if p == nil || !d.judged || !p.moved || !p.counts() {
		return false
	}
	p.silent = true
	return true
}

// Sync records a complete list of the Leases at instant now. Leases that are missing were deleted.
// The own Lease counts last: the proof that a view is fresh must not come before the view.
func (d *FailureDetector) Sync(all []ObservedLease, now time.Duration) {
	listed := make(map[string]bool, len(all))
	var own []ObservedLease
	for _, o := range all {
		listed[o.Node] = true
		if o.Node == d.node {
			own = append(own, o)
			continue
		}
		d.Observe(o, now)
	}
	for node := range d.others {
		if !listed[node] {
			d.Delete(node)
		}
	}
	for _, o := range own {
		d.observeOwn(o, now)
	}
}

// Delete records that a node's Lease was deleted. A deleted Lease counts as missed heartbeats, not
// as a graceful leave: a node that is alive writes a new one within its duration, and until then
// keeps its addresses.
func (d *FailureDetector) Delete(node string) {
	if node == d.node {
		d.shown = ""
	}
	if p, known := d.others[node]; known {
		p.deleted = true
	}
}

// observeOwn finds the own renewal that the watch shows. Renewals sent before it prove nothing
// more.
func (d *FailureDetector) observeOwn(o ObservedLease, now time.Duration) {
	d.shown = o.Version
	if o.Released { // by hand, or by this node: other nodes do not count it until it renews
		d.until = min(d.until, now)
		return
	}
	for i, c := range d.pending {
		if c.Version == o.Version {
			d.pending = d.pending[i+1:]
			d.confirmFresh(c, now)
			return
		}
	}
}

// confirmFresh takes a renewal that was confirmed and seen back as the proof of a fresh view. The
// watch shows changes in the order in which they were made: what another node wrote before the
// renewal was sent has been seen. If the last proof had expired, or the API may have been out of
// reach between the two for too long, every other node gets its duration again (S2).
func (d *FailureDetector) confirmFresh(c confirmedRenewal, now time.Duration) {
	if !d.started || now >= d.until || c.at-d.proven > maxGap(c.Duration) {
		for _, p := range d.others {
			p.changed = now
		}
	}
	d.started, d.proven, d.until = true, c.Sent, c.Sent+c.Duration
}

// View returns which nodes are alive at instant now. The first fresh View waits until every Lease
// that existed before has changed or has been silent for its duration: a node that starts cannot
// know which, and addresses that it kept over a restart must not go to a node that died long ago.
func (d *FailureDetector) View(now time.Duration) View {
	if !d.started || now >= d.until {
		return View{Alive: d.alive}
	}
	undecided := d.markDead()
	v := View{}
	for _, p := range d.others {
		if end := p.changed + p.duration; p.counts() && (v.overdue == 0 || end < v.overdue) {
			v.overdue = end
		}
	}
	v.Silent = d.silent()
	if d.judged || !undecided {
		d.judged, d.alive = true, d.living()
		v.Fresh, v.FreshUntil = true, d.until
	}
	v.Alive = d.alive
	return v
}

// markDead marks as dead each node that was silent for its duration in a view that is known to be
// complete for that time. It reports whether there are nodes of which nothing is known yet (S2).
func (d *FailureDetector) markDead() (undecided bool) {
	for node, p := range d.others {
		if d.proven >= p.changed+p.duration {
			p.dead = true
		}
		if p.deleted && !p.counts() {
			delete(d.others, node)
		}
		undecided = undecided || p.counts() && !p.moved
	}
	return undecided
}

func (d *FailureDetector) silent() (list []string) {
	for node, p := range d.others {
		if p.silent && !p.dead && !p.released {
			list = append(list, node)
		}
	}
	slices.Sort(list)
	return list
}

func (d *FailureDetector) living() []string {
	alive := []string{d.node}
	for node, p := range d.others {
		if p.counts() {
			alive = append(alive, node)
		}
	}
	slices.Sort(alive)
	return alive
}
