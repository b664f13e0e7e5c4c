package inspect

import (
	"net/netip"
	"slices"
	"time"

	"github.com/kvip/kvip/pkg/svc/speaker"
)

// merge combines the agents' views of each address. The view of the announcing node counts; if none
// announces the address, a fresh view does.
func merge(answers []speaker.Report) []Address {
	byAddress := map[netip.Addr]*Address{}
	best := map[netip.Addr]int{}
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
			if p := priority(answer, view); p > best[view.Address] {
				one.AddressReport, best[view.Address] = inMergedReport(answer.Node, view), p
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

// priority orders views: of an announcing node before others, and fresh ones before stale ones.
func priority(answer speaker.Report, view speaker.AddressReport) int {
	p := 1
	if answer.Fresh {
		p++
	}
	if announces(view) {
		p += 2
	}
	return p
}

// announces reports whether the node of the view announces the address. A leaving or adopted
// address is on the link and silent (S3, S6).
func announces(view speaker.AddressReport) bool {
	return view.Present && (view.State == "owned" || view.State == "shared")
}

// inMergedReport returns the view as a part of a merged report. If node does not announce the
// address, its state is only in Address.On.
func inMergedReport(node string, view speaker.AddressReport) speaker.AddressReport {
	if announces(view) {
		view.Node = node
	} else {
		view.Present, view.State, view.Since = false, "", time.Time{}
	}
	return view
}
