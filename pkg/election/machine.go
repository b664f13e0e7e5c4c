package election

import (
	"errors"
	"fmt"
	"time"

	"github.com/kvip/kvip/pkg/backoff"
	"github.com/kvip/kvip/pkg/quorum"
)

// Config of a Machine.
type Config struct {
	// ID is the identity of the agent. Required. Two agents that could hold at once never share
	// one (E8).
	ID string
	// Lease is the lease duration D: whole seconds, at most MaxLease. Required.
	Lease time.Duration
	// Renew is the renew interval, at most a third of Lease. Required.
	Renew time.Duration
	// FirstSeq precedes the number of the first request. The ranges of numbers must differ between
	// nodes and between starts of an agent, so that no agent takes another's write for its own.
	FirstSeq uint64
	// Window is W of mode fast, from quorum.MinWindow to quorum.MaxWindow; 0 for always mode slow
	// (F1).
	Window time.Duration
	// LongLease is the duration of a Lease in mode fast, D_long. 0 means the larger of 30 s and
	// Lease.
	LongLease time.Duration
	// EverFast is assumed until Agents reports whether mode fast was ever allowed with the Lease (F8).
	EverFast bool
	// LeftoverLifetime is how long an address of an earlier agent may remain on the host, including
	// the kernel's lag. Zero: there is none (E8).
	LeftoverLifetime time.Duration
	// Drain is how long a holder that leaves while its API server serves goes on serving the
	// connections that it has, and ShutdownDrain how long if it leaves for a shutdown (F11). 0: not
	// at all. At most MaxDrain.
	Drain, ShutdownDrain time.Duration
}

func (c Config) validate() error {
	switch {
	case c.ID == "":
		return errors.New("ID is required")
	case c.Lease <= 0 || c.Lease > MaxLease || c.Lease%time.Second != 0:
		return fmt.Errorf("lease duration %v must be whole seconds from 1s to %v", c.Lease, MaxLease)
	case c.Renew <= 0 || c.Renew > c.Lease/3:
		return fmt.Errorf("renew interval %v must be positive, at most a third of %v", c.Renew, c.Lease)
	case c.Window != 0 && (c.Window < quorum.MinWindow || c.Window > quorum.MaxWindow):
		return fmt.Errorf("window %v must be 0 or from %v to %v", c.Window, quorum.MinWindow,
			quorum.MaxWindow)
	case c.LongLease != 0 && (c.LongLease < c.Lease || c.LongLease > MaxLease ||
		c.LongLease%time.Second != 0):
		return fmt.Errorf("lease duration %v of mode fast must be whole seconds from %v to %v",
			c.LongLease, c.Lease, MaxLease)
	case c.Drain < 0 || c.Drain > MaxDrain || c.ShutdownDrain < 0 || c.ShutdownDrain > MaxDrain:
		return fmt.Errorf("drain of %v and of %v at a shutdown must be from 0 to %v", c.Drain,
			c.ShutdownDrain, MaxDrain)
	case c.LeftoverLifetime < 0:
		return fmt.Errorf("lifetime %v of a leftover address must not be negative", c.LeftoverLifetime)
	}
	return nil
}

// State of a Machine.
type State string

// States. The machine emits Own only in Holding.
const (
	Standby    State = "standby"    // not the holder
	Claiming   State = "claiming"   // a claim is unanswered
	Probing    State = "probing"    // holder; the network is asked whether the address is free
	Holding    State = "holding"    // holder, and owner once Owned confirmed it
	Confirming State = "confirming" // perhaps still the holder; owns only after a confirmed renewal
	Leaving    State = "leaving"    // removes the address, then releases the lease
	Stopped    State = "stopped"    // after Exit
)

// Machine decides for one set of addresses under one Lease. It is not safe for concurrent use.
//
// This file has the dispatch and the traffic with the Lease, holder.go a tenure, handover.go how
// the Lease changes hands: leave, release, stand by, claim. fast.go has a tenure in mode fast and
// messages.go what agents send each other.
type Machine struct {
	cfg       Config
	state     State
	reason    Reason        // why the state was entered
	now, last time.Duration // instants of this step and of the previous one
	out       []Action      // of this step

	lease    lease
	node     node
	tenure   tenure
	inflight inflight
	address  address
	drain    drain

	voter    *quorum.Voter // from the first step on
	tally    quorum.Tally
	preVote  quorum.PreVote
	agents   []string // all agents that have published themselves
	everFast bool     // mode fast was allowed with this Lease (F8)
	bye      bye
	lostAt   time.Duration // when a goodbye or a refused port last spoke of the holder (F4)
}

