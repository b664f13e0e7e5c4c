package allocator

import (
	"context"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/placement"
	"github.com/kvip/kvip/pkg/svc"
	"github.com/kvip/kvip/pkg/svc/ledger"
	"github.com/kvip/kvip/test/fakeapi/fakecluster"
)

// rig is a cluster with allocators whose clock stands still unless it is told to go on.
type rig struct {
	*fakecluster.Env
	now atomic.Int64
	cat *svc.Cache

	mu      sync.Mutex
	reasons map[netip.Addr]placement.Reason // why no node announces an address
	figures Stats
	failed  map[string]int // requests that failed, by verb and resource
}

func newRig(t *testing.T, changes ...func(*svc.Reader)) *rig {
	t.Helper()
	r := &rig{Env: fakecluster.New(t), reasons: map[netip.Addr]placement.Reason{}, failed: map[string]int{}}
	for _, change := range changes {
		change(&r.Reader)
	}
	r.now.Store(int64(time.Hour))
	r.PutNode("n1", "10.0.0.1")
	r.PutPool("p", "10.0.0.100-10.0.0.103")
	r.cat = r.Follow()
	r.Eventually("the pool is seen", func() bool { return len(r.cat.Pools()) == 1 })
	return r
}

func (r *rig) clock() time.Duration { return time.Duration(r.now.Load()) }

func (r *rig) pass(d time.Duration) { r.now.Add(int64(d)) }

// keeper is one that takes the seat if it can.
func (r *rig) keeper(identity string) *LeaderElector {
	return NewLeaderElector(LeaderElectorConfig{
		Namespace: fakecluster.Namespace, Name: fakecluster.Seat, Identity: identity, Cache: r.cat, Router: r.Router, Clock: r.clock, Log: r.Logger,
		Duration: func() time.Duration { return 5 * time.Second }, Interval: func() time.Duration { return time.Second },
		Eligible:  func() bool { return true },
		OnFailure: r.count,
	})
}

func (r *rig) count(verb, resource string, _ error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed[verb+" "+resource]++
}

// counted returns how many requests failed.
func (r *rig) counted(request string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed[request]
}

// allocator is one with a keeper of its own.
func (r *rig) allocator(identity string) (*Allocator, *LeaderElector) {
	k := r.keeper(identity)
	return New(Config{
		Cache: r.cat, Elector: k, Router: r.Router, Clock: r.clock, Log: r.Logger, Node: "n1", Port: 6443,
		Store: ledger.New(ledger.Config{Name: fakecluster.Seat, Namespace: fakecluster.Namespace, Identity: identity, Log: r.Logger, Leases: func() (ledger.Leases, error) {
			server, err := r.Router.Server()
			if err != nil {
				return nil, err
			}
			return server.Coordination.Leases(fakecluster.Namespace), nil
		}, Known: r.cat.Lease}),
		Placement: func(addr netip.Addr) (placement.Decision, string) {
			r.mu.Lock()
			defer r.mu.Unlock()
			d := placement.Decision{Reason: r.reasons[addr]}
			if d.Reason == placement.ReasonChosen {
				d.Node = "n1"
			}
			return d, d.Reason.Sentence()
		},
		OnStats: func(f Stats) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.figures = f
		},
		OnFailure: r.count,
	}), k
}

// seated returns an allocator that has the seat, whose writer and errands run.
func (r *rig) seated(identity string) (*Allocator, *LeaderElector) {
	r.T.Helper()
	a, k := r.allocator(identity)
	r.sit(k)
	r.hands(a)
	return a, k
}

// hands write statuses and do errands.
func (r *rig) hands(a *Allocator) {
	r.Run(func(ctx context.Context) error {
		a.work(ctx)
		return nil
	})
}

// sit has a keeper take or renew the seat, and waits until that is seen.
func (r *rig) sit(k *LeaderElector) {
	r.T.Helper()
	k.turn(r.T.Context())
	if _, held := k.IsLeader(); !held {
		r.T.Fatalf("the seat is not taken\n%s", r.Log)
	}
	r.seen(k)
}

func (r *rig) seen(k *LeaderElector) {
	r.T.Helper()
	r.Eventually("the seat is seen", func() bool {
		k.mu.Lock()
		defer k.mu.Unlock()
		s := r.cat.LeaderLease()
		return s != nil && (k.lease == nil || !svc.Newer(k.lease, s))
	})
}

// look has the allocator look, also where nothing is known to have changed.
func (r *rig) look(a *Allocator) {
	a.basis = basis{}
	a.turn(r.T.Context())
}

// until has the allocator keep its seat and look until something is so. Time goes on.
func (r *rig) until(a *Allocator, what string, is func() bool) {
	r.T.Helper()
	r.Eventually(what, func() bool {
		r.pass(100 * time.Millisecond)
		a.cfg.Elector.turn(r.T.Context())
		r.look(a)
		return is()
	})
}

// says waits until a Service's status says so.
func (r *rig) says(a *Allocator, owner, want string) {
	r.T.Helper()
	r.until(a, owner+" says "+want+" (it says "+r.Says(owner)+")", func() bool { return r.Says(owner) == want })
}
