package bgp

import (
	"fmt"
	"strings"
)

// State is a state of a session (RFC 4271 section 8.2.2). There is no Active,
// as this side does not listen (B1).
type State uint8

// The states.
const (
	Idle State = iota
	Connect
	OpenSent
	OpenConfirm
	Established
)

// String returns the name that RFC 4271 gives the state.
func (s State) String() string {
	return [...]string{"Idle", "Connect", "OpenSent", "OpenConfirm", "Established"}[s]
}

// Event is a fact that a Machine reacts to. The types below are the only ones.
type Event interface {
	fmt.Stringer
	isEvent()
}

// The events.
type (
	// Tick reports that the instant of Next has come. Permitted reports whether the agent may
	// send now: it has read health and decided lately (B6).
	Tick struct{ Permitted bool }
	// Connected reports that the connection that Dial asked for is there. Family is that of its
	// addresses.
	Connected struct{ Family Family }
	// Lost reports that the connection could not be made, or has ended. Close leads to no Lost.
	Lost struct{ Err error }
	// Received reports a message of the peer.
	Received struct{ Message Message }
	// PathUp reports that BFD or the link came up: the next attempt is made at once (B14).
	PathUp struct{}
	// PathDown reports that BFD, which was up in this session, is down.
	PathDown struct{ Why string }
	// Stop ends the session for good. Silent leaves out the notification, so that a peer with
	// graceful restart keeps the routes (B9). A notification makes the peer drop them: it is a hard
	// reset (RFC 8538 section 3.1) if both sides know that.
	Stop struct {
		Notification Notification
		Why          string
		Silent       bool
	}
)

func (Tick) isEvent()      {}
func (Connected) isEvent() {}
func (Lost) isEvent()      {}
func (Received) isEvent()  {}
func (PathUp) isEvent()    {}
func (PathDown) isEvent()  {}
func (Stop) isEvent()      {}

// Action is one step that the driver carries out, in order. The types below are the only ones.
type Action interface {
	fmt.Stringer
	isAction()
}

// The actions.
type (
	// Dial opens a connection. The driver reports Connected or Lost.
	Dial struct{}
	// SendOpen sends the OPEN, which offers Families.
	SendOpen struct{ Families []Family }
	// SendKeepalive sends a KEEPALIVE.
	SendKeepalive struct{}
	// SendNotification sends a NOTIFICATION. Close follows.
	SendNotification struct{ Notification Notification }
	// Close closes the connection, or ends the attempt to open it.
	Close struct{}
	// Up reports that the session is established: the driver sends all routes.
	Up struct{}
	// Resend sends all routes of a family again.
	Resend struct{ Family Family }
	// Ended reports why a session, or the attempt to have one, is over.
	Ended struct {
		From State
		Code Reason
		Why  string
	}
)

func (Dial) isAction()             {}
func (SendOpen) isAction()         {}
func (SendKeepalive) isAction()    {}
func (SendNotification) isAction() {}
func (Close) isAction()            {}
func (Up) isAction()               {}
func (Resend) isAction()           {}
func (Ended) isAction()            {}

// String renders the event for transcripts.
func (e Tick) String() string {
	if e.Permitted {
		return "tick"
	}
	return "tick, not permitted"
}

// String renders the event for transcripts.
func (e Connected) String() string { return "connected by " + e.Family.String() }

// String renders the event for transcripts.
func (e Lost) String() string { return "lost: " + e.Err.Error() }

// String renders the event for transcripts.
func (e Received) String() string { return "received " + nameOf(e.Message) }

// String renders the event for transcripts.
func (e PathUp) String() string { return "path up" }

// String renders the event for transcripts.
func (e PathDown) String() string { return "path down: " + e.Why }

// String renders the event for transcripts.
func (e Stop) String() string { return "stop: " + e.Why }

// String renders the action for transcripts.
func (a Dial) String() string { return "dial" }

// String renders the action for transcripts.
func (a SendOpen) String() string {
	return "send OPEN " + strings.Trim(fmt.Sprint(a.Families), "[]")
}

// String renders the action for transcripts.
func (a SendKeepalive) String() string { return "send KEEPALIVE" }

// String renders the action for transcripts.
func (a SendNotification) String() string {
	n := a.Notification
	text := fmt.Sprintf("send NOTIFICATION %d/%d", n.Code, n.Subcode)
	if len(n.Data) > 0 {
		text += fmt.Sprintf(" %x", n.Data)
	}
	return text + " = " + n.String()
}

// String renders the action for transcripts.
func (a Close) String() string { return "close" }

// String renders the action for transcripts.
func (a Up) String() string { return "up" }

// String renders the action for transcripts.
func (a Resend) String() string { return "resend " + a.Family.String() }

// String renders the action for transcripts.
func (a Ended) String() string {
	return fmt.Sprintf("ended in %v, %s: %s", a.From, a.Code, a.Why)
}
