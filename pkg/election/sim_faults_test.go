package election

import "time"

// request carries a write to the API server. It may be lost, late, or applied without an answer.
func (n *simNode) request(a Action) {
	w := n.w
	timeout := a.Deadline - n.local()
	travel, back := n.delay(), n.delay()
	if w.now < n.cut || w.bad(50) { // lost on the way
		n.later(timeout, func() { n.step(Written{Seq: a.Seq, Outcome: OutcomeFailed}) })
		return
	}
	if w.bad(30) { // stuck in a queue of the server
		travel += w.upTo(3 * n.lease)
	}
	outcome, version := OutcomeFailed, uint64(0)
	w.at(w.now+travel, func() { outcome, version = w.apply(a) }) // also if the sender has died
	if travel+back >= timeout || w.bad(50) {
		n.later(timeout, func() { n.step(Written{Seq: a.Seq, Outcome: OutcomeFailed}) })
		return
	}
	twice := w.bad(30) // another copy of the write is refused, and answers first
	n.later(travel+back, func() {
		if twice && outcome == OutcomeOK {
			outcome = OutcomeConflict
		}
		n.step(Written{Seq: a.Seq, Outcome: outcome, Version: version})
	})
}

func (w *simulation) apply(a Action) (Outcome, uint64) {
	if w.lease.Exists != a.Base.Exists || w.lease.Version != a.Base.Version && w.lease.Exists {
		return OutcomeConflict, 0
	}
	w.write(a.Record)
	w.logf("api applied %v as version %d", a, w.version)
	return OutcomeOK, w.version
}

// write stores r and delivers it to the watchers, each after its own delay and in order.
func (w *simulation) write(r Record) {
	w.version++
	r.Version = w.version
	w.lease = r
	for _, n := range w.nodes {
		n.watchAt = max(n.watchAt, w.now) + n.delay()
		if w.now < n.cut {
			n.watchAt = max(n.watchAt, n.cut)
		}
		n.later(n.watchAt-w.now, func() { n.deliver(r) })
	}
}

func (n *simNode) deliver(r Record) {
	if n.w.now < n.cut {
		n.later(n.cut-n.w.now, func() { n.deliver(n.w.lease) })
		return
	}
	n.step(Observed{r})
}

func (n *simNode) read(a Action) {
	timeout := a.Deadline - n.local()
	if n.w.now < n.cut || n.w.bad(50) {
		n.later(timeout, func() { n.step(ReadDone{Seq: a.Seq}) })
		return
	}
	var got Record
	travel := n.delay()
	n.w.at(n.w.now+travel, func() {
		if got = n.w.lease; !got.Exists {
			got = Record{}
		}
	})
	n.later(travel+n.delay(), func() { n.step(ReadDone{Seq: a.Seq, OK: true, Record: got}) })
}

// nextJob executes Own and Disown as package vip does: the deadline is checked before and after the
// write, and the process may freeze in between.
func (n *simNode) nextJob() {
	a := n.jobs[0]
	if a.Kind == Disown {
		ok := n.w.now >= n.kernelKO
		if ok {
			n.expires = 0
		}
		n.done(Disowned{Seq: a.Seq, Confirmed: ok})
		return
	}
	valid := whole(a.Deadline - n.local())
	if !n.w.bad(10) {
		n.put(a, valid)
		return
	}
	n.frozen = n.w.now + n.w.upTo(2*n.lease) // the whole process, between check and write
	life := n.life
	n.w.at(n.frozen, func() {
		if life == n.life && n.alive {
			n.put(a, valid)
		}
	})
}

func (n *simNode) put(a Action, valid time.Duration) {
	left := a.Deadline - n.local()
	if valid >= time.Second && whole(left) < valid { // E4: too late, the lifetime is corrected at once
		valid = whole(left)
		n.expires = 0
	}
	switch {
	case n.w.now < n.kernelKO:
		n.done(Owned{Seq: a.Seq})
	case left <= 0:
		n.expires = 0
		n.done(Owned{Seq: a.Seq, Expired: true})
	case valid < time.Second: // E1: nothing is written
		there := n.expires > n.w.now
		n.done(Owned{Seq: a.Seq, OK: there, Expired: !there})
	default:
		lag := simLate // another address was written just before the end
		if n.w.rng.IntN(2) == 0 {
			lag = n.w.upTo(simLate+simEarly) - simEarly
		}
		n.expires = n.w.now + time.Duration(float64(valid+lag)/n.rate)
		n.w.logf("%s kernel has the address for %v", n.id, valid)
		expiry := n.expires
		n.later(expiry-n.w.now+time.Millisecond, func() {
			if n.expires == expiry {
				n.step(AddressLost{NodeAddress: true})
			}
		})
		n.done(Owned{Seq: a.Seq, OK: true})
	}
}

