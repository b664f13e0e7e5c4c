package svc

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/apis/v1alpha1"
	"github.com/kvip/kvip/pkg/boottime"
)

// CacheConfig of a Catalogue. All fields but Clock and Failed are needed.
type CacheConfig struct {
	Reader    Reader
	Namespace string // of the Leases
	Lease     string // name of the Lease whose holder gives out addresses
	Router    *apiclient.Router
	Log       *slog.Logger
	// Clock is the time since boot; nil: boottime.Boottime.
	Clock boottime.Clock
	// OnFailure is told of each failed list or watch.
	OnFailure func(verb, resource string, err error)
}

// Cache keeps what the Services part needs of the cluster up to date, for the allocator and for
// the agent of this node. It is safe for concurrent use.
type Cache struct {
	cfg      CacheConfig
	services *mirror[*Service]
	slices   *mirror[*EndpointSlice]
	nodes    *mirror[*Node]
	leases   *mirror[*Lease]
	seat     *mirror[*Lease]
	pools    *mirror[*Pool]
	legacy   *mirror[*KubeVIPConfigMap]
	cidrs    *mirror[*serviceCIDR]

	vanished *vanished
	changes  atomic.Uint64

	mu          sync.Mutex
	subscribers []chan struct{}
	endRound    context.CancelFunc // nil while nothing runs
}

// NewCache returns a Catalogue that knows nothing before Run.
func NewCache(cfg CacheConfig) *Cache {
	if cfg.Clock == nil {
		cfg.Clock = boottime.Now
	}
	if cfg.OnFailure == nil {
		cfg.OnFailure = func(string, string, error) {}
	}
	c := &Cache{cfg: cfg, vanished: newVanished(cfg.Clock)}
	c.services = newMirror(c, servicesSource, typed[*corev1.Service](func(s *corev1.Service) (*Service, bool) {
		return cfg.Reader.Service(s), true
	}))
	c.slices = newMirror(c, slicesSource, typed[*discoveryv1.EndpointSlice](readSlice))
	c.nodes = newMirror(c, nodesSource, typed[*corev1.Node](readNode))
	c.nodes.same = sameNode
	c.leases = newMirror(c, leasesSource(cfg.Namespace), typed[*coordinationv1.Lease](func(l *coordinationv1.Lease) (*Lease, bool) {
		lease := ReadLease(l)
		return lease, lease.belongs(cfg.Lease)
	}))
	c.leases.same, c.leases.follow = sameLease, c.vanished.follow
	c.seat = newMirror(c, seatSource(cfg.Namespace, cfg.Lease), typed[*coordinationv1.Lease](func(l *coordinationv1.Lease) (*Lease, bool) {
		return ReadLease(l), true
	}))
	c.seat.same = sameLease
	c.pools = newMirror(c, poolsSource, typed[*v1alpha1.IPPool](readPool))
	c.cidrs = newMirror(c, serviceCIDRsSource, typed[*networkingv1.ServiceCIDR](readServiceCIDR))
	c.legacy = newMirror(c, legacySource, typed[*corev1.ConfigMap](readLegacy))
	return c
}

func newMirror[T object](c *Cache, s source, decode func(runtime.Object) (T, bool)) *mirror[T] {
	return &mirror[T]{source: s, decode: decode, changed: c.notify, log: c.cfg.Log, failed: c.cfg.OnFailure, items: map[string]T{}}
}

// typed makes a decoder of any object from one of objects of type O.
func typed[O runtime.Object, T any](read func(O) (T, bool)) func(runtime.Object) (T, bool) {
	return func(o runtime.Object) (T, bool) {
		if object, ok := o.(O); ok {
			return read(object)
		}
		var none T
		return none, false
	}
}

// Run keeps the catalogue up to date until ctx ends.
func (c *Cache) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		c.round(ctx)
	}
	return nil
}

// round follows all kinds until ctx ends, or somebody wants to begin anew.
func (c *Cache) round(ctx context.Context) {
	ctx, end := context.WithCancel(ctx)
	defer end()
	c.mu.Lock()
	c.endRound = end
	c.mu.Unlock()
	var group sync.WaitGroup
	runs := []func(context.Context, *apiclient.Router){
		c.services.run, c.slices.run, c.nodes.run, c.leases.run, c.seat.run, c.pools.run, c.legacy.run,
	}
	if c.cfg.Reader.KubeVIP {
		runs = append(runs, c.cidrs.run)
	}
	for _, run := range runs {
		group.Go(func() { run(ctx, c.cfg.Router) })
	}
	group.Wait()
}

// Resync has everything read again, from another API server if one is known: what the present one shows is old. What
// was read stays until then.
func (c *Cache) Resync() {
	c.cfg.Router.Next()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.endRound != nil {
		c.endRound()
	}
}

// Subscribe returns a channel that gets a value after changes; several may be told as one.
func (c *Cache) Subscribe() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	wake := make(chan struct{}, 1)
	c.subscribers = append(c.subscribers, wake)
	return wake
}

// Changes counts the changes that decisions may depend on: all but those of Leases that were only renewed.
func (c *Cache) Changes() uint64 { return c.changes.Load() }

func (c *Cache) notify(matters bool) {
	if matters {
		c.changes.Add(1)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, wake := range c.subscribers {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
}
