package svc

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/apis/v1alpha1"
	"github.com/kvip/kvip/pkg/ipam"
	"github.com/kvip/kvip/pkg/place"
)

// CatalogueConfig of a Catalogue. All fields but Failed are needed.
type CatalogueConfig struct {
	Reader    Reader
	Namespace string // of the Leases
	Seat      string // name of the Lease whose holder gives out addresses
	Router    *apiclient.Router
	Log       *slog.Logger
	// Failed is told of each failed list or watch.
	Failed func(kind string, err error)
}

// Catalogue keeps what the Services part needs of the cluster up to date, for the allocator and for
// the agent of this node. It is safe for concurrent use.
type Catalogue struct {
	cfg      CatalogueConfig
	services *mirror[*Service]
	slices   *mirror[*Slice]
	nodes    *mirror[*Node]
	leases   *mirror[*Lease]
	seat     *mirror[*Lease]
	pools    *mirror[*Pool]
	legacy   *mirror[*LegacyPools]

	changes atomic.Uint64

	mu          sync.Mutex
	subscribers []chan struct{}
}

// NewCatalogue returns a Catalogue that knows nothing before Run.
func NewCatalogue(cfg CatalogueConfig) *Catalogue {
	if cfg.Failed == nil {
		cfg.Failed = func(string, error) {}
	}
	c := &Catalogue{cfg: cfg}
	c.services = newMirror(c, servicesSource, func(o runtime.Object) (*Service, bool) {
		s, ok := o.(*corev1.Service)
		if !ok {
			return nil, false
		}
		return cfg.Reader.Service(s), true
	})
	c.slices = newMirror(c, slicesSource, typed[*discoveryv1.EndpointSlice](readSlice))
	c.nodes = newMirror(c, nodesSource, typed[*corev1.Node](readNode))
	lease := typed[*coordinationv1.Lease](func(l *coordinationv1.Lease) (*Lease, bool) { return ReadLease(l), true })
	c.leases = newMirror(c, leasesSource(cfg.Namespace), lease)
	c.leases.same = sameLease
	c.seat = newMirror(c, seatSource(cfg.Namespace, cfg.Seat), lease)
	c.pools = newMirror(c, poolsSource, typed[*v1alpha1.IPPool](readPool))
	c.legacy = newMirror(c, legacySource, typed[*corev1.ConfigMap](readLegacy))
	return c
}

func newMirror[T object](c *Catalogue, s source, decode func(runtime.Object) (T, bool)) *mirror[T] {
	return &mirror[T]{source: s, decode: decode, changed: c.notify, log: c.cfg.Log, failed: c.cfg.Failed, items: map[string]T{}}
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
func (c *Catalogue) Run(ctx context.Context) error {
	var group sync.WaitGroup
	for _, run := range []func(context.Context, *apiclient.Router){
		c.services.run, c.slices.run, c.nodes.run, c.leases.run, c.seat.run, c.pools.run, c.legacy.run,
	} {
		group.Go(func() { run(ctx, c.cfg.Router) })
	}
	group.Wait()
	return nil
}

// Subscribe returns a channel that gets a value after changes; several may be told as one.
func (c *Catalogue) Subscribe() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	wake := make(chan struct{}, 1)
	c.subscribers = append(c.subscribers, wake)
	return wake
}

// Changes counts the changes that decisions may depend on: all but those of Leases that were only renewed.
func (c *Catalogue) Changes() uint64 { return c.changes.Load() }

