package allocator

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	typedv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"

	"github.com/kvip/kvip/pkg/apiclient"
)

// failures receives each failed request, for metrics. It may be nil.
type failures func(verb, resource string, err error)

// count reports err if a request failed, and returns err. A request that this agent cancelled has
// not failed.
func (f failures) count(verb, resource string, err error) error {
	if f != nil && err != nil && !errors.Is(err, context.Canceled) {
		f(verb, resource, err)
	}
	return err
}

// send runs request by router. If that could not be sent, as without credentials, send counts it
// under the given name. Otherwise the request counts its own failures.
func (f failures) send(ctx context.Context, router *apiclient.Router, verb, resource string,
	request func(context.Context, *apiclient.Server) error) error {
	sent := false
	err := router.Do(ctx, func(ctx context.Context, s *apiclient.Server) error {
		sent = true
		return request(ctx, s)
	})
	if !sent {
		return f.count(verb, resource, err)
	}
	return err
}

// countedLeases returns the function by which the store gets its client: that of the elector's
// router, whose failures are counted.
func countedLeases(cfg LeaderElectorConfig) func() (leaseClient, error) {
	failures := failures(cfg.OnFailure)
	return func() (leaseClient, error) {
		server, err := cfg.Router.Server()
		if err != nil {
			return nil, failures.count("list", "leases", err)
		}
		return countingClient{server.Coordination.Leases(cfg.Namespace), failures}, nil
	}
}

// countingClient counts failed requests.
type countingClient struct {
	leases   typedv1.LeaseInterface
	failures failures
}

func (c countingClient) List(
	ctx context.Context, o metav1.ListOptions,
) (*coordinationv1.LeaseList, error) {
	list, err := c.leases.List(ctx, o)
	return list, c.failures.count("list", "leases", err)
}

func (c countingClient) Get(
	ctx context.Context, name string, o metav1.GetOptions,
) (*coordinationv1.Lease, error) {
	l, err := c.leases.Get(ctx, name, o)
	return l, c.failures.count("get", "leases", err)
}

func (c countingClient) Create(
	ctx context.Context, l *coordinationv1.Lease, o metav1.CreateOptions,
) (*coordinationv1.Lease, error) {
	created, err := c.leases.Create(ctx, l, o)
	return created, c.failures.count("create", "leases", err)
}

func (c countingClient) Update(
	ctx context.Context, l *coordinationv1.Lease, o metav1.UpdateOptions,
) (*coordinationv1.Lease, error) {
	written, err := c.leases.Update(ctx, l, o)
	return written, c.failures.count("update", "leases", err)
}

// permissions logs each missing permission once (S9).
type permissions struct {
	log *slog.Logger

	mu       sync.Mutex
	reported map[string]bool
}

func newPermissions(log *slog.Logger) *permissions {
	return &permissions{log: log, reported: map[string]bool{}}
}

// missing logs that a permission is missing, and the consequence.
func (p *permissions) missing(permission, consequence string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.reported[permission] {
		p.reported[permission] = true
		p.log.Warn("permission missing", "permission", permission, "consequence", consequence,
			"err", err)
	}
}
