package inspect

import (
	"net/netip"
	"slices"
	"time"

	"github.com/kvip/kvip/pkg/svc/speaker"
)

// merge joins the agents' views of each address. The node that announces an address knows best since when
// and why; where none does, an agent with a fresh view knows.
func merge(answers []speaker.Report) []Address {
	byAddress := map[netip.Addr]*Address{}
	rank := map[netip.Addr]int{}
	for _, answer := range answers {
		for _, view := range answer.Addresses {
			one := byAddress[view.Address]
			if one == nil {
				one = &Address{On: map[string]string{}}
				byAddress[view.Address] = one
			}
			if view.Present {
				one.On[answer.Node] = view.State
			}
			if weight := trust(answer, view); weight > rank[view.Address] {
				one.AddressReport, rank[view.Address] = ofAnnouncer(answer.Node, view), weight
			}
		}
	}
	list := make([]Address, 0, len(byAddress))
	for _, one := range byAddress {
		list = append(list, *one)
	}
	slices.SortFunc(list, func(a, b Address) int { return a.Address.Compare(b.Address) })
	return list
}

// trust orders views: of who announces the address and may judge, of who announces it, of who may judge,
// of others.
func trust(answer speaker.Report, view speaker.AddressReport) int {
	weight := 1
	if answer.Fresh {
		weight++
	}
	if announces(view) {
		weight += 2
	}
	return weight
}

// announces is whether the node that reports the view answers for the address: one that is leaving or
// adopted is there in silence (S3, S6).
func announces(view speaker.AddressReport) bool {
	return view.Present && (view.State == "owned" || view.State == "shared")
}

// ofAnnouncer is the view without its "present" where node does not announce the address: in a joined report
// nobody could tell whose it is.
func ofAnnouncer(node string, view speaker.AddressReport) speaker.AddressReport {
	if announces(view) {
		view.Node = node
	} else {
		view.Present, view.State, view.Since = false, "", time.Time{}
	}
	return view
}
