package election

import (
	"slices"
	"time"

	"github.com/kvip/kvip/pkg/quorum"
)

// lease is what the machine knows of the Lease.
type lease struct {
	known     bool          // the Lease was observed at least once
	record    Record        // the last observation
	changedAt time.Duration // when the last change was observed (E2)
	last      lastHolder
	macs      []string      // hardware addresses in leases of other nodes, oldest first (E9)
	tenureAt  time.Duration // when another tenure or mode was last observed (F4)
	newest    newest
	wentBack  bool          // the last observation is older than newest (F8)
	longest   time.Duration // the longest duration that was seen in mode fast (F8)
}

// newest is the newest content of the Lease that was observed.
type newest struct {
	term   int64
	holder string
	seq    uint64
}

// lastHolder is the last holder that was observed. It outlives a release, an edit and a deletion of
// the Lease (E2, E3).
type lastHolder struct {
	id       string
	term     int64
	duration time.Duration
	mac      string // its hardware addresses, as in Record (E9)
}

// maxMACs limits how many hardware addresses of nodes are remembered.
const maxMACs = 64

// rememberMAC adds the hardware addresses that a Lease names, as in Record.
func (l *lease) rememberMAC(list string) {
	if list == "" || slices.Contains(l.macs, list) {
		return
	}
	l.macs = append(l.macs, list)
	l.macs = l.macs[max(0, len(l.macs)-maxMACs):]
}

// node is the state of this node.
type node struct {
	health     Health
	slowSince  time.Duration // since when the own API server has been slow without a break
	link       Link
	linkKnown  bool
	failures   int           // tenures in a row in which the address could not be owned
	backoffEnd time.Duration // no claim before
	shutdown   bool
	stopAt     time.Duration // when a shutdown stops trying to release
	wake       time.Duration // when the machine asked to be stepped (F6)
	late       int           // how often the window was doubled
	lateUntil  time.Duration // until when it is
	wakeUps    int           // how often the agent was late
	blinks     int           // how often the fence shut for a late majority
}

// tenure is one uninterrupted time as the holder.
type tenure struct {
	term        int64
	confirmed   *write        // the newest write that the Lease has shown; nil before (E8, F1)
	confirmedAt time.Duration // when it did
	adoptEnd    time.Duration // of an adopted tenure that is not confirmed (E8)
	oldMAC      string        // hardware addresses of the holder before (E9)
	first       bool          // no holder was ever observed before
	addressFree bool          // a probe found no other owner, or none was needed (E3)
	probing     bool          // a probe is unanswered
	probeAt     time.Duration // when the next probe may start
	conflict    *conflict     // a foreign announcement that still needs a proof of the lease (E9)
	defend      string        // hardware address to defend against once the address is owned
	defendedAt  time.Duration // when a foreign announcement was last answered
	degraded    string        // mark for the Lease: why its API server is not ready (E6)
	markedAt    time.Duration // when the Lease was first seen with that mark; 0 if it has none
	slowMoves   int           // for slowness in the group, less the quiet minutes since (E6)
	quietSince  time.Duration // start of the present quiet minute

	begun      time.Duration // when the first write of this term was confirmed (F6)
	until      time.Duration // the last deadline given to the fence (F1)
	untilThen  time.Duration // the one before
	blinked    time.Duration // the last one that passed without a later one
	extendAt   time.Duration // earliest instant of the next Extend
	refreshAt  time.Duration // when to write the addresses again in mode fast (F9)
	beatAt     time.Duration // when to beat although it is not due yet (F2)
	majority   bool          // a majority acknowledged a beat of this term (F6, F11)
	majorityAt time.Duration // when one last did
	votersAt   time.Duration // when the present voters were confirmed (F7)
	rise       bool          // the next write is of a term above all known ones (F8)
	nextOffer  time.Duration // earliest instant of the next offer of mode fast (F5)
	offers     int           // returns to mode slow (F6)
	allowAt    time.Duration // earliest instant of the next AllowFast (F8)
	prepared   *write        // waits for Cut (F1)
	cutting    uint64        // Seq of the unanswered Cut, 0 if there is none
	cutTo      time.Duration // its deadline
	unproven   bool          // a fast tenure ends without a majority: it proves nothing (F11)
	byeUntil   time.Duration // the Lease is not released before (F11)
	desired    string        // the agent that a person asks for (F11)
	desiredAt  time.Duration // when that was seen
}

// begin starts a tenure with a claim, or without a write of this process (E8).
func (t *tenure) begin(claim *write, now time.Duration) {
	*t = tenure{
		confirmed: claim, confirmedAt: now, begun: now, beatAt: now,
		slowMoves: t.slowMoves, quietSince: t.quietSince, defendedAt: t.defendedAt,
		majorityAt: now, votersAt: now, nextOffer: now + firstOffer,
	}
	if claim != nil {
		t.term, t.oldMAC, t.first = claim.record.Term, claim.oldMAC, claim.first
	}
}

