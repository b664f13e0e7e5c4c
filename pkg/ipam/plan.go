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
		s := newPoolCursor(pool)
		p.cursors, p.byName[pool.Name] = append(p.cursors, s), s
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
	for _, c := range p.pending {
		byService[c.Service] = c
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
	c, f := s.pendingRequest, FamilyOf(a)
	warning, reserved := p.reserved.warning(a)
	check := p.check
	if reserved {
		check = p.checkSharers
	}
	if no := check(a, s); no.reason != "" {
		c.released = append(c.released, rejection{a, refuse(no.reason,
			"its address was released, as %s: %s", no.text(a), no.remedy(c.Fields))})
		return
	}
	if c.has[f].IsValid() {
		if p.satisfied(c, f) || !p.satisfies(c, a, s.recorded.Pool) {
			return
		}
		p.release(c.has[f], c)
	}
	p.assign(a, s)
	c.has[f], c.pool[f] = a, s.recorded.Pool
	if reserved {
		c.warned = append(c.warned, rejection{a, refuse(warning.reason,
			"%s, and clients may not reach it: %s", warning.text(a), warning.remedy(c.Fields))})
	}
	if c.invalid == nil && p.satisfied(c, f) {
		c.pool[f] = p.poolToRecord(c, a, s.recorded.Pool)
	}
}

// poolToRecord returns the requested pool if it contains a, else the pool recorded before.
func (p *planner) poolToRecord(c *pendingRequest, a netip.Addr, before string) string {
	if s, ok := p.byName[c.Pool]; c.Pool == "" || ok && s.Contains(a) {
		return c.Pool
	}
	return before
}

// satisfied reports whether c has what it requests of the family.
func (p *planner) satisfied(c *pendingRequest, f Family) bool {
	return c.has[f].IsValid() && p.satisfies(c, c.has[f], c.pool[f])
}

// satisfies reports whether a, allocated when c requested the given pool, is what c requests.
func (p *planner) satisfies(c *pendingRequest, a netip.Addr, pool string) bool {
	if requested := c.requested(FamilyOf(a)); requested.IsValid() {
		return a == requested
	}
	if c.Pool == "" || c.Pool == pool {
		return true
	}
	s, ok := p.byName[c.Pool]
	return ok && s.Contains(a)
}

// release is an address that a request gave up for another one.
type release struct {
	*pendingRequest
	addr netip.Addr
}

