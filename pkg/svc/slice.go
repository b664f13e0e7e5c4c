package svc

import (
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/ipam"
	"github.com/kvip/kvip/pkg/placement"
)

const (
	// maxEndpoints is how many endpoints an API server takes in one slice.
	maxEndpoints = 1000
	// maxNodeName is how long the name of a node may be.
	maxNodeName = 253
)

// EndpointSlice is what kvip reads of an EndpointSlice.
type EndpointSlice struct {
	metav1.ObjectMeta
	// Owner is the Service whose endpoints these are.
	Owner ipam.Owner
	// Family is that of the endpoints' addresses.
	Family ipam.Family
	// Nodes tells where endpoints are that take traffic, and how good the best on each node is.
	Nodes placement.Endpoints
	// servers are the API servers, in the slice that lists them.
	servers []string
}

// readSlice decodes s; false if it belongs to no Service.
func readSlice(s *discoveryv1.EndpointSlice) (*EndpointSlice, bool) {
	name := s.Labels[discoveryv1.LabelServiceName]
	if name == "" {
		return nil, false
	}
	result := &EndpointSlice{ObjectMeta: identified(s), Owner: OwnerOf(s.Namespace, name), Nodes: placement.Endpoints{}}
	if s.AddressType == discoveryv1.AddressTypeIPv6 {
		result.Family = ipam.IPv6
	}
	for _, e := range s.Endpoints {
		readiness, takes := readinessOf(e.Conditions)
		if !takes || e.NodeName == nil || len(*e.NodeName) > maxNodeName {
			continue
		}
		if len(result.Nodes) == maxEndpoints {
			break
		}
		if have, ok := result.Nodes[*e.NodeName]; !ok || better(readiness, have) {
			result.Nodes[*e.NodeName] = readiness
		}
	}
	if s.Namespace == "default" && name == "kubernetes" {
		result.servers = apiclient.Endpoints(s)
	}
	return result, true
}

// readinessOf judges an endpoint as kube-proxy does (KEP-1669): ready ones take traffic, and those
// that still serve while they terminate do where there are no ready ones.
func readinessOf(c discoveryv1.EndpointConditions) (placement.Readiness, bool) {
	switch {
	case c.Ready == nil || *c.Ready:
		return placement.Ready, true
	case c.Serving != nil && *c.Serving && c.Terminating != nil && *c.Terminating:
		return placement.ServingTerminating, true
	}
	return 0, false
}

func better(a, b placement.Readiness) bool { return a == placement.Ready && b != placement.Ready }
