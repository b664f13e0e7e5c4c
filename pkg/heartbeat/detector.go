// Package heartbeat notices within half a second that another node is off (S10). Each node sends a
// frame to all hosts of the segment ten times a second. A node whose frames stop, and whose kernel
// does not answer for the node's own address either, is silent. This is evidence, not a decision:
// the node's Lease decides (S1), and takes it back.
package heartbeat

import (
	"slices"
	"time"
)

const (
	minInterval = 100 * time.Millisecond
	// framesPerSecond limits the frames of all nodes of a segment together.
	framesPerSecond = 200
	// missed is how many frames of a node are missing when its kernel is asked. steady is how many of
	// its frames must have come before: a segment that loses frames proves nothing.
	missed = 4
	steady = 10
	// againEvery is when a node that is silent is asked again.
	againEvery = 500 * time.Millisecond
)

// Interval returns the time between two frames of one node for a number of nodes: 100 ms up to 20
// nodes, and beyond that such that all together send 200 in a second.
func Interval(nodes int) time.Duration {
	return max(minInterval, time.Duration(nodes)*time.Second/framesPerSecond)
}

// Actions are what a Detector wants to be done now: a frame to all nodes, and questions for the own
// addresses of nodes.
type Actions struct {
	Send bool
	Ask  []string
}

// Detector finds nodes that are silent. It is pure: instants are durations since boot. Make it with
// NewDetector. It is not safe for concurrent use.
type Detector struct {
	interval time.Duration
	sendAt   time.Duration
	stepped  time.Duration // when the last step was
	nodes    map[string]*node
}

// node is what is known of another node.
type node struct {
	heard time.Duration // its last frame
	count int           // of its frames without a gap, up to steady
	asked bool          // a question is open
	askAt time.Duration // no question before
}

// NewDetector returns a Detector that knows no other node.
func NewDetector() *Detector {
	return &Detector{interval: minInterval, nodes: map[string]*node{}}
}

// SetNodes sets which other nodes send frames on the segment.
func (d *Detector) SetNodes(names []string) {
	d.interval = Interval(len(names) + 1)
	for name := range d.nodes {
		if !slices.Contains(names, name) {
			delete(d.nodes, name)
		}
	}
	for _, name := range names {
		if d.nodes[name] == nil {
			d.nodes[name] = &node{}
		}
	}
}

// Heard records a frame of a node at the instant at which the kernel received it.
func (d *Detector) Heard(name string, at time.Duration) {
	n := d.nodes[name]
	if n == nil || at < n.heard {
		return
	}
	if at-n.heard >= missed*d.interval {
		n.count = 0
	}
	n.heard, n.asked = at, false
	n.count = min(n.count+1, steady)
}

// Answered records that a node's kernel answers for the node's own address: its agent is gone, and
// it is not off. It has to send frames again before it can be silent.
func (d *Detector) Answered(name string) {
	if n := d.nodes[name]; n != nil && n.asked {
		n.asked, n.count = false, 0
	}
}

// Unanswered records at an instant that a question was not answered in its time. It reports whether
// the node is silent. Then the node is asked again in half a second, since a Lease that was renewed
// before may be seen late.
func (d *Detector) Unanswered(name string, now time.Duration) (silent bool) {
	n := d.nodes[name]
	if n == nil || !n.asked {
		return false
	}
	n.asked = false
	if !d.hearsAnother(n, now) { // the own link may be cut
		return false
	}
	n.askAt = now + againEvery
	return true
}

// Abandon records that a question proves nothing. The node is asked again.
func (d *Detector) Abandon(name string) {
	if n := d.nodes[name]; n != nil {
		n.asked = false
	}
}

// Step returns what to do at an instant. All frames that have arrived must have been recorded
// before.
func (d *Detector) Step(now time.Duration) (a Actions) {
	late := d.stepped > 0 && now-d.stepped > d.interval+d.interval/2
	d.stepped = now
	if now >= d.sendAt {
		d.sendAt = max(d.sendAt+d.interval, now)
		a.Send = true
	}
	for name, n := range d.nodes {
		if late { // this node was not there to hear
			n.asked = false
			n.heard = max(n.heard, now-d.interval)
		}
		missing := n.count == steady && now-n.heard >= missed*d.interval
		if missing && !n.asked && now >= n.askAt && d.hearsAnother(n, now) {
			n.asked = true
			a.Ask = append(a.Ask, name)
		}
	}
	slices.Sort(a.Ask)
	return a
}

// hearsAnother reports whether a frame of another node came lately.
func (d *Detector) hearsAnother(but *node, now time.Duration) bool {
	for _, n := range d.nodes {
		if n != but && n.heard > 0 && now-n.heard < 2*d.interval {
			return true
		}
	}
	return false
}

// Next returns the instant of the next step, if nothing is recorded before.
func (d *Detector) Next() time.Duration {
	at := d.sendAt
	for _, n := range d.nodes {
		due := max(n.heard+missed*d.interval, n.askAt)
		if n.count == steady && !n.asked && due > d.stepped {
			at = min(at, due)
		}
	}
	return at
}
