package ipam

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
)

// Pool is a supply of addresses. Pools may overlap one another, as every address is reserved in one
// ledger (S4); the ranges of one pool may not.
type Pool struct {
	// Name is unique among the pools.
	Name   string
	Ranges []Range
	// Namespaces may use the pool; empty means all, a global pool.
	Namespaces []string
	// AvoidBuggyIPs leaves IPv4 addresses that end in .0 or .255 out of the pool, which some old
	// devices take for a network's or a broadcast address.
	AvoidBuggyIPs bool
	// Manual keeps the pool for Services that ask for one of its addresses, or for the pool by name.
	Manual bool
	// Descending gives the highest free address first, instead of the lowest.
	Descending bool
	// Shared lets Services without a share key have one address together when their ports differ; they
	// are given one that is in use before a free one.
	Shared bool
}

// Validate says why the pool cannot be used: it has no ranges, or two of them overlap. Ranges may be of
// any size, as they are never counted out.
func (p Pool) Validate() error {
	if len(p.Ranges) == 0 {
		return fmt.Errorf("check pool %q: %w", p.Name, errors.New("it has no addresses: give at least one range"))
	}
	for _, r := range p.Ranges {
		if err := r.check(); err != nil {
			return fmt.Errorf("check pool %q: range %s: %w", p.Name, r, err)
		}
	}
	for a, b := range overlapping([]Pool{p}) {
		return fmt.Errorf("check pool %q: ranges %s and %s overlap: leave out what they have in common in one of them", p.Name, a.Range, b.Range)
	}
	return nil
}

// Contains says whether the pool may give out a.
func (p Pool) Contains(a netip.Addr) bool {
	return !p.avoids(a) && slices.ContainsFunc(p.Ranges, func(r Range) bool { return r.Contains(a) })
}

// Size is the number of addresses that the pool may give out, or math.MaxUint64 where there are more.
func (p Pool) Size() uint64 {
	var sum uint64
	for _, r := range p.Ranges {
		size := r.Size()
		if p.AvoidBuggyIPs && size > 0 && r.First.Is4() {
			size -= buggy(r)
		}
		if sum > math.MaxUint64-size {
			return math.MaxUint64
		}
		sum += size
	}
	return sum
}

// Allows says whether Services of the namespace may use the pool.
func (p Pool) Allows(namespace string) bool {
	return len(p.Namespaces) == 0 || slices.Contains(p.Namespaces, namespace)
}

func (p Pool) avoids(a netip.Addr) bool {
	if !p.AvoidBuggyIPs || !a.Is4() {
		return false
	}
	last := a.As4()[3]
	return last == 0 || last == 255
}

// buggy is the number of addresses of the IPv4 range r that end in .0 or .255.
func buggy(r Range) uint64 {
	_, first := halves(r.First)
	_, last := halves(r.Last)
	first &= math.MaxUint32
	last &= math.MaxUint32
	zeros := last/256 + 1 - (first+255)/256
	return zeros + (last+1)/256 - first/256
}