// fast reports whether the tenure is in mode fast (F1).
func (t *tenure) fast() bool { return t.confirmed != nil && t.confirmed.record.Mark.Fast }

// bye is the goodbye of a term (F11).
type bye struct {
	term  quorum.Term
	armed bool // to be said once the address is gone
	left  int  // messages still to send
	at    time.Duration
}

// conflict is a foreign announcement by a node of this election.
type conflict struct {
	mac string
	at  time.Duration
}

// inflight is the state of the requests to the API server.
type inflight struct {
	seq        uint64 // of the last request, Own or Disown
	pending    *write
	lost       []write       // unanswered or failed writes that may still be applied
	wroteAt    time.Duration // when the last write was sent
	writeAt    time.Duration // earliest instant of the next write
	transferAt time.Duration // earliest instant of the next RequestTransfer
	reading    uint64        // Seq of the unanswered Read, 0 if there is none
	readAt     time.Duration // when the last Read was sent; 0 permits the next one at once
	mustRead   bool          // nothing may be written before a Read is answered
	failures   int           // requests in a row without an answer
	failedAt   time.Duration // when the last of them was given up; 0 if there was none
}

// maxLost limits how many unresolved writes are remembered.
const maxLost = 16

// fail counts a request without an answer.
func (f *inflight) fail(now time.Duration) {
	f.failures++
	f.failedAt = now
}

// abandon stops waiting for the pending write, which may still be applied to this version of the
// Lease.
func (f *inflight) abandon(version uint64) {
	if f.pending == nil {
		return
	}
	f.lost = append(f.lost, *f.pending)
	f.pending = nil
	if len(f.lost) <= maxLost {
		return
	}
	// One that can no longer be applied, or that gives no other right than an earlier one.
	drop := slices.IndexFunc(f.lost, func(w write) bool { return w.base != version })
	for i := 1; drop < 0 && i < len(f.lost); i++ {
		if slices.ContainsFunc(f.lost[:i], f.lost[i].sameRight) {
			drop = i
		}
	}
	drop = max(drop, 0)
	f.lost = slices.Delete(f.lost, drop, drop+1)
}

// open returns the writes of unknown fate that build on a version of the Lease (F1).
func (f *inflight) open(version uint64) (list []*write) {
	if f.pending != nil && f.pending.base == version {
		list = append(list, f.pending)
	}
	for i := range f.lost {
		if f.lost[i].base == version {
			list = append(list, &f.lost[i])
		}
	}
	return list
}

// find returns the write with a number, nil if it is not known.
func (f *inflight) find(seq uint64) *write {
	if f.pending != nil && f.pending.seq == seq {
		return f.pending
	}
	if i := slices.IndexFunc(f.lost, func(w write) bool { return w.seq == seq }); i >= 0 {
		return &f.lost[i]
	}
	return nil
}

// forget drops seq and all older writes: the Lease is newer than they are.
func (f *inflight) forget(seq uint64) {
	if f.pending != nil && f.pending.seq == seq {
		f.pending = nil
	}
	f.lost = slices.DeleteFunc(f.lost, func(w write) bool { return w.seq <= seq })
}

// write is a request that changes the Lease.
type write struct {
	kind   Kind
	seq    uint64
	sent   time.Duration
	base   uint64 // version of the Lease that it builds on
	record Record
	proven bool   // claim: after a proven release (E3)
	first  bool   // claim: no holder was ever observed
	oldMAC string // claim: hardware addresses of the previous holder (E9)
	from   string // claim: the previous holder
	reason Reason // claim, release: why the lease changes hands
}

// sameRight reports whether other gives the same right, but for the time of its sending.
func (w *write) sameRight(other write) bool {
	r, o := w.record, other.record
	return r.Holder == o.Holder && r.Term == o.Term && r.Duration == o.Duration &&
		r.Mark.Fast == o.Mark.Fast && r.Mark.Voters == o.Mark.Voters
}

// address is the state of the virtual addresses on this host.
type address struct {
	present      bool          // they may be on the host
	cause        Reason        // why they must be removed
	goneBy       time.Duration // the latest deadline ever given to Own: no address outlives it
	owning       uint64        // Seq of the last Own
	owned        bool          // the kernel confirmed them in this tenure
	missingSince time.Duration // since when this tenure is without them; 0 while owned
	ownAt        time.Duration // when to repeat a failed Own; 0 if none failed
	disowning    uint64        // Seq of the unanswered Disown, 0 if there is none
	disowned     uint64        // Seq of the last Disown
	disownAt     time.Duration // earliest instant of the next Disown outside of a tenure
	lostAt       time.Duration // when another program last removed them
	lostSince    time.Duration // when the present run of removals began (E5)
	flushedUntil time.Duration // how long the link may wait for its own address; 0 if it has it (E10)
}

// reset begins a tenure, or continues one, without the addresses.
func (a *address) reset(now time.Duration) {
	a.owned, a.missingSince, a.ownAt, a.disownAt = false, now, 0, 0
}