// done reports the end of a job and starts the next one.
func (n *simNode) done(ev Event) {
	n.jobs = n.jobs[1:]
	if len(n.jobs) > 0 {
		n.later(n.delay(), n.nextJob)
	}
	n.step(ev)
}

func whole(left time.Duration) time.Duration {
	return (left - simLag).Truncate(time.Second)
}

// injectFault injects one fault and schedules the next one.
func (w *simulation) injectFault() {
	if w.now > w.cfg.faults {
		for _, n := range w.nodes {
			n.heal()
		}
		return
	}
	n := w.nodes[w.rng.IntN(len(w.nodes))]
	span := w.upTo(8 * time.Second)
	fault := w.rng.IntN(12)
	w.logf("fault %d on %s for %v", fault, n.id, span)
	switch fault {
	case 0, 1:
		n.frozen = max(n.frozen, w.now+span)
	case 2, 3:
		n.cut = max(n.cut, w.now+span)
	case 4, 5:
		n.setHealth([]Verdict{Dead, NotReady}[fault-4], span)
	case 6:
		n.kill(span)
	case 7:
		w.editLease()
	case 8:
		n.kernelKO = w.now + span
	case 9:
		n.later(0, func() { n.step(Link{Usable: false}) })
		n.later(span, func() { n.step(Link{Usable: true, MAC: "mac-" + n.id}) })
	case 10:
		n.expires = 0
		n.later(n.delay(), func() { n.step(AddressLost{NodeAddress: w.rng.IntN(2) == 0}) })
	case 11:
		n.later(0, func() { n.step(Foreign{"mac-x"}) })
	}
	w.at(w.now+w.upTo(4*time.Second), w.injectFault)
}

func (n *simNode) setHealth(v Verdict, span time.Duration) {
	n.health = v
	n.later(n.delay(), func() { n.step(n.healthOf(v)) })
	n.w.at(n.w.now+span, func() {
		n.health = Healthy
		n.later(n.delay(), func() { n.step(n.healthOf(Healthy)) })
	})
}

// healthOf returns a verdict. Half of NotReady is slowness with a random latency (E6).
func (n *simNode) healthOf(v Verdict) Health {
	h := Health{Verdict: v, Latency: n.w.upTo(100 * time.Millisecond)}
	if v == NotReady {
		h.Slow, h.Latency = n.w.rng.IntN(2) == 0, n.w.upTo(3*time.Second)
	}
	return h
}

// kill ends the process at once. The kernel keeps the address for its lifetime.
func (n *simNode) kill(span time.Duration) {
	n.alive = false
	life := n.life
	n.w.at(n.w.now+span, func() {
		if n.life == life {
			n.frozen = 0
			n.start()
		}
	})
}

// editLease edits the Lease as people and other programs do (E3).
func (w *simulation) editLease() {
	r := w.lease
	if !r.Exists {
		return
	}
	how := w.rng.IntN(6)
	if how > 3 { // three times as often as the rest
		how = 0
	}
	if how == 0 && w.cfg.noDelete {
		how = 1
	}
	switch how {
	case 0:
		w.version++
		gone := Record{Version: w.version}
		w.write(gone)
		w.lease = Record{}
		return
	case 1:
		r.Holder = ""
	case 2:
		r.Holder = "another-program"
		r.Term++
	case 3:
		r.Holder = w.nodes[w.rng.IntN(len(w.nodes))].id
	}
	r.SlowMoves = w.rng.IntN(MaxSlowMoves + 1)
	w.write(r)
}

// heal ends every fault of the node.
func (n *simNode) heal() {
	n.cut, n.kernelKO = n.w.now, n.w.now
	if !n.alive {
		n.frozen = 0
		n.start()
	}
	n.setHealth(Healthy, 0)
	n.later(0, func() { n.step(Link{Usable: true, MAC: "mac-" + n.id}) })
}
