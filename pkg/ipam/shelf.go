package ipam

import (
	"net/netip"
	"slices"
	"strings"
)

// shelf is a pool during one Plan. It remembers how far it is used up, so that no address is looked at
// twice, and one of the size of an IPv6 /64 costs no more than a small one.
type shelf struct {
	Pool
	ranges [2][]Range // by family, in the order of giving
	at     [2]cursor
}

// cursor is the next address to look at. The zero next is the beginning of that range.
type cursor struct {
	index int
	next  netip.Addr
}

func newShelf(p Pool) *shelf {
	s := &shelf{Pool: p}
	for _, r := range p.Ranges {
		if r.check() == nil {
			f := FamilyOf(r.First)
			s.ranges[f] = append(s.ranges[f], r)
		}
	}
	for _, ranges := range s.ranges {
		slices.SortFunc(ranges, func(a, b Range) int { return a.First.Compare(b.First) })
		if p.Descending {
			slices.Reverse(ranges)
		}
	}
	return s
}

// free returns the next address that is not taken, and stays there. What becomes free later is only seen
// after a rewind.
func (s *shelf) free(f Family, taken func(netip.Addr) bool) (netip.Addr, bool) {
	for c := &s.at[f]; c.index < len(s.ranges[f]); c.index, c.next = c.index+1, (netip.Addr{}) {
		begin, end := s.ranges[f][c.index].First, s.ranges[f][c.index].Last
		if s.Descending {
			begin, end = end, begin
		}
		if !c.next.IsValid() {
			c.next = begin
		}
		for ; ; c.next = s.step(c.next) {
			if !s.avoids(c.next) && !taken(c.next) {
				return c.next, true
			}
			if c.next == end {
				break
			}
		}
	}
	return netip.Addr{}, false
}

func (s *shelf) step(a netip.Addr) netip.Addr {
	if s.Descending {
		return a.Prev()
	}
	return a.Next()
}

func (s *shelf) rewind() { s.at = [2]cursor{} }

// shelvesFor are where a request that asks for no address may be served, in order.
func (p *plan) shelvesFor(t *tenant) ([]*shelf, *Refusal) {
	if t.Pool == "" {
		return p.automatic(t.Namespace), nil
	}
	s, ok := p.byName[t.Pool]
	switch {
	case !ok:
		no := refuse(UnknownPool, "%s: there is no pool %q: correct the name, or make the pool", t.Fields.pool(), t.Pool)
		return nil, &no
	case !s.Allows(t.Namespace):
		no := refuse(NamespaceNotAllowed, "%s: pool %s is only for %s: use another, or add the namespace there",
			t.Fields.pool(), t.Pool, strings.Join(s.Namespaces, ", "))
		return nil, &no
	}
	return []*shelf{s}, nil
}

// automatic are the pools of a namespace: its own ones, then those of all, each by name.
func (p *plan) automatic(namespace string) []*shelf {
	if known, ok := p.allowed[namespace]; ok {
		return known
	}
	var own, global []*shelf
	for _, s := range p.shelves {
		switch {
		case s.Manual:
		case len(s.Namespaces) == 0:
			global = append(global, s)
		case s.Allows(namespace):
			own = append(own, s)
		}
	}
	p.allowed[namespace] = append(own, global...)
	return p.allowed[namespace]
}
