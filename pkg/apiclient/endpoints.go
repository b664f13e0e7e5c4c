package apiclient

import (
	"net/netip"
	"slices"

	discoveryv1 "k8s.io/api/discovery/v1"
)

// portName is that of the API servers' port in the EndpointSlices of the Service kubernetes.
const portName = "https"

// MaxServers bounds how many API servers are taken from what the cluster lists: whoever may write there
// must not make each agent keep connections without an end.
const MaxServers = 16

// Endpoints returns the API servers ("address:port") that an EndpointSlice of the Service
// default/kubernetes lists, sorted, once each and at most MaxServers. The API servers themselves
// maintain it. What is no address of a host is left out.
func Endpoints(slice *discoveryv1.EndpointSlice) []string {
	var all []netip.AddrPort
	port := slicePort(slice)
	for _, e := range slice.Endpoints {
		for _, text := range e.Addresses {
			address, err := netip.ParseAddr(text)
			if err != nil || address.Zone() != "" || address.IsUnspecified() || address.IsMulticast() {
				continue
			}
			all = append(all, netip.AddrPortFrom(address.Unmap(), port))
		}
		if len(all) > maxEndpoints {
			break
		}
	}
	slices.SortFunc(all, netip.AddrPort.Compare)
	all = slices.Compact(all)
	hosts := make([]string, 0, min(len(all), MaxServers))
	for _, a := range all[:min(len(all), MaxServers)] {
		hosts = append(hosts, a.String())
	}
	slices.Sort(hosts)
	return hosts
}

// maxEndpoints is how many endpoints an API server takes in one slice.
const maxEndpoints = 1000

func slicePort(s *discoveryv1.EndpointSlice) uint16 {
	for _, p := range s.Ports {
		if p.Port != nil && (p.Name == nil || *p.Name == portName) && *p.Port > 0 && *p.Port <= 65535 {
			return uint16(*p.Port)
		}
	}
	return 6443
}
