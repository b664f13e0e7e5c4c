package bgp

import (
	"fmt"
	"time"

	"github.com/kvip/kvip/pkg/backoff"
)

// openTimeout is how long a peer may take for its OPEN: the large hold time of RFC 4271 section
// 8.2.2, which suggests 4 minutes, shortened because kvip tries again at once.
const openTimeout = 15 * time.Second

// forever is an instant that never comes.
const forever = time.Duration(1<<63 - 1)

// Machine decides what one session does. It is pure: instants are durations since boot. Make it
// with newMachine. It is not safe for concurrent use.
type Machine struct {
	cfg    PeerConfig
	jitter float64 // of the pauses between attempts

	state     State
	stopped   bool
	families  []Family      // that the OPEN offers, from OpenSent on
	agreed    agreed        // in OpenConfirm and Established
	attempts  int           // failed ones since the last session
	early     int           // sessions since the last one that lasted for its hold time, with that
	retryAt   time.Duration // in Idle
	upAt      time.Duration // in Established
	holdUntil time.Duration // from Connect on: when the peer has been silent for too long
	keepAt    time.Duration // in OpenConfirm and Established: the next KEEPALIVE
}

// newMachine returns a Machine that dials at its first permitted Tick. jitter is the part of each
// pause between attempts that is random.
func newMachine(cfg PeerConfig, jitter float64) *Machine {
	return &Machine{cfg: cfg, jitter: jitter}
}

const (
	minRetry    = time.Second // the first pause between attempts (B14)
	retryJitter = 0.25
)

// Next returns the instant at which a Tick is due. While sending is not permitted, the driver
// reports a Tick when that changes.
func (m *Machine) Next() time.Duration {
	switch {
	case m.stopped:
		return forever
	case m.state == Idle:
		return m.retryAt
	case m.state == OpenConfirm || m.state == Established:
		return min(m.holdUntil, m.keepAt)
	}
	return m.holdUntil
}

// configure changes the configuration to one that sameSession permits (B11).
func (m *Machine) configure(now time.Duration, cfg PeerConfig) {
	m.cfg = cfg
	if m.state >= OpenConfirm {
		m.agreed.Keepalive = cfg.keepalive(m.agreed.HoldTime)
		m.keepAt = min(m.keepAt, now+m.agreed.Keepalive)
	}
}

// holdTime returns the hold time: that of the configuration until one is negotiated.
func (m *Machine) holdTime() time.Duration {
	if m.state >= OpenConfirm {
		return m.agreed.HoldTime
	}
	return m.cfg.HoldTime
}

// Step returns what to do about an event at an instant.
func (m *Machine) Step(now time.Duration, ev Event) []Action {
	if m.stopped {
		return nil
	}
	switch ev := ev.(type) {
	case Tick:
		return m.tick(now, ev.Permitted)
	case Connected:
		return m.connected(now, ev)
	case Lost:
		if m.state == Idle {
			return nil
		}
		return m.end(now, lostReason(m.state, ev.Err), ev.Err.Error(), nil)
	case Received:
		return m.received(now, ev.Message)
	case PathUp:
		if m.state == Idle {
			m.retryAt = min(m.retryAt, now)
		}
	case PathDown:
		if m.state == Established {
			answer := &Notification{Code: codeCease, Subcode: ceaseBFDDown}
			return m.end(now, ReasonBFDDown, ev.Why, answer)
		}
	case Stop:
		return m.stop(now, ev)
	}
	return nil
}

// tick does what the time asks for. An agent that may not send says nothing, and the connection is
// closed without another message (B6).
func (m *Machine) tick(now time.Duration, permitted bool) []Action {
	switch {
	case !permitted && m.state != Idle:
		const why = "the agent has not decided lately, or was paused"
		actions := m.end(now, ReasonNotPermitted, why, nil)
		m.attempts, m.early, m.retryAt = 0, 0, now
		return actions
	case !permitted:
		m.retryAt = max(m.retryAt, now+permitInterval)
	case m.state == Idle && now >= m.retryAt:
		m.state, m.holdUntil = Connect, now+m.cfg.ConnectTimeout
		return []Action{Dial{}}
	case m.state == Connect && now >= m.holdUntil:
		return m.end(now, ReasonConnectFailed, "no connection within the connect timeout", nil)
	case m.state != Idle && now >= m.holdUntil:
		why := fmt.Sprintf("the peer sent nothing for %v", m.silence())
		return m.end(now, ReasonHoldTimer, why, &Notification{Code: codeHoldTimer})
	case m.state >= OpenConfirm && now >= m.keepAt:
		m.keepAt = now + m.agreed.Keepalive
		return []Action{SendKeepalive{}}
	}
	return nil
}

