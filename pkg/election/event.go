package election

import (
	"time"

	"github.com/kvip/kvip/pkg/quorum"
)

// Event is a fact that enters the machine. The types below are the only ones.
type Event interface{ apply(m *Machine) }

// Tick reports that time passed. It must come at least every 100 ms: a gap between steps of more
// than two renew intervals, and at least a second, counts as a pause of the machine (E9).
type Tick struct{}

// Observed is the Lease as a watch delivered it. Versions older than the known one are ignored.
type Observed struct{ Record Record }

// Written answers Create, Claim, Renew, Release and RequestTransfer. Each is answered exactly once.
type Written struct {
	Seq     uint64
	Outcome Outcome
	Version uint64 // resourceVersion of the written object, with OutcomeOK
}

// Outcome is the result of a write.
type Outcome int

// Outcomes of a write. A write with OutcomeConflict or OutcomeFailed may still have been applied.
const (
	OutcomeOK Outcome = iota
	OutcomeConflict
	OutcomeFailed
)

// ReadDone answers Read with a quorum read of the Lease, or with OK false.
type ReadDone struct {
	Seq    uint64
	OK     bool
	Record Record
}

// Health is the state of the node's own API server (E6, E7).
type Health struct {
	Verdict Verdict
	Slow    bool          // NotReady because it answers late or not at all, which may be load
	Leaving bool          // Dead because it shuts down in order: it still serves for a while
	Latency time.Duration // the longest of the last second, 0 if it is not known
	// LastProbeFailed reports that the last answer was a failure while the verdict is still Healthy.
	LastProbeFailed bool
}

// Verdict on the node's own API server.
type Verdict int

// Verdicts. Only Healthy makes a node eligible.
const (
	// Unknown: there is no other verdict yet.
	Unknown Verdict = iota
	// Healthy: the API server has been ready for a while.
	Healthy
	// NotReady: it is alive but does not serve well. A holder may stay if no other node is better.
	NotReady
	// Dead: it does not serve, and is not expected to recover by itself.
	Dead
)

// String returns the verdict in lower case, as the page /status shows it.
func (v Verdict) String() string {
	switch v {
	case Healthy:
		return "healthy"
	case NotReady:
		return "not-ready"
	case Dead:
		return "dead"
	default:
		return "unknown"
	}
}

// Link reports whether the announcing link can carry an address, and its hardware addresses, as in
// Record.
type Link struct {
	Usable bool
	MAC    string
	// Shared reports that another link of this host answers for an address as well: the fence, which
	// is on one, does not end that (F9).
	Shared bool
}

// NotExtended answers an Extend that changed nothing: the kernel deferred it, or it failed. An
// Extend that worked has no answer.
type NotExtended struct{}

// Probed answers Probe: the hardware address that answered for a virtual address, or "".
type Probed struct{ MAC string }

// Foreign is an announcement of a virtual address by a hardware address of another host (E9).
type Foreign struct{ MAC string }

// Owned answers Own: OK reports whether the kernel has the addresses now. Expired reports that it
// has not, and that the deadline leaves no time to add them (E1).
type Owned struct {
	Seq     uint64
	OK      bool
	Expired bool
}

// Disowned answers Disown and Drain. Confirmed is true only if reading back showed that the
// addresses are gone (E5) or, with Draining, that they are not answered for (F11).
type Disowned struct {
	Seq       uint64
	Confirmed bool
	Draining  bool // the addresses are on the host, and connections are served
}

// Served answers Serve: OK reports whether connections to the addresses are served, and Connections
// how many there are.
type Served struct {
	Seq         uint64
	OK          bool
	Connections int
}

// AddressLost reports that another program removed a virtual address from the link. NodeAddress
// reports whether the node's own address is still there (E10).
type AddressLost struct{ NodeAddress bool }

// NodeAddressRestored reports that the node's own address is on the link again (E10).
type NodeAddressRestored struct{}

// Received is a message of another agent that the transport has authenticated (F10).
type Received struct {
	From    string
	Message quorum.Message
}

// PortRefused reports that the host of an agent refused a message: no process has the port (F4).
type PortRefused struct{ Agent string }

// Agents is the list of all agents that have published themselves. EverFast reports whether mode
// fast was ever allowed with this Lease (F8).
type Agents struct {
	IDs      []string
	EverFast bool
}

// CutDone answers Cut: OK reports that the fence ends at its deadline at the latest, read back.
type CutDone struct {
	Seq uint64
	OK  bool
}

// Shutdown makes the machine leave in order and then emit Exit.
type Shutdown struct{}
