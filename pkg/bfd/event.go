package bfd

import (
	"fmt"
	"time"
)

// Event is a fact that enters a Machine. The types below are the only ones.
type Event interface{ apply(m *Machine) }

// Tick reports that time passed. It is due at Machine.Next. All packets that have arrived must have
// entered before: a Tick that comes late concludes from their absence that the peer is silent.
type Tick struct{}

// apply ends the session with a silent peer, or forgets the peer of one that is down.
func (Tick) apply(m *Machine) {
	switch {
	case m.state == AdminDown:
		m.ended = m.now >= m.endAt
	case m.now < m.detectAt:
	case m.state == Down:
		m.forget()
	default:
		m.change(Down, DetectionTimeExpired)
		m.forget()
	}
}

// Received is a packet that passed Parse and belongs to the session.
type Received struct{ Packet Packet }

// apply does what RFC 5880 section 6.8.6 requires after the checks of Parse.
func (r Received) apply(m *Machine) {
	p := r.Packet
	if p.YourDiscriminator != 0 && p.YourDiscriminator != m.cfg.Discriminator {
		return
	}
	m.remote = Remote{
		Discriminator: p.MyDiscriminator, State: p.State, Diagnostic: p.Diagnostic,
		DesiredMinTx: p.DesiredMinTx, RequiredMinRx: p.RequiredMinRx, Multiplier: int(p.Multiplier),
		Demand: p.Demand,
	}
	if m.state == AdminDown {
		return
	}
	if p.Final && m.polling {
		m.agreed()
	}
	switch {
	case p.State == AdminDown || p.State == Down && m.state == Up:
		if m.state != Down {
			m.change(Down, NeighborSignaledDown)
		}
	case p.State == Down && m.state == Down:
		m.change(Init, m.diagnostic)
	case p.State == Init && m.state != Up, p.State == Up && m.state == Init:
		m.change(Up, NoDiagnostic)
	}
	m.final = p.Poll
	m.heard = m.now
	m.watch()
}

// SetTimers changes the timers of the session without a new one: a Poll Sequence agrees on them
// with the peer (RFC 5880 sections 6.5 and 6.8.3, B8).
type SetTimers struct{ Timers Timers }

func (s SetTimers) apply(m *Machine) {
	t := s.Timers.withDefaults()
	switch {
	case m.state == AdminDown || t.check(1) != nil:
	case m.polling:
		m.queued = &t
	default:
		m.setTimers(t)
	}
}

// Stop ends the session in order: it goes to AdminDown with a diagnostic (RFC 5880 section 6.8.16).
type Stop struct{ Diagnostic Diagnostic }

// apply sends AdminDown for a Detection Time of the peer (RFC 5880 section 6.8.16), which follows
// from the slow interval of the first such packet. A peer that is unknown has no session to end:
// one packet is enough.
func (s Stop) apply(m *Machine) {
	if m.state == AdminDown {
		return
	}
	known := m.remote.Discriminator != 0
	m.change(AdminDown, s.Diagnostic&maxDiagnostic)
	m.detectAt, m.endAt = Never, m.now
	if known {
		m.endAt += time.Duration(m.timers.Multiplier) * max(m.tx, m.remote.RequiredMinRx)
	}
}

// Restart takes the session to Down and forgets the peer, as a new start of the process would. The
// peer receives the diagnostic.
type Restart struct{ Diagnostic Diagnostic }

func (r Restart) apply(m *Machine) {
	if m.state == AdminDown {
		return
	}
	m.forget()
	m.change(Down, r.Diagnostic&maxDiagnostic)
}

// Action is what a Machine requests. The types below are the only ones. Actions must be executed in
// the order given.
type Action interface {
	fmt.Stringer
	action()
}

// Send requests to send a packet to the peer.
type Send struct{ Packet Packet }

// Changed reports a change of the session's state.
type Changed struct {
	From, To State
	// Diagnostic is the session's own: why it changed.
	Diagnostic Diagnostic
	// Remote is what the peer sent last.
	Remote Remote
}

func (Send) action()    {}
func (Changed) action() {}

// String renders the action for transcripts.
func (s Send) String() string { return "send " + s.Packet.String() }

// String renders the action for transcripts.
func (c Changed) String() string {
	return fmt.Sprintf("%v -> %v (%v), peer %v (%v)", c.From, c.To, c.Diagnostic, c.Remote.State,
		c.Remote.Diagnostic)
}