// allocate serves requests that lack an address. Released addresses are free for the others in the
// next round, so the order of keys does not decide who is served at all.
func (p *planner) allocate() {
	done := func(c *pendingRequest) bool {
		return c.invalid != nil || !slices.ContainsFunc(c.Families, func(f Family) bool {
			return !p.satisfied(c, f)
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
		for _, c := range waiting {
			released = append(released, p.allocateTo(c)...)
		}
		for _, r := range released {
			p.release(r.addr, r.pendingRequest)
		}
		if len(released) == 0 {
			return
		}
		waiting = slices.DeleteFunc(waiting, done)
	}
}

// allocateTo assigns to c what it lacks; with Require, all of it or nothing. c keeps what it has
// until there is a replacement.
func (p *planner) allocateTo(c *pendingRequest) (released []release) {
	found := p.search(c)
	if c.Require && len(c.refused) > 0 {
		return nil
	}
	for f, a := range found {
		if !a.IsValid() {
			continue
		}
		if c.has[f].IsValid() {
			released = append(released, release{c, c.has[f]})
		}
		p.assign(a, c.newcomer())
		c.has[f], c.pool[f] = a, p.poolToRecord(c, a, "")
	}
	return released
}

// search returns an address of each family that c lacks, and records what is not available.
func (p *planner) search(c *pendingRequest) (found [2]netip.Addr) {
	c.refused = nil
	var open []Family
	for _, f := range c.Families {
		a := c.requested(f)
		if p.satisfied(c, f) {
			continue
		}
		if !a.IsValid() {
			open = append(open, f)
		} else if no := p.checkRequested(c, a); no != nil {
			c.refuse(a, no)
		} else {
			found[f] = a
		}
	}
	if len(open) == 0 {
		return found
	}
	pools, no := p.poolsFor(c)
	if no != nil {
		c.refuse(netip.Addr{}, no)
		return found
	}
	found = p.pick(c, open, pools, found)
	for _, f := range open {
		other := IPv4 + IPv6 - f
		optional := !c.Require && !c.has[f].IsValid() &&
			(c.has[other].IsValid() || found[other].IsValid())
		if !found[f].IsValid() && !optional {
			c.refuse(netip.Addr{}, c.missing(f, pools))
		}
	}
	return found
}

// missing explains that the pools have no free address of the family.
func (c *pendingRequest) missing(f Family, pools []*poolCursor) *Refusal {
	pools = slices.DeleteFunc(slices.Clone(pools), func(s *poolCursor) bool {
		return len(s.ranges[f]) == 0
	})
	switch {
	case len(pools) > 0:
		return refuse(PoolExhausted, "no %s address is free in %s: "+
			"add addresses, or delete unused Services", f, poolNames(pools))
	case c.Pool != "":
		return refuse(NoPool, "%s: pool %s has no %s addresses: "+
			"add some, or remove %s from spec.ipFamilies", c.Fields.pool(), c.Pool, f, f)
	}
	return refuse(NoPool, "no pool has %s addresses for namespace %s: "+
		"create one, or remove %s from spec.ipFamilies", f, c.Namespace, f)
}

// poolsFor returns the pools for a claim that requests no address, in order.
func (p *planner) poolsFor(c *pendingRequest) ([]*poolCursor, *Refusal) {
	if c.Pool == "" {
		return p.automatic(c.Namespace), nil
	}
	s, ok := p.byName[c.Pool]
	switch {
	case !ok:
		return nil, refuse(UnknownPool, "%s: there is no pool %q: correct the name, or create the pool",
			c.Fields.pool(), c.Pool)
	case !s.Allows(c.Namespace):
		return nil, refuse(NamespaceNotAllowed, "%s: pool %s allows only %s: "+
			"request another pool, or add the namespace there",
			c.Fields.pool(), c.Pool, strings.Join(s.Namespaces, ", "))
	}
	return []*poolCursor{s}, nil
}

// automatic returns the pools of a namespace: its own ones, then the global ones, each by name.
func (p *planner) automatic(namespace string) []*poolCursor {
	if known, ok := p.allowed[namespace]; ok {
		return known
	}
	var own, global []*poolCursor
	for _, s := range p.cursors {
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

// poolNames lists pools, at most five.
func poolNames(pools []*poolCursor) string {
	const limit = 5
	var texts []string
	for _, s := range pools[:min(limit, len(pools))] {
		texts = append(texts, s.Name)
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

func (p *planner) release(a netip.Addr, c *pendingRequest) {
	if rest := p.used[a].without(c); rest != nil {
		p.used[a] = rest
		return
	}
	delete(p.used, a)
}

// reset makes released addresses candidates again.
func (p *planner) reset() {
	clear(p.byKey)
	clear(p.joins)
	for _, s := range p.cursors {
		s.reset()
	}
	for _, a := range slices.SortedFunc(maps.Keys(p.used), netip.Addr.Compare) {
		k := keyed{p.used[a].sharers[0].key, FamilyOf(a)}
		p.byKey[k] = append(p.byKey[k], a)
	}
}

func (p *planner) result() Result {
	r := Result{
		Ledger:   make(Ledger, len(p.used)),
		Assigned: make(map[ServiceKey][]netip.Addr, len(p.pending)), Refused: map[ServiceKey]Refusal{},
	}
	for _, c := range p.pending {
		addresses := c.addresses()
		if len(addresses) > 0 {
			r.Assigned[c.Service] = addresses
		}
		if c.Invalid != nil {
			r.Refused[c.Service] = *c.Invalid
		} else if all := c.refusals(); len(all) > 0 {
			r.Refused[c.Service] = summarize(c.Service, all, addresses)
		}
	}
	for a, al := range p.used {
		reservation, reserved := p.reserved.Addresses[a]
		entries := al.entries(FamilyOf(a), reserved || len(al.sharers) > 1)
		if reservation.Service == ControlPlane {
			entries = append(entries, Entry{Service: ControlPlane, Ports: sorted(reservation.Ports)})
			slices.SortFunc(entries, compareService)
		}
		r.Ledger[a] = entries
	}
	return r
}
