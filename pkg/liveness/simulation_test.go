package liveness

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/kvip/kvip/test/testutil"
)

const (
	tick     = 10 * time.Millisecond
	latency  = 300 * time.Millisecond // maximum: of a request, of a response, of the watch
	timeout  = 700 * time.Millisecond // of a request
	rejoin   = time.Second            // maximum: until a watch is open again
	lifetime = 5 * time.Second        // of the Leases: up to 20 nodes
)

// world is one API server, the nodes that renew and watch their Leases there, and their faults.
type world struct {
	rng   *rand.Rand
	now   time.Duration
	log   []commit
	nodes []*node
	// The API is out of reach before outage: requests are lost or refused.
	outage  time.Duration
	losing  bool
	ended   time.Duration // end of the last outage
	trace   []string
	failure string
}

// commit is one write of a Lease, in the order of the API server.
type commit struct {
	ObservedLease
	at time.Duration
}

// node runs a FailureDetector as the speaker does.
type node struct {
	name       string
	w          *world
	rng        *rand.Rand // of its own: what one node does changes no random number of others
	up         bool
	since      time.Duration // of being up or down
	faulted    time.Duration // end of the last fault of its own, or the beginning of its present life
	everFaulty bool          // it ever had a fault of its own
	wrote      time.Duration // its first renewal, ever
	// Faults of its own: before these instants it does not reach the API, and its watch is stuck.
	disconnected, stuck time.Duration

	detector *FailureDetector
	view     View
	count    int // of renewals
	sent     time.Duration
	due      time.Duration
	failures int
	request  *request

	cursor   int // next entry of the log that the watch shows
	watching bool
	watchAt  time.Duration // when a lost watch opens again
	showAt   time.Duration // when the entry at cursor arrives, 0 if not known yet
}

// request is a renewal that is sent.
type request struct {
	Renewal
	commitAt, answerAt, giveUp time.Duration
	committed, refused         bool
}

func newWorld(seed uint64, nodes int) *world {
	w := &world{rng: rand.New(rand.NewPCG(seed, 1))}
	for i := range nodes {
		n := &node{name: fmt.Sprintf("n%d", i), w: w, rng: rand.New(rand.NewPCG(seed, uint64(i)+2))}
		w.nodes = append(w.nodes, n)
		n.start()
	}
	return w
}

// logf adds a line to the trace.
func (w *world) logf(format string, args ...any) {
	w.trace = append(w.trace, fmt.Sprintf("%8.2f ", w.now.Seconds())+fmt.Sprintf(format, args...))
}

func (w *world) fail(format string, args ...any) {
	w.logf(format, args...)
	if w.failure == "" {
		w.failure = w.trace[len(w.trace)-1]
	}
}

// run lets time pass. faults may begin a fault in each step.
func (w *world) run(length time.Duration, faults func(w *world)) {
	for end := w.now + length; w.now < end && w.failure == ""; w.now += tick {
		faults(w)
		for _, n := range w.nodes {
			if n.up {
				n.step()
			}
		}
	}
}

func (n *node) start() {
	n.up, n.since, n.faulted = true, n.w.now, n.w.now
	n.detector, n.view = testutil.Must(NewFailureDetector(n.name)), View{}
	n.sent, n.due, n.failures, n.request = 0, n.w.now+n.upTo(Interval(1)), 0, nil
	n.lose()
}

func (n *node) stop() {
	n.up, n.since, n.request, n.everFaulty = false, n.w.now, nil, true
}

func (n *node) upTo(d time.Duration) time.Duration { return time.Duration(n.rng.Int64N(int64(d))) }

func (n *node) reaches() bool { return n.w.now >= n.w.outage && n.w.now >= n.disconnected }

func (n *node) step() {
	n.renew()
	n.watch()
	before := n.view
	n.view = n.detector.View(n.w.now)
	n.check(before)
}

func (n *node) renew() {
	now := n.w.now
	if n.request == nil && now >= n.view.RenewAt(n.sent, n.due, len(n.w.nodes)) {
		n.count++
		r := Renewal{Version: fmt.Sprintf("%s-%d", n.name, n.count), Sent: now, Duration: lifetime}
		commit := now + n.upTo(latency)
		n.request = &request{
			Renewal: r, commitAt: commit, answerAt: commit + n.upTo(latency),
			giveUp: now + timeout, refused: !n.reaches() && !n.w.losing,
		}
		n.sent = now
	}
	if n.request != nil {
		n.advance(n.request)
	}
}

// advance processes a request. A server out of reach refuses or loses it, and the response may be
// lost.
func (n *node) advance(r *request) {
	now := n.w.now
	if !r.committed && now >= r.commitAt && n.reaches() {
		r.committed, r.answerAt = true, max(r.answerAt, now)
		if n.wrote == 0 {
			n.wrote = now
		}
		o := ObservedLease{Node: n.name, Version: r.Version, Duration: lifetime}
		n.w.log = append(n.w.log, commit{o, now})
	}
	switch {
	case r.committed && now >= r.answerAt && n.reaches():
		n.detector.RecordRenewal(r.Renewal, now)
		n.failures, n.due, n.request = 0, r.Sent+Interval(1), nil
	case now >= r.giveUp, r.refused && now >= r.commitAt:
		n.failures++
		pause := Backoff(n.failures, lifetime)
		n.due, n.request = now+pause-n.upTo(pause/2), nil
	}
}

func (n *node) lose() {
	n.watching, n.watchAt, n.showAt = false, n.w.now+n.upTo(rejoin), 0
}

// watch shows the log in order, each entry after a delay. After a loss it lists the latest version
// of each Lease.
func (n *node) watch() {
	now := n.w.now
	switch {
	case !n.reaches():
		n.lose()
	case now < n.stuck:
	case !n.watching && now >= n.watchAt:
		n.detector.Sync(n.w.list(), now)
		n.watching, n.cursor = true, len(n.w.log)
	case n.watching:
		for n.cursor < len(n.w.log) && n.shows(n.w.log[n.cursor].at) {
			n.detector.Observe(n.w.log[n.cursor].ObservedLease, now)
			n.cursor++
			n.showAt = 0
		}
	}
}

func (n *node) shows(committed time.Duration) bool {
	if n.showAt == 0 {
		n.showAt = committed + n.upTo(latency)
	}
	return n.w.now >= n.showAt
}

// list returns the Leases of the API server.
func (w *world) list() []ObservedLease {
	latest := map[string]ObservedLease{}
	for _, c := range w.log {
		latest[c.Node] = c.ObservedLease
	}
	var all []ObservedLease
	for _, s := range latest {
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b ObservedLease) int { return len(a.Version) - len(b.Version) })
	return all
}
