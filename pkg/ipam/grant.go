package ipam

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
)

// grant serves those who lack something. What somebody leaves for another address is free for the others
// in a next round, so that the order of Owners does not decide who is served at all.
func (p *plan) grant() {
	waiting := slices.DeleteFunc(slices.Clone(p.tenants), p.content)
	slices.SortStableFunc(waiting, func(a, b *tenant) int {
		return cmp.Or(cmp.Compare(rank(len(a.Addresses) > 0), rank(len(b.Addresses) > 0)), cmp.Compare(rank(len(a.Had) > 0), rank(len(b.Had) > 0)))
	})
	for len(waiting) > 0 {
		p.rewind()
		var left []departure
		for _, t := range waiting {
			left = append(left, p.serve(t)...)
		}
		for _, d := range left {
			p.leave(d.from, d.tenant)
		}
		if len(left) == 0 {
			return
		}
		waiting = slices.DeleteFunc(waiting, p.content)
	}
}

// departure is an address that its tenant left for another.
type departure struct {
	tenant *tenant
	from   netip.Addr
}

// content says whether nothing more can be done for t.
func (p *plan) content(t *tenant) bool {
	return t.bad != nil || !slices.ContainsFunc(t.Families, func(f Family) bool { return !p.right(t, f) })
}

// serve gives t what it lacks. With Require that is all or nothing; whatever t has, it keeps until it has
// something better.
func (p *plan) serve(t *tenant) (left []departure) {
	found := p.search(t)
	if t.Require && len(t.refused) > 0 {
		return nil
	}
	for f, a := range found {
		if !a.IsValid() {
			continue
		}
		if t.at[f].IsValid() {
			left = append(left, departure{t, t.at[f]})
		}
		p.sit(a, t.newSeat())
		t.at[f], t.pool[f] = a, p.record(t, a, "")
	}
	return left
}

func (t *tenant) newSeat() seat { return seat{tenant: t, key: t.key, ports: t.ports} }

// search looks for an address of each family that t lacks, and notes what cannot be had.
func (p *plan) search(t *tenant) (found [2]netip.Addr) {
	t.refused = nil
	var open []Family
	for _, f := range t.Families {
		a := t.asked(f)
		switch {
		case p.right(t, f):
		case !a.IsValid():
			open = append(open, f)
		default:
			if no := p.refuseAsked(t, a); no != nil {
				t.deny(a, *no)
			} else {
				found[f] = a
			}
		}
	}
	if len(open) == 0 {
		return found
	}
	shelves, no := p.shelvesFor(t)
	if no != nil {
		t.deny(netip.Addr{}, *no)
		return found
	}
	found = p.pick(t, open, shelves, found)
	t.refuseMissing(open, shelves, found)
	return found
}

// refuseAsked says why t cannot have the address that it asks for.
func (p *plan) refuseAsked(t *tenant, a netip.Addr) *Refusal {
	inPool := slices.ContainsFunc(p.shelves, func(s *shelf) bool { return s.Contains(a) })
	refuseHere := p.refuseOutside
	if t.AnyPool && !inPool {
		refuseHere = p.refuseOutsidePools
	}
	if no := refuseHere(t, a); no != nil {
		return no
	}
	c := p.objection(a, t.newSeat())
	if c.reason == "" {
		return nil
	}
	no := refuse(c.reason, "%s: %s: %s", t.Fields.addresses(), c.text(a), c.fix(t.Fields))
	return &no
}

// refuseOutside says why no pool gives a to t.
func (p *plan) refuseOutside(t *tenant, a netip.Addr) *Refusal {
	shelves := p.shelves
	if t.Pool != "" && !t.AnyPool {
		named, no := p.shelvesFor(t)
		if no != nil {
			return no
		}
		shelves = named
	}
	var no Refusal
	inside := slices.DeleteFunc(slices.Clone(shelves), func(s *shelf) bool { return !s.Contains(a) })
	switch {
	case slices.ContainsFunc(inside, func(s *shelf) bool { return s.Allows(t.Namespace) }):
		return nil
	case len(inside) > 0:
		no = refuse(NamespaceNotAllowed, "%s: %s is in %s, which is not for namespace %s: use an address of another pool, or add the namespace there",
			t.Fields.addresses(), a, names(inside), t.Namespace)
	case len(shelves) == 0:
		no = refuse(OutsidePools, "%s: there is no pool that has %s: make one", t.Fields.addresses(), a)
	default:
		no = refuse(OutsidePools, "%s: %s is not in %s, or avoided there: use another address, or add it to a pool", t.Fields.addresses(), a, names(shelves))
	}
	return &no
}

// refuseMissing notes the families for which nothing was found. One of two that is only preferred is not
// missed where the other is there.
func (t *tenant) refuseMissing(open []Family, shelves []*shelf, found [2]netip.Addr) {
	for _, f := range open {
		other := IPv4 + IPv6 - f
		optional := !t.Require && !t.at[f].IsValid() && (t.at[other].IsValid() || found[other].IsValid())
		if found[f].IsValid() || optional {
			continue
		}
		having := slices.DeleteFunc(slices.Clone(shelves), func(s *shelf) bool { return len(s.ranges[f]) == 0 })
		if len(having) == 0 {
			t.deny(netip.Addr{}, t.refuseFamily(f))
			continue
		}
		t.deny(netip.Addr{}, refuse(PoolExhausted, "no %s address is free in %s: add addresses, or delete Services that need none", f, names(having)))
	}
}

func (t *tenant) refuseFamily(f Family) Refusal {
	if t.Pool != "" {
		return refuse(NoPool, "%s: pool %s has no %s addresses: add some there, or leave %s out of spec.ipFamilies", t.Fields.pool(), t.Pool, f, f)
	}
	return refuse(NoPool, "no pool gives %s addresses to namespace %s: make one, or leave %s out of spec.ipFamilies", f, t.Namespace, f)
}

// names lists pools, the first few of many.
func names(shelves []*shelf) string {
	const few = 5
	var texts []string
	for _, s := range shelves[:min(few, len(shelves))] {
		texts = append(texts, s.Name)
	}
	text := "pool " + strings.Join(texts, ", ")
	if len(shelves) > few {
		text += " and others"
	}
	return text
}
