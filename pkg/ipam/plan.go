package ipam

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// Result is the complete outcome of a Plan.
type Result struct {
	// Ledger must be written before any address of it is used (S4).
	Ledger Ledger
	// Assigned are the addresses of each Service, that of the primary family first. Services without
	// an address are left out.
	Assigned map[ServiceKey][]netip.Addr
	// Refused is what was not granted, or had to be released. A refused Service may have addresses.
	Refused map[ServiceKey]Refusal
}

// Plan keeps valid assignments, then honours requested addresses, then previous ones, then
// allocates free ones; ties are broken by ServiceKey. The order of its inputs does not matter. A
// Plan from its own Ledger moves no Service.
//
// A change of pools releases no address. A Service loses an address only if it does not request the
// family, if the address is the VIP, or if the Services can no longer share it. Then the Service
// that changed leaves: those that request no more than the ledger records stay. If several changed,
// the first by ServiceKey stays. Two Services that each request the other's address are both
// refused.
func Plan(ledger Ledger, pools []Pool, reserved Reserved, requests []Request) Result {
	p := newPlanner(pools, reserved, requests)
	p.retain(ledger)
	p.allocate()
	return p.result()
}

// planner is the state of one Plan.
type planner struct {
	cursors  []*poolCursor // by name
	byName   map[string]*poolCursor
	allowed  map[string][]*poolCursor // by namespace, see automatic
	sharing  bool                     // there is a Shared pool
	reserved Reserved
	pending  []*pendingRequest // by ServiceKey
	used     map[netip.Addr]*allocation
	byKey    map[keyed][]netip.Addr
	joins    map[joinAttempt]int // of byKey, the next to examine
}

// keyed are the addresses of a family whose sharers have a key.
type keyed struct {
	key    string
	family Family
}

// joinAttempt decides whether a request can join others. A second one with the same attempt gets
// the same answers.
type joinAttempt struct {
	keyed
	pool  *poolCursor
	ports string
	terms terms
}

func newPlanner(pools []Pool, reserved Reserved, requests []Request) *planner {
	p := &planner{
		byName: map[string]*poolCursor{}, allowed: map[string][]*poolCursor{}, reserved: reserved,
		used:  make(map[netip.Addr]*allocation, len(requests)),
		byKey: map[keyed][]netip.Addr{}, joins: map[joinAttempt]int{},
	}
	for _, pool := range pools {
		c := newPoolCursor(pool)
		p.cursors, p.byName[pool.Name] = append(p.cursors, c), c
		p.sharing = p.sharing || pool.Shared
	}
	slices.SortStableFunc(p.cursors, func(a, b *poolCursor) int {
		return strings.Compare(a.Name, b.Name)
	})
	for i := range requests {
		p.pending = append(p.pending, newPendingRequest(&requests[i]))
	}
	slices.SortStableFunc(p.pending, comparePending)
	p.pending = slices.CompactFunc(p.pending,
		func(a, b *pendingRequest) bool { return a.Service == b.Service })
	return p
}

// retain assigns the addresses of the ledger to their Services where that is still valid. A Service
// without a request is dropped: its Service is deleted or not managed.
func (p *planner) retain(ledger Ledger) {
	byService := make(map[ServiceKey]*pendingRequest, len(p.pending))
	for _, r := range p.pending {
		byService[r.Service] = r
	}
	for _, a := range slices.SortedFunc(maps.Keys(ledger), netip.Addr.Compare) {
		for _, s := range sharersOf(a, ledger[a], byService) {
			p.retainAt(a, s)
		}
	}
}

// retainAt assigns a to s, or records why s has to release it. A request has one address of a
// family: the one that satisfies the request, else the lowest.
func (p *planner) retainAt(a netip.Addr, s sharer) {
	r, f := s.pendingRequest, FamilyOf(a)
	warning, reserved := p.reserved.warning(a)
	check := p.check
	if reserved {
		check = p.checkSharers
	}
	if no := check(a, s); no.reason != "" {
		r.released = append(r.released, rejection{a, refuse(no.reason,
			"its address was released, as %s: %s", no.text(a), no.remedy(r.Fields))})
		return
	}
	if r.has[f].IsValid() {
		if p.satisfied(r, f) || !p.satisfies(r, a, s.recorded.Pool) {
			return
		}
		p.release(r.has[f], r)
	}
	p.assign(a, s)
	r.has[f], r.pool[f] = a, s.recorded.Pool
	if reserved {
		r.warned = append(r.warned, rejection{a, refuse(warning.reason,
			"%s, and clients may not reach it: %s", warning.text(a), warning.remedy(r.Fields))})
	}
	if r.invalid == nil && p.satisfied(r, f) {
		r.pool[f] = p.poolToRecord(r, a, s.recorded.Pool)
	}
}

