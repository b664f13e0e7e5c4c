package apiclient

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/kvip/kvip/pkg/backoff"
	"github.com/kvip/kvip/pkg/boottime"
	"github.com/kvip/kvip/pkg/reporter"
	"github.com/kvip/kvip/pkg/required"
)

// RouterConfig of a Router. Store is required.
type RouterConfig struct {
	Store *Store
	// ConnectionPool separates this Router's connections from others: the renewal of a Lease must
	// not wait behind a list of a thousand Services (E11). "" is the default pool.
	ConnectionPool string
	// Local returns the addresses of the node's own API server, best first. Nil means that the
	// node has none.
	Local func() []string
	// InCluster is the address of the Service kubernetes; "" where there is none.
	InCluster string
	// LocalFirst sends each request to the node's own API server first. InCluster and the peers
	// follow only if InCluster is set; without it, only Hedge with PeersFirst uses the peers.
	// If false, requests stay with the server that responded last.
	LocalFirst bool
	// Clock measures the age of peers. Nil means boottime.Now.
	Clock boottime.Clock
	// Log receives changes of the peers. Nil discards them.
	Log *slog.Logger
}

// Router chooses the API server for each request: the node's own, the in-cluster address, or a
// peer, one of the other API servers (E11). It is safe for concurrent use.
type Router struct {
	cfg RouterConfig

	mu    sync.Mutex
	peers peerSet
	// current is the server in use; with LocalFirst, the local address that responded last.
	current string
}

// NewRouter returns a Router without peers.
func NewRouter(cfg RouterConfig) (*Router, error) {
	if err := required.Fields("API server router", map[string]bool{
		"Store": cfg.Store == nil,
	}); err != nil {
		return nil, err
	}
	if cfg.Local == nil {
		cfg.Local = func() []string { return nil }
	}
	if cfg.Clock == nil {
		cfg.Clock = boottime.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Router{cfg: cfg, peers: newPeerSet()}, nil
}

// InCluster returns the address of the Service kubernetes in a pod (Kubernetes documentation,
// "Accessing the Kubernetes API from a Pod"), and "" elsewhere.
func InCluster() string {
	host, port := os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT")
	if host == "" || port == "" {
		return ""
	}
	return net.JoinHostPort(host, port)
}

// BaseURLs returns the base URLs of hosts ("address:port").
func BaseURLs(hosts []string) []string {
	urls := make([]string, len(hosts))
	for i, host := range hosts {
		urls[i] = "https://" + host
	}
	return urls
}

// ErrNoServer means that no address of an API server is known.
var ErrNoServer = errors.New("no API server is known")

// SetPeers replaces the peers ("address:port"); it takes at most MaxServers.
func (r *Router) SetPeers(hosts []string) {
	r.mu.Lock()
	r.peers.hosts = slices.Clone(hosts[:min(len(hosts), MaxServers)])
	r.mu.Unlock()
	if r.cfg.ConnectionPool != "" {
		r.cfg.Store.PrunePool(r.cfg.ConnectionPool, r.Hosts())
	}
}

// Peers returns the other API servers, those that responded last first.
func (r *Router) Peers() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.peers.hosts)
}

// Hosts returns the addresses that Do tries, in this order.
func (r *Router) Hosts() []string {
	local := r.cfg.Local()
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.order(local)
}

// DirectHosts returns the addresses of API servers themselves: the local ones and the peers.
func (r *Router) DirectHosts() []string { return Union(r.cfg.Local(), r.Peers()) }

// order is Hosts. The caller holds the lock.
func (r *Router) order(local []string) []string {
	var shared []string
	if r.cfg.InCluster != "" {
		shared = []string{r.cfg.InCluster}
	}
	if r.cfg.LocalFirst {
		if slices.Contains(local, r.current) {
			local = Union([]string{r.current}, local)
		}
		if r.cfg.InCluster == "" {
			return slices.Clone(local)
		}
		return Union(local, shared, r.peers.hosts)
	}
	all := Union(local, shared, r.peers.hosts)
	at := max(0, slices.Index(all, r.current))
	return slices.Concat(all[at:], all[:at])
}

// peersFirst returns the order for requests while the node's own API server is in doubt: the peers
// that responded last, the own server, then the other peers. Each silent server costs a delay, and
// an EndpointSlice may list MaxServers of them: before the own server they would cost the lease.
func (r *Router) peersFirst() []string {
	local := r.cfg.Local()
	r.mu.Lock()
	defer r.mu.Unlock()
	return Union(r.peers.responding(), r.order(local), r.peers.hosts)
}

