package anycast

import (
	"time"

	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/election"
)

// State is what this node does with the addresses.
type State string

// The states.
const (
	// Standby: this node has not the addresses, and announces no route.
	Standby State = "standby"
	// Announcing: routers use the route of this node beside those of others.
	Announcing State = "announcing"
	// Worse: the API server is alive and not ready, or the agent is about to leave. Routers use the
	// route of this node if there is no other (B5).
	Worse State = "worse"
	// Withdrawn: the route is withdrawn, and the addresses serve what is still under way (B4).
	Withdrawn State = "withdrawn"
	// Stopped: the agent has left.
	Stopped State = "stopped"
)

// States returns all states, that at the start first.
func States() []State { return []State{Standby, Announcing, Worse, Withdrawn, Stopped} }

// Reason is why the machine is in its state.
type Reason string

// The reasons. Sentence explains each of them.
const (
	ReasonStarting  Reason = "starting"
	ReasonReady     Reason = "api-ready"
	ReasonNotReady  Reason = "api-not-ready"
	ReasonUnknown   Reason = "api-unknown"
	ReasonDead      Reason = "api-dead"
	ReasonLeaving   Reason = "api-shutdown"
	ReasonNoAddress Reason = "no-address"
	ReasonShutdown  Reason = "shutdown"
)

// Sentence returns a clause for people.
func (r Reason) Sentence() string {
	return map[Reason]string{
		ReasonStarting:  "the agent starts",
		ReasonReady:     "the API server is ready",
		ReasonNotReady:  "the API server is not ready",
		ReasonUnknown:   "the health of the API server cannot be read",
		ReasonDead:      "the API server is dead",
		ReasonLeaving:   "the API server shuts down",
		ReasonNoAddress: "the addresses cannot be written to the loopback interface",
		ReasonShutdown:  "the agent stops",
	}[r]
}

// Event is what a Machine reacts to.
type Event interface{ isEvent() }

// The events.
type (
	// Tick reports that the instant of Next has come, or earlier.
	Tick struct{}
	// Health reports the state of the local API server. Leaving: it has begun to shut down.
	Health struct {
		Server  election.Verdict
		Leaving bool
	}
	// Written reports the outcome of Write: the kernel has the addresses, or not all of them.
	Written struct{ OK bool }
	// Missing reports that the kernel has not all of the addresses that were written.
	Missing struct{}
	// Flushed reports that all peers have acknowledged what was to be sent to them.
	Flushed struct{}
	// Deleted reports the outcome of Delete.
	Deleted struct{ OK bool }
	// Shutdown reports that the agent is to leave.
	Shutdown struct{}
)

func (Tick) isEvent()     {}
func (Health) isEvent()   {}
func (Written) isEvent()  {}
func (Missing) isEvent()  {}
func (Flushed) isEvent()  {}
func (Deleted) isEvent()  {}
func (Shutdown) isEvent() {}

// Action is what the driver carries out, in order.
type Action string

// The actions.
const (
	// Write writes the addresses, or extends their lifetimes. Written follows.
	Write Action = "write"
	// Announce announces the routes, AnnounceWorse with attributes that every other path wins
	// against.
	Announce      Action = "announce"
	AnnounceWorse Action = "announce worse"
	// Withdraw withdraws the routes.
	Withdraw Action = "withdraw"
	// Delete deletes the addresses. Deleted follows.
	Delete Action = "delete"
	// Close ends BFD and the sessions, in order.
	Close Action = "close"
	// Exit ends the machine.
	Exit Action = "exit"
)

// Timing of a Machine.
const (
	// refreshInterval is the time between two writes of the addresses.
	refreshInterval = time.Second
	// lingerTime is how long the addresses stay after the withdrawal was acknowledged, so that
	// routers stop to use the route (FRR takes 60 to 90 ms). A router that does not acknowledge it
	// uses the route for the hold time, and the addresses stay for that much longer.
	lingerTime = time.Second
	// worseTime is how long an orderly shutdown announces the worse path before it withdraws.
	worseTime = time.Second
)

// Status is what a Machine has decided.
type Status struct {
	State  State
	Reason Reason
	// Owned reports whether the kernel has the addresses.
	Owned bool
}

