package ipam

import (
	"net/netip"
	"slices"

	"github.com/kvip/kvip/pkg/netaddr"
)

// checkRequested returns why r cannot have the address that it requests, or nil.
func (p *planner) checkRequested(r *pendingRequest, a netip.Addr) *Refusal {
	inPool := slices.ContainsFunc(p.cursors, func(c *poolCursor) bool { return c.Contains(a) })
	checkPlace := p.checkPools
	if r.AnyPool && !inPool {
		checkPlace = p.checkOutside
	}
	if no := checkPlace(r, a); no != nil {
		return no
	}
	no := p.check(a, r.newcomer())
	if no.reason == "" {
		return nil
	}
	return refuse(no.reason, "%s: %s: %s", r.Fields.addresses(), no.text(a), no.remedy(r.Fields))
}

// checkPools returns why no pool may give a to r, or nil.
func (p *planner) checkPools(r *pendingRequest, a netip.Addr) *Refusal {
	pools := p.cursors
	if r.Pool != "" && !r.AnyPool {
		named, no := p.poolsFor(r)
		if no != nil {
			return no
		}
		pools = named
	}
	field := r.Fields.addresses()
	having := slices.DeleteFunc(slices.Clone(pools), func(c *poolCursor) bool {
		return !c.Contains(a)
	})
	switch {
	case slices.ContainsFunc(having, func(c *poolCursor) bool { return c.Allows(r.Namespace) }):
		return nil
	case len(having) > 0:
		return refuse(NamespaceNotAllowed, "%s: %s is in %s, which does not allow namespace %s: "+
			"request an address of another pool, or add the namespace there",
			field, a, poolNames(having), r.Namespace)
	case len(pools) == 0:
		return refuse(OutsidePools, "%s: no pool has %s: create one", field, a)
	}
	return refuse(OutsidePools, "%s: %s is not in %s, or avoided there: "+
		"request another address, or add it to a pool", field, a, poolNames(pools))
}

// checkOutside returns why r cannot have an address that is in no pool, although its request may
// have any (S9), or nil. kube-proxy serves the address of a status on every node, whichever host
// has it.
func (p *planner) checkOutside(r *pendingRequest, a netip.Addr) *Refusal {
	problem := netaddr.Problem(a)
	if i := slices.IndexFunc(p.reserved.Networks, func(n Network) bool {
		return n.Prefix.Contains(a)
	}); i >= 0 {
		problem = "an address of " + p.reserved.Networks[i].UsedBy
	}
	if problem == "" {
		return nil
	}
	return refuse(AddressNotAllowed, "%s: %s is %s: request another address",
		r.Fields.addresses(), a, problem)
}

// check returns what prevents s at a.
func (p *planner) check(a netip.Addr, s sharer) conflict {
	if r, ok := p.reserved.Addresses[a]; ok {
		if c := r.check(s); c.reason != "" {
			return c
		}
	}
	return p.checkSharers(a, s)
}

// checkSharers returns what prevents s next to the sharers of a.
func (p *planner) checkSharers(a netip.Addr, s sharer) conflict {
	al, ok := p.used[a]
	if !ok {
		return conflict{}
	}
	return al.check(s, func() bool {
		return p.sharing && slices.ContainsFunc(p.cursors, func(c *poolCursor) bool {
			return c.sharedBy(al.namespaces) && c.Allows(s.Namespace) && c.Contains(a)
		})
	})
}