// Union returns the hosts of all lists in order, without duplicates.
func Union(lists ...[]string) (all []string) {
	for _, host := range slices.Concat(lists...) {
		if !slices.Contains(all, host) {
			all = append(all, host)
		}
	}
	return all
}

// begin returns Hosts and makes the first one the server in use.
func (r *Router) begin() []string {
	local := r.cfg.Local()
	r.mu.Lock()
	defer r.mu.Unlock()
	hosts := r.order(local)
	if !r.cfg.LocalFirst && len(hosts) > 0 {
		r.current = hosts[0]
	}
	return hosts
}

// Server returns the client of the server to use now. Callers pass the outcome to Report.
func (r *Router) Server() (*Server, error) {
	hosts := r.begin()
	if len(hosts) == 0 {
		return nil, ErrNoServer
	}
	return r.cfg.Store.ServerInPool(r.cfg.ConnectionPool, hosts[0])
}

// Report records how a request to server ended. Denied credentials are passed to the Store. If
// there was no response, the next request goes to another server, except with LocalFirst.
func (r *Router) Report(server *Server, err error) {
	if IsDenied(err) {
		r.cfg.Store.ReportDenied(server.Source, server.Host)
	}
	switch {
	case !r.cfg.LocalFirst:
		if IsNoResponse(err) {
			r.leave(server.Host)
		}
	case !IsUnreachable(err) && !errors.Is(err, context.Canceled):
		if slices.Contains(r.cfg.Local(), server.Host) {
			r.mu.Lock()
			r.current = server.Host
			r.mu.Unlock()
		}
	}
}

// Next switches to another server, if one is known, because the data of the present one is stale.
func (r *Router) Next() {
	r.mu.Lock()
	current := r.current
	r.mu.Unlock()
	r.leave(current)
}

// leave switches to the host after this one, unless another request has already.
func (r *Router) leave(host string) {
	local := r.cfg.Local()
	r.mu.Lock()
	defer r.mu.Unlock()
	if hosts := r.order(local); !r.cfg.LocalFirst && len(hosts) > 1 && hosts[0] == host {
		r.current = hosts[1]
	}
}

// Do sends one request. It tries the servers of Hosts in turn until one is reachable: a request
// that may have been sent is not repeated.
func (r *Router) Do(ctx context.Context, request func(context.Context, *Server) error) error {
	hosts := r.begin()
	err := firstReachable(ctx, hosts, func(host string) error {
		_, err := send(ctx, r, host, func(ctx context.Context, s *Server) (struct{}, error) {
			return struct{}{}, request(ctx, s)
		})
		return err
	})
	if IsUnreachable(err) && ctx.Err() == nil {
		return fmt.Errorf("no API server at %v answers: %w", hosts, err)
	}
	return err
}

// firstReachable calls try with one host after the other until one is reachable.
func firstReachable(ctx context.Context, hosts []string, try func(host string) error) error {
	err := ErrNoServer
	for _, host := range hosts {
		if err = try(host); !IsUnreachable(err) || ctx.Err() != nil {
			return err
		}
	}
	return err
}

// send makes one request to one host.
func send[T any](
	ctx context.Context, r *Router, host string, request func(context.Context, *Server) (T, error),
) (value T, err error) {
	server, err := r.cfg.Store.ServerInPool(r.cfg.ConnectionPool, host)
	if err != nil {
		return value, err
	}
	value, err = request(ctx, server)
	r.Report(server, err)
	return value, err
}

// HedgeConfig of a call of Hedge. Delay is required.
type HedgeConfig struct {
	// Delay is how long a server may take until the next one is sent the request as well.
	Delay time.Duration
	// Attempts is the number of requests to send while none is answered: after the last server
	// the first one follows again. Less than the number of servers means one for each.
	Attempts int
	// Stay repeats the request to the same server after Delay. The next one follows after an error.
	Stay bool
	// PeersFirst puts the peers that responded last before the node's own API server.
	PeersFirst bool
	// Retry reports whether the next server follows without Delay after an error. Nil means
	// after every error.
	Retry func(error) bool
	// Final reports whether an error decides: no request is sent after it. Nil means that none
	// does.
	Final func(error) bool
	// Grace is how long after a final error the outstanding requests may still succeed: they are
	// copies of one write, and one of them may have caused the conflict. 0 means until ctx ends.
	Grace time.Duration
}

