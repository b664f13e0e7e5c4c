package ipam

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Pool is a named set of addresses. Pools may overlap each other, since one ledger records every
// address (S4). The ranges of one pool may not overlap.
type Pool struct {
	// Name is unique among the pools.
	Name   string
	Ranges []Range
	// Namespaces may use the pool. Empty means all of them: a global pool.
	Namespaces []string
	// AvoidBuggyIPs leaves out IPv4 addresses that end in .0 or .255. Some old devices drop packets
	// to them.
	AvoidBuggyIPs bool
	// Manual reserves the pool for Services that request one of its addresses, or the pool by name.
	Manual bool
	// Descending allocates the highest free address first. The default is the lowest.
	Descending bool
	// Shared lets Services without a share key share an address if their ports differ. They get an
	// address in use before a free one.
	Shared bool
}

// Validate returns why the pool cannot be used: it has no ranges, an invalid one, or two that
// overlap. Ranges may be of any size. The error does not name the pool; callers do.
func (p Pool) Validate() error {
	if len(p.Ranges) == 0 {
		return errors.New("it has no addresses: give at least one range")
	}
	for _, r := range p.Ranges {
		if err := r.check(); err != nil {
			return fmt.Errorf("range %s: %w", r, err)
		}
	}
	for a, b := range overlapping([]Pool{p}) {
		return fmt.Errorf("ranges %s and %s overlap: remove the common addresses from one of them",
			a.Range, b.Range)
	}
	return nil
}

// Contains reports whether a is an address of the pool.
func (p Pool) Contains(a netip.Addr) bool {
	return !p.avoids(a) && slices.ContainsFunc(p.Ranges, func(r Range) bool { return r.Contains(a) })
}

// Size returns the number of addresses of the pool, at most math.MaxUint64.
func (p Pool) Size() uint64 {
	var sum uint64
	for _, r := range p.Ranges {
		size := r.Size() - p.avoided(r)
		if sum > math.MaxUint64-size {
			return math.MaxUint64
		}
		sum += size
	}
	return sum
}

// Allows reports whether Services of the namespace may use the pool.
func (p Pool) Allows(namespace string) bool {
	return len(p.Namespaces) == 0 || slices.Contains(p.Namespaces, namespace)
}

// HasFamily reports whether the pool has addresses of the family.
func (p Pool) HasFamily(f Family) bool {
	return slices.ContainsFunc(p.Ranges, func(r Range) bool {
		return r.First.IsValid() && FamilyOf(r.First) == f
	})
}

// avoids reports whether AvoidBuggyIPs leaves out a.
func (p Pool) avoids(a netip.Addr) bool {
	if !p.AvoidBuggyIPs || !a.Is4() {
		return false
	}
	last := a.As4()[3]
	return last == 0 || last == 255
}

// avoided returns the number of addresses of r that AvoidBuggyIPs leaves out.
func (p Pool) avoided(r Range) uint64 {
	if !p.AvoidBuggyIPs || r.check() != nil || !r.First.Is4() {
		return 0
	}
	number := func(a netip.Addr) uint64 {
		bytes := a.As4()
		return uint64(binary.BigEndian.Uint32(bytes[:]))
	}
	first, last := number(r.First), number(r.Last)
	zeros := last/256 + 1 - (first+255)/256
	return zeros + (last+1)/256 - first/256
}

// Usage is the number of addresses of one family in a pool: all of them, and those in use.
type Usage struct {
	Used int
	// Size is exact below 2^53.
	Size float64
}

// Usage counts the pool's addresses of the family, without those that no Service gets because they
// belong to nodes or subnets.
func (p Pool) Usage(f Family, l Ledger, reserved Reserved) Usage {
	var u Usage
	for _, r := range p.Ranges {
		if r.check() == nil && FamilyOf(r.First) == f {
			u.Size += r.size() - float64(p.avoided(r))
		}
	}
	for a := range l {
		if FamilyOf(a) == f && p.Contains(a) {
			u.Used++
		}
	}
	for a, r := range reserved.Addresses {
		if _, held := l[a]; !held && r.Service != ControlPlane && FamilyOf(a) == f && p.Contains(a) {
			u.Size--
		}
	}
	return u
}

