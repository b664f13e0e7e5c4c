package election

import (
	"fmt"
	"strings"
	"time"
)

// Kind of an action.
type Kind int

// Kinds of actions. Create makes an empty Lease; Claim, Renew, Release and Want update it;
// Read reads it with a quorum.
const (
	Create Kind = iota
	Claim
	Renew
	Release
	RequestRelease
	Read
	Probe
	Own
	Disown
	Defend
	Exit
)

var kindNames = [...]string{"create", "claim", "renew", "release", "request-release", "read", "probe", "own", "disown", "defend", "exit"}

// String returns the name used in transcripts and logs.
func (k Kind) String() string { return kindNames[k] }

// Action is an intention of the machine. Whoever executes it must do so in the order
// given and must honour Deadline.
type Action struct {
	Kind Kind
	// Seq names a request to the API server; its answer carries the same number.
	Seq uint64
	// Base is the observation that a write builds on: it must fail if the Lease has
	// another version by then, or exists although Base does not (E2).
	Base Record
	// Record is the content to write.
	Record Record
	// Deadline is an instant since boot. For Own it is the fence: nothing may be on the
	// link after it (E4). For requests it is when to give up.
	Deadline time.Duration
	// PreferPeers asks for the request to go to the other API servers first (E11).
	PreferPeers    bool
	Reason         Reason // for Claim: why the last holder gave up
	PreviousHolder string // for Claim: who held last
	MAC            string // for Defend: against whom; for Probe: the last holder's, as in Record
}

// String renders an action for transcripts: kind, then whatever else is set.
func (a Action) String() string {
	var b strings.Builder
	b.WriteString(a.Kind.String())
	switch a.Kind {
	case Create, Claim, Renew, Release, RequestRelease:
		fmt.Fprintf(&b, " seq=%d base=%d holder=%q term=%d", a.Seq, a.Base.Version, a.Record.Holder, a.Record.Term)
	case Read:
		fmt.Fprintf(&b, " seq=%d", a.Seq)
	}
	if a.Deadline != 0 {
		fmt.Fprintf(&b, " until=%v", a.Deadline)
	}
	if a.Record.Degraded != "" {
		fmt.Fprintf(&b, " degraded=%q", a.Record.Degraded)
	}
	if a.Record.Latency != 0 {
		fmt.Fprintf(&b, " latency=%v", a.Record.Latency)
	}
	if a.Kind == RequestRelease {
		fmt.Fprintf(&b, " requested-by=%q", a.Record.RequestedBy)
	}
	if a.Record.RequestedLatency != 0 {
		fmt.Fprintf(&b, " requested-latency=%v", a.Record.RequestedLatency)
	}
	if a.Record.Moves != 0 {
		fmt.Fprintf(&b, " slow-moves=%d", a.Record.Moves)
	}
	if p := a.Record.Released; a.Kind == Release && p.Holder != "" {
		fmt.Fprintf(&b, " proof=%q/%d", p.Holder, p.Term)
	}
	if a.PreferPeers {
		b.WriteString(" via=peers")
	}
	if a.Reason != "" {
		fmt.Fprintf(&b, " reason=%s", a.Reason)
	}
	if a.MAC != "" {
		fmt.Fprintf(&b, " mac=%s", a.MAC)
	}
	return b.String()
}
