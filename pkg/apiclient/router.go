package apiclient

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// RouterConfig of a Router. Store is needed.
type RouterConfig struct {
	Store *Store
	// ConnectionPool keeps this Router's connections apart from those of others: what renews a Lease must not
	// wait behind what lists a thousand Services (E11). "" shares the Store's.
	ConnectionPool string
	// Local returns the addresses of the node's own API server, best first; nil where there is none.
	Local func() []string
	// InCluster is the address of the Service kubernetes; "" where there is none.
	InCluster string
}

// Router chooses the API server to ask: the node's own, else the in-cluster address, else one of
// the others (E11). It stays with one as long as that answers. It is safe for concurrent use.
type Router struct {
	cfg RouterConfig

	mu    sync.Mutex
	peers []string
	good  string // the one that is asked
}

// NewRouter returns a Router that knows no peers yet.
func NewRouter(cfg RouterConfig) *Router {
	if cfg.Local == nil {
		cfg.Local = func() []string { return nil }
	}
	return &Router{cfg: cfg}
}

// SetPeers says under which addresses ("address:port") API servers are known, at most MaxServers.
func (r *Router) SetPeers(hosts []string) {
	r.mu.Lock()
	r.peers = slices.Clone(hosts[:min(len(hosts), MaxServers)])
	r.mu.Unlock()
	if r.cfg.ConnectionPool != "" {
		r.cfg.Store.PrunePool(r.cfg.ConnectionPool, r.Hosts())
	}
}

// Hosts returns where API servers may be, in the order in which they are tried first.
func (r *Router) Hosts() []string {
	hosts := slices.Clone(r.cfg.Local())
	if r.cfg.InCluster != "" && !slices.Contains(hosts, r.cfg.InCluster) {
		hosts = append(hosts, r.cfg.InCluster)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.peers {
		if !slices.Contains(hosts, p) {
			hosts = append(hosts, p)
		}
	}
	return hosts
}

// InCluster is where a pod finds the Service kubernetes (Kubernetes documentation, "Accessing the Kubernetes
// API from a Pod"); "" outside of one.
func InCluster() string {
	host, port := os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT")
	if host == "" || port == "" {
		return ""
	}
	return net.JoinHostPort(host, port)
}

// ErrNoServer says that no address of an API server is known.
var ErrNoServer = errors.New("no API server is known")

// Server returns the client of the API server to ask now. Report must hear what came of it.
func (r *Router) Server() (*Server, error) {
	hosts := r.Hosts()
	if len(hosts) == 0 {
		return nil, ErrNoServer
	}
	r.mu.Lock()
	if !slices.Contains(hosts, r.good) {
		r.good = hosts[0]
	}
	host := r.good
	r.mu.Unlock()
	return r.cfg.Store.ServerInPool(r.cfg.ConnectionPool, host)
}

// Report says how a request to server ended: after no answer the next one is asked, and refused
// credentials are told to the Store.
func (r *Router) Report(server *Server, err error) {
	switch {
	case err == nil:
	case IsDenied(err):
		r.cfg.Store.ReportDenied(server.Source, server.Host)
	case IsNoResponse(err):
		r.leave(server.Host)
	}
}

// Next goes on to another server, if one is known: what the present one says is old.
func (r *Router) Next() {
	r.mu.Lock()
	good := r.good
	r.mu.Unlock()
	r.leave(good)
}

// leave goes on to the host after this one, unless somebody else has already.
func (r *Router) leave(host string) {
	hosts := r.Hosts()
	r.mu.Lock()
	defer r.mu.Unlock()
	if i := slices.Index(hosts, host); r.good == host && i >= 0 {
		r.good = hosts[(i+1)%len(hosts)]
	}
}

// Do asks for one thing, at every known API server in turn until one answers.
func (r *Router) Do(ctx context.Context, request func(context.Context, *Server) error) error {
	err := error(ErrNoServer)
	for range max(1, len(r.Hosts())) {
		var server *Server
		if server, err = r.Server(); err != nil {
			return err
		}
		err = request(ctx, server)
		r.Report(server, err)
		if err == nil || !IsUnreachable(err) || ctx.Err() != nil {
			return err
		}
	}
	return fmt.Errorf("no API server at %v answers: %w", r.Hosts(), err)
}

// IsNoResponse is whether err says that an API server gave no answer of its own: it was not reached, did
// not answer in time, or the connection ended.
func IsNoResponse(err error) bool {
	var status apierrors.APIStatus
	return err != nil && !errors.Is(err, context.Canceled) && !errors.As(err, &status)
}

// IsUnreachable is whether err says that nothing answered at all and nothing was sent: then another server, or
// another address of the same one, may be asked without doubt about what was applied.
func IsUnreachable(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}
