package kubelease

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/apiclient"
)

const (
	// peersEvery is how often the EndpointSlice is read and the connections to the peers
	// are used, so that they are open when a release is urgent (E11).
	peersEvery = 20 * time.Second
	peersRetry = time.Second
	// peersSettle is for how long after a change of the list it is read every peersRetry: API
	// servers that start together write what each of them knows, and complete it 10 s later.
	peersSettle    = 15 * time.Second
	peersTimeout   = 2 * time.Second
	rememberPeers  = time.Hour // one that is not listed for longer was taken away
	maxPeers       = apiclient.MaxServers
	peersNamespace = "default"
	peersName      = "kubernetes"
)

// followPeers learns the other API servers from the EndpointSlice default/kubernetes,
// which the API servers themselves maintain.
func (d *Driver) followPeers(ctx context.Context) {
	changedAt := d.cfg.Clock()
	for ctx.Err() == nil {
		d.turned()
		if d.learnPeers(ctx) {
			changedAt = d.cfg.Clock()
		}
		d.warmPeers(ctx)
		d.cfg.Servers.PrunePool("", append(d.hosts(), d.Peers()...))
		sleep(ctx, peersWait(d.cfg.Clock()-changedAt))
	}
}

// peersWait returns how long to wait for the next turn, by the time since the list changed or
// could not be read.
func peersWait(unchanged time.Duration) time.Duration {
	if unchanged < peersSettle {
		return peersRetry
	}
	return peersEvery
}

func (d *Driver) turned() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.beat = d.cfg.Clock()
}

// learnPeers reads the EndpointSlice; what was learnt before is kept if that fails. It
// reports whether the list changed or could not be read.
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
// `kvip status` shows them. Those that answered last come before all others, so that a list
// that somebody has filled puts none of them out.
func (d *Driver) setPeers(listed []string) (changed bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.cfg.Clock()
	listed = listed[:min(len(listed), maxPeers)]
	for _, p := range listed {
		d.seenAt[p] = now
	}
	known := slices.Clone(listed)
	for _, p := range slices.Sorted(maps.Keys(d.seenAt)) {
		if now-d.seenAt[p] <= rememberPeers && !slices.Contains(listed, p) {
			known = append(known, p)
		}
	}
	var peers []string
	for _, answers := range []bool{true, false} {
		for _, p := range known {
			if d.answers[p] == answers {
				peers = append(peers, p)
			}
		}
	}
	peers = peers[:min(len(peers), maxPeers)]
	gone := func(p string) bool { return !slices.Contains(peers, p) }
	maps.DeleteFunc(d.seenAt, func(p string, _ time.Duration) bool { return gone(p) })
	maps.DeleteFunc(d.answers, func(p string, _ bool) bool { return gone(p) })
	if changed = !slices.Equal(slices.Sorted(slices.Values(d.peers)), slices.Sorted(slices.Values(peers))); changed {
		d.cfg.Log.Info("learnt the other API servers", "peers", listed, "all", peers)
	}
	d.peers = peers
	return changed
}

// warmPeers opens the connections, all at one time; a peer that does not answer is no error here.
func (d *Driver) warmPeers(ctx context.Context) {
	var group sync.WaitGroup
	for _, host := range d.Peers() {
		group.Go(func() {
			err := d.warm(ctx, host)
			if err != nil {
				d.cfg.Log.Debug("a peer does not answer", "node", host, "reason", err)
			}
			d.mu.Lock()
			defer d.mu.Unlock()
			d.answers[host] = err == nil || !apiclient.IsNoResponse(err)
			d.beat = d.cfg.Clock()
		})
	}
	group.Wait()
}

func (d *Driver) warm(ctx context.Context, host string) error {
	server, err := d.cfg.Servers.Server(host)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, peersTimeout)
	defer cancel()
	return server.Connect(ctx)
}
