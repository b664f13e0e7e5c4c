package election

import (
	"slices"
	"time"
)

// lease is what the machine knows of the Lease.
type lease struct {
	known     bool          // the Lease was observed at least once
	record    Record        // the last observation
	changedAt time.Duration // when the last change was observed (E2)
	last      lastHolder
	macs      []string // hardware addresses in leases of other nodes, oldest first (E9)
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
}

// tenure is one uninterrupted time as the holder.
type tenure struct {
	claim       *write // the claim that began it; nil if it was adopted (E8)
	term        int64
	deadline    time.Duration // of the last confirmed write (E1)
	addressFree bool          // a probe found no other owner, or none was needed (E3)
	probing     bool          // a probe is unanswered
	probeAt     time.Duration // when the next probe may start
	conflict    *conflict     // a foreign announcement that still needs a proof of the lease (E9)
	defendedAt  time.Duration // when a foreign announcement was last answered
	degraded    string        // mark for the Lease: why its API server is not ready (E6)
	markedAt    time.Duration // when the Lease was first seen with that mark; 0 if it has none
	slowMoves   int           // for slowness in the group, less the quiet minutes since (E6)
	quietSince  time.Duration // start of the present quiet minute
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

// abandon stops waiting for the pending write, which may still be applied.
func (f *inflight) abandon() {
	if f.pending == nil {
		return
	}
	f.lost = append(f.lost, *f.pending)
	f.lost = f.lost[max(0, len(f.lost)-maxLost):]
	f.pending = nil
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
	record Record
	proven bool   // claim: after a proven release (E3)
	first  bool   // claim: no holder was ever observed
	oldMAC string // claim: hardware addresses of the previous holder (E9)
	from   string // claim: the previous holder
	reason Reason // claim, release: why the lease changes hands
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
	disownAt     time.Duration // earliest instant of the next Disown outside of a tenure
	lostAt       time.Duration // when another program last removed them
	lostSince    time.Duration // when the present run of removals began (E5)
	flushedUntil time.Duration // how long the link may wait for its own address; 0 if it has it (E10)
}

// reset begins a tenure, or continues one, without the addresses.
func (a *address) reset(now time.Duration) {
	a.owned, a.missingSince, a.ownAt, a.disownAt = false, now, 0, 0
}
