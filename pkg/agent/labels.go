package agent

import (
	"context"
	"errors"
	"net"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/anycast"
	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/apis/v1alpha1"
	"github.com/kvip/kvip/pkg/arp"
	"github.com/kvip/kvip/pkg/bgp"
	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/controlplane"
	"github.com/kvip/kvip/pkg/election"
	"github.com/kvip/kvip/pkg/fence"
	"github.com/kvip/kvip/pkg/health"
	"github.com/kvip/kvip/pkg/ipam"
	"github.com/kvip/kvip/pkg/metrics"
	"github.com/kvip/kvip/pkg/peer"
	"github.com/kvip/kvip/pkg/placement"
	"github.com/kvip/kvip/pkg/svc/allocator"
)

// knownLabels returns the label values that an agent with this configuration can use.
func knownLabels(cfg config.Config) metrics.Known {
	k := metrics.Known{
		VIPs: cfg.VIPs, Services: cfg.Services, Frames: arp.Kinds(), Codes: codes(),
		Requests: requests(cfg),
	}
	switch {
	case cfg.ByBGP():
		k.HealthStates, k.Announcements = health.Codes(), words(anycast.States())
	case len(cfg.VIPs) > 0:
		k.Fences, k.Modes, k.Dropped = fence.Variants(), controlplane.Modes(), words(peer.Reasons())
		k.HealthStates, k.Transitions = health.Codes(), words(election.TransitionReasons())
	}
	if cfg.ByBGP() || cfg.Services {
		k.BGPReasons = words(bgp.Reasons())
	}
	if cfg.Services {
		k.Refusals = slices.Concat(words(ipam.Reasons()), words(placement.Reasons()),
			[]string{allocator.ReasonForeignStatus})
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

// operations maps the operations of the lease driver, the node's Lease and Events to requests.
var operations = map[string]metrics.Request{
	"create":            {Verb: "create", Resource: "leases"},
	"claim":             {Verb: "update", Resource: "leases"},
	"renew":             {Verb: "update", Resource: "leases"},
	"release":           {Verb: "update", Resource: "leases"},
	"request-transfer":  {Verb: "update", Resource: "leases"},
	"read":              {Verb: "get", Resource: "leases"},
	"list":              {Verb: "list", Resource: "leases"},
	"watch":             {Verb: "watch", Resource: "leases"},
	"update":            {Verb: "update", Resource: "leases"},
	"get-endpointslice": {Verb: "get", Resource: "endpointslices"},
	"create-event":      {Verb: "create", Resource: "events"},
	"renew-node":        {Verb: "update", Resource: "leases"},
}

// requestOf returns the request of an operation. A test checks that every operation is listed.
func requestOf(op string) metrics.Request { return operations[op] }

// requests returns every request whose failures have a counter.
func requests(cfg config.Config) (all []metrics.Request) {
	add := func(verb string, resources ...string) {
		for _, r := range resources {
			if one := (metrics.Request{Verb: verb, Resource: r}); !slices.Contains(all, one) {
				all = append(all, one)
			}
		}
	}
	switch {
	case cfg.ByBGP():
		add(createEvents.Verb, createEvents.Resource)
	case len(cfg.VIPs) > 0:
		for _, r := range operations {
			add(r.Verb, r.Resource)
		}
	}
	if cfg.Services {
		add("create", "leases", "events")
		add("get", "leases", "services")
		add("update", "leases", "services")
		add("patch", "services", v1alpha1.Plural, v1alpha1.BGPPeerPlural, v1alpha1.BGPAdvertisementPlural,
			v1alpha1.BGPNodeStatePlural)
		add("list", v1alpha1.BGPNodeStatePlural)
		for _, verb := range []string{"list", "watch"} {
			add(verb, "services", "nodes", "endpointslices", "configmaps", "ippools", "leases", "secrets",
				v1alpha1.BGPPeerPlural, v1alpha1.BGPAdvertisementPlural, v1alpha1.BFDProfilePlural)
			if cfg.KubeVIP {
				add(verb, "servicecidrs")
			}
		}
	}
	return all
}

// codes returns the results of errorCode, except reasons that kvip's requests do not lead to.
func codes() []string {
	return append(words([]metav1.StatusReason{
		metav1.StatusReasonUnauthorized, metav1.StatusReasonForbidden, metav1.StatusReasonNotFound,
		metav1.StatusReasonConflict,
		metav1.StatusReasonAlreadyExists, metav1.StatusReasonInvalid, metav1.StatusReasonExpired,
		metav1.StatusReasonTooManyRequests,
		metav1.StatusReasonTimeout, metav1.StatusReasonServerTimeout, metav1.StatusReasonInternalError,
		metav1.StatusReasonServiceUnavailable,
	}), codeNoCredentials, codeUnreachable)
}

// Codes of errorCode besides the API server's reasons. A request that timed out on this side has
// the API server's code for that.
const (
	codeNoCredentials = "NoCredentials"
	codeUnreachable   = "Unreachable"
)

// errorCode names the failure of a request, for the label of a metric: the API server's reason, as
// in "Forbidden", or one of the codes above.
func errorCode(err error) string {
	var network net.Error
	reason := apierrors.ReasonForError(err)
	switch {
	case reason != "":
		return string(reason)
	case errors.Is(err, apiclient.ErrNoCredentials):
		return codeNoCredentials
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return string(metav1.StatusReasonTimeout)
	}
	return codeUnreachable
}
