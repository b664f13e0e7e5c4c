package ipam

import "cmp"

// terms are what decides, beside key and ports, whether Services can share an address without harm to the one that
// had it first: placement has to suit all of them.
type terms struct {
	local          bool
	selector, link string
}

func (r *Request) terms() terms {
	return terms{local: r.Local, selector: r.Selector, link: ShareKey(r.Link)}
}

// String is what the ledger has, so that later it is known who has changed.
func (t terms) String() string {
	policy := "Cluster"
	if t.local {
		policy = "Local"
	}
	return policy + "/" + t.selector + "/" + t.link
}

// together reports whether one node can serve both whenever it can serve one: policy Local needs the same pods, or
// the endpoints of one would keep the address from the nodes of the other's.
func (t terms) together(other terms) bool {
	return !t.local && !other.local || t.selector == other.selector && t.selector != ""
}

// unwelcome is what the terms of those at the spot have against a new seat, which must not want other interfaces
// either. Those that came together on the terms that they have still stay together.
func (s *spot) unwelcome(new seat) clash {
	link, agreed := "", new.agreed
	for _, one := range s.seats {
		if !(one.agreed && new.agreed) && !one.terms().together(new.terms()) {
			return clash{reason: PolicyMismatch, holder: string(one.Owner)}
		}
		link, agreed = cmp.Or(link, one.terms().link), agreed && one.agreed
	}
	if wants := new.terms().link; !agreed && wants != "" && wants != link {
		return clash{reason: PolicyMismatch, holder: string(s.seats[0].Owner)}
	}
	return clash{}
}
