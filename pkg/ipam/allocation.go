package ipam

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// pendingRequest is a request and its addresses during one Plan.
type pendingRequest struct {
	*Request
	invalid  *Refusal // nothing of the request can be granted
	key      string   // ShareKey, bounded
	ports    []Port   // sorted
	portList string   // ports as text, see portText
	has      [2]netip.Addr
	pool     [2]string   // Entry.Pool of has
	released []rejection // addresses that had to be released
	warned   []rejection // about addresses that it has
	refused  []rejection
}

func newPendingRequest(r *Request) *pendingRequest {
	return &pendingRequest{Request: r, key: ShareKey(r.ShareKey), invalid: r.validate(),
		ports: sorted(r.Ports)}
}

// addresses returns the addresses of the request, the primary family first.
func (r *pendingRequest) addresses() []netip.Addr {
	var all []netip.Addr
	for _, f := range append(slices.Clone(r.Families), IPv4, IPv6) {
		if a := r.has[f]; a.IsValid() && !slices.Contains(all, a) {
			all = append(all, a)
		}
	}
	return all
}

func (r *pendingRequest) refuse(a netip.Addr, no *Refusal) {
	r.refused = append(r.refused, rejection{a, no})
}

// refusals returns all, lasting ones before releases. A release is omitted if a refusal reports the
// same address and reason.
func (r *pendingRequest) refusals() []*Refusal {
	var all []*Refusal
	if r.invalid != nil {
		all = append(all, r.invalid)
	}
	for _, no := range r.refused {
		all = append(all, no.Refusal)
	}
	for _, no := range r.warned {
		if r.has[FamilyOf(no.addr)] == no.addr {
			all = append(all, no.Refusal)
		}
	}
	for _, lost := range r.released {
		if !slices.ContainsFunc(r.refused, func(no rejection) bool {
			return no.addr == lost.addr && no.Reason == lost.Reason
		}) {
			all = append(all, lost.Refusal)
		}
	}
	return all
}

// portText returns the ports as one text, which makes them a key of maps.
func (r *pendingRequest) portText() string {
	if r.portList == "" {
		r.portList = join(r.ports, ",")
	}
	return r.portList
}

// sharer is a request at one address, and the terms on which it shares the address.
type sharer struct {
	*pendingRequest
	key      string
	ports    []Port
	recorded Entry // in the ledger; zero for a newcomer
	// sameKey: the ledger records it there next to others, with this key.
	sameKey bool
	// sameTerms: the ledger records it there next to others, with these terms.
	sameTerms bool
	// unchanged: it requests no more there than the ledger records.
	unchanged bool
}

func (r *pendingRequest) newcomer() sharer {
	return sharer{pendingRequest: r, key: r.key, ports: r.ports}
}

// retained returns the request as the ledger records it, at an address with several entries or one.
// An invalid request counts as what the ledger records.
func (r *pendingRequest) retained(e Entry, several bool) sharer {
	e.Key = ShareKey(e.Key)
	s := r.newcomer()
	s.recorded = e
	if r.invalid != nil {
		s.key = e.Key
		if len(r.ports) == 0 {
			s.ports = sorted(e.Ports)
		}
	}
	sameTerms := e.Terms == "" || e.Terms == r.terms().String() || r.invalid != nil
	s.sameKey = several && s.key == e.Key
	s.sameTerms = several && sameTerms
	s.unchanged = sameTerms && s.key == e.Key && !slices.ContainsFunc(s.ports, func(p Port) bool {
		return !slices.Contains(e.Ports, p)
	})
	return s
}

// allocation is an address in use: by one sharer, or by several with the same key and different
// ports.
type allocation struct {
	sharers    []sharer
	namespaces []string        // of the sharers, each once
	ports      map[Port]sharer // made when a second sharer comes
	invalid    bool            // the request of a sharer is invalid
	changed    bool            // a sharer is new, or has another key than the ledger records
}

func (al *allocation) add(s sharer) {
	al.sharers = append(al.sharers, s)
	al.invalid = al.invalid || s.pendingRequest.invalid != nil
	al.changed = al.changed || !s.sameKey
	if !slices.Contains(al.namespaces, s.Namespace) {
		al.namespaces = append(al.namespaces, s.Namespace)
	}
	if al.ports != nil {
		al.index(s)
	}
}

func (al *allocation) index(s sharer) {
	for _, port := range s.ports {
		al.ports[port] = s
	}
}

// without returns the allocation without r, nil if r is the only sharer.
func (al *allocation) without(r *pendingRequest) *allocation {
	var rest *allocation
	for _, s := range al.sharers {
		if s.pendingRequest == r {
			continue
		}
		if rest == nil {
			rest = &allocation{}
		}
		rest.add(s)
	}
	return rest
}

