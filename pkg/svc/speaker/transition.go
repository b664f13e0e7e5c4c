package speaker

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/kvip/kvip/pkg/assignment"
	"github.com/kvip/kvip/pkg/bgp/policy"
	"github.com/kvip/kvip/pkg/link"
	"github.com/kvip/kvip/pkg/placement"
)

// overlap is how long the old owner keeps an address in a planned move, if it does not hear the
// new owner sooner (S3).
const overlap = time.Second

// phase is the state of an address on this node. Reports show it.
type phase string

const (
	// owned: this node has the address and announces it.
	owned phase = "owned"
	// adopted: the address is left from before a restart or a freeze, and no fresh view has
	// confirmed it since. The node keeps it and does not announce it (S6, E9).
	adopted phase = "adopted"
	// leaving: another node is to have the address. The node keeps it unannounced for a while.
	leaving phase = "leaving"
	// shared: the control plane owns and announces the address. It is not filtered (S5).
	shared phase = "shared"
)

// assigned is an address of this node.
type assigned struct {
	// Assignment is what kernel, filter and announcer need to know. Services, Ports and the
	// index of Link are those of the last snapshot that was applied.
	assignment.Assignment
	phase  phase
	since  time.Duration    // since boot
	until  time.Duration    // if it is leaving: when it goes at the latest
	reason placement.Reason // why this node has it
	// worse is why routers shall prefer other nodes for a routed address, "" if they need not (B5).
	worse placement.Reason
	// route is what a routed address is announced by, as of the last snapshot that was applied.
	route policy.Address
}

// routed reports whether routes lead to the address, and no neighbour asks for it.
func (a assigned) routed() bool { return a.Link.Name == placement.Loopback }

func newAssigned(addr netip.Addr, linkName string, p phase, now time.Duration) assigned {
	a := assigned{since: now}
	a.Addr, a.Link = addr, link.Link{Name: linkName}
	return a.in(p)
}

// in returns a in another phase.
func (a assigned) in(p phase) assigned {
	a.phase, a.State = p, assignment.Silent
	if p == owned {
		a.State = assignment.Announced
	}
	return a
}

func (a assigned) leave(until time.Duration) assigned {
	a.until = until
	return a.in(leaving)
}

func (a assigned) expired(now time.Duration) bool { return a.phase == leaving && now >= a.until }

// assignments are the addresses of this node.
type assignments map[netip.Addr]assigned

// transition returns what this node has next, given what it has, what was decided, and the time.
// It is pure.
//
// Without a fresh view nothing moves (S2): an address that is leaving goes when its time is over,
// and no other comes or goes. With a fresh view the node keeps an address that another node is to
// have for the overlap, and drops one that no node is to have at once. A routed address stays for
// the overlap in any case: its route is withdrawn first (B4).
func transition(have assignments, decisions map[netip.Addr]placement.Decision, s snapshot,
	now time.Duration) assignments {
	if !s.view.Fresh || len(s.view.Alive) == 0 {
		return have.unexpired(now)
	}
	next := assignments{}
	for addr, a := range have {
		d := decisions[addr]
		_, _, here := d.On(s.node)
		if here || a.phase == shared || d.Node == "" && !a.routed() {
			continue
		}
		if a.phase != leaving {
			a = a.leave(now + overlap)
			a.reason = d.Reason
		}
		if !a.expired(now) {
			next[addr] = a
		}
	}
	for addr, d := range decisions {
		on, worse, here := d.On(s.node)
		if !here {
			continue
		}
		a, had := have[addr]
		if !had || a.phase == leaving || a.Link.Name != on {
			a = newAssigned(addr, on, owned, now)
		}
		a = a.in(owned)
		if _, isShared := s.controlPlane[addr]; isShared {
			a = a.in(shared)
		}
		a.reason, a.worse = d.Reason, worse
		next[addr] = a
	}
	return next
}

func (all assignments) has(addr netip.Addr) bool {
	_, ok := all[addr]
	return ok
}

func (all assignments) anyLeaving() bool {
	for _, a := range all {
		if a.phase == leaving {
			return true
		}
	}
	return false
}

// anyExpired reports whether an address that is leaving has to go now.
func (all assignments) anyExpired(now time.Duration) bool {
	for _, a := range all {
		if a.expired(now) {
			return true
		}
	}
	return false
}

// unexpired returns a copy without the addresses whose time to leave is over.
func (all assignments) unexpired(now time.Duration) assignments {
	return all.where(func(a assigned) bool { return !a.expired(now) })
}

// markAdopted makes owned addresses adopted ones: other nodes may have taken them (E9). Routed
// addresses are not taken: other nodes have them as well.
func (all assignments) markAdopted() {
	for addr, a := range all {
		if a.phase == owned && !a.routed() {
			all[addr] = a.in(adopted)
		}
	}
}

// where returns the addresses that keep accepts.
func (all assignments) where(keep func(assigned) bool) assignments {
	some := assignments{}
	for addr, a := range all {
		if keep(a) {
			some[addr] = a
		}
	}
	return some
}

// union returns the addresses of both; those of next win.
func (all assignments) union(next assignments) assignments {
	both := all.where(func(assigned) bool { return true })
	for addr, a := range next {
		both[addr] = a
	}
	return both
}

// missing returns the addresses of all that other lacks, in order.
func (all assignments) missing(other assignments) []netip.Addr {
	return sortedAddrs(all.where(func(a assigned) bool { return !other.has(a.Addr) }))
}

// list returns the addresses that this package owns, filters and announces, in order: all but the
// shared ones.
func (all assignments) list() []assignment.Assignment {
	list := make([]assignment.Assignment, 0, len(all))
	for _, addr := range sortedAddrs(all) {
		if a := all[addr]; a.phase != shared {
			list = append(list, a.Assignment)
		}
	}
	return list
}

// neighbours returns the addresses that neighbours ask for.
func (all assignments) neighbours() assignments {
	return all.where(func(a assigned) bool { return !a.routed() })
}

// routes returns what is announced to routers: the routed addresses that are not about to leave.
func (all assignments) routes() []policy.Address {
	var list []policy.Address
	for _, addr := range sortedAddrs(all) {
		if a := all[addr]; a.routed() && a.phase == owned {
			list = append(list, a.route)
		}
	}
	return list
}

func (all assignments) anyRouted() bool {
	for _, a := range all {
		if a.routed() {
			return true
		}
	}
	return false
}

func sortedAddrs[T any](all map[netip.Addr]T) []netip.Addr {
	return slices.SortedFunc(maps.Keys(all), netip.Addr.Compare)
}
