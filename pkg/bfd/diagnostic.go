package bfd

import "fmt"

// State is the state of a session (RFC 5880 section 4.1). The numbers are those of the packet.
type State uint8

// States of a session.
const (
	AdminDown State = iota
	Down
	Init
	Up
)

var stateNames = [...]string{"AdminDown", "Down", "Init", "Up"}

// String returns the name that RFC 5880 uses.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// Diagnostic is why the state of a session changed last (RFC 5880 section 4.1). The numbers are
// those of the packet.
type Diagnostic uint8

// Diagnostics of RFC 5880 section 4.1, and of RFC 6428 section 3.5.
const (
	NoDiagnostic Diagnostic = iota
	DetectionTimeExpired
	EchoFailed
	NeighborSignaledDown
	ForwardingPlaneReset
	PathDown
	ConcatenatedPathDown
	AdministrativelyDown
	ReverseConcatenatedPathDown
	MisConnectivityDefect
)

// maxDiagnostic is the largest number that the five bits of the packet have room for.
const maxDiagnostic = 31

var diagnosticTexts = [...]string{
	"no diagnostic",
	"control detection time expired",
	"echo function failed",
	"neighbor signaled session down",
	"forwarding plane reset",
	"path down",
	"concatenated path down",
	"administratively down",
	"reverse concatenated path down",
	"mis-connectivity defect",
}

// String returns the text of the RFC in lower case, or the number of a reserved diagnostic.
func (d Diagnostic) String() string {
	if int(d) < len(diagnosticTexts) {
		return diagnosticTexts[d]
	}
	return fmt.Sprintf("reserved diagnostic %d", uint8(d))
}