// permitInterval is how often an idle session looks whether it may send.
const permitInterval = 100 * time.Millisecond

// silence returns how long the peer may be silent in the present state.
func (m *Machine) silence() time.Duration {
	if m.state >= OpenConfirm {
		return m.agreed.HoldTime
	}
	return openTimeout
}

// connected sends the OPEN, with the family of the connection unless some are configured.
func (m *Machine) connected(now time.Duration, ev Connected) []Action {
	if m.state != Connect {
		return nil
	}
	m.state, m.holdUntil = OpenSent, now+openTimeout
	m.families = m.cfg.Families
	if len(m.families) == 0 {
		m.families = []Family{ev.Family}
	}
	return []Action{SendOpen{m.families}}
}

// received handles a message.
func (m *Machine) received(now time.Duration, message Message) []Action {
	if m.state < OpenSent {
		return nil
	}
	switch msg := message.(type) {
	case Notification:
		return m.end(now, ReasonNotification, "the peer sent "+msg.String(), nil)
	case Malformed:
		why := "cannot decode a message of the peer: " + msg.Text
		return m.end(now, ReasonMalformed, why, &msg.Notification)
	}
	switch m.state {
	case OpenSent:
		if open, ok := message.(Open); ok {
			return m.opened(now, open)
		}
	case OpenConfirm:
		if _, ok := message.(Keepalive); ok {
			m.state, m.upAt, m.holdUntil = Established, now, now+m.agreed.HoldTime
			return []Action{Up{}}
		}
	default:
		m.holdUntil = now + m.agreed.HoldTime
		switch msg := message.(type) {
		case RouteRefresh:
			if m.agreed.Families[msg.Family] {
				return []Action{Resend(msg)}
			}
			return nil
		case Update, Keepalive, Other:
			return nil
		}
	}
	why := fmt.Sprintf("the peer sent %s in state %v", nameOf(message), m.state)
	subcode := uint8(m.state-OpenSent) + 1 // RFC 6608 section 3
	return m.end(now, ReasonUnexpected, why, &Notification{Code: codeFSM, Subcode: subcode})
}

// opened accepts or refuses an OPEN.
func (m *Machine) opened(now time.Duration, open Open) []Action {
	agreed, refusal := m.cfg.agree(open, m.families)
	if refusal != nil {
		return m.end(now, ReasonRefusedOpen, refusal.Text, &refusal.Notification)
	}
	m.state, m.agreed = OpenConfirm, agreed
	m.holdUntil, m.keepAt = now+agreed.HoldTime, now+agreed.Keepalive
	return []Action{SendKeepalive{}}
}

// end returns to Idle. The next attempt comes soon after a session that lasted, and attempts before
// a session do not count: the router runs again.
func (m *Machine) end(now time.Duration, code Reason, why string, n *Notification) []Action {
	switch {
	case m.state != Established:
		m.attempts++
	case now-m.upAt >= m.agreed.HoldTime:
		m.attempts, m.early = 0, 1
	default:
		m.attempts, m.early = 0, m.early+1
	}
	pause := backoff.Backoff{Min: minRetry, Max: m.cfg.MaxRetry, Jitter: m.jitter}
	m.retryAt = now + pause.After(m.attempts+m.early)
	var actions []Action
	if n != nil {
		actions = append(actions, SendNotification{*n})
	}
	actions = append(actions, Close{}, Ended{m.state, code, why})
	m.state = Idle
	return actions
}

// stop ends the session for good.
func (m *Machine) stop(now time.Duration, ev Stop) []Action {
	var actions []Action
	if m.state != Idle {
		n := ev.Notification
		if m.state >= OpenConfirm && m.cfg.GracefulRestart > 0 && m.agreed.HardReset {
			n = n.hard()
		}
		answer := &n
		if ev.Silent || m.state < OpenSent {
			answer = nil
		}
		actions = m.end(now, stopReason(ev.Notification), ev.Why, answer)
	}
	m.stopped = true
	return actions
}
