package bgp

import (
	"net/netip"
	"time"

	"github.com/kvip/kvip/pkg/bfd"
)

// Status describes the session to a peer.
type Status struct {
	Name string
	// Address of the peer; invalid while it is not discovered. Local is the own one.
	Address, Local  netip.Addr
	LocalAS, PeerAS uint32 // PeerAS is 0 before the first session
	State           State
	// Since is the instant since boot of the last change of State.
	Since time.Duration
	// Reason is why there is no session, or why the last one ended. Empty: there was none.
	Reason string
	// Code is the stable code of Reason, empty with it.
	Code Reason
	// HoldTime is the negotiated one, 0 without a session that is Established.
	HoldTime time.Duration
	// NextHops are those of each family, invalid where routes of the family are not announced.
	NextHops [families]netip.Addr
	// Routes counts those that the peer has, of each family.
	Routes [families]int
	// Refused counts routes beyond MaximumPrefixes (B10), Unreachable those of a family that the
	// session does not carry, or has no next hop for.
	Refused, Unreachable int
	// Invalid counts routes that Route.Validate refuses, and prefixes that are given twice.
	Invalid int
	// UpdatesSent and UpdatesIgnored count messages since the start: those of the peer are ignored.
	UpdatesSent, UpdatesIgnored uint64
	// Sessions counts how often the session was established since the start.
	Sessions uint64
	// BFD is nil if the path is not watched.
	BFD *bfd.Status
}

// Established reports whether the peer has the routes.
func (s Status) Established() bool { return s.State == Established }
