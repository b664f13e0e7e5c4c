package ipam

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// keep seats everybody where the ledger has them, unless that is not right any more. Whoever has no
// request, because the Service is gone or no longer ours, drops out.
func (p *plan) keep(ledger Ledger) {
	byOwner := make(map[Owner]*tenant, len(p.tenants))
	for _, t := range p.tenants {
		byOwner[t.Owner] = t
	}
	for _, a := range slices.SortedFunc(maps.Keys(ledger), netip.Addr.Compare) {
		for _, c := range claims(a, ledger[a], byOwner) {
			p.claim(a, c)
		}
	}
}

// claim is a seat and the pool that the ledger has with it.
type claim struct {
	seat
	pool string
}

// claims are those of the holders of a who still want an address of its family. First come those within
// their terms: these went together when they got the address, so they do now, and none of them leaves
// because another changed (S4). The others come by Owner.
func claims(a netip.Addr, holders []Holder, byOwner map[Owner]*tenant) []claim {
	var all []claim
	holders = slices.DeleteFunc(slices.Clone(holders), func(h Holder) bool { return h.Owner == ControlPlane })
	for _, h := range holders {
		t, ok := byOwner[h.Owner]
		if !ok || t.bad == nil && !slices.Contains(t.Families, FamilyOf(a)) {
			continue
		}
		all = append(all, claim{settledSeat(t, h, len(holders) > 1), h.Pool})
	}
	slices.SortStableFunc(all, func(x, y claim) int { return strings.Compare(string(x.Owner), string(y.Owner)) })
	all = slices.CompactFunc(all, func(x, y claim) bool { return x.tenant == y.tenant })
	slices.SortStableFunc(all, func(x, y claim) int { return cmp.Compare(rank(x.within), rank(y.within)) })
	return all
}

func rank(first bool) int {
	if first {
		return 0
	}
	return 1
}

// settledSeat is t where the ledger has it. One that cannot be read wants what it had.
func settledSeat(t *tenant, h Holder, several bool) seat {
	h.Key = ShareKey(h.Key)
	s := seat{tenant: t, key: t.key, ports: t.ports, had: h.Ports}
	if t.bad != nil {
		s.key = h.Key
		if len(t.ports) == 0 {
			s.ports = sorted(h.Ports)
		}
	}
	s.settled = several && s.key == h.Key
	sameTerms := h.Terms == "" || h.Terms == t.terms().String() || t.bad != nil
	s.agreed = several && sameTerms
	s.within = sameTerms && s.key == h.Key && !slices.ContainsFunc(s.ports, func(p Port) bool { return !slices.Contains(h.Ports, p) })
	return s
}

// claim seats c at a, or notes why it has to give it up. Nobody has two addresses of one family: the one
// that is right stays, else the lowest.
func (p *plan) claim(a netip.Addr, c claim) {
	t, f := c.tenant, FamilyOf(a)
	kept, reserved := p.reserved.kept(a)
	against := p.objection
	if reserved {
		against = p.othersObjection
	}
	if no := against(a, c.seat); no.reason != "" {
		t.gaveUp = append(t.gaveUp, denial{a, refuse(no.reason, "it had to give up its address, as %s: %s", no.text(a), no.fix(t.Fields))})
		return
	}
	if t.at[f].IsValid() {
		if p.right(t, f) || !p.rightAt(t, a, c.pool) {
			return
		}
		p.leave(t.at[f], t)
	}
	p.sit(a, c.seat)
	if t.at[f], t.pool[f] = a, c.pool; reserved {
		t.warned = append(t.warned, denial{a, refuse(kept.reason, "%s, and clients may not reach it: %s", kept.text(a), kept.fix(t.Fields))})
	}
	if t.bad == nil && p.right(t, f) {
		t.pool[f] = p.record(t, a, c.pool)
	}
}

// record is the pool for the ledger: the one that t names, if a is in it; else what was there before.
func (p *plan) record(t *tenant, a netip.Addr, before string) string {
	if s, ok := p.byName[t.Pool]; t.Pool == "" || ok && s.Contains(a) {
		return t.Pool
	}
	return before
}

// right says whether what t has of the family is what it wants.
func (p *plan) right(t *tenant, f Family) bool {
	return t.at[f].IsValid() && p.rightAt(t, t.at[f], t.pool[f])
}

// rightAt says whether a, got when the tenant named that pool, is what it wants.
func (p *plan) rightAt(t *tenant, a netip.Addr, pool string) bool {
	if asked := t.asked(FamilyOf(a)); asked.IsValid() {
		return a == asked
	}
	if t.Pool == "" || t.Pool == pool {
		return true
	}
	s, ok := p.byName[t.Pool]
	return ok && s.Contains(a)
}