// Machine decides when the addresses are on this node and how they are announced. It is pure:
// instants are durations since boot. Make it with NewMachine. It is not safe for concurrent use.
type Machine struct {
	status   Status
	health   Health
	stopping bool
	left     bool // addresses may be on this node: written since the last deletion, or before

	writeAt   time.Duration // no write before
	deleteAt  time.Duration // no deletion before
	adoptedTo time.Duration // when addresses of an earlier agent go if health is unknown
	since     time.Duration // of the state
	flushed   time.Duration // when the withdrawal was acknowledged, 0 before
	hold      time.Duration // the longest hold time of the sessions
}

// NewMachine returns a Machine in Standby. owned reports whether an earlier agent left the
// addresses: they stay until the API server is known to be dead, or to be ready.
func NewMachine(owned bool, now time.Duration) *Machine {
	m := &Machine{
		status: Status{State: Standby, Reason: ReasonStarting, Owned: owned}, since: now, left: owned,
		hold: config.DefaultBGPHoldTime,
	}
	if owned {
		m.adoptedTo = now + adoptTime
	}
	return m
}

// adoptTime is how long addresses of an earlier agent stay while the health of the API server is
// unknown.
const adoptTime = 5 * time.Second

// SetHoldTime sets the longest hold time of the sessions. A router uses the route of a node that it
// does not hear for that long.
func (m *Machine) SetHoldTime(d time.Duration) { m.hold = d }

// Status returns what the machine has decided.
func (m *Machine) Status() Status { return m.status }

// awaitsFlush reports whether a Flushed is due as soon as it is true.
func (m *Machine) awaitsFlush() bool { return m.status.State == Withdrawn && m.flushed == 0 }

// Next returns the instant at which a Tick is due.
func (m *Machine) Next() time.Duration {
	switch m.status.State {
	case Announcing:
		return m.writeAt
	case Worse:
		if m.stopping {
			return min(m.writeAt, m.since+worseTime)
		}
		return m.writeAt
	case Withdrawn:
		if m.status.Owned {
			return min(m.writeAt, m.lingerUntil())
		}
		return m.lingerUntil()
	case Standby:
		if m.wants() {
			return m.writeAt
		}
		if m.left {
			return max(m.deleteAt, m.adoptedTo)
		}
	}
	return forever
}

const forever = time.Duration(1<<63 - 1)

// Step returns what to do about an event at an instant. The driver must execute the actions before
// the next Step.
func (m *Machine) Step(now time.Duration, ev Event) []Action {
	if m.status.State == Stopped {
		return nil
	}
	switch ev := ev.(type) {
	case Health:
		m.health = ev
	case Shutdown:
		m.stopping = true
	case Written:
		return m.written(now, ev.OK)
	case Missing:
		m.writeAt = now
	case Flushed:
		if m.status.State == Withdrawn && m.flushed == 0 {
			m.flushed = now
		}
	case Deleted:
		return m.deleted(now, ev.OK)
	}
	return m.advance(now)
}

// wants reports whether the node shall have the addresses although it announces nothing: the API
// server is ready, and the agent stays.
func (m *Machine) wants() bool { return m.health.Server == election.Healthy && !m.stopping }

// advance does what state, health and time require.
func (m *Machine) advance(now time.Duration) []Action {
	switch m.status.State {
	case Standby:
		return m.standby(now)
	case Announcing, Worse:
		return m.announcing(now)
	case Withdrawn:
		return m.withdrawn(now)
	}
	return nil
}

// standby writes the addresses when the API server is ready (B3), and removes those that an earlier
// agent or a failed deletion left if it is not.
func (m *Machine) standby(now time.Duration) []Action {
	known := m.health.Server == election.Dead || m.health.Server == election.NotReady
	switch {
	case m.wants():
		if now < m.writeAt {
			return nil
		}
		return []Action{Write}
	case known:
		m.status.Reason = m.notReadyReason()
	}
	dead := m.health.Server == election.Dead
	switch {
	case m.left && (dead || m.stopping || now >= m.adoptedTo):
		return m.delete(now)
	case m.stopping && !m.left:
		return m.exit(now)
	}
	return nil
}

