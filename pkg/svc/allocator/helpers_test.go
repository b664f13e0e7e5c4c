package allocator

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/placement"
	"github.com/kvip/kvip/pkg/svc"
	"github.com/kvip/kvip/test/fakeapi/fakecluster"
	"github.com/kvip/kvip/test/testutil"
)

// fixture is a cluster with allocators whose clock advances by advance only.
type fixture struct {
	*fakecluster.Env
	now   atomic.Int64
	cache *svc.Cache

	mu       sync.Mutex
	reasons  map[netip.Addr]placement.Reason // of the placement of an address
	stats    Stats
	failures map[string]int // requests that failed, by verb and resource
}

func newFixture(t *testing.T, changes ...func(*svc.Reader)) *fixture {
	t.Helper()
	r := &fixture{
		Env: fakecluster.New(t), reasons: map[netip.Addr]placement.Reason{}, failures: map[string]int{},
	}
	for _, change := range changes {
		change(&r.Reader)
	}
	r.now.Store(int64(time.Hour))
	r.PutNode("n1", "10.0.0.1")
	r.PutPool("p", "10.0.0.100-10.0.0.103")
	r.cache = r.RunCache()
	r.Eventually("the pool is seen", func() bool { return len(r.cache.Pools()) == 1 })
	return r
}

// showNodeLease writes the Lease of a node and waits until the cache shows it.
func (r *fixture) showNodeLease(info svc.NodeInfo, holder string) {
	r.T.Helper()
	r.PutNodeLease(info, holder, 5)
	r.Eventually("the Lease is seen", func() bool {
		return r.cache.Lease(svc.NodeLease(fakecluster.LeaseName, info.Node)) != nil
	})
}

func (r *fixture) clock() time.Duration { return time.Duration(r.now.Load()) }

func (r *fixture) advance(d time.Duration) { r.now.Add(int64(d)) }

// elector returns a LeaderElector of an eligible node.
func (r *fixture) elector(identity string) *LeaderElector {
	return testutil.Must(NewLeaderElector(LeaderElectorConfig{
		Namespace: fakecluster.Namespace, Name: fakecluster.LeaseName, Identity: identity,
		Cache: r.cache, Router: r.Router, Clock: r.clock, Log: r.Logger,
		Duration:  func() time.Duration { return 5 * time.Second },
		Interval:  func() time.Duration { return time.Second },
		OnFailure: r.count,
	}))
}

func (r *fixture) count(verb, resource string, _ error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures[verb+" "+resource]++
}

// counted returns how many requests failed.
func (r *fixture) counted(request string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failures[request]
}

// allocator returns an Allocator with its own elector.
func (r *fixture) allocator(identity string) (*Allocator, *LeaderElector) {
	k := r.elector(identity)
	return testutil.Must(New(Config{
		Cache: r.cache, Elector: k, Router: r.Router, Clock: r.clock, Log: r.Logger, Node: "n1",
		Port: 6443,
		Placement: func(addr netip.Addr) (placement.Decision, string) {
			r.mu.Lock()
			defer r.mu.Unlock()
			d := placement.Decision{Reason: r.reasons[addr]}
			if d.Reason == placement.ReasonChosen {
				d.Node = "n1"
			}
			return d, d.Reason.Sentence()
		},
		OnStats: func(s Stats) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.stats = s
		},
		OnFailure: r.count,
	})), k
}

// leader returns an Allocator that is the leader and whose writers run.
func (r *fixture) leader(identity string) (*Allocator, *LeaderElector) {
	r.T.Helper()
	a, k := r.allocator(identity)
	r.elect(k)
	r.runWriters(a)
	return a, k
}

func (r *fixture) runWriters(a *Allocator) { r.Run(a.runWriters) }

// elect has an elector acquire or renew the Lease, and waits until the watch shows that.
func (r *fixture) elect(k *LeaderElector) {
	r.T.Helper()
	k.reconcile(r.T.Context())
	if _, leader := k.IsLeader(); !leader {
		r.T.Fatalf("it is not the leader\n%s", r.Log)
	}
	r.observed(k)
}

// observed waits until the watch shows the last write of k.
func (r *fixture) observed(k *LeaderElector) {
	r.T.Helper()
	r.Eventually("the Lease is seen", func() bool {
		k.mu.Lock()
		defer k.mu.Unlock()
		s := r.cache.LeaderLease()
		return s != nil && (k.lease == nil || !svc.Newer(k.lease, s))
	})
}

// reconcile has the allocator reconcile, even without a change.
func (r *fixture) reconcile(a *Allocator) {
	a.reconciled = versions{}
	a.reconcile(r.T.Context())
}

// until has the allocator stay the leader and reconcile until a condition holds. The clock
// advances.
func (r *fixture) until(a *Allocator, what string, is func() bool) {
	r.T.Helper()
	r.Eventually(what, func() bool {
		r.advance(100 * time.Millisecond)
		a.cfg.Elector.reconcile(r.T.Context())
		r.reconcile(a)
		return is()
	})
}

// expect waits for a Service's status, as fakecluster writes it.
func (r *fixture) expect(a *Allocator, key, want string) {
	r.T.Helper()
	r.until(a, key+" has the status "+want+" (now "+r.ServiceStatus(key)+")",
		func() bool { return r.ServiceStatus(key) == want })
}

// isEmpty reports whether every Service has its desired status.
func (q *statusQueue) isEmpty() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.writes) == 0
}
