package election

import "time"

// Config of a Machine. All fields but LeftoverLifetime are needed.
type Config struct {
	ID    string        // identity: differs between any two agents that could hold at once (E8)
	Lease time.Duration // D, whole seconds
	Renew time.Duration // renew interval, at most a third of Lease
	// FirstSeq numbers the first write. The numbers must differ between nodes and between
	// incarnations, so that no agent takes the write of another for its own.
	FirstSeq uint64
	// LeftoverLifetime is how long a marked address that was on the host before this agent may
	// still be there, the kernel's lag included; 0 if there was none (E8).
	LeftoverLifetime time.Duration
}

// State of a Machine.
type State string

// States. Own is only ever asked for in Holding.
const (
	Standby    State = "standby"    // not the holder
	Claiming   State = "claiming"   // a claim is on its way
	Probing    State = "probing"    // holder; asking the network whether the address is free
	Holding    State = "holding"    // holder and, once Owned was heard, owner
	Confirming State = "confirming" // perhaps still the holder; owns nothing new before a confirmed renewal
	Leaving    State = "leaving"    // the address goes first, then the lease
	Stopped    State = "stopped"    // after Exit
)

// Machine decides for one set of addresses under one Lease. Create it with New; it is
// not safe for concurrent use.
type Machine struct {
	cfg   Config
	state State
	out   []Action

	now, last time.Duration // instant of this step and of the one before
	since     time.Duration // when state was entered

	// What is known of the Lease.
	seen  bool
	obs   Record
	obsAt time.Duration // when the last change was seen (E2)
	prev  tenure        // last holder seen (E3)
	prevD time.Duration // its lease duration, which a deleted object no longer tells (E2)
	prevM string        // its hardware address (E9)

	// What is known of this node.
	health   Verdict
	slow     bool          // with Soft: for slowness
	latency  time.Duration // of the own API server, 0 if it is not known
	doubtful bool          // its last answer was a failure
	link     Link
	linkSeen bool
	shutdown bool
	stopAt   time.Duration // when to stop trying to release at a shutdown

	// The own tenure.
	term       int64
	deadline   time.Duration // of the last confirmed write (E1)
	fence      time.Duration // latest deadline ever given to Own: no address outlives it
	reason     Reason        // why the state was entered
	degraded   string
	markedAt   time.Duration // when the lease was first seen with this tenure's mark; 0: it has none
	moves      int           // for slowness, in the group, less the quiet minutes since
	slowSince  time.Duration // how long the own API server has been slow
	quietSince time.Duration // when the quiet minute began

	// Requests under way.
	seq       uint64
	pending   *write
	lost      []write       // unanswered or failed writes that may still be applied
	failed    int           // requests in a row that got no answer
	failedAt  time.Duration // when the last such one was given up; 0: none was
	wroteAt   time.Duration
	retryAt   time.Duration
	wantAt    time.Duration // when the next Want may be sent
	reading   uint64        // Seq of the unanswered Read, 0 if none
	readAt    time.Duration
	mustRead  bool
	probing   bool
	won       *write // the claim that began this tenure
	conflict  *sighting
	settledAt time.Duration // when a foreign announcement was last answered
	macs      []string      // hardware addresses that leases named, oldest first (E9)
	asked     bool          // the network was asked whether the address is free, or need not be (E3)

	// The address on this host.
	dirty      bool   // an address may be on the host
	dirtyWhy   Reason // why it must go
	disowning  uint64 // Seq of the unanswered Disown, 0 if none
	owning     uint64 // Seq of the last Own
	owned      bool   // Owned was heard since the last Own of a new tenure
	ownSince   time.Duration
	ownAt      time.Duration // when to try Own again after a failure, 0 if it is in order
	lostAt     time.Duration // when the address was last removed by others
	lostSince  time.Duration // when they began to remove it again and again
	flushed    time.Duration // until when the link may wait for its own address, 0 if it has it
	failures   int           // tenures in a row that could not own
	backoffEnd time.Duration
}

// sighting is a foreign announcement that still wants proof of the lease (E9).
type sighting struct {
	mac string
	at  time.Duration
}

// New returns a machine in Standby that knows nothing yet.
func New(cfg Config) *Machine {
	return &Machine{cfg: cfg, state: Standby, seq: cfg.FirstSeq, dirty: cfg.LeftoverLifetime > 0, dirtyWhy: ReasonLeftover, reason: ReasonStarting}
}

// Step takes in one event at instant now (CLOCK_BOOTTIME) and returns what to do, in order.
func (m *Machine) Step(ev Event, now time.Duration) []Action {
	m.out = nil
	if m.state == Stopped {
		return nil
	}
	m.now = now
	m.noticePause()
	ev.apply(m)
	m.advance()
	return m.out
}

// noticePause deletes first and asks later when steps stood still for more than two renew
// intervals, and a second: kernel lifetimes may have stood still as well (E9).
func (m *Machine) noticePause() {
	if m.last == 0 {
		m.last, m.fence = m.now, m.now+m.cfg.LeftoverLifetime
	}
	gap := m.now - m.last
	m.last = m.now
	if gap <= max(2*m.cfg.Renew, minPause) {
		return
	}
	m.fence += gap
	switch m.state {
	case Holding, Probing, Confirming:
		m.suspect(ReasonPaused)
	}
}

// advance does what the present state calls for. It is level-triggered: any event may
// be the one that lets the next thing happen.
func (m *Machine) advance() {
	for {
		before := m.state
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
		m.readIfNeeded()
		if m.state == before {
			return
		}
	}
}

func (m *Machine) enter(s State, why Reason) {
	m.state, m.reason, m.since = s, why, m.now
}

func (m *Machine) emit(a Action) { m.out = append(m.out, a) }

// mine reports whether the Lease, as last seen, is this tenure's.
func (m *Machine) mine() bool { return m.obs.heldBy(m.cfg.ID, m.term) }

func (t Tick) apply(*Machine) {}

func (h Health) apply(m *Machine) {
	m.slow, m.latency, m.doubtful = h.Slow, h.Latency, h.LastProbeFailed
	m.health = h.Verdict
	m.degrade()
}

func (l Link) apply(m *Machine) { m.link, m.linkSeen = l, true }

func (s Shutdown) apply(m *Machine) {
	if !m.shutdown {
		m.shutdown, m.stopAt = true, m.now+stopWithin
	}
}
