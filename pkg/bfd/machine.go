package bfd

import (
	"fmt"
	"math"
	"time"

	"github.com/kvip/kvip/pkg/required"
)

// Never is the instant of Machine.Next at which no Tick is due.
const Never = time.Duration(math.MaxInt64)

// MachineConfig configures a Machine.
type MachineConfig struct {
	// Discriminator identifies the session in this node. Required, not 0.
	Discriminator uint32
	// Timers are those of the session. A multiplier of 1 is valid here.
	Timers Timers
	// Jitter returns a random number of at least 0 and less than 1. Required.
	Jitter func() float64
}

// Remote is what the peer sent last. It is the zero value while the peer is unknown, except for
// State, which is Down, and RequiredMinRx, which is a microsecond (RFC 5880 section 6.8.1).
type Remote struct {
	Discriminator uint32
	State         State
	Diagnostic    Diagnostic
	DesiredMinTx  time.Duration
	RequiredMinRx time.Duration
	Multiplier    int
	Demand        bool
}

var unknownRemote = Remote{State: Down, RequiredMinRx: time.Microsecond}

// Machine is the protocol of one session (RFC 5880 section 6.8): events in, actions out. It is pure
// apart from Jitter: instants are durations since boot. It is not safe for concurrent use. Make it
// with NewMachine.
type Machine struct {
	cfg    MachineConfig
	timers Timers
	queued *Timers // requested during a Poll Sequence, which has to end before

	state      State
	diagnostic Diagnostic
	remote     Remote
	ended      bool
	endAt      time.Duration // when AdminDown may end

	// Intervals in force. They differ from the ones in the packets until a Poll Sequence has ended
	// (RFC 5880 section 6.8.3).
	tx, rx  time.Duration
	polling bool

	now      time.Duration
	sentAt   time.Duration
	armed    time.Duration // the interval that nextTx was computed from; 0: none
	nextTx   time.Duration
	detectAt time.Duration // when the peer is silent
	heard    time.Duration // its last packet

	announce bool // the contents of the packets have changed
	final    bool // a Poll is to be answered
	out      []Action
}

// NewMachine returns the Machine of a session in state Down. Its first Tick is due at once.
func NewMachine(cfg MachineConfig) (*Machine, error) {
	cfg.Timers = cfg.Timers.withDefaults()
	if err := required.Fields("BFD machine", map[string]bool{
		"Discriminator": cfg.Discriminator == 0, "Jitter": cfg.Jitter == nil,
	}); err != nil {
		return nil, err
	}
	if err := cfg.Timers.check(1); err != nil {
		return nil, fmt.Errorf("configure BFD machine: %w", err)
	}
	m := &Machine{
		cfg: cfg, timers: cfg.Timers, state: Down, remote: unknownRemote, rx: cfg.Timers.ReceiveInterval,
		detectAt: Never,
	}
	m.tx = m.desiredTx()
	return m, nil
}

// State returns the state of the session.
func (m *Machine) State() State { return m.state }

// Diagnostic returns why the state changed last.
func (m *Machine) Diagnostic() Diagnostic { return m.diagnostic }

// Remote returns what the peer sent last.
func (m *Machine) Remote() Remote { return m.remote }

// TransmitInterval returns the interval between packets before jitter, 0 if none are sent.
func (m *Machine) TransmitInterval() time.Duration {
	if !m.periodic() {
		return 0
	}
	return max(m.tx, m.remote.RequiredMinRx)
}

// DetectionTime returns after how long without a packet the peer is silent (RFC 5880 section
// 6.8.4), 0 while the peer is unknown.
func (m *Machine) DetectionTime() time.Duration {
	return time.Duration(m.remote.Multiplier) * max(m.rx, m.remote.DesiredMinTx)
}

// Ended reports whether the session is over after a Stop. Events have no effect any more.
func (m *Machine) Ended() bool { return m.ended }

// Next returns the instant at which a Tick is due, or Never.
func (m *Machine) Next() time.Duration {
	switch {
	case m.ended:
		return Never
	case m.state == AdminDown:
		return min(m.nextTx, m.endAt)
	}
	return min(m.nextTx, m.detectAt)
}

// Step applies an event at an instant and returns what to do. An instant before that of an earlier
// step counts as that one.
func (m *Machine) Step(now time.Duration, ev Event) []Action {
	if m.ended {
		return nil
	}
	m.now, m.out = max(m.now, now), nil
	ev.apply(m)
	m.transmit()
	return m.out
}

