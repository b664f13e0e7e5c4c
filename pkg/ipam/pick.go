package ipam

import (
	"net/netip"
	"slices"
	"strings"
)

// pick finds an address of each open family: beside those with the same key, else one that it had, else all
// from one pool, else each from the first pool that has one. found has what was asked for, and pick adds to it.
func (p *plan) pick(t *tenant, open []Family, shelves []*shelf, found [2]netip.Addr) [2]netip.Addr {
	if t.key != "" {
		found = pickEach(open, shelves, found, func(f Family, s *shelf) netip.Addr { return p.join(t, f, s) })
	}
	found = pickEach(open, shelves, found, func(f Family, s *shelf) netip.Addr { return p.again(t, f, s) })
	for _, s := range shelves {
		if !holdsOther(t, open, s, found) {
			continue
		}
		if all := p.pickFrom(t, open, []*shelf{s}, found); !lacks(open, all) {
			return all
		}
	}
	return p.pickFrom(t, open, shelves, found)
}

// again returns an address of the pool that t had, if it is free.
func (p *plan) again(t *tenant, f Family, s *shelf) netip.Addr {
	for _, a := range t.Had {
		if FamilyOf(a) == f && s.Contains(a) && !p.taken(a) {
			return a
		}
	}
	return netip.Addr{}
}

func (p *plan) pickFrom(t *tenant, open []Family, shelves []*shelf, found [2]netip.Addr) [2]netip.Addr {
	return pickEach(open, shelves, found, func(f Family, s *shelf) netip.Addr {
		if t.key == "" && s.Shared {
			if a := p.join(t, f, s); a.IsValid() {
				return a
			}
		}
		a, _ := s.free(f, p.taken)
		return a
	})
}

func pickEach(open []Family, shelves []*shelf, found [2]netip.Addr, from func(Family, *shelf) netip.Addr) [2]netip.Addr {
	for _, f := range open {
		for _, s := range shelves {
			if !found[f].IsValid() {
				found[f] = from(f, s)
			}
		}
	}
	return found
}

func lacks(open []Family, found [2]netip.Addr) bool {
	return slices.ContainsFunc(open, func(f Family) bool { return !found[f].IsValid() })
}

// holdsOther says whether what t found already, or has and keeps, is in the pool, so that both families
// come from one.
func holdsOther(t *tenant, open []Family, s *shelf, found [2]netip.Addr) bool {
	for f, a := range found {
		if !a.IsValid() && !slices.Contains(open, Family(f)) {
			a = t.at[f]
		}
		if a.IsValid() && !s.Contains(a) {
			return false
		}
	}
	return true
}

func (p *plan) taken(a netip.Addr) bool {
	_, reserved := p.reserved.Addresses[a]
	return reserved || p.spots[a] != nil
}

// attempt is what decides whether a tenant can join others: who tried with the same failed before.
type attempt struct {
	group
	shelf *shelf
	ports string
	terms terms
}

// join looks for an address in the pool whose holders let t share it. Nobody leaves during a round, so
// addresses that refused the same attempt once are not tried again. The control plane's is shared only
// with those who ask for it.
func (p *plan) join(t *tenant, f Family, s *shelf) netip.Addr {
	key := attempt{group{t.key, f}, s, t.portText(), t.terms()}
	list := p.groups[key.group]
	for i := p.joined[key]; i < len(list); i++ {
		_, reserved := p.reserved.Addresses[list[i]]
		if !reserved && s.Contains(list[i]) && s.welcomes(t, p.spots[list[i]]) {
			p.joined[key] = i
			return list[i]
		}
	}
	p.joined[key] = len(list)
	return netip.Addr{}
}

func (s *shelf) welcomes(t *tenant, there *spot) bool {
	shared := func() bool { return s.sharedBy(there.namespaces) }
	return there.objection(t.newSeat(), shared).reason == ""
}

// sharedBy says whether Services of all these namespaces may share addresses of the pool without a key.
func (s *shelf) sharedBy(namespaces []string) bool {
	return s.Shared && !slices.ContainsFunc(namespaces, func(namespace string) bool { return !s.Allows(namespace) })
}

func (t *tenant) portText() string {
	if t.text == "" {
		texts := make([]string, len(t.ports))
		for i, port := range t.ports {
			texts[i] = port.String()
		}
		t.text = strings.Join(texts, ",")
	}
	return t.text
}
