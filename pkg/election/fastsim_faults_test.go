package election

import (
	"math"
	"slices"
	"time"
)

// fastFault is a kind of fault of the simulation of mode fast.
type fastFault int

const (
	faultLoss fastFault = iota
	faultPartition
	faultOneWay
	faultUDP
	faultFreeze
	faultRestart
	faultPause
	faultAPICut
	faultEtcd
	faultLate
	faultEdit
	faultRestore
	faultAPIServer
	faultOff
	faultShutdown
	faultKinds
)

func (w *fastSim) apiDelay() time.Duration {
	return time.Duration(8 * math.Exp(0.5*w.rng.NormFloat64()) * float64(time.Millisecond))
}

// request carries a write to the API server. It may be lost, late, or applied without an answer.
func (n *fastNode) request(a Action) {
	w := n.w
	timeout := a.Deadline - n.local()
	fail := func() {
		n.later(timeout, func() { n.step(Written{Seq: a.Seq, Outcome: OutcomeFailed}) })
	}
	if w.now < n.apiCut {
		fail()
		return
	}
	travel := w.apiDelay()
	if w.now < w.etcdDown {
		if w.rng.IntN(3) == 0 {
			fail()
			return
		}
		travel += w.etcdDown - w.now
	}
	if w.now < w.late && w.rng.IntN(3) == 0 {
		travel += w.upTo(10 * time.Second)
	}
	outcome, version := OutcomeFailed, uint64(0)
	w.at(w.now+travel, func() { // also if the sender has died
		if w.now >= w.etcdDown {
			outcome, version = w.apply(a)
		}
	})
	back := w.upTo(time.Millisecond)
	if travel+back >= timeout || w.now < w.late && w.rng.IntN(4) == 0 {
		fail()
		return
	}
	n.later(travel+back, func() {
		if w.now < n.apiCut {
			outcome = OutcomeFailed
		}
		n.step(Written{Seq: a.Seq, Outcome: outcome, Version: version})
	})
}

func (w *fastSim) apply(a Action) (Outcome, uint64) {
	if w.lease.Exists != a.Base.Exists || w.lease.Version != a.Base.Version && w.lease.Exists {
		return OutcomeConflict, 0
	}
	w.write(a.Record)
	w.logf("api applied %v as version %d", a, w.version)
	return OutcomeOK, w.version
}

// write stores r and delivers it to the watchers, each after its own delay and in order.
func (w *fastSim) write(r Record) {
	w.version++
	r.Version = w.version
	if r.Holder != "" && r.Holder != w.last {
		w.last = r.Holder
		w.moves++
	}
	if r.Mark.Fast != w.lease.Mark.Fast {
		w.switches++
	}
	w.lease = r
	w.past = append(w.past, r)
	for _, n := range w.nodes {
		if !n.alive {
			continue
		}
		d := time.Millisecond + w.upTo(4*time.Millisecond)
		if w.now < w.late && w.rng.IntN(3) == 0 {
			d += w.upTo(4 * time.Second)
		}
		n.watchAt = max(n.watchAt, w.now+d)
		n.later(n.watchAt-w.now, func() { n.deliver(r) })
	}
}

func (n *fastNode) deliver(r Record) {
	if n.w.now < n.apiCut {
		n.later(n.apiCut-n.w.now+n.w.upTo(50*time.Millisecond), func() { n.deliver(r) })
		return
	}
	n.step(Observed{r})
}

func (n *fastNode) read(a Action) {
	w := n.w
	timeout := a.Deadline - n.local()
	if w.now < n.apiCut || w.now < w.etcdDown {
		n.later(timeout, func() { n.step(ReadDone{Seq: a.Seq}) })
		return
	}
	var got Record
	travel := w.apiDelay() / 2
	w.at(w.now+travel, func() {
		if got = w.lease; !got.Exists {
			got = Record{}
		}
	})
	n.later(travel+w.upTo(2*time.Millisecond), func() {
		n.step(ReadDone{Seq: a.Seq, OK: w.now >= n.apiCut, Record: got})
	})
}

// injectFault injects one fault and schedules the next one.
func (w *fastSim) injectFault() {
	if w.now >= w.cfg.faults || len(w.cfg.kinds) == 0 {
		return
	}
	w.at(w.now+time.Duration(float64(w.cfg.every)*w.rng.ExpFloat64()), w.injectFault)
	count := len(w.nodes)
	n, o := w.nodes[w.rng.IntN(count)], w.nodes[w.rng.IntN(count)]
	if w.rng.IntN(2) == 0 { // the holder, more often than the others
		for _, h := range w.nodes {
			if h.id == w.lease.Holder {
				n = h
			}
		}
	}
	span := w.upTo([]time.Duration{
		100 * time.Millisecond, 500 * time.Millisecond, 2 * time.Second, 10 * time.Second,
	}[w.rng.IntN(4)])
	kind := w.cfg.kinds[w.rng.IntN(len(w.cfg.kinds))]
	w.logf("FAULT %d on %s, %s for %v", kind, n.id, o.id, span)
	switch kind {
	case faultLoss:
		w.loss, w.lossEnd = w.rng.Float64()*0.6, w.now+w.upTo(5*time.Second)
		if w.rng.IntN(2) == 0 {
			w.slowNet = w.now + w.upTo(5*time.Second)
		}
	case faultPartition, faultOneWay, faultUDP:
		w.cutNetwork(kind, n, o, w.now+span)
	case faultFreeze:
		n.freeze(span)
	case faultRestart:
		n.kill(w.upTo(span + time.Millisecond))
		if w.rng.IntN(3) == 0 {
			w.at(w.now+span+w.upTo(3*time.Second), func() { n.kill(w.upTo(time.Second)) })
		}
	case faultPause:
		n.pause(span)
	case faultAPICut:
		n.apiCut = w.now + span
		if w.rng.IntN(2) == 0 {
			o.apiCut = w.now + w.upTo(10*time.Second)
		}
	case faultEtcd:
		w.etcdDown = w.now + span
	case faultLate:
		w.late = w.now + span
	case faultEdit:
		w.editLease()
	case faultRestore:
		w.restore()
	case faultAPIServer:
		n.setHealth([]Verdict{Dead, NotReady}[w.rng.IntN(2)], span)
	case faultOff:
		n.alive = false
		n.life++
		n.expires, n.fence = 0, 0
		boots := w.rng.IntN(2) == 0
		w.at(w.now+span+time.Second, func() {
			if boots && !n.alive {
				n.boot++
				n.identify()
				for _, o := range w.nodes {
					o.later(w.apiDelay(), o.learnAgents)
				}
			}
			n.restart()
		})
	case faultShutdown:
		n.later(0, func() { n.step(Shutdown{}) })
		w.at(w.now+span+3*time.Second, func() {
			n.kill(0)
			n.restart()
		})
	}
}

