package ask

import (
	"net/netip"
	"slices"

	"github.com/kvip/kvip/pkg/svc/serve"
)

// merge joins the agents' views of each address. The node that has an address knows best since when and
// why; where none has it, an agent with a fresh view does.
func merge(answers []serve.Report) []Address {
	byAddress := map[netip.Addr]*Address{}
	rank := map[netip.Addr]int{}
	for _, answer := range answers {
		for _, view := range answer.Addresses {
			one := byAddress[view.Address]
			if one == nil {
				one = &Address{On: map[string]string{}}
				byAddress[view.Address] = one
			}
			if view.Here {
				one.On[answer.Node] = view.State
			}
			if weight := trust(answer, view); weight > rank[view.Address] {
				one.AddressReport, rank[view.Address] = view, weight
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

// trust orders views: of who has the address and may judge, of who has it, of who may judge, of others.
func trust(answer serve.Report, view serve.AddressReport) int {
	weight := 1
	if answer.Fresh {
		weight++
	}
	if view.Here && (view.State == "owned" || view.State == "shared") {
		weight += 2
	}
	return weight
}
