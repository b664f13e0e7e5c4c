package serve

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/kvip/kvip/pkg/filter"
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

func union(before, next holdings) holdings {
	all := maps.Clone(before)
	maps.Copy(all, next)
	return all
}

// filterChanged is whether the ports of an address are others than those that were last let through, or
// the filter's timeouts are to be renewed.
func (a *Agent) filterChanged(next holdings, s situation) bool {
	if a.cfg.Clock() >= a.filterAt {
		return true
	}
	for addr := range next {
		if !slices.Equal(sortedPorts(s, addr), sortedPorts(a.last, addr)) {
			return true
		}
	}
	return false
}

func sortedPorts(s situation, addr netip.Addr) []filter.Port {
	list := s.ports(addr)
	slices.SortFunc(list, func(a, b filter.Port) int {
		if a.Protocol != b.Protocol {
			return len(a.Protocol) - len(b.Protocol)
		}
		return int(a.Port) - int(b.Port)
	})
	return list
}