// poolToRecord returns the requested pool if it contains a, else the pool recorded before.
func (p *planner) poolToRecord(r *pendingRequest, a netip.Addr, before string) string {
	if c, ok := p.byName[r.Pool]; r.Pool == "" || ok && c.Contains(a) {
		return r.Pool
	}
	return before
}

// satisfied reports whether r has what it requests of the family.
func (p *planner) satisfied(r *pendingRequest, f Family) bool {
	return r.has[f].IsValid() && p.satisfies(r, r.has[f], r.pool[f])
}

// satisfies reports whether a, allocated when r requested the given pool, is what r requests.
func (p *planner) satisfies(r *pendingRequest, a netip.Addr, pool string) bool {
	if requested := r.requested(FamilyOf(a)); requested.IsValid() {
		return a == requested
	}
	if r.Pool == "" || r.Pool == pool {
		return true
	}
	c, ok := p.byName[r.Pool]
	return ok && c.Contains(a)
}

// release is an address that a request gave up for another one.
type release struct {
	*pendingRequest
	addr netip.Addr
}

// allocate serves requests that lack an address. Released addresses are free for the others in the
// next round, so the order of keys does not decide who is served at all.
func (p *planner) allocate() {
	done := func(r *pendingRequest) bool {
		return r.invalid != nil || !slices.ContainsFunc(r.Families, func(f Family) bool {
			return !p.satisfied(r, f)
		})
	}
	waiting := slices.DeleteFunc(slices.Clone(p.pending), done)
	slices.SortStableFunc(waiting, func(a, b *pendingRequest) int {
		return cmp.Or(trueFirst(len(a.Addresses) > 0, len(b.Addresses) > 0),
			trueFirst(len(a.Previous) > 0, len(b.Previous) > 0))
	})
	for len(waiting) > 0 {
		p.reset()
		var released []release
		for _, r := range waiting {
			released = append(released, p.allocateTo(r)...)
		}
		for _, gone := range released {
			p.release(gone.addr, gone.pendingRequest)
		}
		if len(released) == 0 {
			return
		}
		waiting = slices.DeleteFunc(waiting, done)
	}
}

// allocateTo assigns to r what it lacks; with Require, all of it or nothing. r keeps what it has
// until there is a replacement.
func (p *planner) allocateTo(r *pendingRequest) (released []release) {
	found := p.search(r)
	if r.Require && len(r.refused) > 0 {
		return nil
	}
	for f, a := range found {
		if !a.IsValid() {
			continue
		}
		if r.has[f].IsValid() {
			released = append(released, release{r, r.has[f]})
		}
		p.assign(a, r.newcomer())
		r.has[f], r.pool[f] = a, p.poolToRecord(r, a, "")
	}
	return released
}

// search returns an address of each family that r lacks, and records what is not available.
func (p *planner) search(r *pendingRequest) (found [2]netip.Addr) {
	r.refused = nil
	var open []Family
	for _, f := range r.Families {
		a := r.requested(f)
		if p.satisfied(r, f) {
			continue
		}
		if !a.IsValid() {
			open = append(open, f)
		} else if no := p.checkRequested(r, a); no != nil {
			r.refuse(a, no)
		} else {
			found[f] = a
		}
	}
	if len(open) == 0 {
		return found
	}
	pools, no := p.poolsFor(r)
	if no != nil {
		r.refuse(netip.Addr{}, no)
		return found
	}
	found = p.pick(r, open, pools, found)
	for _, f := range open {
		other := IPv4 + IPv6 - f
		optional := !r.Require && !r.has[f].IsValid() &&
			(r.has[other].IsValid() || found[other].IsValid())
		if !found[f].IsValid() && !optional {
			r.refuse(netip.Addr{}, r.missing(f, pools))
		}
	}
	return found
}

