package election

import (
	"fmt"
	"strings"
	"time"

	"github.com/kvip/kvip/pkg/quorum"
)

// Kind of an action.
type Kind int

// Kinds of actions. Create makes an empty Lease, or restores one that was deleted (E2); Claim,
// Renew, Release and RequestTransfer update it; Read reads it with a quorum. Own and Disown change
// the addresses of the host, Extend and Cut the fence. Drain ends the answers for the addresses and
// keeps them, for the connections that there are, and Serve goes on (F11). AllowFast records that
// mode fast may be used with the Lease (F8), and Send sends a message to another agent, or to all
// of them.
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
	Extend
	Cut
	Drain
	Serve
	AllowFast
	Send
	Exit
)

var kindNames = [...]string{
	"create", "claim", "renew", "release", "request-transfer", "read",
	"probe", "own", "disown", "defend", "extend", "cut", "drain", "serve",
	"allow-fast", "send", "exit",
}

// String returns the name used in transcripts and logs.
func (k Kind) String() string { return kindNames[k] }

// Action is an intention of the machine. Actions must be executed in the order given.
type Action struct {
	Kind Kind
	// Seq is the number of a request, an Own, a Disown, a Cut, a Drain or a Serve; the answer carries
	// the same one.
	Seq uint64
	// Base is the observation that a write builds on. The write must fail if the Lease has another
	// version by then, or if it exists although Base does not (E2).
	Base Record
	// Record is the content to write.
	Record Record
	// Deadline is an instant since boot. For Own no address may be on the link after it, unless a
	// fence ends the service before (E4). For Extend and Cut it is when the fence closes (F9). For
	// a request it is when to give up. For Drain it is the end of the right: after it only relayed
	// packets are served. For Serve it is when the service ends without another one.
	Deadline time.Duration
	// Unfenced requires of Own that the lifetimes of the addresses end them by Deadline, whatever a
	// fence does: another link answers for them too (F9).
	Unfenced bool
	// PreferPeers requires the request to go to the other API servers first (E11).
	PreferPeers bool
	Reason      Reason // Claim: why the previous holder gave up; Release, Own, Disown: why
	LastHolder  string // Claim: the identity of the previous holder
	// MAC is of Defend the other host's hardware address, of Probe those of the previous holder, and
	// of Serve those of all holders since; joined by commas, as in Record.
	MAC string
	To  string // Send: the receiver, "" for all other agents
	// Message is what to send; of Drain and Serve, with the connections that there are (F11).
	Message quorum.Message
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
		field(r.Mark.Fast, "fast voters=%q lasts=%v", r.Mark.Voters, r.Duration)
		field(r.Mark.Proven, "proven")
		field(true, "seq=%d base=%d holder=%q term=%d", a.Seq, a.Base.Version, r.Holder, r.Term)
	case Read:
		field(true, "seq=%d", a.Seq)
	}
	field(a.Deadline != 0, "until=%v", a.Deadline)
	field(a.Unfenced, "unfenced")
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
	if a.Kind == Send {
		b.WriteString(" " + sendString(a.To, a.Message))
	}
	return b.String()
}

// sendString renders a message for transcripts.
func sendString(to string, m quorum.Message) string {
	text := fmt.Sprintf("%s term=%d/%q", m.Kind, m.Term.Number, m.Term.Holder)
	if to != "" {
		text = "to=" + to + " " + text
	}
	for _, f := range []struct {
		set  bool
		text string
	}{
		{m.Seq != 0, fmt.Sprintf(" number=%d", m.Seq)},
		{m.Window != 0, fmt.Sprintf(" window=%v", m.Window)},
		{m.Highest != 0, fmt.Sprintf(" highest=%d", m.Highest)},
		{m.Left != 0, fmt.Sprintf(" left=%v", m.Left)},
	} {
		if f.set {
			text += f.text
		}
	}
	return text
}
