package ipam

import (
	"net/netip"
	"slices"
)

// pick finds an address of each open family: shared with the same key, else a previous one, else
// all from one pool, else each from the first pool with a free one. It adds them to found.
func (p *planner) pick(
	c *pendingRequest, open []Family, pools []*poolCursor, found [2]netip.Addr,
) [2]netip.Addr {
	if c.key != "" {
		found = pickEach(open, pools, found, func(f Family, s *poolCursor) netip.Addr {
			return p.join(c, f, s)
		})
	}
	found = pickEach(open, pools, found, func(f Family, s *poolCursor) netip.Addr {
		return p.previous(c, f, s)
	})
	for _, s := range pools {
		if !c.fits(open, s, found) {
			continue
		}
		all := p.pickFree(c, open, []*poolCursor{s}, found)
		if !slices.ContainsFunc(open, func(f Family) bool { return !all[f].IsValid() }) {
			return all
		}
	}
	return p.pickFree(c, open, pools, found)
}

// pickFree picks addresses of the pools that are free, or that a Shared pool lets c share.
func (p *planner) pickFree(
	c *pendingRequest, open []Family, pools []*poolCursor, found [2]netip.Addr,
) [2]netip.Addr {
	return pickEach(open, pools, found, func(f Family, s *poolCursor) netip.Addr {
		if c.key == "" && s.Shared {
			if a := p.join(c, f, s); a.IsValid() {
				return a
			}
		}
		a, _ := s.free(f, p.taken)
		return a
	})
}

// pickEach adds to found, for each open family, the first address that from returns.
func pickEach(
	open []Family, pools []*poolCursor, found [2]netip.Addr, from func(Family, *poolCursor) netip.Addr,
) [2]netip.Addr {
	for _, f := range open {
		for _, s := range pools {
			if !found[f].IsValid() {
				found[f] = from(f, s)
			}
		}
	}
	return found
}

// fits reports whether the pool has the addresses that c found already or keeps, so that both
// families come from one pool.
func (c *pendingRequest) fits(open []Family, s *poolCursor, found [2]netip.Addr) bool {
	for f, a := range found {
		if !a.IsValid() && !slices.Contains(open, Family(f)) {
			a = c.has[f]
		}
		if a.IsValid() && !s.Contains(a) {
			return false
		}
	}
	return true
}

// taken reports whether no newcomer gets a without sharing it.
func (p *planner) taken(a netip.Addr) bool {
	_, reserved := p.reserved.Addresses[a]
	return reserved || p.used[a] != nil
}

// previous returns a free address of the pool from the Service's status.
func (p *planner) previous(c *pendingRequest, f Family, s *poolCursor) netip.Addr {
	for _, a := range c.Previous {
		if FamilyOf(a) == f && s.Contains(a) && !p.taken(a) {
			return a
		}
	}
	return netip.Addr{}
}

// join returns an address of the pool that c can share. No sharer leaves during a round, so
// addresses that refused an attempt once are not examined again for it. The VIP is shared only on
// request.
func (p *planner) join(c *pendingRequest, f Family, s *poolCursor) netip.Addr {
	attempt := joinAttempt{keyed{c.key, f}, s, c.portText(), c.terms()}
	list := p.byKey[attempt.keyed]
	for i := p.joins[attempt]; i < len(list); i++ {
		a, al := list[i], p.used[list[i]]
		if _, reserved := p.reserved.Addresses[a]; reserved || !s.Contains(a) {
			continue
		}
		shared := func() bool { return s.sharedBy(al.namespaces) }
		if al.check(c.newcomer(), shared).reason == "" {
			p.joins[attempt] = i
			return a
		}
	}
	p.joins[attempt] = len(list)
	return netip.Addr{}
}
