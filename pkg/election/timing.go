package election

import (
	"math"
	"time"
)

const (
	// ownWithin is how long a winner may take to own before it gives the lease up (E5).
	ownWithin = time.Second
	// proofWithin is how long a holder keeps the address after a foreign announcement
	// without proof that the lease is still its own (E9).
	proofWithin = 200 * time.Millisecond
	// retryAfter spaces repeated requests and repeated kernel operations.
	retryAfter = 200 * time.Millisecond
	// slowRequest is the latency of the own API server from which on the peers are asked
	// first (E11): a lost renewal costs more than a question to two servers.
	slowRequest = 250 * time.Millisecond
	// avoidFor is how long after a failed request the peers are asked first. Meanwhile the
	// health of the own API server shows whether it can be used, also where the peers have
	// answered since.
	avoidFor = 5 * time.Second
	// maxPatience is the longest pause between requests that keep failing, and maxUrgent the
	// longest while a tenure depends on them.
	maxPatience = 3 * time.Second
	maxUrgent   = 2 * time.Second
	// proofEvery spaces the quorum reads that foreign announcements ask for: a chatty device
	// must not load the API server (E9).
	proofEvery = time.Second
	// wishWithin is how long a degraded holder reads the lease every RequestPollInterval to see who asks
	// for it. Later its own renewals tell, because they build on a version without the wish (E6).
	wishWithin = time.Second
	// RequestPollInterval spaces those reads: each hand-over of a degraded holder waits for one.
	RequestPollInterval = 25 * time.Millisecond
	// minPause is the shortest gap between steps that counts as a pause: writing an address may
	// take some tenths of a second (E9).
	minPause = time.Second
	// lostAgain is how soon after a removal of the address the next one belongs to the same
	// run; a run that lasts for ownWithin makes the node give up (E5).
	lostAgain = time.Second
	// nodeAddressWithin is how long a flushed link may take to get its own address back
	// before the virtual one is put there again (E10).
	nodeAddressWithin = 2 * time.Second
	// stopWithin bounds the attempts to release the lease at a shutdown.
	stopWithin = 2 * time.Second
	// firstBackoff and maxBackoff bound how long a node stays back after it won and could not own.
	firstBackoff = time.Second
	maxBackoff   = 30 * time.Second
)

// MaxLease is the longest lease that an agent may have. A Lease that names more was written
// by something else, and is waited for no longer than this (E2).
const MaxLease = 10 * time.Minute

// Margin is the part of a lease of duration d that a holder never uses: the larger of
// half a second and a tenth of d. It covers clocks that drift and a deletion that takes its
// time; the kernel's lag is taken off the lifetime instead (E1).
func Margin(d time.Duration) time.Duration {
	return max(500*time.Millisecond, d/10)
}

// Deadline is the last instant at which a holder may still own after a confirmed write
// that was sent at sent, for a lease of duration d (E1).
func Deadline(sent, d time.Duration) time.Duration {
	return sent + d - Margin(d)
}

// Wait is how long a follower must see a lease unchanged before it may claim it: the
// largest of its own duration, the one that the object names, and the one of the last
// holder seen, which counts when the object was deleted or edited (E2). No agent may have
// more than MaxLease, so neither waits for more.
func Wait(own, object, last time.Duration) time.Duration {
	return max(own, min(max(object, last), MaxLease))
}

// RequestTimeout bounds one request to an API server for a lease of duration d. It leaves
// room for three more tries before the deadline; a write that is applied after it is
// recognised when the watch shows it.
func RequestTimeout(d time.Duration) time.Duration {
	return max(500*time.Millisecond, d/5)
}

// nextTerm follows the highest term seen. leaseTransitions is an int32: after the last
// value, which only a person could have written, terms begin again.
func nextTerm(seen int64) int64 {
	if seen >= math.MaxInt32 {
		return 1
	}
	return seen + 1
}

// backoff is how long to stay back after the n-th failure to own in a row, n from 1.
func backoff(n int) time.Duration {
	d := firstBackoff
	for ; n > 1 && d < maxBackoff; n-- {
		d *= 2
	}
	return min(d, maxBackoff)
}