func (c *Catalogue) notify(matters bool) {
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

// Synced is whether everything was read once without which nothing may be decided: pools may be
// missing, as their definition may not be installed.
func (c *Catalogue) Synced() bool { return c.unread() == "" }

// Settled is whether pools were read as well, or it is known why they cannot be: their definition is
// not installed, or the right is missing. Addresses are given out only then.
func (c *Catalogue) Settled() bool {
	for _, state := range []func() (bool, string){c.pools.state, c.legacy.state} {
		if synced, problem := state(); !synced && problem == "" {
			return false
		}
	}
	return c.Synced()
}

// unread names the kinds that were not read yet.
func (c *Catalogue) unread() string {
	var missing []string
	for kind, state := range c.states() {
		if synced, _ := state(); !synced {
			missing = append(missing, kind)
		}
	}
	slices.Sort(missing)
	return strings.Join(missing, ", ")
}

func (c *Catalogue) states() map[string]func() (bool, string) {
	return map[string]func() (bool, string){
		c.services.kind: c.services.state, c.slices.kind: c.slices.state, c.nodes.kind: c.nodes.state,
		c.leases.kind: c.leases.state, c.seat.kind: c.seat.state,
	}
}

// Problem says what cannot be read at present, or "".
func (c *Catalogue) Problem() string {
	if kinds := c.unread(); kinds != "" {
		return "not read yet: " + kinds + c.firstProblem()
	}
	return strings.TrimPrefix(c.firstProblem(), "; ")
}

func (c *Catalogue) firstProblem() string {
	for _, state := range c.states() {
		if _, problem := state(); problem != "" {
			return "; " + problem
		}
	}
	return ""
}

// Services returns every Service, in the order of namespace and name.
func (c *Catalogue) Services() []*Service {
	list := c.services.all()
	slices.SortFunc(list, func(a, b *Service) int { return strings.Compare(string(a.Owner()), string(b.Owner())) })
	return list
}

// Endpoints returns, for each Service, the nodes with endpoints that take traffic.
func (c *Catalogue) Endpoints() map[ipam.Owner]place.Endpoints {
	all := map[ipam.Owner]place.Endpoints{}
	for _, s := range c.slices.all() {
		have := all[s.Owner]
		if have == nil {
			all[s.Owner] = s.Nodes
			continue
		}
		merged := make(place.Endpoints, len(have)+len(s.Nodes))
		for _, from := range []place.Endpoints{have, s.Nodes} {
			for node, readiness := range from {
				if old, ok := merged[node]; !ok || better(readiness, old) {
					merged[node] = readiness
				}
			}
		}
		all[s.Owner] = merged
	}
	return all
}

// Servers returns the addresses of all API servers.
func (c *Catalogue) Servers() []string {
	for _, s := range c.slices.all() {
		if len(s.servers) > 0 {
			return s.servers
		}
	}
	return nil
}

// Nodes returns every Node by its name.
func (c *Catalogue) Nodes() map[string]*Node {
	all := map[string]*Node{}
	for _, n := range c.nodes.all() {
		all[n.Name] = n
	}
	return all
}

// Leases returns the Leases of the Services part, but the seat's.
func (c *Catalogue) Leases() []*Lease { return c.leases.all() }

// Seat returns the Lease whose holder gives out addresses, nil where there is none.
func (c *Catalogue) Seat() *Lease {
	for _, l := range c.seat.all() {
		return l
	}
	return nil
}

// Ledger returns which Service has which address, as far as this node has seen.
func (c *Catalogue) Ledger() ipam.Ledger {
	all := ipam.Ledger{}
	for _, l := range c.leases.all() {
		if l.Role == RoleLedger {
			for addr, owners := range l.Entries {
				all[addr] = owners
			}
		}
	}
	return all
}

// Pools returns the IPPools by name, also those that cannot be used.
func (c *Catalogue) Pools() []*Pool {
	list := c.pools.all()
	slices.SortFunc(list, func(a, b *Pool) int { return strings.Compare(a.ObjectMeta.Name, b.ObjectMeta.Name) })
	return list
}

// Legacy returns the pools of kube-vip's ConfigMap, and what is wrong with its values.
func (c *Catalogue) Legacy() ([]ipam.Pool, []error) {
	for _, l := range c.legacy.all() {
		return l.Pools, l.Problems
	}
	return nil, nil
}

// Interfaces returns, by namespace, the interface for Services that name none, "" for all others.
func (c *Catalogue) Interfaces() map[string]string {
	for _, l := range c.legacy.all() {
		return l.Interfaces
	}
	return nil
}

// Reserved returns the addresses that Nodes have: no Service may have one.
func (c *Catalogue) Reserved() map[netip.Addr]string {
	all := map[netip.Addr]string{}
	for _, n := range c.nodes.all() {
		for _, a := range n.Addresses {
			all[a] = n.Name
		}
	}
	return all
}
