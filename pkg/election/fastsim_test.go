package election

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/kvip/kvip/pkg/quorum"
)

// The simulation of mode fast: an API server, three to five agents with a fenced kernel each, the
// network between them, and the faults of all three. A node is open while its kernel has the
// address and the fence's element stands, whatever its machine assumes.

const (
	fastTicket = 20 * time.Millisecond // how long a ticket stands at most, with its jiffy (F9)
	fastStep   = 20 * time.Millisecond // the fence's lifetimes are rounded down to it
)

type fastConfig struct {
	seed          uint64
	lease, long   []time.Duration // of each node
	window        []time.Duration // of each node; 0 for always slow
	drain         time.Duration   // of all nodes
	kinds         []fastFault
	every         time.Duration // mean time between two faults
	faults, total time.Duration
	verbose       bool // keep a trace
}

type fastSim struct {
	rng     *rand.Rand
	now     time.Duration
	queue   events
	order   int
	cfg     fastConfig
	lease   Record
	past    []Record
	version uint64
	ever    bool
	nodes   []*fastNode
	trace   []string
	overlap string // first instant with two open nodes

	loss             float64
	lossEnd, slowNet time.Duration
	etcdDown, late   time.Duration
	udpCut, cableCut [5][5]time.Duration
	last             string // holder at the last change of the Lease
	moves, switches  int
}

type fastNode struct {
	w        *fastSim
	i        int
	name     string
	boot     int    // grows with each boot of the machine
	id       string // of the present process
	lease    time.Duration
	rate     float64
	off      time.Duration // of its clock
	m        *Machine
	life     int
	alive    bool
	frozen   time.Duration // until when the process stands still
	paused   time.Duration // until when the machine does
	resumed  time.Duration // when it last ran again
	apiCut   time.Duration
	health   Verdict
	fence    time.Duration // real time at which the element ends
	fencedAt time.Duration // when the kernel last got it
	expires  time.Duration // real time at which the address ends
	jobs     []Action
	wakeAt   time.Duration
	wakeID   int
	watchAt  time.Duration
}

func newFastSim(cfg fastConfig) *fastSim {
	w := &fastSim{rng: rand.New(rand.NewPCG(cfg.seed, 7)), cfg: cfg, version: 100}
	for i := range cfg.lease {
		n := &fastNode{
			w: w, i: i, name: string(rune('a' + i)), lease: cfg.lease[i],
			rate: 1 + maxDrift*(2*w.rng.Float64()-1), off: w.upTo(1000 * time.Second),
		}
		n.identify()
		w.nodes = append(w.nodes, n)
		w.at(w.upTo(200*time.Millisecond), n.start)
	}
	return w
}

func (w *fastSim) at(t time.Duration, do func()) {
	w.order++
	heap.Push(&w.queue, event{max(t, w.now), w.order, do})
}

func (w *fastSim) logf(format string, args ...any) {
	if !w.cfg.verbose {
		return
	}
	w.trace = append(w.trace, fmt.Sprintf("%9.4f ", w.now.Seconds())+fmt.Sprintf(format, args...))
}

func (w *fastSim) upTo(limit time.Duration) time.Duration {
	if limit <= 0 {
		return 0
	}
	return time.Duration(w.rng.Int64N(int64(limit)))
}

// bad is randomly true while faults of a kind are injected.
func (w *fastSim) bad(kind fastFault, oneIn int) bool {
	return w.now < w.cfg.faults && slices.Contains(w.cfg.kinds, kind) && w.rng.IntN(oneIn) == 0
}

func (w *fastSim) run(until time.Duration) {
	for len(w.queue) > 0 && w.queue[0].at <= until && w.overlap == "" {
		e := heap.Pop(&w.queue).(event)
		w.now = e.at
		e.do()
	}
	w.now = max(w.now, until)
}

func (n *fastNode) open() bool {
	return n.w.now >= n.paused && n.expires > n.w.now && n.fence > n.w.now
}

// check records the first instant at which two nodes are open. A machine that was paused may be
// open for the rest of its validity after it runs again: that window remains.
func (w *fastSim) check(n *fastNode) {
	if !n.open() {
		return
	}
	for _, o := range w.nodes {
		if o == n || !o.open() || w.overlap != "" {
			continue
		}
		paused := func(x *fastNode) bool {
			return x.resumed > 0 && (x.fencedAt < x.resumed || w.now-x.resumed < 13*time.Second)
		}
		w.logf("OPEN %s and %s", n.id, o.id)
		if !paused(n) && !paused(o) {
			w.overlap = fmt.Sprintf("%v: open %s and %s for up to %v", w.now, n.id, o.id,
				min(n.fence, o.fence)-w.now)
		}
	}
}

func (w *fastSim) openNodes() (ids []string) {
	for _, n := range w.nodes {
		if n.open() {
			ids = append(ids, n.id)
		}
	}
	return ids
}

