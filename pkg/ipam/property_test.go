package ipam

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
)

var (
	histories = flag.Int("ipam.cases", 1500, "how many random histories the property test runs")
	oneSeed   = flag.Uint64("ipam.seed", 0, "run only this history")
)

// TestS4NeverTwoServices: after any change of Services, pools, reservations and ledger, no address
// has two Services that may not share it, no unchanged Service moves, and the order of inputs does
// not matter.
func TestS4NeverTwoServices(t *testing.T) {
	if *oneSeed != 0 {
		history(t, *oneSeed)
		return
	}
	for seed := uint64(1); seed <= uint64(*histories); seed++ {
		if history(t, seed); t.Failed() {
			t.Fatalf("run it alone with -ipam.seed=%d -v", seed)
		}
	}
}

func history(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 0))
	w := newWorld()
	var before Result
	old := map[ServiceKey]Request{}
	for range 15 {
		for range 1 + rng.IntN(4) {
			w.mutate(rng)
		}
		now := w.shuffled(rng)
		j := checker{t, seed, w, before, old, now}
		j.all()
		if again := w.shuffled(rng); !reflect.DeepEqual(again, now) {
			j.fail("the order of inputs changes the result: %v, %v", now, again)
		}
		w.ledger = now.Ledger.Clone() // as read back after a restart
		again := w.shuffled(rng)
		if !again.Ledger.Equal(now.Ledger) || !reflect.DeepEqual(again.Assigned, now.Assigned) {
			j.fail("a second Plan differs: %v, %v", now.Ledger, again.Ledger)
		}
		before, old = again, maps.Clone(w.requests)
	}
}

func (w *world) shuffled(rng *rand.Rand) Result {
	pools, requests := slices.Collect(maps.Values(w.pools)), slices.Collect(maps.Values(w.requests))
	rng.Shuffle(len(pools), func(i, j int) { pools[i], pools[j] = pools[j], pools[i] })
	rng.Shuffle(len(requests), func(i, j int) { requests[i], requests[j] = requests[j], requests[i] })
	return Plan(w.ledger, pools, Reserved{Addresses: w.reserved}, requests)
}

func pick[T any](rng *rand.Rand, items ...T) T { return items[rng.IntN(len(items))] }

// someAddr is one of few, so that Services compete for it.
func someAddr(rng *rand.Rand, f Family) netip.Addr {
	base := [...]string{"192.0.2.%d", "2001:db8::%d"}[f]
	return netip.MustParseAddr(fmt.Sprintf(base, rng.IntN(8)))
}

func (w *world) mutate(rng *rand.Rand) {
	service := ServiceKey(pick(rng, "a/", "b/", "c/") + pick(rng, "1", "2", "3", "4"))
	switch r, exists := w.requests[service]; rng.IntN(12) {
	case 0:
		delete(w.requests, service)
	case 1, 2:
		if exists {
			r.Ports = somePorts(rng)
			w.requests[service] = r
		}
	case 3:
		if exists {
			r.Invalid = pick(rng, nil, &Refusal{Malformed, "bad"})
			w.requests[service] = r
		}
	case 4:
		delete(w.pools, pick(rng, "p", "q", "r"))
	case 5, 6:
		p := somePool(rng)
		w.pools[p.Name] = p
	case 7:
		w.reserved = map[netip.Addr]Reservation{}
		for range rng.IntN(3) {
			w.reserved[someAddr(rng, Family(rng.IntN(2)))] = pick(rng, Reservation{UsedBy: "node w1"},
				Reservation{Service: ControlPlane, Ports: []Port{{"TCP", 1}}})
		}
	default:
		w.requests[service] = someRequest(rng, service)
	}
}

func somePorts(rng *rand.Rand) (ports []Port) {
	for range rng.IntN(3) {
		ports = append(ports, Port{pick(rng, "TCP", "UDP"), uint16(1 + rng.IntN(4))})
	}
	return ports
}

func somePool(rng *rand.Rand) Pool {
	p := Pool{Name: pick(rng, "p", "q", "r"),
		Namespaces: pick(rng, nil, nil, []string{"a"}, []string{"a", "b"}),
		Manual:     rng.IntN(5) == 0, Descending: rng.IntN(3) == 0, Shared: rng.IntN(3) == 0,
		AvoidBuggyIPs: rng.IntN(3) == 0}
	for range 1 + rng.IntN(2) {
		f := Family(rng.IntN(2))
		a, b := someAddr(rng, f), someAddr(rng, f)
		if b.Less(a) {
			a, b = b, a
		}
		p.Ranges = append(p.Ranges, Range{a, b})
	}
	p.Ranges = Merge(p.Ranges)
	return p
}