// change takes the session to a state. The packets in the states other than Up carry an interval of
// at least a second (RFC 5880 section 6.8.3). Going Up shortens it, which a Poll Sequence
// announces. Leaving Up needs none, since the peer leaves Up as well.
func (m *Machine) change(to State, why Diagnostic) {
	from := m.state
	m.state, m.diagnostic, m.announce = to, why, true
	if from == Up && m.queued != nil {
		m.timers = *m.queued
	}
	if from == Up || to == Up {
		before := m.tx
		m.queued, m.tx, m.rx = nil, m.desiredTx(), m.timers.ReceiveInterval
		m.polling = to == Up && m.tx != before
	}
	if from != to {
		m.out = append(m.out, Changed{From: from, To: to, Diagnostic: why, Remote: m.remote})
	}
}

// forget resets what is known of the peer (RFC 5880 section 6.8.1).
func (m *Machine) forget() {
	m.remote, m.detectAt = unknownRemote, Never
}

// watch sets when the peer is silent, from its last packet.
func (m *Machine) watch() {
	if m.state != AdminDown && m.remote.Discriminator != 0 {
		m.detectAt = m.heard + m.DetectionTime()
	}
}

// setTimers takes timers into use. While the session is Up, a longer transmit and a shorter receive
// interval are announced at once and used after the Poll Sequence (RFC 5880 section 6.8.3).
func (m *Machine) setTimers(t Timers) {
	before := m.timers
	m.timers, m.announce = t, m.announce || t != before
	if m.state != Up {
		m.tx, m.rx = m.desiredTx(), t.ReceiveInterval
	} else {
		m.tx, m.rx = min(m.tx, t.TransmitInterval), max(m.rx, t.ReceiveInterval)
		m.polling = t.TransmitInterval != before.TransmitInterval ||
			t.ReceiveInterval != before.ReceiveInterval
	}
	m.watch()
}

// agreed ends a Poll Sequence.
func (m *Machine) agreed() {
	m.polling = false
	m.tx, m.rx = m.desiredTx(), m.timers.ReceiveInterval
	if t := m.queued; t != nil {
		m.queued = nil
		m.setTimers(*t)
	}
}

// desiredTx is the transmit interval in the packets.
func (m *Machine) desiredTx() time.Duration {
	if m.state == Up {
		return m.timers.TransmitInterval
	}
	return max(m.timers.TransmitInterval, slowInterval)
}

// periodic reports whether packets are sent periodically (RFC 5880 section 6.8.7).
func (m *Machine) periodic() bool {
	idle := m.remote.Demand && m.state == Up && m.remote.State == Up && !m.polling
	return m.remote.RequiredMinRx != 0 && !idle
}

// transmit sends what is due: an answer to a Poll, a packet whose contents have changed, or the
// periodic one. After each of the latter two, and when the interval has changed, the transmit timer
// is armed again at once: after going Up it must not sleep out the slow interval (B8).
func (m *Machine) transmit() {
	sent := m.announce || m.periodic() && m.now >= m.nextTx
	sent = sent && !m.ended
	if m.final {
		m.send(true)
		m.final = false
	}
	if sent {
		m.send(false)
	}
	m.announce = false
	interval := m.TransmitInterval()
	switch {
	case interval == 0:
		m.nextTx = Never
	case sent:
		m.sentAt = m.now
		m.nextTx = m.now + m.jittered(interval)
	case interval != m.armed:
		m.nextTx = max(m.now, m.sentAt+m.jittered(interval))
	}
	m.armed = interval
}

// send requests a packet. One that answers a Poll cannot poll itself (RFC 5880 section 6.5).
func (m *Machine) send(final bool) {
	m.out = append(m.out, Send{Packet{
		State: m.state, Diagnostic: m.diagnostic, Poll: m.polling && !final, Final: final,
		Multiplier: uint8(m.timers.Multiplier), MyDiscriminator: m.cfg.Discriminator,
		YourDiscriminator: m.remote.Discriminator, DesiredMinTx: m.desiredTx(),
		RequiredMinRx: m.timers.ReceiveInterval,
	}})
}

// jittered shortens an interval by up to 25 %, and by at least 10 % if a single lost packet ends
// the session at the peer (RFC 5880 section 6.8.7).
func (m *Machine) jittered(interval time.Duration) time.Duration {
	longest := 1.0
	if m.timers.Multiplier == 1 {
		longest = 0.9
	}
	return time.Duration(float64(interval) * (longest - (longest-0.75)*m.cfg.Jitter()))
}