// New returns a machine in Standby that has seen no event. It fails if cfg is not valid.
func New(cfg Config) (*Machine, error) {
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("configure election machine: %w", err)
	}
	if cfg.LongLease == 0 {
		cfg.LongLease = max(longLease, cfg.Lease)
	}
	return &Machine{
		cfg: cfg, state: Standby, reason: ReasonStarting,
		inflight: inflight{seq: cfg.FirstSeq}, everFast: cfg.EverFast,
		address: address{present: cfg.LeftoverLifetime > 0, cause: ReasonLeftover},
	}, nil
}

// Step handles one event at instant now (CLOCK_BOOTTIME) and returns the actions to execute, in
// order.
func (m *Machine) Step(ev Event, now time.Duration) []Action {
	m.out = nil
	if m.state == Stopped {
		return nil
	}
	m.now = now
	m.start()
	m.detectPause()
	m.trackLateness()
	ev.apply(m)
	for before := State(""); m.state != before; { // each state may lead to the next at once
		before = m.state
		m.advance()
	}
	m.node.wake = m.Wake()
	return m.out
}

// start does what the first step requires. A voter acknowledges nothing before a quorum read that
// is sent after it (F3).
func (m *Machine) start() {
	if m.voter != nil {
		return
	}
	m.last, m.address.goneBy = m.now, m.now+m.cfg.LeftoverLifetime
	m.voter = quorum.NewVoter(m.now)
	if m.cfg.Window > 0 {
		m.inflight.mustRead = true
	}
}

// detectPause removes the address before anything else if no step came for two renew intervals, and
// at least minPause: kernel lifetimes may have stood still as well (E9).
func (m *Machine) detectPause() {
	gap := m.now - m.last
	m.last = m.now
	if gap <= max(2*m.cfg.Renew, minPause) {
		return
	}
	m.address.goneBy += gap
	switch m.state {
	case Holding, Probing, Confirming:
		m.suspect(ReasonPaused)
	}
}

// advance does what the present state requires. It is level-triggered: it looks at the state of the
// machine, not at the event.
func (m *Machine) advance() {
	switch m.state {
	case Standby:
		m.standBy()
	case Probing:
		m.probe()
	case Holding:
		m.hold()
	case Confirming:
		m.confirmLease()
	case Leaving:
		m.release()
	}
	f := &m.inflight
	if f.mustRead && f.reading == 0 && (f.readAt == 0 || m.now >= f.readAt+m.retryDelay()) {
		m.read()
	}
	m.serve()
	m.goodbye()
	if m.beats() && m.now >= m.beatAt() {
		m.beat()
	}
	m.extend()
}

func (m *Machine) enter(s State, why Reason) { m.state, m.reason = s, why }

func (m *Machine) emit(a Action) { m.out = append(m.out, a) }

func (Tick) apply(*Machine) {}

func (h Health) apply(m *Machine) {
	m.node.health = h
	m.updateDegraded()
}

func (l Link) apply(m *Machine) {
	began := l.Shared && !m.node.link.Shared
	m.node.link, m.node.linkKnown = l, true
	if began && m.state == Holding && !m.tenure.fast() {
		m.inflight.wroteAt = 0 // renew at once: the lifetime that was written relies on the fence
	}
}

func (Shutdown) apply(m *Machine) {
	if n := &m.node; !n.shutdown {
		n.shutdown, n.stopAt = true, m.now+stopWithin
	}
}

// holds reports whether the Lease, as last observed, names this node in its present term.
func (m *Machine) holds() bool { return m.lease.record.heldBy(m.cfg.ID, m.tenure.term) }

