// Package quorum decides, without clock and without network, what the agents of one Lease promise
// each other in mode fast (F1 to F4). The holder sends beats. A voter that acknowledges one is
// bound: it acknowledges no other holder for the window that the beat names. A holder whose beats a
// majority has acknowledged lately is therefore the only one, and owns the address for as long as
// that lasts, without a write to the API server.
//
// A Voter answers beats, a Tally has what a holder may conclude from the acknowledgements, and a
// PreVote finds out whether a majority has lost the holder. All instants are of CLOCK_BOOTTIME.
package quorum

import "time"

// Limits of a window W, and the one that is used unless configured otherwise.
const (
	MinWindow     = 150 * time.Millisecond
	MaxWindow     = 2 * time.Second
	DefaultWindow = 350 * time.Millisecond
)

// Validity returns T: how long after its sending an acknowledged beat with window w gives its
// holder a right. The rest of w covers clocks that differ by 2 %, the fence's lag, and its ticket.
func Validity(w time.Duration) time.Duration { return w - max(50*time.Millisecond, w/10) }

// Interval returns the time between two beats with window w.
func Interval(w time.Duration) time.Duration { return w / 7 }

// Repeat is the time between two beats while a beat has not reached a majority (F6).
const Repeat = 15 * time.Millisecond

// Term is a term of the Lease together with its holder.
type Term struct {
	Number int64
	Holder string // identity (E8)
}

// Beat is a message of a holder to all agents.
type Beat struct {
	Term
	Seq    uint64 // grows with each beat of a process
	Window time.Duration
}

// Answer of a voter to a beat.
type Answer int

// Answers of a voter.
const (
	Ignored  Answer = iota // no answer
	Acked                  // the voter is bound to the holder for the window of the beat
	Outdated               // a higher or other term is known: Reply.Highest
	Bound                  // the voter is bound to another holder: Reply.Left
)

// Reply is a voter's answer to a beat.
type Reply struct {
	Answer  Answer
	Highest int64         // the highest term known to the voter
	Left    time.Duration // how long the voter is bound
}

// Majority reports whether n of all are more than half.
func Majority(n, all int) bool { return n > all/2 }
