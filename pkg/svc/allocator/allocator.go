// Package allocator gives addresses to Services on the one node that is elected for it. The leader
// records each address in the ledger first, and then writes the status of Services and pools. It
// does not choose nodes, and does not put addresses on a host.
package allocator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"golang.org/x/sync/errgroup"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/backoff"
	"github.com/kvip/kvip/pkg/boottime"
	"github.com/kvip/kvip/pkg/ipam"
	"github.com/kvip/kvip/pkg/placement"
	"github.com/kvip/kvip/pkg/reporter"
	"github.com/kvip/kvip/pkg/required"
	"github.com/kvip/kvip/pkg/svc"
)

const (
	// minPause is the least time between two reconciles. What changes meanwhile goes into one write of
	// the ledger, so thousands of Services cost tens of writes (S4). A longer reconcile is followed by
	// a pause of its own length.
	minPause = 100 * time.Millisecond
	// pollInterval limits how long a change without an event stays undetected.
	pollInterval = time.Second
	// resyncInterval is the longest time between two reconciles, without any known change.
	resyncInterval = 30 * time.Second
	// requestTimeout limits one write of a status, an Event or a finalizer.
	requestTimeout = 10 * time.Second
)

// Config configures an Allocator. All fields without a default are required.
type Config struct {
	Cache   *svc.Cache
	Elector *LeaderElector
	// Router is for all requests but those of the Elector and the ledger.
	Router *apiclient.Router
	// Clock is boottime.Now if nil.
	Clock boottime.Clock
	// Log discards if nil.
	Log *slog.Logger
	// ControlPlane are the VIPs that are known from flags, Port is their port.
	ControlPlane []netip.Addr
	Port         int
	// Placement returns where an address belongs, with an explanation. A Decision without a reason
	// means unknown, as does a nil Placement.
	Placement func(addr netip.Addr) (d placement.Decision, why string)
	// PlacementVersion grows with each change of Placement. Nil means that it never changes.
	PlacementVersion func() uint64
	// KubeVIP: a kube-vip may serve some Services. Those whose Lease it renews are left to it (S9).
	KubeVIP bool
	// Node is the source of Events.
	Node string
	// OnStats receives the result of each reconcile, for metrics. The zero value means that this node
	// is not the leader. It may be nil.
	OnStats func(Stats)
	// OnFailure receives each failed request. It may be nil.
	OnFailure func(verb, resource string, err error)
	// Health receives heartbeats: they are at most pollInterval and the writes of one reconcile
	// apart. It may be nil.
	Health *reporter.Reporter
}

func (c Config) failures() failures { return c.OnFailure }

// Stats are the results of a reconcile.
type Stats struct {
	// Services is the number of Services that have all that they request, Refused that of others, by
	// reason.
	Services int
	Refused  map[string]int
	// Pools has one entry for each pool and family.
	Pools []PoolStats
}

// PoolStats are the addresses of one family of a pool.
type PoolStats struct {
	Pool   string
	Family ipam.Family
	ipam.Usage
}

// heartbeatTimeout limits the writes of one reconcile (E12).
const heartbeatTimeout = 90 * time.Second

// Allocator allocates addresses while this node is the leader.
type Allocator struct {
	cfg        Config
	store      *store
	queue      *statusQueue
	events     *events
	allowed    *permissions
	background chan func(context.Context)

	term       uint64        // in which the ledger was acquired; 0: it was not
	retryAt    time.Duration // of the next acquisition after a failure
	reconciled versions      // of the inputs of the last reconcile
	unwritten  bool          // the status of a pool, or a finalizer, is not as desired

	nodeChanges *nodeChanges
	vips        *vipHistory
	takeovers   takeovers
	foreign     serviceLeases
	sessions    sessionCounts
	validPools  map[string]ipam.Pool // as they were when last valid
	writePacer  writePacer
}

