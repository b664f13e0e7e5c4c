package bgp

import (
	"errors"
	"slices"
	"syscall"
)

// Reason is a stable code of why a session ended, or of why there is none. It is for programs;
// Status.Reason has the words.
type Reason string

// The reasons.
const (
	// ReasonConnectFailed: the peer could not be connected to, or its address was not found.
	ReasonConnectFailed Reason = "connect-failed"
	// ReasonRefusedOpen: this side refused the OPEN of the peer.
	ReasonRefusedOpen Reason = "refused-open"
	// ReasonNotification: the peer ended the session by a NOTIFICATION.
	ReasonNotification Reason = "notification"
	// ReasonClosed: the peer closed the connection without one.
	ReasonClosed Reason = "closed"
	// ReasonReset: the host of the peer reset the connection, as after its restart.
	ReasonReset Reason = "reset"
	// ReasonConnectionLost: the connection failed in another way.
	ReasonConnectionLost Reason = "connection-lost"
	// ReasonNotReading: the peer did not take what was sent to it.
	ReasonNotReading Reason = "not-reading"
	// ReasonHoldTimer: the peer was silent for too long.
	ReasonHoldTimer Reason = "hold-timer"
	// ReasonBFDDown: BFD lost the path to the peer.
	ReasonBFDDown Reason = "bfd-down"
	// ReasonMalformed: the peer sent what is not BGP.
	ReasonMalformed Reason = "malformed"
	// ReasonUnexpected: the peer sent a message that its state does not allow.
	ReasonUnexpected Reason = "unexpected-message"
	// ReasonNotPermitted: the agent may not send (B6).
	ReasonNotPermitted Reason = "not-permitted"
	// ReasonConfiguration: the configuration of the peer changed, was removed, or cannot be used.
	ReasonConfiguration Reason = "configuration"
	// ReasonStopped: kvip stops.
	ReasonStopped Reason = "stopped"
)

// Reasons returns all reasons.
func Reasons() []Reason {
	return []Reason{ReasonConnectFailed, ReasonRefusedOpen, ReasonNotification, ReasonClosed,
		ReasonReset, ReasonConnectionLost, ReasonNotReading, ReasonHoldTimer, ReasonBFDDown,
		ReasonMalformed, ReasonUnexpected, ReasonNotPermitted, ReasonConfiguration, ReasonStopped}
}

// lostReason returns the reason of a connection that could not be made, or that has ended.
func lostReason(s State, err error) Reason {
	switch {
	case s == Connect:
		return ReasonConnectFailed
	case errors.Is(err, errPeerClosed):
		return ReasonClosed
	case errors.Is(err, errNotReading):
		return ReasonNotReading
	case errors.Is(err, errLeaving):
		return ReasonStopped
	case errors.Is(err, errMalformed):
		return ReasonMalformed
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return ReasonReset
	}
	return ReasonConnectionLost
}

// stopReason returns the reason of a session that this side ends for good.
func stopReason(n Notification) Reason {
	if n.Code == codeCease && slices.Contains([]uint8{ceaseDeconfig, ceaseConfig}, n.Subcode) {
		return ReasonConfiguration
	}
	return ReasonStopped
}
