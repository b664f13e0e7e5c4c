package bgp

import (
	"net/netip"
	"slices"
)

// table is what a peer has received in the present session: the attributes of each prefix. It
// computes what to send so that the peer has what is wanted.
type table struct {
	sent map[netip.Prefix]string
}

// changes are what to send, in the order of the fields: what must go first, then the control plane.
type changes struct {
	withdraw []netip.Prefix
	announce []Route
	// refused are the routes that exceed the limit, unreachable those of a family without a next
	// hop in the session, invalid those that no UPDATE can carry, and the second of two routes.
	refused, unreachable, invalid int
}

// diff compares the table with the wanted routes. limit is that of B10, carries reports whether the
// session carries a family. Routes that the peer has keep their place when there are too many.
func (t *table) diff(want []Route, limit int, carries func(Family) bool) changes {
	var c changes
	var first, kept, added []Route
	seen := make(map[netip.Prefix]bool, len(want))
	for _, r := range want {
		twice := seen[r.Prefix]
		seen[r.Prefix] = true
		switch _, has := t.sent[r.Prefix]; {
		case twice, r.Validate() != nil:
			c.invalid++
		case !carries(r.family()):
			c.unreachable++
		case r.ControlPlane:
			first = append(first, r)
		case has:
			kept = append(kept, r)
		default:
			added = append(added, r)
		}
	}
	fit := slices.Concat(first, kept, added)
	if limit = max(limit, len(first)); len(fit) > limit {
		c.refused = len(fit) - limit
		fit = fit[:limit]
	}
	keep := make(map[netip.Prefix]bool, len(fit))
	for _, r := range fit {
		keep[r.Prefix] = true
		if key, has := t.sent[r.Prefix]; !has || key != r.key() {
			c.announce = append(c.announce, r)
		}
	}
	for p := range t.sent {
		if !keep[p] {
			c.withdraw = append(c.withdraw, p)
		}
	}
	slices.SortFunc(c.withdraw, netip.Prefix.Compare)
	return c
}

// record notes that changes were sent.
func (t *table) record(c changes) {
	for _, p := range c.withdraw {
		delete(t.sent, p)
	}
	for _, r := range c.announce {
		t.sent[r.Prefix] = r.key()
	}
}

// forget makes the next diff contain the routes of a family.
func (t *table) forget(f Family) {
	for p := range t.sent {
		if FamilyOf(p.Addr()) == f {
			t.sent[p] = "" // it stays the peer's until it is withdrawn
		}
	}
}

// count returns how many routes of each family the peer has.
func (t *table) count() (n [families]int) {
	for p := range t.sent {
		n[FamilyOf(p.Addr())]++
	}
	return n
}
