package election

import (
	"slices"
	"time"
)

// probeTimeout is how long one probe may take (E9).
const probeTimeout = 100 * time.Millisecond

// silentWithin is how long a winner waits for the last holder to fall silent. By then the
// lease has been waited for, so that nobody can hold rightly (E2, E9).
const silentWithin = 800 * time.Millisecond

// maxMACs bounds how many hardware addresses of nodes are remembered.
const maxMACs = 64

// startProbe asks the network whether somebody still answers for the addresses.
func (m *Machine) startProbe() {
	m.probing = true
	m.emit(Action{Kind: Probe, Deadline: m.now + probeTimeout, MAC: m.won.oldMAC})
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
	case ContainsMAC(m.won.oldMAC, p.MAC) && m.now-m.ownSince < silentWithin:
		m.retryAt = m.now + probeTimeout // the last holder has not fallen silent yet
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

// A foreign announcement by a node of this election wants proof: a quorum read that was sent
// after it. Against all others the address is defended at once (E9).
func (f Foreign) apply(m *Machine) {
	if m.state != Holding || m.conflict != nil || m.settledAt != 0 && m.now-m.settledAt < proofEvery {
		return
	}
	if !m.isNode(f.MAC) {
		m.emit(Action{Kind: Defend, MAC: f.MAC})
		m.settledAt = m.now
		if m.reading == 0 { // a node that the lease never showed to this one, after a pause
			m.read()
		}
		return
	}
	m.conflict = &sighting{mac: f.MAC, at: m.now}
	m.mustRead, m.readAt, m.reading = true, 0, 0
}

// isNode reports whether a lease named mac, as far as this node remembers.
func (m *Machine) isNode(mac string) bool {
	return slices.ContainsFunc(m.macs, func(named string) bool { return ContainsMAC(named, mac) })
}

// noteMACs remembers the hardware addresses that a lease names.
func (m *Machine) noteMACs(named string) {
	if named == "" || slices.Contains(m.macs, named) {
		return
	}
	m.macs = append(m.macs, named)
	m.macs = m.macs[max(0, len(m.macs)-maxMACs):]
}

// settle answers a conflict when proof came from a request sent at or after it was seen.
func (m *Machine) settle(sent time.Duration) {
	if m.conflict == nil || sent < m.conflict.at {
		return
	}
	m.emit(Action{Kind: Defend, MAC: m.conflict.mac})
	m.conflict, m.settledAt = nil, m.now
}