// send emits a write on top of the last observation. At most one write is unanswered. Deadlines
// count from the instant of this step, which is never later than the real sending (E1).
func (m *Machine) send(w write) {
	f := &m.inflight
	f.seq++
	w.seq, w.sent, w.base = f.seq, m.now, m.lease.record.Version
	w.record.Seq, w.record.Exists = w.seq, true
	f.wroteAt = m.now
	if w.kind == RequestTransfer {
		w.record.Seq = m.lease.record.Seq // the number of the holder's last write
		f.transferAt = m.now + retryAfter // does not delay the claim that follows
	} else {
		w.record.stamp()
		f.writeAt = m.now + retryAfter
	}
	f.pending = &w
	timeout := RequestTimeout(m.cfg.Lease)
	if w.kind == Claim && w.record.Mark.Fast {
		timeout = min(timeout, FastClaimTimeout)
	}
	m.emit(Action{
		Kind: w.kind, Seq: w.seq, Base: m.lease.record, Record: w.record,
		Deadline: m.now + timeout, PreferPeers: m.preferPeers(),
		Reason: w.reason, LastHolder: w.from,
	})
}

// read asks for the Lease with a quorum.
func (m *Machine) read() {
	f := &m.inflight
	f.seq++
	f.reading, f.readAt = f.seq, m.now
	deadline := m.now + RequestTimeout(m.cfg.Lease)
	m.emit(Action{Kind: Read, Seq: f.seq, Deadline: deadline, PreferPeers: m.preferPeers()})
}

// readAgain requires a quorum read that is sent from now on; an unanswered one does not count.
func (m *Machine) readAgain() {
	m.inflight.mustRead, m.inflight.readAt, m.inflight.reading = true, 0, 0
}

// preferPeers reports whether requests go to the other API servers first: the own one is known to
// be dead, not ready or slow, or a request failed lately (E11).
func (m *Machine) preferPeers() bool {
	h, failedAt := m.node.health, m.inflight.failedAt
	return h.Verdict == NotReady || h.Verdict == Dead || h.Latency >= slowRequest ||
		failedAt != 0 && m.now-failedAt < avoidFor
}

// retryDelay is the time from the sending of a request that failed to the next one: short while an
// address is held, growing while nothing depends on it. One that took as long to fail is repeated
// at once: etcd without a leader answers when it has one.
func (m *Machine) retryDelay() time.Duration {
	failures := m.inflight.failures
	if m.state == Holding || failures == 0 {
		return retryAfter
	}
	longest := maxUrgentPause
	if m.state == Standby || m.state == Claiming {
		longest = maxPause
	}
	return backoff.Backoff{Min: 2 * retryAfter, Max: longest}.After(failures)
}

func (w Written) apply(m *Machine) {
	f := &m.inflight
	sent := f.find(w.Seq)
	if sent == nil {
		return
	}
	if w.Outcome == OutcomeOK {
		f.failures = 0
		r := sent.record
		r.Version = w.Version
		m.observe(r, false)
	}
	if f.pending != nil && f.pending.seq == w.Seq {
		switch w.Outcome {
		case OutcomeOK:
			f.pending = nil
		case OutcomeConflict: // the Lease has changed: read it, never repeat the write (E2)
			f.abandon(m.lease.record.Version) // another copy may have been applied (E11)
			f.mustRead, f.writeAt = true, m.now
		case OutcomeFailed:
			f.abandon(m.lease.record.Version)
			f.fail(m.now)
			f.writeAt = sent.sent + m.retryDelay()
		}
	}
	if m.state == Claiming && f.pending == nil { // the claim was not won
		m.enter(Standby, ReasonHeldByOther)
	}
}

func (r ReadDone) apply(m *Machine) {
	f := &m.inflight
	if r.Seq != f.reading {
		return
	}
	f.reading = 0
	if !r.OK {
		f.fail(m.now)
		return
	}
	f.mustRead, f.failures = false, 0
	if r.Record.heldBy(m.cfg.ID, m.tenure.term) {
		m.defendIfProven(f.readAt)
	}
	l := &m.lease
	overtaken := r.Record.Exists && r.Record.Version < l.record.Version && l.changedAt >= f.readAt
	if overtaken { // what was observed since is newer than what a quorum had
		m.voter.Observe(l.record.tenure(), true)
		return
	}
	m.observe(r.Record, true)
}

func (o Observed) apply(m *Machine) { m.observe(o.Record, false) }

