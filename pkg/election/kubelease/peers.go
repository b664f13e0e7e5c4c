package kubelease

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/apiclient"
)

const (
	// peersEvery is how often the EndpointSlice is read and the connections to the peers
	// are used, so that they are open when a release is urgent (E11).
	peersEvery     = 20 * time.Second
	peersRetry     = time.Second
	peersTimeout   = 2 * time.Second
	rememberPeers  = 24 * time.Hour // one that is not listed for longer was taken away
	peersNamespace = "default"
	peersName      = "kubernetes"
)

// followPeers learns the other API servers from the EndpointSlice default/kubernetes,
// which the API servers themselves maintain.
func (d *Driver) followPeers(ctx context.Context) {
	for next := peersRetry; ctx.Err() == nil; next = min(2*next, peersEvery) {
		d.turned()
		if d.learnPeers(ctx) {
			next = peersRetry // more may come: API servers that start join one by one
		}
		d.warmPeers(ctx)
		sleep(ctx, next)
	}
}

func (d *Driver) turned() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.beat = d.cfg.Clock()
}

// learnPeers reads the EndpointSlice; what was learnt before is kept if that fails. It
// reports whether to look again soon: the list changed, or could not be read.
func (d *Driver) learnPeers(ctx context.Context) (again bool) {
	ctx, cancel := context.WithTimeout(ctx, peersTimeout)
	defer cancel()
	all, err := d.Endpoints(ctx)
	if err != nil {
		d.failed(aboutPeers, "get-endpointslice", err)
		return true
	}
	d.worked(aboutPeers)
	return d.setPeers(without(all, d.cfg.Local()))
}

// Endpoints returns the addresses of all API servers, as the first local one that
// answers knows them.
func (d *Driver) Endpoints(ctx context.Context) (all []string, err error) {
	err = errNoServer
	for _, host := range d.hosts() {
		var server *apiclient.Server
		if server, err = d.cfg.Servers.Server(host); err != nil {
			return nil, err
		}
		if all, err = endpoints(ctx, server); err == nil {
			return all, nil
		}
		if server.Kind == apiclient.ServiceAccount { // whose rights are known to include this
			d.refused(server, err)
		}
	}
	return nil, fmt.Errorf("read EndpointSlice %s/%s: %w", peersNamespace, peersName, err)
}

func endpoints(ctx context.Context, server *apiclient.Server) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, peersTimeout/2)
	defer cancel()
	slice, err := server.Discovery.EndpointSlices(peersNamespace).Get(ctx, peersName, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	return apiclient.Endpoints(slice), nil
}

func without(all, local []string) []string {
	return slices.DeleteFunc(all, func(host string) bool { return slices.Contains(local, host) })
}

// setPeers notes which other API servers are listed now. Those that no longer are, as the
// dead ones after a short time, are remembered after them: they may be back any moment, and
// `kvip status` shows them.
func (d *Driver) setPeers(listed []string) (changed bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.cfg.Clock()
	peers := slices.Clone(listed)
	for _, p := range listed {
		d.seenAt[p] = now
	}
	for _, p := range slices.Sorted(maps.Keys(d.seenAt)) {
		switch {
		case slices.Contains(listed, p):
		case now-d.seenAt[p] > rememberPeers:
			delete(d.seenAt, p)
		default:
			peers = append(peers, p)
		}
	}
	if changed = !slices.Equal(d.peers, peers); changed {
		d.cfg.Log.Info("learnt the other API servers", "peers", listed, "all", peers)
	}
	d.peers = peers
	return changed
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
