package election

import "time"

// write is a request that changes the Lease.
type write struct {
	kind   Kind
	seq    uint64
	sent   time.Duration
	record Record
	proven bool   // a claim after a proven release (E3)
	first  bool   // a claim of a lease that nobody was ever seen to hold
	oldMAC string // hardware address of the holder before a claim (E9)
	reason Reason // why the lease changes hands
	from   string // who held before a claim
}

// maxLost bounds how many unresolved writes are remembered.
const maxLost = 16

// send emits a write of rec on top of the last observation. One request that changes
// the Lease is under way at a time; sent is the instant of this step, never later than
// the real sending, so deadlines counted from it are safe (E1).
func (m *Machine) send(w write) {
	m.seq++
	w.seq, w.sent = m.seq, m.now
	w.record.Seq, w.record.Exists = w.seq, true
	m.pending = &w
	m.wroteAt = m.now
	if w.kind == RequestRelease {
		w.record.Seq = m.obs.Seq      // not the holder's write: leave its mark alone
		m.wantAt = m.now + retryAfter // the claim that it leads to need not wait
	} else {
		m.retryAt = m.now + retryAfter
	}
	m.emit(Action{
		Kind: w.kind, Seq: w.seq, Base: m.obs, Record: w.record,
		Deadline: m.now + RequestTimeout(m.cfg.Lease), PreferPeers: m.avoidsLocal(),
		Reason: w.reason, PreviousHolder: w.from,
	})
}

// avoidsLocal is whether requests go to the peers first: the own API server is known to be
// dead, not ready or slow, or a request failed lately, and would keep them waiting (E11).
func (m *Machine) avoidsLocal() bool {
	failedLately := m.failedAt != 0 && m.now-m.failedAt < avoidFor
	return m.health == NotReady || m.health == Dead || m.latency >= slowRequest || failedLately
}

// fail counts a request that got no answer.
func (m *Machine) fail() {
	m.failed++
	m.failedAt = m.now
}

// abandon stops waiting for the pending write but remembers that it may be applied yet.
func (m *Machine) abandon() {
	if m.pending == nil {
		return
	}
	m.lost = append(m.lost, *m.pending)
	if len(m.lost) > maxLost {
		m.lost = m.lost[1:]
	}
	m.pending = nil
}

func (w Written) apply(m *Machine) {
	p := m.find(w.Seq)
	if p == nil {
		return
	}
	if w.Outcome == OutcomeOK {
		m.failed = 0
		r := p.record
		r.Version = w.Version
		m.observe(r, false)
	}
	if m.pending != nil && m.pending.seq == w.Seq {
		m.ended(w.Outcome)
	}
	if m.state == Claiming && m.pending == nil { // not won, whatever the answer was
		m.enter(Standby, ReasonHeldByOther)
	}
}

// ended takes the answer to the pending write.
func (m *Machine) ended(how Outcome) {
	switch how {
	case OutcomeOK:
		m.pending = nil
	case OutcomeConflict: // a new observation, never a retry (E2)
		m.abandon() // of two copies of one write the other may have been applied (E11)
		m.mustRead = true
	case OutcomeFailed:
		m.abandon()
		m.fail()
		m.retryAt = m.now + m.patience()
	}
}

// patience is how long to wait after a failed request: short while an address is held,
// longer and longer while nothing depends on it.
func (m *Machine) patience() time.Duration {
	if m.state == Holding || m.failed == 0 {
		return retryAfter
	}
	longest := maxUrgent
	if m.state == Standby || m.state == Claiming {
		longest = maxPatience
	}
	return min(retryAfter<<min(m.failed, 8), longest)
}

func (m *Machine) find(seq uint64) *write {
	if m.pending != nil && m.pending.seq == seq {
		return m.pending
	}
	for i := range m.lost {
		if m.lost[i].seq == seq {
			return &m.lost[i]
		}
	}
	return nil
}

func (o Observed) apply(m *Machine) { m.observe(o.Record, false) }

// observe takes in the Lease. An older version than the one known is dropped unless it
// comes from a quorum read, which is right even after etcd was restored from a backup.
func (m *Machine) observe(r Record, quorum bool) {
	first := !m.seen
	if !first && !quorum && r.Version <= m.obs.Version {
		return
	}
	if first || r.Version != m.obs.Version || r.Exists != m.obs.Exists {
		m.obsAt = m.now
	}
	m.seen, m.obs = true, r
	if r.Holder != "" {
		m.prev, m.prevD, m.prevM = tenure{r.Holder, r.Term}, r.Duration, r.MAC
	}
	if r.Holder != m.cfg.ID {
		m.noteMACs(r.MAC)
	}
	m.recognise()
	m.judge(first)
}

// recognise looks whether the Lease shows a write of this machine, whatever became of
// its answer, and counts the deadline from when that write was sent (E1).
func (m *Machine) recognise() {
	w := m.find(m.obs.Seq)
	if w == nil || m.obs.Holder != m.cfg.ID || m.obs.Term != w.record.Term {
		return
	}
	got := *w
	m.forget(got.seq)
	switch {
	case got.kind == Claim && (m.state == Claiming || m.state == Standby):
		m.win(got)
	case m.mine():
		m.confirmed(got)
	}
}

// forget drops seq and everything older: the Lease has moved past them.
func (m *Machine) forget(seq uint64) {
	if m.pending != nil && m.pending.seq == seq {
		m.pending = nil
	}
	kept := m.lost[:0]
	for _, w := range m.lost {
		if w.seq > seq {
			kept = append(kept, w)
		}
	}
	m.lost = kept
}

// judge draws the consequences of what the Lease now says.
func (m *Machine) judge(first bool) {
	switch m.state {
	case Probing, Holding, Confirming:
		if !m.mine() && !m.restores() {
			m.drop(ReasonLeaseLost)
		}
	case Standby:
		// E8: an address that an earlier incarnation left, under a lease that names this
		// identity, is kept while one renewal confirms it.
		if first && m.dirty && m.obs.Holder == m.cfg.ID && m.obs.Term > 0 {
			m.term, m.asked = m.obs.Term, true
			m.inheritMoves()
			m.deadline = Deadline(m.now, m.cfg.Lease) // its renewal may be applied, and the answer lost
			m.enter(Confirming, ReasonAdopted)
		}
	}
}

func (m *Machine) readIfNeeded() {
	if !m.mustRead || m.reading != 0 || m.now < m.readAt+m.patience() && m.readAt != 0 {
		return
	}
	m.read()
}

// read asks for the Lease with a quorum.
func (m *Machine) read() {
	m.seq++
	m.reading, m.readAt = m.seq, m.now
	m.emit(Action{Kind: Read, Seq: m.seq, Deadline: m.now + RequestTimeout(m.cfg.Lease), PreferPeers: m.avoidsLocal()})
}

func (r ReadDone) apply(m *Machine) {
	if r.Seq != m.reading {
		return
	}
	m.reading = 0
	if !r.OK {
		m.fail()
		return
	}
	m.mustRead, m.failed = false, 0
	if m.conflict != nil && r.Record.heldBy(m.cfg.ID, m.term) {
		m.settle(m.readAt)
	}
	overtaken := r.Record.Exists && r.Record.Version < m.obs.Version && m.obsAt >= m.readAt
	if !overtaken {
		m.observe(r.Record, true)
	}
}