// observe updates what is known of the Lease. An older version than the known one is ignored unless
// it comes from a quorum read, which is right even after etcd was restored from a backup.
func (m *Machine) observe(r Record, quorumRead bool) {
	l := &m.lease
	first := !l.known
	if !first && !quorumRead && r.Version <= l.record.Version {
		return
	}
	if first || r.Version != l.record.Version || r.Exists != l.record.Exists {
		l.changedAt = m.now
	}
	if k := l.record; first || r.Holder != k.Holder || r.Term != k.Term || r.fast() != k.fast() {
		l.tenureAt = m.now
	}
	l.known, l.record = true, r
	l.notice(r, m.voter.Highest())
	m.voter.Observe(r.tenure(), quorumRead)
	if r.Holder != "" {
		l.last = lastHolder{r.Holder, r.Term, r.Duration, r.MAC}
	}
	if r.Holder != m.cfg.ID {
		l.rememberMAC(r.MAC)
	}
	m.recognise()
	switch m.state {
	case Probing, Holding, Confirming:
		if !m.holds() && !m.mayRestore() && !m.mayRewrite() {
			m.lose()
		}
	case Standby:
		// A fast tenure is over when its process has ended, and its address is deleted first: the Lease
		// may show an older state than that in which the fence was last extended.
		if first && m.address.present && r.Holder == m.cfg.ID && r.Term > 0 && !r.fast() {
			m.adopt()
		}
	}
}

// recognise finds out whether the Lease shows a write of this machine, whatever its answer was, and
// counts the deadline from when that write was sent (E1).
func (m *Machine) recognise() {
	r := m.lease.record
	w := m.inflight.find(r.Seq)
	if w == nil || r.Holder != m.cfg.ID || r.Term != w.record.Term {
		return
	}
	shown := *w
	m.inflight.forget(shown.seq)
	switch m.state {
	case Claiming, Standby:
		if shown.kind == Claim {
			m.win(shown)
		}
	case Probing, Holding, Confirming:
		if shown.kind != Claim && r.Term >= m.tenure.term {
			m.renewed(shown)
		}
	}
}

// Status is a snapshot of a Machine for people and metrics.
type Status struct {
	State    State
	Owned    bool          // the kernel confirmed the addresses in this tenure
	Draining bool          // connections of an earlier tenure are served (F11)
	Holder   string        // as last observed; empty if there is none or it is not known
	Term     int64         // of the Lease as last observed
	Seen     bool          // the Lease was observed at least once
	Age      time.Duration // since the last observed change
	Deadline time.Duration // of the tenure, an instant since boot; 0 if there is none
	Reason   Reason        // why the state was entered; in Standby, why there is no claim
	Cause    Reason        // why the state was entered, in Standby too
	Degraded string        // of the Lease as last observed

	Fast        bool          // the Lease as last observed is in mode fast
	Slow        string        // why this agent takes no part in mode fast now; "" otherwise
	Agents      int           // that have published themselves, this one included
	MajorityAge time.Duration // of a holder in mode fast: since the newest majority
	Blinks      int           // times the fence shut for a late majority, since the start
	LateWakeups int           // times the agent ran too late as a holder in mode fast, since the start
}

// SlowStarting is Status.Slow before an agent may acknowledge beats (F3).
const SlowStarting = "the agent has just started and acknowledges no beat yet"

// Status describes the machine as of the last step.
func (m *Machine) Status() Status {
	r := m.lease.record
	s := Status{
		State: m.state, Owned: m.owns(), Draining: m.drain.active, Reason: m.reason, Cause: m.reason,
		Holder: r.Holder, Term: r.Term, Degraded: r.Degraded,
		Seen: m.lease.known, Age: m.now - m.lease.changedAt,
		Fast: r.fast(), Agents: len(m.agents), Blinks: m.node.blinks, LateWakeups: m.node.wakeUps,
	}
	switch m.state {
	case Standby:
		s.Reason = m.standbyReason()
		if m.voter == nil || !m.voter.Ready(m.now) {
			s.Slow = SlowStarting
		}
	case Holding, Confirming, Probing:
		s.Deadline, s.Slow = m.right(), m.slowBecause()
		if m.tenure.fast() {
			s.MajorityAge = m.now - m.tenure.majorityAt
		}
	}
	return s
}
