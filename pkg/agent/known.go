package agent

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/arp"
	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/election"
	"github.com/kvip/kvip/pkg/health"
	"github.com/kvip/kvip/pkg/ipam"
	"github.com/kvip/kvip/pkg/metrics"
	"github.com/kvip/kvip/pkg/placement"
	"github.com/kvip/kvip/pkg/svc/allocator"
)

// known returns the label values that an agent with this configuration can use.
func known(cfg config.Config) metrics.Known {
	k := metrics.Known{
		VIPs: cfg.VIPs, Services: cfg.Services, Frames: arp.Kinds(), Codes: codes(), Requests: requests(cfg),
	}
	if len(cfg.VIPs) > 0 {
		k.HealthStates, k.Transitions = health.Codes(), words(election.TransitionReasons())
	}
	if cfg.Services {
		k.Refusals = slices.Concat(words(ipam.Reasons()), words(placement.Reasons()), []string{allocator.ReasonForeignStatus})
		slices.Sort(k.Refusals)
		k.Refusals = slices.Compact(k.Refusals)
	}
	return k
}

func words[T ~string](list []T) []string {
	texts := make([]string, len(list))
	for i, one := range list {
		texts[i] = string(one)
	}
	return texts
}

// operations are the requests that the lease driver, the node's Lease and Events tell of.
var operations = map[string]metrics.Request{
	"create":            {Verb: "create", Resource: "leases"},
	"claim":             {Verb: "update", Resource: "leases"},
	"renew":             {Verb: "update", Resource: "leases"},
	"release":           {Verb: "update", Resource: "leases"},
	"request-transfer":  {Verb: "update", Resource: "leases"},
	"read":              {Verb: "get", Resource: "leases"},
	"list":              {Verb: "list", Resource: "leases"},
	"watch":             {Verb: "watch", Resource: "leases"},
	"get-endpointslice": {Verb: "get", Resource: "endpointslices"},
	"create-event":      {Verb: "create", Resource: "events"},
	"renew-node":        {Verb: "update", Resource: "leases"},
}

// requestOf returns the request behind an operation. One that is not listed is one on a Lease.
func requestOf(op string) metrics.Request {
	if r, ok := operations[op]; ok {
		return r
	}
	return metrics.Request{Verb: op, Resource: "leases"}
}

// requests returns every request whose failures are counted.
func requests(cfg config.Config) (all []metrics.Request) {
	add := func(verb string, resources ...string) {
		for _, r := range resources {
			if one := (metrics.Request{Verb: verb, Resource: r}); !slices.Contains(all, one) {
				all = append(all, one)
			}
		}
	}
	if len(cfg.VIPs) > 0 {
		for _, r := range operations {
			add(r.Verb, r.Resource)
		}
	}
	if cfg.Services {
		add("create", "leases", "events")
		add("get", "leases", "services")
		add("update", "leases", "services")
		add("patch", "services", "ippools")
		for _, verb := range []string{"list", "watch"} {
			add(verb, "services", "nodes", "endpointslices", "configmaps", "ippools", "leases")
		}
	}
	return all
}

// codes returns what errorCode answers, but for reasons that no API server gives to kvip's requests.
func codes() []string {
	return append(words([]metav1.StatusReason{
		metav1.StatusReasonUnauthorized, metav1.StatusReasonForbidden, metav1.StatusReasonNotFound, metav1.StatusReasonConflict,
		metav1.StatusReasonAlreadyExists, metav1.StatusReasonInvalid, metav1.StatusReasonExpired, metav1.StatusReasonTooManyRequests,
		metav1.StatusReasonTimeout, metav1.StatusReasonServerTimeout, metav1.StatusReasonInternalError, metav1.StatusReasonServiceUnavailable,
	}), codeNoCredentials, codeUnreachable)
}
