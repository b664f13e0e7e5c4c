package ipam

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// Holder is one who has an address, and the terms on which it got it. Without these nobody could tell,
// once two Services at one address do not go together any more, which of them has changed.
type Holder struct {
	// Owner is a Service, or ControlPlane beside Services that share its address.
	Owner Owner
	// Pool is the one that it named when it got the address, or had it confirmed; empty if none. It keeps
	// the address when that pool shrinks, and gives it up when it names another.
	Pool string
	// Key and Ports (sorted) are recorded only where the address has several holders, or is also the
	// control plane's.
	Key   string
	Ports []Port
	// Terms are recorded with these: traffic policy, pods and interface. Empty: not known.
	Terms string
}

// Ledger says who has which address, the only source of truth on it (S4). Holders are sorted by Owner.
type Ledger map[netip.Addr][]Holder

// Clone returns a copy that shares nothing with l.
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

// WithControlPlane reports whether the control plane is among the holders: its node has the address, and no
// other (S4).
func WithControlPlane(holders []Holder) bool {
	return slices.ContainsFunc(holders, func(h Holder) bool { return h.Owner == ControlPlane })
}

// Equal says whether both record the same: no write is needed.
func (l Ledger) Equal(other Ledger) bool {
	return maps.EqualFunc(l, other, func(a, b []Holder) bool { return slices.EqualFunc(a, b, Holder.equal) })
}

func (h Holder) equal(other Holder) bool {
	return h.Owner == other.Owner && h.Pool == other.Pool && h.Key == other.Key && h.Terms == other.Terms && slices.Equal(h.Ports, other.Ports)
}

// Used is how many addresses of the pool are taken, through whichever pool they were got.
func (l Ledger) Used(p Pool) int {
	used := 0
	for a := range l {
		if p.Contains(a) {
			used++
		}
	}
	return used
}

// sorted is ports in order, each once.
func sorted(ports []Port) []Port {
	return slices.Compact(slices.SortedFunc(slices.Values(ports), func(a, b Port) int {
		if c := strings.Compare(a.Protocol, b.Protocol); c != 0 {
			return c
		}
		return int(a.Number) - int(b.Number)
	}))
}