// check returns what prevents another sharer. Sharers without keys that the ledger has together
// stay together, whatever happened to the pool. New ones need a Shared pool, which shared reports.
func (al *allocation) check(s sharer, shared func() bool) conflict {
	first := al.sharers[0]
	taken := conflict{reason: AddressTaken, usedBy: string(first.Service)}
	switch {
	case s.key == first.key && !s.sameKey && al.invalid:
		taken.invalid = true
		return taken
	case s.key != first.key && s.key != "":
		taken.reason = ShareKeyMismatch
		return taken
	case s.key != first.key, s.key == "" && (al.changed || !s.sameKey) && !shared():
		return taken
	}
	if c := al.checkTerms(s); c.reason != "" {
		return c
	}
	if al.ports == nil {
		al.ports = map[Port]sharer{}
		for _, one := range al.sharers {
			al.index(one)
		}
	}
	for _, port := range s.ports {
		if one, ok := al.ports[port]; ok {
			return conflict{reason: PortConflict, usedBy: string(one.Service), port: port}
		}
	}
	return al.checkBounds(s)
}

// checkTerms compares the terms of s with those of the sharers. s must not request other
// interfaces. Sharers that the ledger records together on their present terms stay together.
func (al *allocation) checkTerms(s sharer) conflict {
	link, agreed := "", s.sameTerms
	for _, one := range al.sharers {
		if !(one.sameTerms && s.sameTerms) && !one.terms().compatible(s.terms()) {
			return conflict{reason: PolicyMismatch, usedBy: string(one.Service)}
		}
		link, agreed = cmp.Or(link, one.terms().link), agreed && one.sameTerms
	}
	if wanted := s.terms().link; !agreed && wanted != "" && wanted != link {
		return conflict{reason: PolicyMismatch, usedBy: string(al.sharers[0].Service)}
	}
	return conflict{}
}

// checkBounds compares with the bounds of the ledger.
func (al *allocation) checkBounds(s sharer) conflict {
	ports := len(s.ports)
	for _, one := range al.sharers {
		ports += len(one.ports)
	}
	if !s.unchanged && (len(al.sharers) >= MaxSharers || ports > MaxPorts) {
		return conflict{reason: LimitExceeded, usedBy: string(al.sharers[0].Service)}
	}
	return conflict{}
}

// entries returns the sharers as the ledger records them, with the terms of each if it is shared.
func (al *allocation) entries(f Family, shared bool) []Entry {
	entries := make([]Entry, len(al.sharers))
	for i, s := range al.sharers {
		entries[i] = Entry{Service: s.Service, Pool: s.pool[f]}
		if shared {
			entries[i].Key, entries[i].Ports = s.key, slices.Clone(s.ports)
			entries[i].Terms = s.terms().String()
		}
	}
	slices.SortFunc(entries, compareService)
	return entries
}

// conflict is what prevents a sharer at an address. Without a reason, nothing does.
type conflict struct {
	reason  Reason
	usedBy  string
	port    Port
	invalid bool // the request of the Service at the address is invalid
	anyKey  bool // any share key resolves it
}

// text describes the conflict at a.
func (c conflict) text(a netip.Addr) string {
	if c.reason == PortConflict {
		return c.port.String() + " at " + a.String() + " belongs to " + c.usedBy
	}
	return a.String() + " belongs to " + c.usedBy
}

// remedy returns what a user can do.
func (c conflict) remedy(fields Fields) string {
	const another = "request another address"
	switch {
	case c.reason == PortConflict:
		return "change the port, or " + another
	case c.reason == NodeAddress || c.reason == SubnetAddress:
		return another
	case c.reason == PolicyMismatch:
		return "to share it, both Services need externalTrafficPolicy Cluster or the same selector, " +
			"and the same interface; else " + another
	case c.reason == LimitExceeded:
		return fmt.Sprintf("at most %d Services with %d ports in all share an address: %s",
			MaxSharers, MaxPorts, another)
	case c.invalid:
		return "correct the request of that Service first, or " + another
	case c.anyKey:
		return "set " + fields.shareKey() + " to share it, or " + another
	}
	return "set " + fields.shareKey() + " of both to the same value, or " + another
}

// sharersOf returns the entries of a with a request for its family. Those that changed nothing come
// first: they shared the address before, so none of them leaves because another one changed (S4).
// The others follow by ServiceKey.
func sharersOf(a netip.Addr, entries []Entry, byService map[ServiceKey]*pendingRequest) []sharer {
	var all []sharer
	entries = slices.DeleteFunc(slices.Clone(entries), func(e Entry) bool {
		return e.Service == ControlPlane
	})
	for _, e := range entries {
		r, ok := byService[e.Service]
		if !ok || r.invalid == nil && !slices.Contains(r.Families, FamilyOf(a)) {
			continue
		}
		all = append(all, r.retained(e, len(entries) > 1))
	}
	slices.SortStableFunc(all, func(x, y sharer) int {
		return comparePending(x.pendingRequest, y.pendingRequest)
	})
	all = slices.CompactFunc(all, func(x, y sharer) bool {
		return x.pendingRequest == y.pendingRequest
	})
	slices.SortStableFunc(all, func(x, y sharer) int { return trueFirst(x.unchanged, y.unchanged) })
	return all
}

func comparePending(a, b *pendingRequest) int {
	return strings.Compare(string(a.Service), string(b.Service))
}

// trueFirst orders true before false.
func trueFirst(x, y bool) int {
	switch {
	case x == y:
		return 0
	case x:
		return -1
	}
	return 1
}
