package inspect

import (
	"errors"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/kvip/kvip/pkg/placement"
)

// ErrNoResponse is returned by Report.Err if there are agents and none of them responds, so that it
// is not known which nodes announce the Service.
var ErrNoResponse = errors.New("no agent answers; " +
	"they must be reachable at the nodes' addresses, on the ports of --metrics-address")

// Err returns ErrNoResponse if no agent responds, else nil.
func (r Report) Err() error {
	if r.Managed && len(r.Responded) == 0 && len(r.Unreachable) > 0 {
		return ErrNoResponse
	}
	return nil
}

// problem names the addresses that no node announces, and those without routes that more than one
// node announces, or returns "". The API and the agents are queried at different instants: a move
// in between can look like a problem once.
func (r Report) problem() string {
	if !r.Managed {
		return "no node announces service " + r.Service + ": " + r.SkipReason
	}
	if r.Err() != nil {
		return ""
	}
	var problems []string
	missing := slices.Clone(r.Status)
	for _, a := range r.Addresses {
		missing = slices.DeleteFunc(missing, func(addr netip.Addr) bool { return addr == a.Address })
		if problem := a.problem(r.Unreachable); problem != "" {
			problems = append(problems, problem)
		}
	}
	for _, addr := range missing {
		problems = append(problems, "no node announces "+addr.String())
	}
	if len(r.Addresses)+len(r.Status) == 0 {
		problems = append(problems, "no node announces service "+r.Service+": it has no address")
	}
	return strings.Join(problems, "; ")
}

// problem returns why the address is not announced as it must be, or "". An unreachable node may
// announce an address that the others assign to it.
func (a Address) problem(unreachable map[string]string) string {
	owners := a.owners()
	switch {
	case len(owners) > 1 && !a.routed():
		return strings.Join(owners, " and ") + " announce " + a.Address.String() + " at the same time"
	case a.Present || a.Node != "" && unreachable[a.Node] != "":
		return ""
	}
	return "no node announces " + a.Address.String()
}

// routed reports whether nodes announce the address to their routers, each for itself.
func (a Address) routed() bool { return a.Link == placement.Loopback }

// owners returns the nodes that announce the address as the owner, in alphabetical order.
func (a Address) owners() (owners []string) {
	for _, node := range slices.Sorted(maps.Keys(a.On)) {
		if a.On[node] == "owned" {
			owners = append(owners, node)
		}
	}
	return owners
}
