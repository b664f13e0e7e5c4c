package apiclient

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// MaxServers bounds how many API servers are taken from an EndpointSlice: a writer of it must not
// make each agent keep an unlimited number of connections.
const MaxServers = 16

const (
	peersInterval = 20 * time.Second
	peersRetry    = time.Second
	// peersSettle is how long after a change of the list it is read every peersRetry: API servers
	// that start together first write themselves alone, and complete the list 10 s later.
	peersSettle   = 15 * time.Second
	peersTimeout  = 2 * time.Second
	rememberPeers = time.Hour // a peer that is not listed for longer was removed
	// maxEndpoints is how many endpoints an API server accepts in one slice.
	maxEndpoints = 1000
	portName     = "https" // of the API servers' port in the slice
)

// peersWait returns the time until the next read of the EndpointSlice. Unchanged is the time since
// the list changed or could not be read.
func peersWait(unchanged time.Duration) time.Duration {
	if unchanged < peersSettle {
		return peersRetry
	}
	return peersInterval
}

// ReadServers returns all API servers ("address:port") that the EndpointSlice default/kubernetes
// lists, as the first server that answers knows it.
func (r *Router) ReadServers(ctx context.Context) ([]string, error) {
	const namespace, name = "default", "kubernetes"
	ctx, cancel := context.WithTimeout(ctx, peersTimeout)
	defer cancel()
	cfg, none := HedgeConfig{Delay: peersTimeout / 2}, func(string) {}
	slice, err := hedge(ctx, cfg, r.Hosts(), none,
		func(ctx context.Context, host string) (*discoveryv1.EndpointSlice, error) {
			server, err := r.cfg.Store.ServerInPool(r.cfg.ConnectionPool, host)
			if err != nil {
				return nil, err
			}
			slices := server.Discovery.EndpointSlices(namespace)
			slice, err := slices.Get(ctx, name, metav1.GetOptions{})
			// Only a ServiceAccount of kvip is known to have this permission.
			if server.Kind == ServiceAccount && IsDenied(err) {
				r.cfg.Store.ReportDenied(server.Source, server.Host)
			}
			return slice, err
		})
	if err != nil {
		return nil, fmt.Errorf("read EndpointSlice %s/%s: %w", namespace, name, err)
	}
	return ServersOf(slice), nil
}

// ServersOf returns the API servers ("address:port") that an EndpointSlice of the Service
// default/kubernetes lists: sorted, without duplicates, at most MaxServers. Addresses that are not
// an address of a host are left out.
func ServersOf(slice *discoveryv1.EndpointSlice) []string {
	var all []netip.AddrPort
	port := slicePort(slice)
	for _, e := range slice.Endpoints {
		for _, text := range e.Addresses {
			a, err := netip.ParseAddr(text)
			if err != nil || a.Zone() != "" || a.IsUnspecified() || a.IsMulticast() {
				continue
			}
			all = append(all, netip.AddrPortFrom(a.Unmap(), port))
		}
		if len(all) > maxEndpoints {
			break
		}
	}
	slices.SortFunc(all, netip.AddrPort.Compare)
	all = slices.Compact(all)
	all = all[:min(len(all), MaxServers)]
	hosts := make([]string, 0, len(all))
	for _, a := range all {
		hosts = append(hosts, a.String())
	}
	slices.Sort(hosts)
	return hosts
}

func slicePort(s *discoveryv1.EndpointSlice) uint16 {
	for _, p := range s.Ports {
		named := p.Name == nil || *p.Name == portName
		if p.Port != nil && named && *p.Port > 0 && *p.Port <= 65535 {
			return uint16(*p.Port)
		}
	}
	return 6443
}

// peerSet remembers the other API servers.
type peerSet struct {
	hosts    []string                 // in the order to try them
	listedAt map[string]time.Duration // when the EndpointSlice listed each of them last
	responds map[string]bool          // whether each of them responded last time
}

func newPeerSet() peerSet {
	return peerSet{listedAt: map[string]time.Duration{}, responds: map[string]bool{}}
}

// update takes over a list that was read at now, and reports whether the peers changed. API servers
// remove a dead one from the list within seconds; it stays a peer for rememberPeers, after the
// listed ones. Peers that responded last come first, so that a forged list cannot displace them.
func (p *peerSet) update(listed []string, now time.Duration) (changed bool) {
	listed = listed[:min(len(listed), MaxServers)]
	for _, host := range listed {
		p.listedAt[host] = now
	}
	known := slices.Clone(listed)
	for _, host := range slices.Sorted(maps.Keys(p.listedAt)) {
		if now-p.listedAt[host] <= rememberPeers && !slices.Contains(listed, host) {
			known = append(known, host)
		}
	}
	before := slices.Sorted(slices.Values(p.hosts))
	p.hosts = known
	p.hosts = Union(p.responding(), known)
	p.hosts = p.hosts[:min(len(p.hosts), MaxServers)]
	gone := func(host string) bool { return !slices.Contains(p.hosts, host) }
	maps.DeleteFunc(p.listedAt, func(host string, _ time.Duration) bool { return gone(host) })
	maps.DeleteFunc(p.responds, func(host string, _ bool) bool { return gone(host) })
	return !slices.Equal(before, slices.Sorted(slices.Values(p.hosts)))
}

// responding returns the peers that responded last time.
func (p *peerSet) responding() (hosts []string) {
	for _, host := range p.hosts {
		if p.responds[host] {
			hosts = append(hosts, host)
		}
	}
	return hosts
}