// local returns the node's CLOCK_BOOTTIME.
func (n *fastNode) local() time.Duration {
	return n.off + time.Duration(float64(n.w.now)*n.rate)
}

// identify sets the identity that this boot gives (E8).
func (n *fastNode) identify() { n.id = fmt.Sprintf("%s_%d_1", n.name, n.boot) }

func (n *fastNode) start() {
	w := n.w
	n.life++
	n.alive, n.jobs, n.wakeAt = true, nil, 0
	left := time.Duration(0)
	if n.expires > w.now {
		left = n.expires - w.now
	}
	n.m = mustNew(Config{
		ID: n.id, Lease: n.lease, Renew: max(n.lease/5, 400*time.Millisecond),
		Window: w.cfg.window[n.i], LongLease: w.cfg.long[n.i], EverFast: true,
		LeftoverLifetime: left, Drain: w.cfg.drain, ShutdownDrain: w.cfg.drain,
		FirstSeq: uint64(n.id[0])*1_000_000_000 + uint64(n.life)*1_000_000,
	})
	w.logf("%s starts", n.id)
	n.later(0, func() { n.step(Link{Usable: true, MAC: "mac-" + n.name}) })
	n.later(w.upTo(50*time.Millisecond), func() { n.step(Health{Verdict: n.health}) })
	n.later(w.upTo(50*time.Millisecond), func() { n.deliver(w.lease) })
	n.later(w.upTo(50*time.Millisecond), n.learnAgents)
	if n.health == Unknown {
		n.health = Healthy
	}
}

func (n *fastNode) learnAgents() {
	var ids []string
	for _, o := range n.w.nodes {
		if n.w.cfg.window[o.i] > 0 {
			ids = append(ids, o.id)
		}
	}
	n.step(Agents{IDs: ids, EverFast: n.w.ever})
}

// later runs do in this life, and not while the process is frozen.
func (n *fastNode) later(d time.Duration, do func()) {
	life := n.life
	var fire func()
	fire = func() {
		stopped := max(n.frozen, n.paused)
		switch {
		case life != n.life || !n.alive:
		case n.w.now < stopped: // a thawed process receives its events in any order
			n.w.at(stopped+n.w.upTo(time.Millisecond), fire)
		default:
			do()
		}
	}
	n.w.at(n.w.now+d, fire)
}

func (n *fastNode) freeze(d time.Duration) {
	n.frozen = max(n.frozen, n.w.now+d)
	n.w.logf("%s is frozen for %v", n.id, d)
}

func (n *fastNode) step(ev Event) {
	was := n.m.state
	actions := n.m.Step(ev, n.local())
	if len(actions) > 0 || n.m.state != was {
		n.w.logf("%s %T%+v -> %v [%s %s]", n.id, ev, ev, actions, n.m.state, n.m.reason)
	}
	for _, a := range actions {
		n.execute(a)
	}
	n.sleep()
}

// sleep schedules the step that the machine asks for.
func (n *fastNode) sleep() {
	at := n.w.now + time.Duration(float64(n.m.Wake()-n.local())/n.rate)
	if n.wakeAt > n.w.now && n.wakeAt <= at {
		return
	}
	n.wakeAt = at
	n.wakeID++
	id := n.wakeID
	n.later(at-n.w.now+n.w.upTo(200*time.Microsecond), func() {
		if id == n.wakeID {
			n.wakeAt = 0
			n.step(Tick{})
		}
	})
}

func (n *fastNode) execute(a Action) {
	w := n.w
	switch a.Kind {
	case Create, Claim, Renew, Release, RequestTransfer:
		n.request(a)
	case Read:
		n.read(a)
	case Probe:
		n.later(w.upTo(100*time.Millisecond), func() { n.step(Probed{w.answer(n)}) })
	case Own, Disown, Drain, Serve:
		if a.Kind == Disown || a.Kind == Drain { // the closing frame
			n.fence = 0
		}
		n.jobs = append(n.jobs, a)
		if len(n.jobs) == 1 {
			n.later(n.delay(), n.nextJob)
		}
	case Extend:
		if w.rng.IntN(100) == 0 { // the kernel defers the ticket
			n.later(0, func() { n.step(NotExtended{}) })
			return
		}
		n.extend(a, func(bool) {})
	case Cut:
		n.extend(a, func(ok bool) { n.later(n.delay(), func() { n.step(CutDone{Seq: a.Seq, OK: ok}) }) })
	case Send:
		n.send(a)
	case AllowFast:
		n.later(w.apiDelay(), func() {
			if w.now >= n.apiCut && w.now >= w.etcdDown {
				w.ever = true
				for _, o := range w.nodes {
					o.later(w.apiDelay(), o.learnAgents)
				}
			}
		})
	case Exit:
		n.alive = false
	}
}

