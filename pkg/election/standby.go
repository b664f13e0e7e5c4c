package election

import "cmp"

// standBy removes what must not be on the host, and campaigns when the lease is free.
func (m *Machine) standBy() {
	if m.dirty {
		m.sweep()
		if m.dirty && !m.shutdown {
			return
		}
	}
	switch {
	case m.shutdown:
		m.stopIfClean()
	case m.pending != nil:
	case !m.campaigns():
	case !m.obs.Exists:
		if m.mayCreate() {
			m.create()
		}
	case m.free():
		m.claim()
	case m.shouldWant():
		r := m.obs
		r.RequestedBy, r.RequestedLatency = m.cfg.ID, m.latency
		m.send(write{kind: RequestRelease, record: r})
	}
}

// sweep removes an address that no tenure covers. One that an earlier incarnation left
// is kept until the lease has been read (E8): its own lifetime ends it otherwise.
func (m *Machine) sweep() {
	if !m.seen && !m.shutdown || m.disowning != 0 || m.now < m.ownAt {
		return
	}
	m.ownAt = m.now + retryAfter
	m.disown(m.dirtyWhy)
}

func (m *Machine) stopIfClean() {
	if m.dirty && m.now < max(m.fence, m.stopAt) {
		return
	}
	m.enter(Stopped, ReasonShutdown)
	m.emit(Action{Kind: Exit})
}

// eligible is whether this node may campaign at all.
func (m *Machine) eligible() bool {
	return m.health == Healthy && m.linkSeen && m.link.Usable && !m.shutdown && !m.dirty && m.now >= m.backoffEnd
}

// free is whether nobody can own under the lease as last seen: it was released with
// proof (E3), or it has not changed for long enough (E2).
func (m *Machine) free() bool {
	return m.seen && (m.obs.proves(m.prev) || m.now-m.obsAt >= Wait(m.cfg.Lease, m.obs.Duration, m.prevD))
}

// campaigns is whether this node may write to a lease that is not its own now.
func (m *Machine) campaigns() bool {
	return m.eligible() && m.seen && !m.mustRead && m.now >= m.retryAt
}

// mayCreate reports whether to create a lease that is absent. Where a holder was seen, it is left
// the time of one request to create the lease again itself: an empty one would end its tenure (E2).
func (m *Machine) mayCreate() bool {
	return m.prev.holder == "" || m.now-m.obsAt >= RequestTimeout(m.cfg.Lease)
}

// create makes an empty lease where there is none, from which every node then waits.
// Claiming by creation would be unsafe: absence has no version, so the lease could have
// been created, held and deleted again since the wait began (E2).
func (m *Machine) create() {
	m.send(write{kind: Create, record: Record{Term: m.prev.term, Duration: m.cfg.Lease}})
}

func (m *Machine) claim() {
	m.inheritMoves()
	w := write{
		kind:   Claim,
		proven: m.obs.proves(m.prev),
		first:  m.obs.MAC == "" && (m.prev.holder == "" || m.obs.declines(m.prev)),
		oldMAC: cmp.Or(m.obs.MAC, m.prevM),
		reason: ReasonExpired,
		from:   m.prev.holder,
		record: m.tenureRecord(nextTerm(max(m.obs.Term, m.prev.term))),
	}
	if w.proven {
		w.reason = m.obs.Released.Reason
	}
	m.enter(Claiming, ReasonClaiming)
	m.send(w)
}

// tenureRecord is the content of a lease that this node holds in term.
func (m *Machine) tenureRecord(term int64) Record {
	r := Record{Holder: m.cfg.ID, Term: term, Duration: m.cfg.Lease, MAC: m.link.MAC, Degraded: m.degraded, Moves: m.moves}
	if m.degraded != "" {
		r.Latency = m.latency
	}
	return r
}

// shouldWant is whether to ask a degraded holder for the lease (E6). Where all API servers fail at
// once, the holder's is judged first: who is about to follow it must not ask.
func (m *Machine) shouldWant() bool {
	if m.doubtful {
		return false
	}
	if m.obs.Holder == "" || m.obs.Holder == m.cfg.ID || m.obs.Degraded == "" || m.obs.RequestedBy != "" || m.now < m.wantAt {
		return false
	}
	return m.obs.Degraded != string(ReasonAPISlow) || clearlyBetter(m.latency, m.obs.Latency)
}

// unhealthy says what is wrong with the own API server.
func (m *Machine) unhealthy() Reason {
	switch {
	case m.health == Dead:
		return ReasonAPIDead
	case m.slow:
		return ReasonAPISlow
	}
	return ReasonAPINotReady
}

// Waiting says why a machine in Standby does not campaign.
func (m *Machine) Waiting() Reason {
	switch {
	case m.shutdown:
		return ReasonShutdown
	case m.dirty && m.seen: // before, it is left alone (E8)
		return ReasonDirty
	case m.health == Unknown:
		return ReasonStarting
	case m.health != Healthy:
		return m.unhealthy()
	case m.linkSeen && !m.link.Usable || !m.linkSeen:
		return ReasonLinkDown
	case m.now < m.backoffEnd:
		return ReasonBackoff
	case !m.seen:
		return ReasonLeaseUnknown
	case m.obs.Holder != "" && !m.free():
		return ReasonHeldByOther
	}
	return ReasonWaiting
}