// written announces the routes once the kernel has the addresses.
func (m *Machine) written(now time.Duration, ok bool) []Action {
	m.writeAt = now + refreshInterval
	before := m.status
	m.status.Owned, m.left = ok, true
	switch {
	case ok && before.State == Standby && m.wants():
		m.enter(Announcing, ReasonReady, now)
		return []Action{Announce}
	case !ok && before.State == Standby:
		m.status.Reason = ReasonNoAddress
	case !ok && before.State != Withdrawn:
		// No route without an address: packets that a router sends here would be sent back.
		m.enter(Withdrawn, ReasonNoAddress, now)
		return []Action{Withdraw}
	}
	return nil
}

// announcing follows the health of the API server.
func (m *Machine) announcing(now time.Duration) []Action {
	v := m.health.Server
	switch {
	case v == election.Dead:
		return m.withdraw(m.notReadyReason(), now)
	case m.stopping && m.status.Reason == ReasonShutdown && now >= m.since+worseTime:
		return m.withdraw(ReasonShutdown, now)
	case m.stopping && m.status.Reason != ReasonShutdown:
		m.enter(Worse, ReasonShutdown, now)
		return []Action{AnnounceWorse}
	case m.stopping:
	case v == election.Healthy && m.status.State == Worse:
		m.enter(Announcing, ReasonReady, now)
		return []Action{Announce}
	case v != election.Healthy && m.status.State == Announcing:
		m.enter(Worse, m.notReadyReason(), now)
		return []Action{AnnounceWorse}
	}
	if now >= m.writeAt {
		return []Action{Write}
	}
	return nil
}

// notReadyReason names a health other than Healthy. An API server that shuts down still answers.
func (m *Machine) notReadyReason() Reason {
	switch {
	case m.health.Server == election.Dead && m.health.Leaving:
		return ReasonLeaving
	case m.health.Server == election.Dead:
		return ReasonDead
	case m.health.Server == election.NotReady:
		return ReasonNotReady
	}
	return ReasonUnknown
}

// withdraw withdraws the routes; the addresses stay for a while (B4).
func (m *Machine) withdraw(why Reason, now time.Duration) []Action {
	m.enter(Withdrawn, why, now)
	return []Action{Withdraw}
}

// withdrawn keeps the addresses until routers do not use the routes any more. An API server that is
// ready again is announced at once: the addresses are there.
func (m *Machine) withdrawn(now time.Duration) []Action {
	switch {
	case m.wants() && m.status.Owned:
		m.enter(Announcing, ReasonReady, now)
		return []Action{Announce}
	case now >= m.lingerUntil():
		m.enter(Standby, m.status.Reason, now)
		return m.standby(now)
	case m.status.Owned && now >= m.writeAt:
		return []Action{Write}
	}
	return nil
}

// lingerUntil is when withdrawn addresses go.
func (m *Machine) lingerUntil() time.Duration {
	limit := m.since + m.hold + lingerTime
	if m.flushed > 0 {
		return min(limit, max(m.flushed, m.since)+lingerTime)
	}
	return limit
}

// delete deletes the addresses. When the agent leaves, the sessions end before (B4).
func (m *Machine) delete(now time.Duration) []Action {
	switch {
	case now < m.deleteAt:
		return nil
	case m.stopping:
		return []Action{Close, Delete}
	}
	return []Action{Delete}
}

// deleted repeats a failed deletion. An agent that leaves does not: the addresses expire.
func (m *Machine) deleted(now time.Duration, ok bool) []Action {
	m.left = !ok
	m.status.Owned = m.status.Owned && !ok
	m.writeAt, m.deleteAt = now, now+refreshInterval
	if ok {
		m.deleteAt = now
	}
	if m.stopping {
		return m.exit(now)
	}
	return m.advance(now)
}

// exit ends the machine.
func (m *Machine) exit(now time.Duration) []Action {
	m.enter(Stopped, ReasonShutdown, now)
	return []Action{Close, Exit}
}

func (m *Machine) enter(s State, why Reason, now time.Duration) {
	m.status.State, m.status.Reason, m.since, m.flushed = s, why, now, 0
}
