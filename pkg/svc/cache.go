package svc

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/backoff"
	"github.com/kvip/kvip/pkg/boottime"
	"github.com/kvip/kvip/pkg/required"
)

// CacheConfig of a Cache.
type CacheConfig struct {
	// Reader decodes Services.
	Reader Reader
	// Namespace of the Leases. Required.
	Namespace string
	// Lease is the name of the Lease of the leading allocator. Required.
	Lease string
	// Router chooses the API server. Required.
	Router *apiclient.Router
	// Log receives changes of what cannot be read. Nil discards them.
	Log *slog.Logger
	// Clock is the time since boot. Nil: boottime.Now.
	Clock boottime.Clock
	// OnFailure receives each failed list or watch. Nil discards them.
	OnFailure func(verb, resource string, err error)
}

// Cache keeps decoded objects of the cluster up to date, for the allocator and for the speaker of
// this node. It is safe for concurrent use.
type Cache struct {
	cfg      CacheConfig
	services *store[*Service]
	slices   *store[*endpointSlice]
	nodes    *store[*Node]
	leases   *store[*Lease]
	leader   *store[*Lease]
	pools    *store[*Pool]
	kubevip  *store[*kubeVIPConfigMap]
	cidrs    *store[*serviceCIDR]
	bgp      bgpStores

	announcements announcements

	deleted *deletedEntries
	changes atomic.Uint64

	mu          sync.Mutex
	subscribers []backoff.Signal
	restart     context.CancelFunc // ends the present lists and watches; nil while none run
}

// NewCache returns an empty Cache. It fails if a required field of cfg is missing.
func NewCache(cfg CacheConfig) (*Cache, error) {
	if err := required.Fields("cache", map[string]bool{
		"Namespace": cfg.Namespace == "", "Lease": cfg.Lease == "", "Router": cfg.Router == nil,
	}); err != nil {
		return nil, err
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Clock == nil {
		cfg.Clock = boottime.Now
	}
	if cfg.OnFailure == nil {
		cfg.OnFailure = func(string, string, error) {}
	}
	c := &Cache{cfg: cfg, deleted: newDeletedEntries(cfg.Clock)}
	c.services = newStore(c, listServices, decoder(func(s *corev1.Service) (*Service, bool) {
		return cfg.Reader.Service(s), true
	}))
	c.slices = newStore(c, listSlices, decoder(readSlice))
	c.nodes = newStore(c, listNodes, decoder(readNode))
	c.nodes.same = sameNode
	allLeases := listLeases(cfg.Namespace)
	c.leases = newStore(c, allLeases, decoder(func(l *coordinationv1.Lease) (*Lease, bool) {
		lease := ReadLease(l)
		return lease, lease.belongs(cfg.Lease)
	}))
	c.leases.same, c.leases.track = sameLease, c.deleted.track
	leaderLease := listLease(cfg.Namespace, cfg.Lease)
	c.leader = newStore(c, leaderLease, decoder(func(l *coordinationv1.Lease) (*Lease, bool) {
		return ReadLease(l), true
	}))
	c.leader.same = sameLease
	c.pools = newStore(c, listPools, decoder(readPool))
	c.cidrs = newStore(c, listServiceCIDRs, decoder(readServiceCIDR))
	c.kubevip = newStore(c, listKubeVIPConfigMap, decoder(readKubeVIPConfigMap))
	c.bgp = newBGPStores(c)
	return c, nil
}

// Run keeps the cache up to date until ctx ends.
func (c *Cache) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		c.runStores(ctx)
	}
	return nil
}

// runStores lists and watches until ctx ends or Resync is called.
func (c *Cache) runStores(ctx context.Context) {
	ctx, end := context.WithCancel(ctx)
	defer end()
	c.mu.Lock()
	c.restart = end
	c.mu.Unlock()
	runs := []func(context.Context, *apiclient.Router){
		c.services.run, c.slices.run, c.nodes.run, c.leases.run, c.leader.run, c.pools.run, c.kubevip.run,
		c.bgp.run,
	}
	if c.cfg.Reader.KubeVIP {
		runs = append(runs, c.cidrs.run)
	}
	var group sync.WaitGroup
	for _, run := range runs {
		group.Go(func() { run(ctx, c.cfg.Router) })
	}
	group.Wait()
}

// Resync reads all objects again, from another API server if one is known, because those of the
// present one are old. The cache keeps its content until then.
func (c *Cache) Resync() {
	c.cfg.Router.Next()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.restart != nil {
		c.restart()
	}
}

// Subscribe returns a channel that receives a value after changes. Several changes may count as
// one.
func (c *Cache) Subscribe() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	wake := backoff.NewSignal()
	c.subscribers = append(c.subscribers, wake)
	return wake
}

// Changes counts the changes on which decisions may depend: all except renewals of Leases and
// heartbeats of Nodes. What can be seen in the Cache was counted.
func (c *Cache) Changes() uint64 { return c.changes.Load() }

// notify wakes the subscribers.
func (c *Cache) notify() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, wake := range c.subscribers {
		wake.Notify()
	}
}

// HasSynced reports whether all objects that a decision requires were read once. Pools are not
// required: their definition may not be installed.
func (c *Cache) HasSynced() bool { return len(c.notSynced()) == 0 }

// HasSyncedPools reports whether HasSynced is true and pools and the cluster's networks were read
// too, or cannot be read: their definition is not installed, or the right is missing. Addresses are
// allocated only then.
func (c *Cache) HasSyncedPools() bool {
	states := []storeState{c.pools.state(), c.kubevip.state()}
	if c.cfg.Reader.KubeVIP {
		states = append(states, c.cidrs.state())
	}
	missing := func(s storeState) bool { return !s.synced && !s.absent }
	return !slices.ContainsFunc(states, missing) && c.HasSynced()
}

// Problem describes what cannot be read at present, or is "".
func (c *Cache) Problem() string {
	var all []string
	if kinds := c.notSynced(); len(kinds) > 0 {
		all = append(all, "not read yet: "+strings.Join(kinds, ", "))
	}
	for _, s := range c.required() {
		if s.problem != "" && !slices.Contains(all, s.problem) {
			all = append(all, s.problem)
		}
	}
	return strings.Join(all, "; ")
}

func (c *Cache) notSynced() (kinds []string) {
	for _, s := range c.required() {
		if !s.synced {
			kinds = append(kinds, s.kind)
		}
	}
	return kinds
}

// required returns the states of the kinds that a decision requires.
func (c *Cache) required() []storeState {
	return []storeState{
		c.slices.state(), c.leases.state(), c.leader.state(), c.nodes.state(), c.services.state(),
	}
}

// newStore returns a store that reports its changes to c.
func newStore[T object](c *Cache, from listWatch, decode decodeFunc[T]) *store[T] {
	return &store[T]{
		listWatch: from, decode: decode, changed: c.notify,
		count: func() { c.changes.Add(1) },
		log:   c.cfg.Log, failed: c.cfg.OnFailure, items: map[string]T{},
	}
}
