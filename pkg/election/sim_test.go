package election

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// The simulation of the property tests: an API server, three nodes with a kernel each, and the
// faults between them. An owner is a node whose simulated kernel has the address (E4), whatever its
// machine assumes.

const (
	maxDrift = 0.01 // each node's clock runs up to 1 % fast or slow
	// An address lasts from lifetime - simEarly to lifetime + simLate. Programs subtract simLag
	// (vip.KernelLag).
	simEarly = 40 * time.Millisecond
	simLate  = time.Second
	simLag   = 1200 * time.Millisecond
)

type simConfig struct {
	seed      uint64
	durations [3]time.Duration // lease duration of each node
	faults    time.Duration    // how long faults are injected
	total     time.Duration
	// noDelete excludes deletions of the Lease. If durations differ, a node that missed a whole
	// tenure cannot know how long its holder may own once the Lease is deleted.
	noDelete bool
}

type simulation struct {
	rng   *rand.Rand
	now   time.Duration
	queue events
	order int
	cfg   simConfig

	lease   Record
	version uint64
	nodes   []*simNode
	trace   []string
	overlap string // first instant with two owners
}

type simNode struct {
	w        *simulation
	id       string
	lease    time.Duration
	rate     float64
	m        *Machine
	life     int // number of starts: events of an earlier life are void
	alive    bool
	frozen   time.Duration
	cut      time.Duration // until when no request reaches the API server
	health   Verdict
	expires  time.Duration // real time at which the kernel removes the address, 0 if absent
	jobs     []Action      // Own and Disown in order, executed some time after Step
	watchAt  time.Duration
	kernelKO time.Duration // until when netlink fails
}

type event struct {
	at    time.Duration
	order int
	do    func()
}
type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].order < e[j].order
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	old := *e
	x := old[len(old)-1]
	*e = old[:len(old)-1]
	return x
}

func newSimulation(cfg simConfig) *simulation {
	w := &simulation{rng: rand.New(rand.NewPCG(cfg.seed, 1)), cfg: cfg, version: 100}
	for i := range 3 {
		rate := 1 + maxDrift*(2*w.rng.Float64()-1)
		n := &simNode{w: w, id: string(rune('a' + i)), lease: cfg.durations[i], rate: rate}
		w.nodes = append(w.nodes, n)
		n.start()
	}
	return w
}

func (w *simulation) at(t time.Duration, do func()) {
	w.order++
	heap.Push(&w.queue, event{max(t, w.now), w.order, do})
}

func (w *simulation) logf(format string, args ...any) {
	w.trace = append(w.trace, fmt.Sprintf("%9.3f ", w.now.Seconds())+fmt.Sprintf(format, args...))
}

func (w *simulation) upTo(limit time.Duration) time.Duration {
	return time.Duration(w.rng.Int64N(int64(limit)))
}

func (w *simulation) run() {
	w.at(w.upTo(time.Second), w.injectFault)
	for len(w.queue) > 0 && w.now < w.cfg.total && w.overlap == "" {
		e := heap.Pop(&w.queue).(event)
		w.now = e.at
		e.do()
		w.check()
	}
}

// check records the first instant at which two kernels have the address.
func (w *simulation) check() {
	if o := w.owners(); len(o) > 1 && w.overlap == "" {
		w.overlap = fmt.Sprintf("%v: owners %s", w.now, strings.Join(o, " "))
	}
}

func (w *simulation) owners() (ids []string) {
	for _, n := range w.nodes {
		if n.expires > w.now {
			ids = append(ids, n.id)
		}
	}
	return ids
}

// local returns the node's CLOCK_BOOTTIME.
func (n *simNode) local() time.Duration {
	return time.Hour + time.Duration(float64(n.w.now)*n.rate)
}

func (n *simNode) start() {
	n.life++
	n.alive, n.jobs = true, nil
	left := time.Duration(0)
	if n.expires > n.w.now {
		left = n.expires - n.w.now + simLag
	}
	n.m = mustNew(Config{
		ID: n.id, Lease: n.lease, Renew: n.lease / 5, LeftoverLifetime: left,
		FirstSeq: uint64(n.id[0])*1_000_000_000 + uint64(n.life)*1_000_000,
	})
	n.health = Healthy
	n.later(0, func() { n.step(Link{Usable: true, MAC: "mac-" + n.id}) })
	n.later(n.w.upTo(time.Second), func() { n.step(n.healthOf(Healthy)) })
	n.later(n.w.upTo(300*time.Millisecond), func() { n.deliver(n.w.lease) })
	n.tick()
}

func (n *simNode) tick() {
	n.later(100*time.Millisecond, func() { n.step(Tick{}); n.tick() })
}

// later runs do in this life, and not while the process is frozen.
func (n *simNode) later(d time.Duration, do func()) {
	life := n.life
	var fire func()
	fire = func() {
		switch {
		case life != n.life || !n.alive:
		case n.w.now < n.frozen: // a thawed process receives its events in any order
			n.w.at(n.frozen+n.w.upTo(time.Millisecond), fire)
		default:
			do()
		}
	}
	n.w.at(n.w.now+d, fire)
}

func (n *simNode) step(ev Event) {
	actions := n.m.Step(ev, n.local())
	if len(actions) > 0 {
		n.w.logf("%s %T%+v -> %v [%s]", n.id, ev, ev, actions, n.m.state)
	}
	for _, a := range actions {
		n.execute(a)
	}
}

func (n *simNode) execute(a Action) {
	switch a.Kind {
	case Create, Claim, Renew, Release, RequestTransfer:
		n.request(a)
	case Read:
		n.read(a)
	case Probe:
		n.later(n.w.upTo(100*time.Millisecond), func() { n.step(Probed{n.w.answer(n)}) })
	case Own, Disown:
		n.jobs = append(n.jobs, a)
		if len(n.jobs) == 1 {
			n.later(n.delay(), n.nextJob)
		}
	case Exit:
		n.alive = false
	}
}

// bad is randomly true while faults are injected.
func (w *simulation) bad(oneIn int) bool { return w.now < w.cfg.faults && w.rng.IntN(oneIn) == 0 }

// delay returns a mostly short and sometimes long time.
func (n *simNode) delay() time.Duration {
	if n.w.bad(20) {
		return n.w.upTo(800 * time.Millisecond)
	}
	return n.w.upTo(5 * time.Millisecond)
}

// answer returns the answer to a probe. Half of the answers are lost while faults are injected: the
// fence has to hold without them.
func (w *simulation) answer(asking *simNode) string {
	if w.bad(2) {
		return ""
	}
	for _, n := range w.nodes {
		if n != asking && n.expires > w.now {
			return "mac-" + n.id
		}
	}
	return ""
}
