package inspect

import (
	"net/netip"
	"slices"
	"time"

	"github.com/kvip/kvip/pkg/svc/speaker"
)

// merge combines the agents' reports of each address. That of the announcing node counts; if none
// announces the address, that of a node with a fresh view.
func merge(answers []speaker.Report) []Address {
	byAddress := map[netip.Addr]*Address{}
	best := map[netip.Addr]int{}
	for _, answer := range answers {
		for _, report := range answer.Addresses {
			one := byAddress[report.Address]
			if one == nil {
				one = &Address{On: map[string]string{}}
				byAddress[report.Address] = one
			}
			if report.Present {
				one.On[answer.Node] = report.State
			}
			if p := priority(answer, report); p > best[report.Address] {
				one.AddressReport, best[report.Address] = inMergedReport(answer.Node, report), p
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

// priority orders reports: those of announcing nodes come first, then those of nodes with a fresh
// view.
func priority(answer speaker.Report, report speaker.AddressReport) int {
	p := 1
	if answer.Fresh {
		p++
	}
	if announces(report) {
		p += 2
	}
	return p
}

// announces reports whether the node of the report announces the address. A leaving or adopted
// address is on the link and silent (S3, S6).
func announces(report speaker.AddressReport) bool {
	return report.Present && (report.State == "owned" || report.State == "shared")
}

// inMergedReport returns the report as a part of a merged report. If node does not announce the
// address, its state is only in Address.On.
func inMergedReport(node string, report speaker.AddressReport) speaker.AddressReport {
	if announces(report) {
		report.Node = node
	} else {
		report.Present, report.State, report.Since = false, "", time.Time{}
	}
	return report
}