// extend renews the element in three steps: the ticket, a look at the clock, the renewal. The
// process may freeze in between; the kernel then finds no ticket (F9).
func (n *fastNode) extend(a Action, done func(ok bool)) {
	w := n.w
	ticket := w.now
	mayFreeze := func() {
		if w.bad(faultFreeze, 150) {
			n.freeze(fastTicket + w.upTo([]time.Duration{
				300 * time.Millisecond, 2 * time.Second, 8 * time.Second,
			}[w.rng.IntN(3)]))
		}
	}
	mayFreeze()
	life := n.life
	w.at(max(n.frozen, n.paused, w.now), func() {
		if n.life != life || !n.alive {
			return
		}
		left := (a.Deadline - n.local()).Truncate(fastStep)
		mayFreeze()
		w.at(max(n.frozen, n.paused, w.now), func() {
			switch {
			case n.life != life || !n.alive:
			case left <= 0 || w.now > ticket+fastTicket || w.now > ticket && w.now < n.paused:
				done(false)
			default:
				was := n.open()
				n.fence = w.now + time.Duration(float64(left)/n.rate) + w.upTo(10*time.Millisecond)
				n.fencedAt = w.now
				if n.open() && !was {
					w.logf("%s opens for %v", n.id, left)
				}
				w.check(n)
				done(true)
			}
		})
	})
}

// nextJob executes Own and Disown.
func (n *fastNode) nextJob() {
	a := n.jobs[0]
	n.jobs = n.jobs[1:]
	if len(n.jobs) > 0 {
		n.later(n.delay(), n.nextJob)
	}
	switch {
	case a.Kind == Disown, a.Kind == Drain && n.w.rng.IntN(10) == 0:
		n.fence, n.expires = 0, 0
		n.step(Disowned{Seq: a.Seq, Confirmed: true})
		return
	case a.Kind == Drain:
		n.fence = 0
		n.step(Disowned{Seq: a.Seq, Confirmed: true, Draining: true})
		return
	case a.Kind == Serve:
		ok := n.expires > n.w.now && n.w.rng.IntN(50) > 0
		if ok {
			n.expires = n.w.now + serveFor + n.w.upTo(time.Second)
		}
		n.step(Served{Seq: a.Seq, OK: ok, Connections: n.w.rng.IntN(20)})
		return
	}
	left := a.Deadline - n.local()
	if left <= 0 {
		n.step(Owned{Seq: a.Seq, Expired: true})
		return
	}
	valid := left.Truncate(time.Second) + 2*time.Second
	n.expires = n.w.now + time.Duration(float64(valid)/n.rate) + n.w.upTo(time.Second)
	n.w.check(n)
	n.step(Owned{Seq: a.Seq, OK: true})
}

// send delivers a message to one agent or to all others.
func (n *fastNode) send(a Action) {
	for _, o := range n.w.nodes {
		if o != n && (a.To == "" || a.To == o.id) && n.w.cfg.window[o.i] > 0 {
			n.w.deliver(n, o, a.Message)
		}
	}
}

func (w *fastSim) deliver(from, to *fastNode, msg quorum.Message) {
	if w.now < w.cableCut[from.i][to.i] || w.now < w.udpCut[from.i][to.i] {
		return
	}
	copies := 1
	if w.now < w.lossEnd {
		if w.rng.Float64() < w.loss {
			return
		}
		if w.rng.IntN(10) == 0 {
			copies = 2
		}
	}
	for range copies {
		d := 100*time.Microsecond + w.upTo(200*time.Microsecond)
		if w.now < w.slowNet && w.rng.IntN(3) == 0 {
			d += w.upTo(600 * time.Millisecond)
		}
		life := from.life // messages of a process carry its key
		to.later(d, func() {
			if w.now >= w.cableCut[from.i][to.i] && (from.life == life || msg.Kind != quorum.KindAck) {
				to.step(Received{From: from.id, Message: msg})
			}
		})
	}
}

// delay returns a mostly short and sometimes long time.
func (n *fastNode) delay() time.Duration {
	if n.w.bad(faultFreeze, 30) {
		return n.w.upTo(500 * time.Millisecond)
	}
	return n.w.upTo(2 * time.Millisecond)
}

// answer returns the answer to a probe, which is lost half of the time while faults are injected.
func (w *fastSim) answer(asking *fastNode) string {
	if w.now < w.cfg.faults && w.rng.IntN(2) == 0 {
		return ""
	}
	for _, n := range w.nodes {
		if n != asking && n.open() && w.now >= w.cableCut[n.i][asking.i] {
			return "mac-" + n.name
		}
	}
	return ""
}

func (w *fastSim) describe() string {
	var b strings.Builder
	for _, n := range w.nodes {
		fmt.Fprintf(&b, "%s alive=%v %s (%s) right-now=%v open=%v jobs=%d standby=%s\n", n.id, n.alive,
			n.m.state, n.m.reason, n.m.right()-n.local(), n.open(), len(n.jobs), n.m.standbyReason())
	}
	fmt.Fprintf(&b, "Lease %+v", w.lease)
	return b.String()
}
