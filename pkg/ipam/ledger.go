package ipam

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// Holder is one owner of an address, with the terms on which it got the address. They tell later
// which of two Services changed if these can no longer share.
type Holder struct {
	// Owner is a Service, or ControlPlane next to Services that share its address.
	Owner Owner
	// Pool is the pool that the Service requested when it got the address or confirmed it; empty if
	// none. The Service keeps the address if that pool shrinks, and releases it if it requests another
	// pool.
	Pool string
	// Key and Ports (sorted) are recorded only if the address has several holders, or is the VIP.
	Key   string
	Ports []Port
	// Terms are recorded with Key and Ports: traffic policy, pods and interface. Empty means unknown.
	Terms string
}

func (h Holder) equal(other Holder) bool {
	return h.Owner == other.Owner && h.Pool == other.Pool && h.Key == other.Key &&
		h.Terms == other.Terms && slices.Equal(h.Ports, other.Ports)
}

func compareOwner(a, b Holder) int { return strings.Compare(string(a.Owner), string(b.Owner)) }

// Ledger has the holders of each address, sorted by Owner. It is the only source of truth (S4).
type Ledger map[netip.Addr][]Holder

// Clone returns a deep copy.
func (l Ledger) Clone() Ledger {
	clone := make(Ledger, len(l))
	for a, holders := range l {
		holders = slices.Clone(holders)
		for i := range holders {
			holders[i].Ports = slices.Clone(holders[i].Ports)
		}
		clone[a] = holders
	}
	return clone
}

// WithControlPlane reports whether the control plane is one of the holders: the address is on the
// holder of the VIP, and on no other node (S4).
func WithControlPlane(holders []Holder) bool {
	return slices.ContainsFunc(holders, func(h Holder) bool { return h.Owner == ControlPlane })
}

// Equal reports whether both record the same, so that no write is needed.
func (l Ledger) Equal(other Ledger) bool {
	return maps.EqualFunc(l, other, func(a, b []Holder) bool {
		return slices.EqualFunc(a, b, Holder.equal)
	})
}

// Used returns how many addresses of the pool are in use, from whichever pool they were allocated.
func (l Ledger) Used(p Pool) int {
	used := 0
	for a := range l {
		if p.Contains(a) {
			used++
		}
	}
	return used
}
