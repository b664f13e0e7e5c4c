package election

import (
	"math"
	"time"

	"github.com/kvip/kvip/pkg/backoff"
)

const (
	// ownWithin is how long a winner may take to own before it releases the lease (E5).
	ownWithin = time.Second
	// probeTimeout is how long one probe may take (E9).
	probeTimeout = 100 * time.Millisecond
	// silentWithin is how long a winner waits until the previous holder no longer answers. The wait
	// for the lease is over by then, so that no other node can hold rightly (E2, E9).
	silentWithin = 800 * time.Millisecond
	// proofWithin is how long a holder keeps the address after a foreign announcement without a proof
	// that the lease is still its own (E9).
	proofWithin = 200 * time.Millisecond
	// proofEvery spaces the quorum reads that foreign announcements cause, so that a device cannot
	// load the API server (E9).
	proofEvery = time.Second
	// retryAfter spaces repeated requests and repeated kernel operations.
	retryAfter = 200 * time.Millisecond
	// maxPause is the longest pause between requests that keep failing, and maxUrgentPause the
	// longest while a tenure depends on them.
	maxPause       = 3 * time.Second
	maxUrgentPause = 2 * time.Second
	// slowRequest is the latency of the own API server from which on requests go to the peers first
	// (E11): a lost renewal costs more than a request to two servers.
	slowRequest = 250 * time.Millisecond
	// avoidFor is how long after a failed request requests go to the peers first. The probes of the
	// own API server show within this time whether it can be used, even if only peers answered.
	avoidFor = 5 * time.Second
	// transferWithin is how long a degraded holder reads the lease every TransferPollInterval to
	// find a request for a release. Later its own renewals find one: they conflict with it (E6).
	transferWithin = time.Second
	// TransferPollInterval spaces those reads. Each hand-over of a degraded holder waits for one.
	TransferPollInterval = 25 * time.Millisecond
	// minPause is the shortest gap between steps that counts as a pause: writing an address may take
	// some tenths of a second (E9).
	minPause = time.Second
	// lostAgain is how soon after a removal of the address the next one belongs to the same run. A
	// run longer than ownWithin makes the node leave (E5).
	lostAgain = time.Second
	// nodeAddressWithin is how long a flushed link may take to get its own address back before the
	// virtual one is put there again (E10).
	nodeAddressWithin = 2 * time.Second
	// TickPeriod is the longest time between two steps.
	TickPeriod = 100 * time.Millisecond
	// byeWithin is how long after a goodbye the others have to claim in mode fast (F11).
	byeWithin = 150 * time.Millisecond
	// MoveWithin is how long a holder waits for the agent that a person asked for to be able to hold
	// (F11). Then it forgets the request.
	MoveWithin = 10 * time.Second
	// yieldFor is how long other followers leave the Lease to the one that a person asked for (F11).
	yieldFor = 250 * time.Millisecond
	// stopWithin limits the attempts to release the lease at a shutdown.
	stopWithin = 2 * time.Second
	// firstBackoff and maxBackoff limit how long a node does not claim after it won and could not own.
	firstBackoff = time.Second
	maxBackoff   = 30 * time.Second
)

// adoptedGap is the gap between the number of the last write of an earlier agent and the first one
// of this process: its writes of unknown fate are fewer (F8).
const adoptedGap = 1 << 16

// ownBackoff is how long a node does not claim after tenures in which it could not own (E5).
var ownBackoff = backoff.Backoff{Min: firstBackoff, Max: maxBackoff}

// An API server may be slow because of its load, which follows the address to the next node. A
// holder therefore leaves for slowness only for a node that is clearly better. The more often the
// holder changed for slowness of late, the longer it must be slow before (E6).
const (
	// muchFaster is how many times faster than the holder's an API server must be.
	muchFaster = 5
	// slownessUnit is half of what the first move adds; each further move doubles it.
	slownessUnit = 10 * time.Second
	// quietSpan without slowness subtracts one move.
	quietSpan = time.Minute
	// MaxSlowMoves limits how many moves are counted.
	MaxSlowMoves = 5
)

// slownessBefore returns how long a holder's API server must be slow before the holder may leave
// for it, after a number of moves for slowness in the group. The first move requires none (E6).
func slownessBefore(slowMoves int) time.Duration {
	if slowMoves <= 0 {
		return 0
	}
	return slownessUnit << min(slowMoves, MaxSlowMoves)
}

// clearlyBetter reports whether an API server with latency one serves so much better than one with
// latency other that a move is worth it. An unknown latency, 0, is not better (E6).
func clearlyBetter(one, other time.Duration) bool {
	return one > 0 && other > 0 && one <= other/muchFaster
}

// MaxLease is the longest lease that an agent may have. A Lease that names a longer one was written
// by another program; agents wait for it at most this long (E2).
const MaxLease = 10 * time.Minute

// margin returns the part of a lease of duration d that a holder never uses: the larger of half a
// second and a tenth of d. It covers clock drift and a slow deletion; the kernel's lag is
// subtracted from the lifetime instead (E1).
func margin(d time.Duration) time.Duration {
	return max(500*time.Millisecond, d/10)
}

// Deadline returns the last instant at which a holder may own after a confirmed write that was sent
// at sent, for a lease of duration d (E1).
func Deadline(sent, d time.Duration) time.Duration {
	return sent + d - margin(d)
}

// wait returns how long a follower must see a lease unchanged before it may claim it: the largest
// of its own duration, the one that the object names, and the one of the last holder observed,
// which counts when the object was deleted or edited. The latter two count up to MaxLease (E2).
func wait(own, object, last time.Duration) time.Duration {
	return max(own, min(max(object, last), MaxLease))
}

// RequestTimeout limits one request to an API server for a lease of duration d. It leaves room for
// three more tries before the deadline. A write that is applied after it is recognised when the
// watch shows it.
func RequestTimeout(d time.Duration) time.Duration {
	return max(500*time.Millisecond, d/5)
}

// FastClaimTimeout limits a claim in mode fast, during which copies of it are sent (F4).
const FastClaimTimeout = time.Second

// nextTerm follows the highest term observed. leaseTransitions is an int32: after its last value,
// which only a person could have written, terms begin again.
func nextTerm(seen int64) int64 {
	if seen >= math.MaxInt32 {
		return 1
	}
	return seen + 1
}

// Wake returns when the machine must be stepped at the latest.
func (m *Machine) Wake() time.Duration {
	at := m.now + TickPeriod
	earlier := func(t time.Duration) {
		if t > m.now {
			at = min(at, t)
		}
	}
	if m.AwaitsTransferRequest() {
		earlier(m.now + TransferPollInterval)
	}
	if m.beats() {
		earlier(m.beatAt())
	}
	if m.state == Holding && !m.tenure.fast() {
		earlier(m.right())
	}
	if m.state == Holding {
		earlier(m.tenure.extendAt)
	}
	if m.bye.left > 0 {
		earlier(m.bye.at)
	}
	if m.state == Standby && m.lease.record.fast() {
		earlier(m.preVote.Next())
		earlier(m.suspectAt())
	}
	return at
}
