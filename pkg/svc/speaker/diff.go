package speaker

import (
	"maps"
	"net/netip"
	"slices"
)

// difference returns what is only in next and only in before, in order.
func difference(before, next holdings) (gained, lost []netip.Addr) {
	for addr := range next {
		if _, had := before[addr]; !had {
			gained = append(gained, addr)
		}
	}
	for addr := range before {
		if _, has := next[addr]; !has {
			lost = append(lost, addr)
		}
	}
	slices.SortFunc(gained, netip.Addr.Compare)
	slices.SortFunc(lost, netip.Addr.Compare)
	return gained, lost
}

func intersection(before, next holdings) holdings {
	both := holdings{}
	for addr, h := range next {
		if _, had := before[addr]; had {
			both[addr] = h
		}
	}
	return both
}

func without(all, some holdings) holdings {
	rest := holdings{}
	for addr, h := range all {
		if !has(some, addr) {
			rest[addr] = h
		}
	}
	return rest
}

func union(before, next holdings) holdings {
	all := maps.Clone(before)
	maps.Copy(all, next)
	return all
}

// filterChanged reports whether the filter does not let through to an address what it is to, or its timeouts are to be
// renewed.
func (a *Speaker) filterChanged(next holdings, s situation) bool {
	if a.cfg.Clock() >= a.filterAt {
		return true
	}
	if a.adopting {
		return false
	}
	for addr, h := range next {
		if h.shared {
			continue
		}
		if ports, known := a.filtered[addr]; !known || !slices.Equal(s.ports(addr), ports) {
			return true
		}
	}
	return false
}