// missing explains that the pools have no free address of the family.
func (r *pendingRequest) missing(f Family, pools []*poolCursor) *Refusal {
	pools = slices.DeleteFunc(slices.Clone(pools), func(c *poolCursor) bool {
		return len(c.ranges[f]) == 0
	})
	switch {
	case len(pools) > 0:
		return refuse(PoolExhausted, "no %s address is free in %s: "+
			"add addresses, or delete unused Services", f, poolNames(pools))
	case r.Pool != "":
		return refuse(NoPool, "%s: pool %s has no %s addresses: "+
			"add some, or remove %s from spec.ipFamilies", r.Fields.pool(), r.Pool, f, f)
	}
	return refuse(NoPool, "no pool has %s addresses for namespace %s: "+
		"create one, or remove %s from spec.ipFamilies", f, r.Namespace, f)
}

// poolsFor returns the pools for a request without an address, in order.
func (p *planner) poolsFor(r *pendingRequest) ([]*poolCursor, *Refusal) {
	if r.Pool == "" {
		return p.automatic(r.Namespace), nil
	}
	c, ok := p.byName[r.Pool]
	switch {
	case !ok:
		return nil, refuse(UnknownPool, "%s: there is no pool %q: correct the name, or create the pool",
			r.Fields.pool(), r.Pool)
	case !c.Allows(r.Namespace):
		return nil, refuse(NamespaceNotAllowed, "%s: pool %s allows only %s: "+
			"request another pool, or add the namespace there",
			r.Fields.pool(), r.Pool, strings.Join(c.Namespaces, ", "))
	}
	return []*poolCursor{c}, nil
}

// automatic returns the pools of a namespace: its own ones, then the global ones, each by name.
func (p *planner) automatic(namespace string) []*poolCursor {
	if known, ok := p.allowed[namespace]; ok {
		return known
	}
	var own, global []*poolCursor
	for _, c := range p.cursors {
		switch {
		case c.Manual:
		case len(c.Namespaces) == 0:
			global = append(global, c)
		case c.Allows(namespace):
			own = append(own, c)
		}
	}
	p.allowed[namespace] = append(own, global...)
	return p.allowed[namespace]
}

// poolNames lists pools, at most five.
func poolNames(pools []*poolCursor) string {
	const limit = 5
	var texts []string
	for _, c := range pools[:min(limit, len(pools))] {
		texts = append(texts, c.Name)
	}
	text := "pool " + strings.Join(texts, ", ")
	if len(pools) > limit {
		text += " and others"
	}
	return text
}

// assign adds s to the sharers of a, after check.
func (p *planner) assign(a netip.Addr, s sharer) {
	al, ok := p.used[a]
	if !ok {
		al = &allocation{}
		p.used[a] = al
		k := keyed{s.key, FamilyOf(a)}
		p.byKey[k] = append(p.byKey[k], a)
	}
	al.add(s)
}

func (p *planner) release(a netip.Addr, r *pendingRequest) {
	if rest := p.used[a].without(r); rest != nil {
		p.used[a] = rest
		return
	}
	delete(p.used, a)
}

// reset makes released addresses candidates again.
func (p *planner) reset() {
	clear(p.byKey)
	clear(p.joins)
	for _, c := range p.cursors {
		c.reset()
	}
	for _, a := range slices.SortedFunc(maps.Keys(p.used), netip.Addr.Compare) {
		k := keyed{p.used[a].sharers[0].key, FamilyOf(a)}
		p.byKey[k] = append(p.byKey[k], a)
	}
}

func (p *planner) result() Result {
	result := Result{
		Ledger:   make(Ledger, len(p.used)),
		Assigned: make(map[ServiceKey][]netip.Addr, len(p.pending)), Refused: map[ServiceKey]Refusal{},
	}
	for _, r := range p.pending {
		addresses := r.addresses()
		if len(addresses) > 0 {
			result.Assigned[r.Service] = addresses
		}
		if r.Invalid != nil {
			result.Refused[r.Service] = *r.Invalid
		} else if all := r.refusals(); len(all) > 0 {
			result.Refused[r.Service] = summarize(r.Service, all, addresses)
		}
	}
	for a, al := range p.used {
		reservation, reserved := p.reserved.Addresses[a]
		entries := al.entries(FamilyOf(a), reserved || len(al.sharers) > 1)
		if reservation.Service == ControlPlane {
			entries = append(entries, Entry{Service: ControlPlane, Ports: sorted(reservation.Ports)})
			slices.SortFunc(entries, compareService)
		}
		result.Ledger[a] = entries
	}
	return result
}
