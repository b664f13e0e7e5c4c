package ipam

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// Entry is a Service at an address, with the terms on which it got the address. They tell later
// which of two Services changed if these can no longer share.
type Entry struct {
	// Service is a Service, or ControlPlane next to Services that share its address.
	Service ServiceKey
	// Pool is the pool that the Service requested when it got the address or confirmed it; empty if
	// none. The Service keeps the address if that pool shrinks, and releases it if it requests another
	// pool.
	Pool string
	// Key and Ports (sorted) are recorded only if the address has several entries, or is the VIP.
	Key   string
	Ports []Port
	// Terms are recorded with Key and Ports: traffic policy, pods and interface. Empty means unknown.
	Terms string
}

func (e Entry) equal(other Entry) bool {
	return e.Service == other.Service && e.Pool == other.Pool && e.Key == other.Key &&
		e.Terms == other.Terms && slices.Equal(e.Ports, other.Ports)
}

func compareService(a, b Entry) int { return strings.Compare(string(a.Service), string(b.Service)) }

// Ledger has the entries of each address, sorted by Service. It is the only source of truth (S4).
type Ledger map[netip.Addr][]Entry

// Clone returns a deep copy.
func (l Ledger) Clone() Ledger {
	clone := make(Ledger, len(l))
	for a, entries := range l {
		entries = slices.Clone(entries)
		for i := range entries {
			entries[i].Ports = slices.Clone(entries[i].Ports)
		}
		clone[a] = entries
	}
	return clone
}

// WithControlPlane reports whether the control plane has one of the entries: the address is on the
// holder of the VIP, and on no other node (S4).
func WithControlPlane(entries []Entry) bool {
	return slices.ContainsFunc(entries, func(e Entry) bool { return e.Service == ControlPlane })
}

// Equal reports whether both record the same, so that no write is needed.
func (l Ledger) Equal(other Ledger) bool {
	return maps.EqualFunc(l, other, func(a, b []Entry) bool {
		return slices.EqualFunc(a, b, Entry.equal)
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