// String returns "used/size". A size from 2^20 on is a power of two: "0/2^64".
func (u Usage) String() string {
	size := strconv.FormatFloat(u.Size, 'f', -1, 64)
	if u.Size >= 1<<20 {
		size = "2^" + strings.TrimSuffix(fmt.Sprintf("%.1f", math.Log2(u.Size)), ".0")
	}
	return strconv.Itoa(u.Used) + "/" + size
}

// RangesText returns the ranges of the pool for people, at most ten of them.
func (p Pool) RangesText() string {
	const limit = 10
	text := join(p.Ranges[:min(limit, len(p.Ranges))], ", ")
	if len(p.Ranges) > limit {
		text += fmt.Sprintf(" and %d more", len(p.Ranges)-limit)
	}
	return text
}

// Overlaps returns for each pool what it has in common with others, as "pool NAME: RANGE", sorted,
// for its status. Overlaps are legal (S4).
func Overlaps(pools []Pool) map[string][]string {
	found := map[string][]string{}
	for a, b := range overlapping(pools) {
		if a.pool == b.pool {
			continue
		}
		common := Range{b.First, a.Last}
		if b.Last.Less(a.Last) {
			common.Last = b.Last
		}
		found[a.pool] = append(found[a.pool], fmt.Sprintf("pool %s: %s", b.pool, common))
		found[b.pool] = append(found[b.pool], fmt.Sprintf("pool %s: %s", a.pool, common))
	}
	for name, texts := range found {
		slices.Sort(texts)
		found[name] = slices.Compact(texts)
	}
	return found
}

// poolRange is a range with the name of its pool.
type poolRange struct {
	Range
	pool string
}

// overlapping yields all pairs of ranges with a common address. The first one begins at or before
// the second.
func overlapping(pools []Pool) iter.Seq2[poolRange, poolRange] {
	var all []poolRange
	for _, p := range pools {
		for _, r := range p.Ranges {
			all = append(all, poolRange{r, p.Name})
		}
	}
	slices.SortStableFunc(all, func(a, b poolRange) int { return compareFirst(a.Range, b.Range) })
	return func(yield func(poolRange, poolRange) bool) {
		for i, a := range all {
			for _, b := range all[i+1:] {
				if !a.Contains(b.First) {
					break // the ranges are sorted: no later one overlaps a
				}
				if !yield(a, b) {
					return
				}
			}
		}
	}
}

// poolCursor is a pool during one Plan and its next candidates. A candidate is examined once, so a
// large pool, such as an IPv6 /64, costs no more than a small one.
type poolCursor struct {
	Pool
	ranges [2][]Range // by family, in the order of allocation
	at     [2]position
}

// position is the next address to examine. A zero next is the begin of the range.
type position struct {
	index int
	next  netip.Addr
}

func newPoolCursor(p Pool) *poolCursor {
	c := &poolCursor{Pool: p}
	for _, r := range p.Ranges {
		if r.check() == nil {
			f := FamilyOf(r.First)
			c.ranges[f] = append(c.ranges[f], r)
		}
	}
	for _, ranges := range c.ranges {
		slices.SortFunc(ranges, compareFirst)
		if p.Descending {
			slices.Reverse(ranges)
		}
	}
	return c
}

// free moves to the next address that is not taken and returns it. It finds an address that becomes
// free later only after reset.
func (c *poolCursor) free(f Family, taken func(netip.Addr) bool) (netip.Addr, bool) {
	step := netip.Addr.Next
	if c.Descending {
		step = netip.Addr.Prev
	}
	for at := &c.at[f]; at.index < len(c.ranges[f]); *at = (position{index: at.index + 1}) {
		begin, end := c.ranges[f][at.index].First, c.ranges[f][at.index].Last
		if c.Descending {
			begin, end = end, begin
		}
		if !at.next.IsValid() {
			at.next = begin
		}
		for ; ; at.next = step(at.next) {
			if !c.avoids(at.next) && !taken(at.next) {
				return at.next, true
			}
			if at.next == end {
				break
			}
		}
	}
	return netip.Addr{}, false
}

func (c *poolCursor) reset() { c.at = [2]position{} }

// sharedBy reports whether Services of all these namespaces may share addresses of the pool without
// a share key.
func (c *poolCursor) sharedBy(namespaces []string) bool {
	return c.Shared && !slices.ContainsFunc(namespaces, func(n string) bool { return !c.Allows(n) })
}
