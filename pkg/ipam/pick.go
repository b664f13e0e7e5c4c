package ipam

import (
	"net/netip"
	"slices"
)

// pick finds an address of each open family: shared with the same key, else a previous one, else
// all from one pool, else each from the first pool with a free one. It adds them to found.
func (p *planner) pick(
	r *pendingRequest, open []Family, pools []*poolCursor, found [2]netip.Addr,
) [2]netip.Addr {
	if r.key != "" {
		found = pickEach(open, pools, found, func(f Family, c *poolCursor) netip.Addr {
			return p.join(r, f, c)
		})
	}
	found = pickEach(open, pools, found, func(f Family, c *poolCursor) netip.Addr {
		return p.previous(r, f, c)
	})
	for _, c := range pools {
		if !r.fits(open, c, found) {
			continue
		}
		all := p.pickFree(r, open, []*poolCursor{c}, found)
		if !slices.ContainsFunc(open, func(f Family) bool { return !all[f].IsValid() }) {
			return all
		}
	}
	return p.pickFree(r, open, pools, found)
}

// pickFree picks addresses of the pools that are free, or that a Shared pool lets r share.
func (p *planner) pickFree(
	r *pendingRequest, open []Family, pools []*poolCursor, found [2]netip.Addr,
) [2]netip.Addr {
	return pickEach(open, pools, found, func(f Family, c *poolCursor) netip.Addr {
		if r.key == "" && c.Shared {
			if a := p.join(r, f, c); a.IsValid() {
				return a
			}
		}
		a, _ := c.free(f, p.taken)
		return a
	})
}

// pickEach adds to found, for each open family, the first address that from returns.
func pickEach(
	open []Family, pools []*poolCursor, found [2]netip.Addr, from func(Family, *poolCursor) netip.Addr,
) [2]netip.Addr {
	for _, f := range open {
		for _, c := range pools {
			if !found[f].IsValid() {
				found[f] = from(f, c)
			}
		}
	}
	return found
}

// fits reports whether the pool has the addresses that r found already or keeps, so that both
// families come from one pool.
func (r *pendingRequest) fits(open []Family, c *poolCursor, found [2]netip.Addr) bool {
	for f, a := range found {
		if !a.IsValid() && !slices.Contains(open, Family(f)) {
			a = r.has[f]
		}
		if a.IsValid() && !c.Contains(a) {
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
func (p *planner) previous(r *pendingRequest, f Family, c *poolCursor) netip.Addr {
	for _, a := range r.Previous {
		if FamilyOf(a) == f && c.Contains(a) && !p.taken(a) {
			return a
		}
	}
	return netip.Addr{}
}

// join returns an address of the pool that r can share. No sharer leaves during a round, so
// addresses that refused an attempt once are not examined again for it. The VIP is shared only on
// request.
func (p *planner) join(r *pendingRequest, f Family, c *poolCursor) netip.Addr {
	attempt := joinAttempt{keyed{r.key, f}, c, r.portText(), r.terms()}
	list := p.byKey[attempt.keyed]
	for i := p.joins[attempt]; i < len(list); i++ {
		a, al := list[i], p.used[list[i]]
		if _, reserved := p.reserved.Addresses[a]; reserved || !c.Contains(a) {
			continue
		}
		shared := func() bool { return c.sharedBy(al.namespaces) }
		if al.check(r.newcomer(), shared).reason == "" {
			p.joins[attempt] = i
			return a
		}
	}
	p.joins[attempt] = len(list)
	return netip.Addr{}
}
