package inspect

import (
	"errors"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// ErrNoResponse says that agents exist and that none of them answers: nobody knows who announces the
// Service.
var ErrNoResponse = errors.New("no agent answers; " +
	"they must be reachable at the nodes' addresses, on the ports of --metrics-address")

// Err is ErrNoResponse if that is so, else nil.
func (r Report) Err() error {
	if r.Managed && len(r.Responded) == 0 && len(r.Unreachable) > 0 {
		return ErrNoResponse
	}
	return nil
}

// judge says which addresses are not announced by exactly one node, or "". The API and the agents are
// asked one after the other, so that a move in between can look like trouble once.
func (r Report) judge() string {
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
		if problem := a.judge(r.Unreachable); problem != "" {
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

// judge says why one address is not announced by exactly one node, or "". A node that does not answer
// may announce what the others leave to it.
func (a Address) judge(silent map[string]string) string {
	var owners []string
	for _, node := range slices.Sorted(maps.Keys(a.On)) {
		if a.On[node] == "owned" {
			owners = append(owners, node)
		}
	}
	switch {
	case len(owners) > 1:
		return strings.Join(owners, " and ") + " announce " + a.Address.String() + " at the same time"
	case a.Present || a.Node != "" && silent[a.Node] != "":
		return ""
	}
	return "no node announces " + a.Address.String()
}
