package apiclient

import (
	"net"
	"slices"
	"strconv"

	discoveryv1 "k8s.io/api/discovery/v1"
)

// portName is that of the API servers' port in the EndpointSlices of the Service kubernetes.
const portName = "https"

// Endpoints returns the API servers ("address:port") that an EndpointSlice of the Service
// default/kubernetes lists, sorted and once each. The API servers themselves maintain it.
func Endpoints(slice *discoveryv1.EndpointSlice) []string {
	var all []string
	port := slicePort(slice)
	for _, e := range slice.Endpoints {
		for _, address := range e.Addresses {
			all = append(all, net.JoinHostPort(address, port))
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func slicePort(s *discoveryv1.EndpointSlice) string {
	for _, p := range s.Ports {
		if p.Port != nil && (p.Name == nil || *p.Name == portName) {
			return strconv.Itoa(int(*p.Port))
		}
	}
	return "6443"
}