// New returns an Allocator that does nothing before Run.
func New(cfg Config) (*Allocator, error) {
	if err := required.Fields("allocator", map[string]bool{
		"Cache": cfg.Cache == nil, "Elector": cfg.Elector == nil, "Router": cfg.Router == nil,
		"Node": cfg.Node == "",
	}); err != nil {
		return nil, err
	}
	if cfg.Clock == nil {
		cfg.Clock = boottime.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Placement == nil {
		cfg.Placement = func(netip.Addr) (placement.Decision, string) { return placement.Decision{}, "" }
	}
	if cfg.PlacementVersion == nil {
		cfg.PlacementVersion = func() uint64 { return 0 }
	}
	if cfg.OnStats == nil {
		cfg.OnStats = func(Stats) {}
	}
	elector := cfg.Elector.cfg
	allowed := newPermissions(cfg.Log)
	e := newEvents(cfg, allowed)
	cfg.Health.SetTimeout(heartbeatTimeout)
	return &Allocator{
		cfg: cfg, events: e, allowed: allowed,
		store: &store{cfg: storeConfig{
			name: elector.Name, namespace: elector.Namespace, identity: elector.Identity,
			leases: countedLeases(elector), log: cfg.Log, known: cfg.Cache.Lease,
			maxShardBytes: maxShardBytes,
		}},
		queue:       newStatusQueue(cfg, &statusClient{cfg: cfg, events: e, allowed: allowed}),
		nodeChanges: newNodeChanges(),
		vips:        newVIPHistory(),
		takeovers:   takeovers{},
		background:  make(chan func(context.Context), 64),
		writePacer:  writePacer{},
	}, nil
}

// Run allocates until ctx ends.
func (a *Allocator) Run(ctx context.Context) error {
	var group errgroup.Group
	group.Go(func() error { return a.runWriters(ctx) })
	group.Go(func() error { return a.runReconciler(ctx) })
	return group.Wait()
}

func (a *Allocator) runReconciler(ctx context.Context) error {
	changed := a.cfg.Cache.Subscribe()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-tick.C:
		}
		began := a.cfg.Clock()
		a.cfg.Health.Heartbeat()
		if a.reconcile(ctx) {
			backoff.Sleep(ctx, max(minPause, a.cfg.Clock()-began))
		}
	}
}

// runWriters writes statuses and Events until ctx ends.
func (a *Allocator) runWriters(ctx context.Context) error {
	var group errgroup.Group
	for _, part := range []func(context.Context){
		a.queue.run, a.runBackground, a.postNodeChanges, a.followServiceLeases,
		a.followNodeStates,
	} {
		group.Go(func() error {
			part(ctx)
			return nil
		})
	}
	return group.Wait()
}

// enqueue queues do for the background, and returns true. If too much is waiting, it drops do and
// returns false: the next reconcile enqueues it again.
func (a *Allocator) enqueue(do func(context.Context)) bool {
	select {
	case a.background <- do:
		return true
	default:
		return false
	}
}

func (a *Allocator) runBackground(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case do := <-a.background:
			limited, cancel := context.WithTimeout(ctx, requestTimeout)
			do(limited)
			cancel()
		}
	}
}

// reconcile brings ledger and statuses in line with the cluster. It reports whether it did
// anything.
func (a *Allocator) reconcile(ctx context.Context) (acted bool) {
	term, leader := a.cfg.Elector.IsLeader()
	leader = leader && a.cfg.Cache.HasSyncedPools()
	a.observeNodeChanges(leader)
	if !leader {
		a.stop()
		return false
	}
	if known, _ := a.foreign.state(); a.cfg.KubeVIP && !known {
		return false
	}
	v := a.currentVersions(term)
	if a.upToDate(v) || a.term != term && v.at < a.retryAt {
		return false
	}
	a.reconciled = v
	if a.term == term {
		if name := a.store.changed(a.cfg.Cache.Leases()); name != "" {
			a.reset(fmt.Errorf("lease %s was edited or deleted: %w", name, errLedgerChanged))
		}
	}
	if a.term != term && !a.acquire(ctx, term) {
		return true
	}
	services, pools := a.cfg.Cache.Services(), a.pools()
	have := a.cfg.Cache.WithDeletedEntries(a.store.ledger())
	statusOwners, reserved := a.statusOwners(services, have), a.reserved()
	requests := requestsOf(services, statusOwners, a.cfg.Cache.Interfaces())
	result := ipam.Plan(have, usable(pools), reserved, requests)
	if !result.Ledger.Equal(a.store.ledger()) {
		if err := a.store.commit(ctx, result.Ledger); err != nil {
			a.reset(err)
			return true
		}
	}
	a.queueStatuses(services, pools, reserved, result, statusOwners)
	a.removeFinalizers(services)
	return true
}

// stop begins no further write: this node is not the leader.
func (a *Allocator) stop() {
	a.queue.retain(nil)
	a.foreign.forget()
	if a.term != 0 {
		a.term = 0
		a.cfg.OnStats(Stats{})
	}
}

