package election

import (
	"slices"
	"strings"
	"time"

	"github.com/kvip/kvip/pkg/quorum"
)

// Record is the content of the Lease that the election uses. The zero value is a Lease that does
// not exist.
type Record struct {
	Exists   bool
	Version  uint64        // resourceVersion; every write names the one that it builds on (E2)
	Holder   string        // identity of the holder, empty when released
	Term     int64         // leaseTransitions: grows with each change of holder
	Duration time.Duration // leaseDurationSeconds
	Seq      uint64        // of the holder's write that made this content: recognises a late answer
	Mark     Mark          // mode and voters of the tenure (F8)
	MAC      string        // the holder's hardware addresses on the announcing link, joined by commas
	Released Proof         // of an orderly release (E3)
	Degraded string        // why the holder stays with an API server that is not ready or slow (E6)
	Latency  time.Duration // of a degraded holder's API server, 0 if it is not known (E6)
	// RequestedBy is the identity of the follower that requests a transfer from a degraded holder, and
	// RequestedLatency the latency of that follower's API server, 0 if it is not known (E6).
	RequestedBy      string
	RequestedLatency time.Duration
	// MoveTo is the identity of the agent that a person wants as the holder, "" for none (F11).
	MoveTo string
	// SlowMoves counts how often the holder changed for slowness, less one for each quiet minute
	// since: 0 to MaxSlowMoves (E6).
	SlowMoves int
	// History lists past changes of holder in the driver's format. The machine only copies it.
	History string
}

// Proof names the holder that released the Lease, its term and the reason. Only a proof lets a
// follower take over without waiting (E3).
type Proof struct {
	Holder string
	Term   int64
	Reason Reason
}

// tenure returns the term and its holder as the quorum names them.
func (r Record) tenure() quorum.Term { return quorum.Term{Number: r.Term, Holder: r.Holder} }

// heldBy reports whether r names id as the holder in term.
func (r Record) heldBy(id string, term int64) bool {
	return r.Exists && r.Holder == id && r.Term == term && term > 0
}

// proves reports whether r is an orderly release by the last observed holder, which was the only
// owner of the address (E3).
func (r Record) proves(last lastHolder) bool {
	return r.releasedBy(last) && r.Released.Reason != ReasonAddressInUse
}

// declines reports whether the last observed holder gave up because a machine outside of this
// election answers for the address: no node has owned it yet (E9).
func (r Record) declines(last lastHolder) bool {
	return r.releasedBy(last) && r.Released.Reason == ReasonAddressInUse
}

func (r Record) releasedBy(last lastHolder) bool {
	return r.Exists && r.Holder == "" && last.id != "" &&
		r.Released.Holder == last.id && r.Released.Term == last.term
}

// ContainsMAC reports whether mac is in list, hardware addresses joined by commas: a bond may
// answer with the address of any of its ports.
func ContainsMAC(list, mac string) bool {
	return mac != "" && slices.Contains(strings.Split(list, ","), mac)
}

// bootOf returns the part of an identity that names the boot of the machine (E8), "" without one.
func bootOf(id string) string {
	_, rest, _ := strings.Cut(id, "_")
	boot, _, _ := strings.Cut(rest, "_")
	return boot
}

// NodeName returns the node name in the identity of an agent, which ends at the first underscore
// (E8). It returns the identity of another program unchanged.
func NodeName(id string) string {
	node, _, _ := strings.Cut(id, "_")
	return node
}