// Hedge sends one request to several servers, each after a delay, and returns the first success.
// Otherwise it returns the final error, the last one that a server answered, or the last one.
// Writes must carry a resourceVersion, so that at most one of the copies is applied. No request is
// running when Hedge returns.
func Hedge[T any](
	ctx context.Context, r *Router, cfg HedgeConfig, request func(context.Context, *Server) (T, error),
) (T, error) {
	hosts := r.begin()
	if cfg.PeersFirst {
		hosts = r.peersFirst()
	}
	return hedge(ctx, cfg, hosts, r.leave, func(ctx context.Context, host string) (T, error) {
		return send(ctx, r, host, request)
	})
}

type answer[T any] struct {
	value T
	err   error
}

// hedge is Hedge for given hosts. It calls late with each host that is passed over because of
// Delay.
func hedge[T any](ctx context.Context, cfg HedgeConfig, hosts []string, late func(host string),
	send func(context.Context, string) (T, error)) (value T, err error) {
	if len(hosts) == 0 {
		return value, ErrNoServer
	}
	var group sync.WaitGroup
	defer group.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	attempts := max(cfg.Attempts, len(hosts))
	answers := make(chan answer[T], attempts)
	timer := time.NewTimer(cfg.Delay)
	defer timer.Stop()
	sent, open, at, decided := 0, 0, 0, false
	start := func() {
		host := hosts[at%len(hosts)]
		sent, open = sent+1, open+1
		group.Go(func() {
			value, err := send(ctx, host)
			answers <- answer[T]{value, err}
		})
		timer.Reset(cfg.Delay)
	}
	for start(); open > 0; {
		select {
		case got := <-answers:
			open--
			switch {
			case got.err == nil:
				return got.value, nil
			case decided: // err stays
			case cfg.Final != nil && cfg.Final(got.err):
				err, decided = got.err, true
				if timer.Stop(); cfg.Grace > 0 {
					timer.Reset(cfg.Grace)
				}
			default:
				if err == nil || IsNoResponse(err) || !IsNoResponse(got.err) {
					err = got.err
				}
				if sent < len(hosts) && ctx.Err() == nil && (cfg.Retry == nil || cfg.Retry(got.err)) {
					at++
					start()
				}
			}
		case <-timer.C:
			if decided {
				return value, err
			}
			if sent < attempts {
				if !cfg.Stay {
					late(hosts[at%len(hosts)])
					at++
				}
				start()
			}
		}
	}
	return value, err
}

// FollowPeers learns the other API servers from the EndpointSlice default/kubernetes, which the
// API servers maintain, and keeps connections to them open, so that an urgent release needs no
// handshake (E11). It calls report with the outcome of each read, at least every 20 s, and returns
// when ctx ends. health receives heartbeats.
func (r *Router) FollowPeers(ctx context.Context, health *reporter.Reporter, report func(error)) {
	changedAt := r.cfg.Clock()
	for ctx.Err() == nil {
		health.Heartbeat()
		all, err := r.ReadServers(ctx)
		report(err)
		if err != nil || r.updatePeers(all) {
			changedAt = r.cfg.Clock()
		}
		health.Heartbeat()
		r.ConnectPeers(ctx)
		r.cfg.Store.PrunePool(r.cfg.ConnectionPool, Union(r.Hosts(), r.Peers()))
		backoff.Sleep(ctx, peersWait(r.cfg.Clock()-changedAt))
	}
}

// updatePeers takes over the listed API servers that are not local, and reports whether the peers
// changed.
func (r *Router) updatePeers(listed []string) (changed bool) {
	local := r.cfg.Local()
	listed = slices.DeleteFunc(listed, func(h string) bool { return slices.Contains(local, h) })
	r.mu.Lock()
	defer r.mu.Unlock()
	if changed = r.peers.update(listed, r.cfg.Clock()); changed {
		r.cfg.Log.Info("API server peers changed", "peers", listed, "all", r.peers.hosts)
	}
	return changed
}

// ConnectPeers opens connections to all peers in parallel.
func (r *Router) ConnectPeers(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, peersTimeout)
	defer cancel()
	var group sync.WaitGroup
	for _, host := range r.Peers() {
		group.Go(func() {
			server, err := r.cfg.Store.ServerInPool(r.cfg.ConnectionPool, host)
			if err == nil {
				err = server.Connect(ctx)
			}
			if err != nil {
				r.cfg.Log.Debug("API server peer does not respond", "server", host, "err", err)
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			r.peers.responds[host] = err == nil || !IsNoResponse(err)
		})
	}
	group.Wait()
}
