package svc

import (
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/ipam"
	"github.com/kvip/kvip/pkg/placement"
)

const (
	maxEndpoints = 1000 // of one slice, the limit of an API server
	maxNodeName  = 253  // bytes
)

// endpointSlice is the decoded part of an EndpointSlice.
type endpointSlice struct {
	metav1.ObjectMeta // namespace, name, UID and resourceVersion only
	// Service is the Service of the endpoints.
	Service ipam.ServiceKey
	// Family is that of the endpoints' addresses.
	Family ipam.Family
	// Nodes are the nodes with endpoints that accept traffic, with the best readiness on each.
	Nodes placement.Endpoints
	// servers are the API servers, in the slice that lists them.
	servers []string
}

// readSlice decodes s. It returns false if s does not belong to a Service.
func readSlice(s *discoveryv1.EndpointSlice) (*endpointSlice, bool) {
	name := s.Labels[discoveryv1.LabelServiceName]
	if name == "" {
		return nil, false
	}
	key := Key(s.Namespace, name)
	result := &endpointSlice{ObjectMeta: identified(s), Service: key, Nodes: placement.Endpoints{}}
	if s.AddressType == discoveryv1.AddressTypeIPv6 {
		result.Family = ipam.IPv6
	}
	for _, e := range s.Endpoints {
		readiness, accepts := readinessOf(e.Conditions)
		if !accepts || e.NodeName == nil || len(*e.NodeName) > maxNodeName {
			continue
		}
		if len(result.Nodes) == maxEndpoints {
			break
		}
		if have, ok := result.Nodes[*e.NodeName]; !ok || betterReadiness(readiness, have) {
			result.Nodes[*e.NodeName] = readiness
		}
	}
	if s.Namespace == "default" && name == "kubernetes" {
		result.servers = apiclient.ServersOf(s)
	}
	return result, true
}

// readinessOf classifies an endpoint as kube-proxy does (KEP-1669): ready endpoints accept traffic;
// terminating ones that still serve do if there are no ready ones.
func readinessOf(c discoveryv1.EndpointConditions) (r placement.Readiness, accepts bool) {
	switch {
	case c.Ready == nil || *c.Ready:
		return placement.Ready, true
	case c.Serving != nil && *c.Serving && c.Terminating != nil && *c.Terminating:
		return placement.ServingTerminating, true
	}
	return 0, false
}

func betterReadiness(a, b placement.Readiness) bool {
	return a == placement.Ready && b != placement.Ready
}