func someRequest(rng *rand.Rand, service ServiceKey) Request {
	r := Request{Service: service, Namespace: string(service[:1]), Ports: somePorts(rng),
		ShareKey: pick(rng, "", "", "k", "l")}
	r.Families = pick(rng, []Family{IPv4}, []Family{IPv4}, []Family{IPv6}, []Family{IPv4, IPv6},
		[]Family{IPv6, IPv4})
	r.Require = len(r.Families) == 2 && rng.IntN(2) == 0
	r.Local, r.Selector, r.Link = rng.IntN(6) == 0, pick(rng, "x", "y", ""),
		pick(rng, "", "", "", "eth1")
	r.Pool = pick(rng, "", "", "", "p", "q", "none")
	r.AnyPool = rng.IntN(4) == 0
	for _, f := range r.Families {
		if rng.IntN(3) == 0 {
			r.Addresses = append(r.Addresses, someAddr(rng, f))
		}
	}
	return r
}

// checker compares a Result with the one before and with the requests.
type checker struct {
	t      *testing.T
	seed   uint64
	w      *world
	before Result
	old    map[ServiceKey]Request
	now    Result
}

func (j checker) fail(text string, args ...any) {
	j.t.Helper()
	j.t.Errorf("seed %d: %s", j.seed, fmt.Sprintf(text, args...))
}

func (j *checker) all() {
	j.controlPlane()
	j.consistent()
	for a, entries := range j.now.Ledger {
		for i, e := range entries {
			j.reserved(a, e.Service)
			for _, other := range entries[:i] {
				j.mayShare(a, e.Service, other.Service)
			}
		}
	}
	for service, r := range j.w.requests {
		j.retained(service, r)
		if r.Invalid == nil {
			j.served(r)
		}
	}
}

// controlPlane: the ledger names it next to the Services that share its address, and nowhere else.
// The other checks are about Services.
func (j *checker) controlPlane() {
	services := make(Ledger, len(j.now.Ledger))
	for a, entries := range j.now.Ledger {
		if WithControlPlane(entries) != (j.w.reserved[a].Service == ControlPlane) {
			j.fail("reserved is %v, the ledger has %v", j.w.reserved[a], entries)
		}
		services[a] = slices.DeleteFunc(slices.Clone(entries),
			func(e Entry) bool { return e.Service == ControlPlane })
	}
	j.now.Ledger = services
}

// consistent: Assigned is the inverse of Ledger, and no Service has an address without a request.
func (j checker) consistent() {
	count := 0
	for service, has := range j.now.Assigned {
		count += len(has)
		for i, a := range has {
			if !j.has(j.now, service, a) || i > 0 && FamilyOf(a) == FamilyOf(has[0]) {
				j.fail("%s is assigned %v, the ledger is %v", service, has, j.now.Ledger)
			}
		}
	}
	for a, entries := range j.now.Ledger {
		count -= len(entries)
		for _, e := range entries {
			r, exists := j.w.requests[e.Service]
			if !exists || r.Invalid == nil && !slices.Contains(r.Families, FamilyOf(a)) {
				j.fail("%s has %s without a request", e.Service, a)
			}
		}
	}
	if count != 0 {
		j.fail("assigned is %v, the ledger is %v", j.now.Assigned, j.now.Ledger)
	}
}

func (j checker) has(r Result, service ServiceKey, a netip.Addr) bool {
	return slices.ContainsFunc(r.Ledger[a], func(e Entry) bool { return e.Service == service })
}

func (j checker) reserved(a netip.Addr, service ServiceKey) {
	r, reserved := j.w.reserved[a]
	request := j.w.requests[service]
	if reserved && r.Service == "" && j.has(j.before, service, a) {
		reserved = false // it keeps the address, with a warning
		if no := j.now.Refused[service]; request.Invalid == nil &&
			!strings.Contains(no.Message, a.String()) {
			j.fail("%s keeps %s, which is reserved: %v, with the refusal %v", service, a, r, no)
		}
	}
	if reserved && (r.Service != ControlPlane || common(r.Ports, request.Ports) ||
		request.ShareKey == "" && request.Invalid == nil) {
		j.fail("%s has %s, which is reserved: %v", service, a, r)
	}
}

