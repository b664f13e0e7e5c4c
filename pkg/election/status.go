package election

import "time"

// Status is a snapshot for people and metrics.
type Status struct {
	State    State
	Owned    bool          // the kernel confirmed the addresses for this tenure
	Holder   string        // as last seen, empty if nobody or unknown
	Term     int64         // of the lease as last seen
	Seen     bool          // the lease has been read at least once
	Age      time.Duration // since the last change that was seen
	Deadline time.Duration // instant of the own fence, 0 when not holding
	Reason   Reason        // why the state was entered or, in Standby, why it does not campaign
	Cause    Reason        // why the state was entered, in Standby too
	Degraded string        // of the lease as last seen
}

// Status describes the machine as of the last step.
func (m *Machine) Status() Status {
	s := Status{
		State: m.state, Owned: m.owned && m.state == Holding, Holder: m.obs.Holder, Term: m.obs.Term,
		Seen: m.seen, Age: m.now - m.obsAt, Reason: m.reason, Cause: m.reason, Degraded: m.obs.Degraded,
	}
	switch m.state {
	case Standby:
		s.Reason = m.Waiting()
	case Holding, Confirming, Probing:
		s.Deadline = m.deadline
	}
	return s
}
