package ipam

import (
	"net/netip"
	"slices"
)

// tenant is a request and what it has.
type tenant struct {
	*Request
	bad     *Refusal // nothing of it can be granted
	key     string   // ShareKey, bounded
	ports   []Port   // sorted
	text    string   // ports as one text
	at      [2]netip.Addr
	pool    [2]string // Holder.Pool
	gaveUp  []denial
	warned  []denial // of what it has
	refused []denial
}

// addresses are those of the tenant, the primary family first.
func (t *tenant) addresses() []netip.Addr {
	var has []netip.Addr
	for _, f := range append(slices.Clone(t.Families), IPv4, IPv6) {
		if a := t.at[f]; a.IsValid() && !slices.Contains(has, a) {
			has = append(has, a)
		}
	}
	return has
}

// denial is a Refusal, and the address that it is about; the zero Addr for none.
type denial struct {
	addr netip.Addr
	Refusal
}

func (t *tenant) deny(a netip.Addr, no Refusal) { t.refused = append(t.refused, denial{a, no}) }

// refusals are all, those that last before what was given up just now. That an address asked for was given
// up goes without saying where it is refused for the same reason.
func (t *tenant) refusals() []Refusal {
	var all []Refusal
	if t.bad != nil {
		all = append(all, *t.bad)
	}
	for _, no := range t.refused {
		all = append(all, no.Refusal)
	}
	for _, no := range t.warned {
		if t.at[FamilyOf(no.addr)] == no.addr {
			all = append(all, no.Refusal)
		}
	}
	for _, lost := range t.gaveUp {
		if !slices.ContainsFunc(t.refused, func(no denial) bool { return no.addr == lost.addr && no.Reason == lost.Reason }) {
			all = append(all, lost.Refusal)
		}
	}
	return all
}
