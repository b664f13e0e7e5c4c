package ipam

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// Result is the whole of what is to be after a Plan.
type Result struct {
	// Ledger is to be written before any of it is used (S4).
	Ledger Ledger
	// Assigned is what each Service has, the address of the primary family first. Who has none is left out.
	Assigned map[Owner][]netip.Addr
	// Refused is what was not granted, or had to be given up. Who is refused may have addresses all the same.
	Refused map[Owner]Refusal
}

// Plan says who has which address, whatever the order of its inputs. All that is there keeps what it has
// while that is right, and what a refused change leaves untouched; then addresses that are asked for are
// given, as others can take any, then those that were had, and then any; each by Owner. Planned again from its own Ledger, nobody
// moves.
//
// What is right does not depend on pools: one that shrinks or goes takes no address from anybody. An
// address is given up only when its family is no longer wanted, when it is the control plane's, or when its holder
// no longer goes together with the others there. It is always the one that changed that leaves: those who
// want no more than the ledger says they have stay. If several changed at once, the first by Owner stays.
// Two who each ask for what the other has are both refused.
func Plan(ledger Ledger, pools []Pool, reserved Reserved, requests []Request) Result {
	p := newPlan(pools, reserved, requests)
	p.keep(ledger)
	p.grant()
	return p.result()
}

// plan is the state of one Plan.
type plan struct {
	shelves  []*shelf // by name
	byName   map[string]*shelf
	allowed  map[string][]*shelf // see automatic
	sharing  bool                // there is a Shared pool
	reserved Reserved
	tenants  []*tenant // by Owner
	spots    map[netip.Addr]*spot
	groups   map[group][]netip.Addr
	joined   map[attempt]int
}

func newPlan(pools []Pool, reserved Reserved, requests []Request) *plan {
	p := &plan{
		byName: map[string]*shelf{}, allowed: map[string][]*shelf{}, reserved: reserved,
		spots: make(map[netip.Addr]*spot, len(requests)), groups: map[group][]netip.Addr{}, joined: map[attempt]int{},
	}
	for _, pool := range pools {
		s := newShelf(pool)
		p.shelves, p.byName[pool.Name], p.sharing = append(p.shelves, s), s, p.sharing || pool.Shared
	}
	slices.SortStableFunc(p.shelves, func(a, b *shelf) int { return strings.Compare(a.Name, b.Name) })
	for i := range requests {
		r := &requests[i]
		p.tenants = append(p.tenants, &tenant{Request: r, key: ShareKey(r.ShareKey), bad: malformed(r), ports: sorted(r.Ports)})
	}
	slices.SortStableFunc(p.tenants, func(a, b *tenant) int { return strings.Compare(string(a.Owner), string(b.Owner)) })
	p.tenants = slices.CompactFunc(p.tenants, func(a, b *tenant) bool { return a.Owner == b.Owner })
	return p
}

// objection is what stands against a seat at a.
func (p *plan) objection(a netip.Addr, new seat) clash {
	if r, ok := p.reserved.Addresses[a]; ok {
		if c := r.objection(new); c.reason != "" {
			return c
		}
	}
	return p.othersObjection(a, new)
}

// othersObjection is what the holders of a have against a seat there.
func (p *plan) othersObjection(a netip.Addr, new seat) clash {
	s, ok := p.spots[a]
	if !ok {
		return clash{}
	}
	return s.objection(new, func() bool { return p.shared(a, s.namespaces, new.Namespace) })
}

// shared says whether Services of all these namespaces may share a without a key.
func (p *plan) shared(a netip.Addr, namespaces []string, another string) bool {
	return p.sharing && slices.ContainsFunc(p.shelves, func(s *shelf) bool {
		return s.sharedBy(namespaces) && s.Allows(another) && s.Contains(a)
	})
}

// sit gives a to one against whom there is no objection.
func (p *plan) sit(a netip.Addr, new seat) {
	s, ok := p.spots[a]
	if !ok {
		s = &spot{}
		p.spots[a] = s
		g := group{new.key, FamilyOf(a)}
		p.groups[g] = append(p.groups[g], a)
	}
	s.add(new)
}

func (p *plan) leave(a netip.Addr, t *tenant) {
	if rest := p.spots[a].without(t); rest != nil {
		p.spots[a] = rest
		return
	}
	delete(p.spots, a)
}

func (p *plan) result() Result {
	r := Result{Ledger: make(Ledger, len(p.spots)), Assigned: make(map[Owner][]netip.Addr, len(p.tenants)), Refused: map[Owner]Refusal{}}
	for _, t := range p.tenants {
		has := t.addresses()
		if len(has) > 0 {
			r.Assigned[t.Owner] = has
		}
		switch all := t.refusals(); {
		case t.Invalid != nil:
			r.Refused[t.Owner] = *t.Invalid
		case len(all) > 0:
			r.Refused[t.Owner] = summary(t.Owner, all, has)
		}
	}
	for a, s := range p.spots {
		reservation, reserved := p.reserved.Addresses[a]
		r.Ledger[a] = s.holders(FamilyOf(a), reserved || len(s.seats) > 1)
		if reservation.Owner == ControlPlane {
			r.Ledger[a] = withControlPlane(r.Ledger[a], reservation.Ports)
		}
	}
	return r
}

// holders is the spot as the ledger has it, with the terms of each if it is shared.
func (s *spot) holders(f Family, terms bool) []Holder {
	holders := make([]Holder, len(s.seats))
	for i, one := range s.seats {
		holders[i] = Holder{Owner: one.Owner, Pool: one.pool[f]}
		if terms {
			holders[i].Key, holders[i].Ports, holders[i].Terms = one.key, slices.Clone(one.ports), one.terms().String()
		}
	}
	slices.SortFunc(holders, func(a, b Holder) int { return strings.Compare(string(a.Owner), string(b.Owner)) })
	return holders
}

// withControlPlane adds the control plane, so that whoever reads the ledger knows whose address it is.
func withControlPlane(holders []Holder, ports []Port) []Holder {
	holders = append(holders, Holder{Owner: ControlPlane, Ports: sorted(ports)})
	slices.SortFunc(holders, func(a, b Holder) int { return strings.Compare(string(a.Owner), string(b.Owner)) })
	return holders
}

// groups lists the addresses by the key of those who have them, for those who look for company.
type group struct {
	key    string
	family Family
}

// rewind looks at everything anew, after somebody left an address.
func (p *plan) rewind() {
	clear(p.groups)
	clear(p.joined)
	for _, s := range p.shelves {
		s.rewind()
	}
	for _, a := range slices.SortedFunc(maps.Keys(p.spots), netip.Addr.Compare) {
		g := group{p.spots[a].seats[0].key, FamilyOf(a)}
		p.groups[g] = append(p.groups[g], a)
	}
}