// cutNetwork cuts n, and perhaps o, from the others; or single directions; or only the messages.
func (w *fastSim) cutNetwork(kind fastFault, n, o *fastNode, until time.Duration) {
	in := func(x *fastNode) bool { return x == n }
	if len(w.nodes) > 3 || w.rng.IntN(2) == 0 {
		in = func(x *fastNode) bool { return x == n || x == o }
	}
	all, withAPI := w.rng.IntN(2) == 0, w.rng.IntN(3) > 0
	for _, x := range w.nodes {
		for _, y := range w.nodes {
			switch {
			case kind == faultPartition && in(x) != in(y):
				w.cableCut[x.i][y.i] = until
			case kind == faultOneWay && x == n && (all || y == o):
				w.udpCut[x.i][y.i] = until
			case kind == faultUDP && (all || x == n || y == n):
				w.udpCut[x.i][y.i] = until
			}
		}
		if kind == faultPartition && in(x) && withAPI {
			x.apiCut = until
		}
	}
}

// kill ends the process at once. The kernel keeps address and fence for their lifetimes, and its
// port refuses messages.
func (n *fastNode) kill(span time.Duration) {
	if !n.alive {
		return
	}
	w := n.w
	w.logf("%s is killed for %v", n.id, span)
	n.alive = false
	n.life++
	for _, o := range w.nodes {
		if o != n && w.now >= w.udpCut[o.i][n.i] && w.now >= w.cableCut[o.i][n.i] {
			o.later(5*time.Millisecond+w.upTo(50*time.Millisecond), func() {
				if !n.alive {
					o.step(PortRefused{n.id})
				}
			})
		}
	}
	w.at(w.now+span, n.restart)
}

func (n *fastNode) restart() {
	if !n.alive {
		n.frozen = 0
		n.start()
	}
}

// pause stops the whole machine, as a hypervisor does: its clock, lifetimes and processes.
func (n *fastNode) pause(d time.Duration) {
	w := n.w
	n.paused = max(n.paused, w.now+d)
	for _, end := range []*time.Duration{&n.fence, &n.expires} {
		if *end > w.now {
			*end += d
		}
	}
	n.off -= time.Duration(float64(d) * n.rate)
	w.at(w.now+d, func() {
		n.resumed = w.now
		w.logf("%s runs again", n.id)
		w.check(n)
	})
}

func (n *fastNode) setHealth(v Verdict, span time.Duration) {
	n.health = v
	n.later(n.w.upTo(50*time.Millisecond), func() { n.step(Health{Verdict: n.health}) })
	n.w.at(n.w.now+span, func() {
		n.health = Healthy
		n.later(n.w.upTo(50*time.Millisecond), func() { n.step(Health{Verdict: n.health}) })
	})
}

// editLease edits the Lease as people and other programs do (E3, F8).
func (w *fastSim) editLease() {
	r := w.lease
	if !r.Exists || w.now < w.etcdDown {
		return
	}
	how := w.rng.IntN(8)
	w.logf("a person edits the Lease: %d", how)
	switch how {
	case 0: // deleted
		w.version++
		w.write(Record{Version: w.version})
		w.lease = Record{}
		return
	case 1: // deleted and created again
		r = Record{Exists: true, Term: r.Term * int64(w.rng.IntN(2))}
	case 2:
		r.Holder = ""
	case 3:
		r.Holder = w.nodes[w.rng.IntN(len(w.nodes))].id
	case 4:
		r.Mark = Mark{}
	case 5:
		r.Duration = time.Second
	case 6:
		r.Term = max(0, r.Term-int64(w.rng.IntN(4)))
	case 7:
		r.Holder = "another-program"
		r.Term++
	}
	w.write(r)
}

// restore brings an older content back, as a backup of etcd does. It does not while a holder cannot
// see that: such a backup is one of the cases that remain.
func (w *fastSim) restore() {
	blind := slices.ContainsFunc(w.nodes, func(n *fastNode) bool {
		return n.fence > w.now && w.now < n.apiCut
	})
	if count := len(w.past); count > 2 && w.now >= w.etcdDown && !blind {
		w.logf("etcd is restored")
		w.write(w.past[count-1-w.rng.IntN(min(count-1, 20))])
		if !w.lease.Exists {
			w.lease = Record{}
		}
	}
}