func common(a, b []Port) bool {
	return slices.ContainsFunc(a, func(p Port) bool { return slices.Contains(b, p) })
}

// mayShare: the same key and no common port; without a key in a Shared pool, or if they shared
// before.
func (j checker) mayShare(a netip.Addr, x, y ServiceKey) {
	rx, ry := j.w.requests[x], j.w.requests[y]
	together := j.has(j.before, x, a) && j.has(j.before, y, a)
	keys := rx.ShareKey == ry.ShareKey || together && (rx.Invalid != nil || ry.Invalid != nil)
	if rx.ShareKey == "" && ry.ShareKey == "" {
		keys = together
		for _, p := range j.w.pools {
			keys = keys || p.Shared && p.Contains(a) && p.Allows(rx.Namespace) && p.Allows(ry.Namespace)
		}
	}
	if x == y || !keys || common(rx.Ports, ry.Ports) {
		j.fail("%s and %s both have %s: %v, %v", x, y, a, rx, ry)
	}
}

// retained: an unchanged Service keeps its addresses or gets what it requested before; a changed
// one keeps the old address until it has the new one. Only the VIP, and other sharers if it
// changed, take an address.
func (j checker) retained(service ServiceKey, r Request) {
	unchanged := reflect.DeepEqual(r, j.old[service])
	_, wanting := j.before.Refused[service]
	for _, a := range j.before.Assigned[service] {
		reserved := j.w.reserved[a].Service == ControlPlane
		if reserved || j.has(j.now, service, a) || r.Invalid == nil &&
			!slices.Contains(r.Families, FamilyOf(a)) {
			continue
		}
		moved := slices.ContainsFunc(j.now.Assigned[service],
			func(b netip.Addr) bool { return FamilyOf(b) == FamilyOf(a) })
		no := j.now.Refused[service]
		// of another Service, by key or port
		reported := strings.Contains(no.Message, a.String()+" belongs to ")
		switch {
		case unchanged && !wanting:
			j.fail("%s did not change and lost %s", service, a)
		case unchanged && (!moved || r.Invalid != nil):
			j.fail("%s did not change and lost %s without a replacement", service, a)
		case !moved && !reported && r.Invalid == nil:
			j.fail("%s lost %s, message %q", service, a, no.Message)
		}
	}
}

// served: a Service without a refusal has what it requested, and a refused one could not get it.
func (j checker) served(r Request) {
	has := j.now.Assigned[r.Service]
	no, refused := j.now.Refused[r.Service]
	if !refused && (len(has) == 0 || r.Require && len(has) < 2) {
		j.fail("%s has %v and no refusal", r.Service, has)
	}
	if r.Require && len(has) == 1 && len(j.before.Assigned[r.Service]) == 0 {
		j.fail("%s requires both families and has %v", r.Service, has)
	}
	if len(has) > 0 && len(has) == len(r.Families) && FamilyOf(has[0]) != r.Families[0] {
		j.fail("%s has %v, the wrong one first", r.Service, has)
	}
	for _, a := range r.Addresses {
		_, reserved := j.w.reserved[a]
		switch {
		case !refused && !slices.Contains(has, a):
			j.fail("%s has %v, not %s", r.Service, has, a)
		case no.Reason == AddressTaken && !slices.Contains(has, a) && len(r.Families) == 1 &&
			len(j.now.Ledger[a]) == 0 && !reserved:
			j.fail("%s is refused %s, which is free", r.Service, a)
		}
	}
	if no.Reason == PoolExhausted && len(r.Families) == 1 {
		j.exhausted(r)
	}
}

func (j checker) exhausted(r Request) {
	for _, p := range j.w.pools {
		if r.Pool != "" && r.Pool != p.Name || r.Pool == "" && p.Manual || !p.Allows(r.Namespace) {
			continue
		}
		for _, ip := range p.Ranges {
			for a := ip.First; ip.Contains(a) && FamilyOf(a) == r.Families[0]; a = a.Next() {
				if _, reserved := j.w.reserved[a]; !reserved && p.Contains(a) && len(j.now.Ledger[a]) == 0 {
					j.fail("%s is refused as %s is exhausted, but %s is free", r.Service, p.Name, a)
				}
			}
		}
	}
}
