package election

import (
	"fmt"
	"strings"
	"time"
)

// Kind of an action.
type Kind int

// Kinds of actions. Create makes an empty Lease, or restores one that was deleted (E2); Claim,
// Renew, Release and RequestTransfer update it; Read reads it with a quorum.
const (
	Create Kind = iota
	Claim
	Renew
	Release
	RequestTransfer
	Read
	Probe
	Own
	Disown
	Defend
	Exit
)

var kindNames = [...]string{
	"create", "claim", "renew", "release", "request-transfer", "read",
	"probe", "own", "disown", "defend", "exit",
}

// String returns the name used in transcripts and logs.
func (k Kind) String() string { return kindNames[k] }

// Action is an intention of the machine. Actions must be executed in the order given.
type Action struct {
	Kind Kind
	// Seq is the number of a request, an Own or a Disown; the answer carries the same one.
	Seq uint64
	// Base is the observation that a write builds on. The write must fail if the Lease has another
	// version by then, or if it exists although Base does not (E2).
	Base Record
	// Record is the content to write.
	Record Record
	// Deadline is an instant since boot. For Own it is the fence: no address may be on the link after
	// it (E4). For a request it is when to give up.
	Deadline time.Duration
	// PreferPeers requires the request to go to the other API servers first (E11).
	PreferPeers bool
	Reason      Reason // Claim: why the previous holder gave up; Release, Own, Disown: why
	LastHolder  string // Claim: the identity of the previous holder
	MAC         string // Defend: the other host's; Probe: the previous holder's, as in Record
}

// String renders an action for transcripts: the kind, then the fields that are set.
func (a Action) String() string {
	r := a.Record
	var b strings.Builder
	b.WriteString(a.Kind.String())
	field := func(set bool, format string, values ...any) {
		if set {
			fmt.Fprintf(&b, " "+format, values...)
		}
	}
	switch a.Kind {
	case Create, Claim, Renew, Release, RequestTransfer:
		field(true, "seq=%d base=%d holder=%q term=%d", a.Seq, a.Base.Version, r.Holder, r.Term)
	case Read:
		field(true, "seq=%d", a.Seq)
	}
	field(a.Deadline != 0, "until=%v", a.Deadline)
	field(r.Degraded != "", "degraded=%q", r.Degraded)
	field(r.Latency != 0, "latency=%v", r.Latency)
	field(a.Kind == RequestTransfer, "requested-by=%q", r.RequestedBy)
	field(r.RequestedLatency != 0, "requested-latency=%v", r.RequestedLatency)
	field(r.SlowMoves != 0, "slow-moves=%d", r.SlowMoves)
	if p := r.Released; a.Kind == Release {
		field(p.Holder != "", "proof=%q/%d", p.Holder, p.Term)
	}
	field(a.PreferPeers, "via=peers")
	field(a.Reason != "", "reason=%s", a.Reason)
	field(a.MAC != "", "mac=%s", a.MAC)
	return b.String()
}
