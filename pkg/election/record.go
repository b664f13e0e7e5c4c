package election

import (
	"slices"
	"strings"
	"time"
)

// Record is the content of the Lease as this package sees it. The zero value is a Lease
// that does not exist.
type Record struct {
	Exists      bool
	Version     uint64        // resourceVersion of the observation; every write names the one it builds on (E2)
	Holder      string        // identity of the holder, empty when released
	Term        int64         // leaseTransitions: grows with every change of holder
	Duration    time.Duration // leaseDurationSeconds
	Seq         uint64        // which write produced this content, so that a late answer can be recognised
	MAC         string        // the holder's hardware addresses on the announcing link, joined by commas
	Released    Proof         // proof of an orderly release (E3)
	Degraded    string        // why the holder stays although its API server is not ready (E6)
	Latency     time.Duration // of the API server of a degraded holder, 0 if it is not known (E6)
	RequestedBy string        // identity of a healthy follower that asks a degraded holder to leave (E6)
	// RequestedLatency is the latency of that follower's API server, 0 if it is not known (E6).
	RequestedLatency time.Duration
	// Moves counts how often the holder changed for slowness, less one for each quiet minute
	// since, 0 to MaxMoves (E6).
	Moves   int
	History string // past transitions, as the driver keeps them; the machine only passes them on
}

// Proof names who gave the lease up, in which term, and why. It is the only thing
// that lets a follower take over without waiting (E3).
type Proof struct {
	Holder string
	Term   int64
	Reason Reason
}

// heldBy reports whether r names id as the holder in term.
func (r Record) heldBy(id string, term int64) bool {
	return r.Exists && r.Holder == id && r.Term == term && term > 0
}

// proves reports whether r is an orderly release by exactly the holder last seen, who
// had the address for itself (E3).
func (r Record) proves(last lastHolder) bool {
	return r.releasedBy(last) && r.Released.Reason != ReasonAddressInUse
}

// declines reports whether the holder last seen gave up because another machine, not one
// of this election, answers for the address: nobody has held it yet (E9).
func (r Record) declines(last lastHolder) bool {
	return r.releasedBy(last) && r.Released.Reason == ReasonAddressInUse
}

func (r Record) releasedBy(last lastHolder) bool {
	return r.Exists && r.Holder == "" && last.id != "" &&
		r.Released.Holder == last.id && r.Released.Term == last.term
}

// ContainsMAC reports whether mac is among the hardware addresses that named joins by commas: a
// bond may answer with that of any port.
func ContainsMAC(named, mac string) bool {
	return mac != "" && slices.Contains(strings.Split(named, ","), mac)
}

// NodeName returns the node name in the identity of an agent, which ends at the first
// underscore (E8). The name of another program is returned as it is.
func NodeName(id string) string {
	node, _, _ := strings.Cut(id, "_")
	return node
}