// acquire takes the ledger over. Leadership is re-checked after that: a node that was paused before
// must not write. A later pause is fenced by the shards' versions (S4).
func (a *Allocator) acquire(ctx context.Context, term uint64) bool {
	if err := a.store.acquire(ctx); err != nil {
		a.reset(err)
		return false
	}
	if a.cacheIsStale(ctx) {
		a.retryAt = a.cfg.Clock() + pollInterval
		return false
	}
	if now, leader := a.cfg.Elector.IsLeader(); !leader || now != term {
		return false
	}
	a.vips.adopt(a.store.ledger(), uint16(a.cfg.Port), a.cfg.Clock())
	a.term = term
	return true
}

// reset forces a new acquisition of the ledger, since its content is unknown: at once after a write
// of another client, else after pollInterval.
func (a *Allocator) reset(err error) {
	a.term = 0
	if errors.Is(err, errLedgerChanged) {
		a.cfg.Log.Info("ledger changed by another client; acquiring it again", "err", err)
		return
	}
	a.retryAt = a.cfg.Clock() + pollInterval
	a.cfg.Log.Warn("cannot read or write the ledger; trying again", "err", err)
}

// cacheIsStale reports whether the acquired ledger has a Service that exists and is not in the
// cache: the former allocator knew more. Without this check the Service would lose its address.
// Within a term it is not needed, since this node has seen each Service that it records.
func (a *Allocator) cacheIsStale(ctx context.Context) bool {
	known := map[ipam.ServiceKey]bool{}
	for _, s := range a.cfg.Cache.Services() {
		known[s.Key()] = true
	}
	for _, entries := range a.store.ledger() {
		for _, e := range entries {
			if e.Service != ipam.ControlPlane && !known[e.Service] && a.exists(ctx, e.Service) {
				a.cfg.Log.Info("waiting for a Service of the ledger to appear in the cache", "service",
					e.Service)
				return true
			}
		}
	}
	return false
}

// exists asks the API server for a Service. It is false for names that no Service can have, and
// true after a failure.
func (a *Allocator) exists(ctx context.Context, key ipam.ServiceKey) bool {
	namespace, name, ok := strings.Cut(string(key), "/")
	valid := func(label string) bool { return len(validation.IsDNS1123Label(label)) == 0 }
	if !ok || !valid(namespace) || !valid(name) {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	failures := a.cfg.failures()
	err := failures.send(ctx, a.cfg.Router, "get", "services",
		func(ctx context.Context, s *apiclient.Server) error {
			_, err := s.Core.Services(namespace).Get(ctx, name, metav1.GetOptions{})
			if apierrors.IsNotFound(err) { // not a failure
				return err
			}
			return failures.count("get", "services", err)
		})
	return !apierrors.IsNotFound(err)
}

// requestsOf returns the requests of managed Services, without those whose status belongs to
// another program: these neither get nor keep an address.
func requestsOf(
	services []*svc.Service, statusOwners map[ipam.ServiceKey]string, interfaces map[string]string,
) []ipam.Request {
	var all []ipam.Request
	for _, s := range services {
		if s.Managed && statusOwners[s.Key()] == "" {
			request := s.Request
			request.Link = cmp.Or(s.Link, interfaces[s.Namespace], interfaces[""])
			all = append(all, request)
		}
	}
	return all
}

// queueStatuses queues the statuses of Services and pools, and reports Stats.
func (a *Allocator) queueStatuses(
	services []*svc.Service, pools []poolSource, reserved ipam.Reserved, result ipam.Result,
	statusOwners map[ipam.ServiceKey]string,
) {
	stats := Stats{Refused: map[string]int{}}
	queued := make(map[ipam.ServiceKey]bool, len(services))
	for _, s := range services {
		if s.Managed && s.Condition == nil {
			a.nodeChanges.add(s.Key())
		}
		want, ok := a.desired(s, result, statusOwners[s.Key()])
		if !ok {
			continue
		}
		a.queue.set(s, want)
		queued[s.Key()] = true
		if want.isRefused() {
			stats.Refused[want.reason]++
		} else if s.Managed {
			stats.Services++
		}
	}
	a.queue.retain(queued)
	a.queuePoolStatuses(pools, result.Ledger, reserved, &stats)
	a.queueBGPStatuses()
	a.cfg.OnStats(stats)
}
