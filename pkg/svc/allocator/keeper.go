package allocator

import (
	"context"
	"log/slog"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/boottime"
	"github.com/kvip/kvip/pkg/svc"
)

const (
	// lookEvery drives the judgement of the seat, which changes by silence as well.
	lookEvery = 200 * time.Millisecond
	// writeTimeout bounds one write of the seat's Lease.
	writeTimeout = 2 * time.Second
)

// LeaderElectorConfig of a Keeper. All fields are needed but Failed.
type LeaderElectorConfig struct {
	Namespace, Name string
	Identity        string
	Cache           *svc.Cache
	Router          *apiclient.Router
	Clock           boottime.Clock
	Log             *slog.Logger
	// Duration is how long this node is respected without a renewal, whole seconds; Interval the time
	// between renewals, as for the nodes' own Leases (S1).
	Duration, Interval func() time.Duration
	// Eligible says whether this node may take the seat: it has read what it needs.
	Eligible func() bool
	// OnFailure is told of each failed request.
	OnFailure func(verb, resource string, err error)
}

// LeaderElector takes the seat when nobody has it, and renews it.
type LeaderElector struct {
	cfg  LeaderElectorConfig
	beat boottime.Heartbeat

	mu    sync.Mutex
	seat  seat
	lease *coordinationv1.Lease // as this node wrote it last; nil without the seat
	term  uint64                // grows whenever the seat is taken
}

// NewLeaderElector returns a Keeper that holds nothing.
func NewLeaderElector(cfg LeaderElectorConfig) *LeaderElector {
	return &LeaderElector{cfg: cfg, seat: seat{self: cfg.Identity}}
}

// LastTurn is when the loop last came round, since boot (E12): it does every fifth of a second, and waits for one
// write at the most.
func (k *LeaderElector) LastTurn() time.Duration { return k.beat.At() }

// IsLeader returns whether this node has the seat, and the number of its term.
func (k *LeaderElector) IsLeader() (term uint64, held bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.term, k.seat.holds(k.cfg.Clock())
}

// ForeignHolder returns who has the seat if that is another program than kvip, else "" (S9).
func (k *LeaderElector) ForeignHolder() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.seat.foreign(k.cfg.Clock()) {
		return k.seat.last.holder
	}
	return ""
}

// Holder returns who has the seat as far as was seen.
func (k *LeaderElector) Holder() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.seat.last.holder
}

// Run keeps the seat until ctx ends, and then leaves it.
func (k *LeaderElector) Run(ctx context.Context) error {
	changed := k.cfg.Cache.Subscribe()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			k.leave(context.WithoutCancel(ctx))
			return nil
		case <-changed:
		case <-tick.C:
		}
		k.turn(ctx)
	}
}

// turn looks at the Lease, and writes it if it is time to.
func (k *LeaderElector) turn(ctx context.Context) {
	k.beat.Mark(k.cfg.Clock())
	if !k.cfg.Cache.HasSynced() {
		return
	}
	now := k.cfg.Clock()
	k.mu.Lock()
	k.seat.duration = k.cfg.Duration()
	if seen := k.cfg.Cache.LeaderLease(); k.lease == nil || seen != nil && svc.Newer(seen, k.lease) {
		k.seat.observe(viewOf(seen), now)
	} // else it is older than what this node wrote; that it was deleted since is found out by the next renewal
	if !k.seat.held {
		k.lease = nil
	}
	wants := k.seat.wants(now, k.cfg.Interval()) && (k.seat.held || k.cfg.Eligible())
	k.mu.Unlock()
	if wants {
		k.write(ctx, now, k.cfg.Identity)
	}
}
