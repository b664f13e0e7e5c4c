package kubelease

import (
	"context"
	"net"
	"slices"
	"strconv"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// peersEvery is how often the EndpointSlice is read and the connections to the peers
	// are used, so that they are open when a release is urgent (E11).
	peersEvery     = 20 * time.Second
	peersRetry     = time.Second
	peersTimeout   = 2 * time.Second
	peersNamespace = "default"
	peersService   = "kubernetes"
	peersPortName  = "https"
)

// followPeers learns the other API servers from the EndpointSlices of the Service
// default/kubernetes, which the API servers themselves maintain.
func (d *Driver) followPeers(ctx context.Context) {
	for ctx.Err() == nil {
		next := peersEvery
		if !d.learnPeers(ctx) {
			next = peersRetry
		}
		d.warmPeers(ctx)
		sleep(ctx, next)
	}
}

// learnPeers reads the EndpointSlices; what was learnt before is kept if that fails.
func (d *Driver) learnPeers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, peersTimeout)
	defer cancel()
	for _, host := range d.hosts() {
		server, err := d.cfg.Servers.Server(host)
		if err != nil {
			return false
		}
		list, err := server.Discovery.EndpointSlices(peersNamespace).List(ctx, metav1.ListOptions{
			LabelSelector: discoveryv1.LabelServiceName + "=" + peersService,
		})
		if err == nil {
			d.setPeers(others(list.Items, d.cfg.Local()))
			return true
		}
		d.cfg.Failed("list-endpointslices", err)
	}
	return false
}

// others returns the addresses in slices that are not local, sorted.
func others(list []discoveryv1.EndpointSlice, local []string) []string {
	var peers []string
	for _, s := range list {
		port := slicePort(s)
		for _, e := range s.Endpoints {
			for _, address := range e.Addresses {
				host := net.JoinHostPort(address, port)
				if !slices.Contains(local, host) && !slices.Contains(peers, host) {
					peers = append(peers, host)
				}
			}
		}
	}
	slices.Sort(peers)
	return peers
}

func slicePort(s discoveryv1.EndpointSlice) string {
	for _, p := range s.Ports {
		if p.Port != nil && (p.Name == nil || *p.Name == peersPortName) {
			return strconv.Itoa(int(*p.Port))
		}
	}
	return "6443"
}

func (d *Driver) setPeers(peers []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !slices.Equal(d.peers, peers) {
		d.cfg.Log.Info("learnt the other API servers", "peers", peers)
	}
	d.peers = peers
}

// warmPeers opens the connections; a peer that does not answer is no error here.
func (d *Driver) warmPeers(ctx context.Context) {
	for _, host := range d.Peers() {
		server, err := d.cfg.Servers.Server(host)
		if err != nil {
			return
		}
		warm, cancel := context.WithTimeout(ctx, peersTimeout)
		if err := server.Warm(warm); err != nil {
			d.cfg.Log.Debug("a peer does not answer", "node", host, "reason", err)
		}
		cancel()
	}
}
