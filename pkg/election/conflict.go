package election

import "time"

// probeTimeout is how long one probe may take (E9).
const probeTimeout = 100 * time.Millisecond

// startProbe asks the network whether somebody still answers for the addresses.
func (m *Machine) startProbe() {
	m.probing = true
	m.emit(Action{Kind: Probe, Deadline: m.now + probeTimeout})
}

// probe waits for the answer, but never longer than a winner may take to own (E5).
func (m *Machine) probe() {
	if m.leaveIfDue() {
		return
	}
	switch {
	case m.now >= m.deadline:
		m.suspect(ReasonFenceExpired)
	case m.now-m.ownSince > ownWithin:
		m.stayBack()
		m.leave(ReasonNotOwned)
	case !m.probing && m.now >= m.retryAt:
		m.startProbe()
	}
}

func (p Probed) apply(m *Machine) {
	if m.state != Probing || !m.probing {
		return
	}
	m.probing = false
	switch {
	case p.MAC == "":
		m.takeAsked()
	case p.MAC == m.won.oldMAC: // the last holder has not fallen silent yet
		m.retryAt = m.now + probeTimeout
	case m.won.first:
		m.stayBack()
		m.backoffEnd = m.now + maxBackoff
		m.leave(ReasonAddressInUse)
	default:
		m.takeAsked()
		m.emit(Action{Kind: Defend, MAC: p.MAC})
	}
}

// takeAsked owns after the network was asked.
func (m *Machine) takeAsked() {
	m.asked = true
	m.enter(Holding, m.reason)
	m.own()
}

// A foreign announcement wants proof: a quorum read that was sent after it (E9).
func (f Foreign) apply(m *Machine) {
	if m.state != Holding || m.conflict != nil || m.settledAt != 0 && m.now-m.settledAt < proofEvery {
		return
	}
	m.conflict = &sighting{mac: f.MAC, at: m.now}
	m.mustRead, m.readAt, m.reading = true, 0, 0
}

// settle answers a conflict when proof came from a request sent at or after it was seen.
func (m *Machine) settle(sent time.Duration) {
	if m.conflict == nil || sent < m.conflict.at {
		return
	}
	m.emit(Action{Kind: Defend, MAC: m.conflict.mac})
	m.conflict, m.settledAt = nil, m.now
}
