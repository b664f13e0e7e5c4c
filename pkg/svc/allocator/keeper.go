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

// KeeperConfig of a Keeper. All fields are needed but Failed.
type KeeperConfig struct {
	Namespace, Name string
	Identity        string
	Catalogue       *svc.Catalogue
	Router          *apiclient.Router
	Clock           boottime.Func
	Log             *slog.Logger
	// Duration is how long this node is respected without a renewal, whole seconds; Interval the time
	// between renewals, as for the nodes' own Leases (S1).
	Duration, Interval func() time.Duration
	// Eligible says whether this node may take the seat: it has read what it needs.
	Eligible func() bool
	// Failed is told of each failed request.
	Failed func(verb, resource string, err error)
}

// Keeper takes the seat when nobody has it, and renews it.
type Keeper struct {
	cfg  KeeperConfig
	beat boottime.Beat

	mu    sync.Mutex
	seat  seat
	lease *coordinationv1.Lease // as this node wrote it last; nil without the seat
	term  uint64                // grows whenever the seat is taken
}

// NewKeeper returns a Keeper that holds nothing.
func NewKeeper(cfg KeeperConfig) *Keeper { return &Keeper{cfg: cfg, seat: seat{self: cfg.Identity}} }

// Beat is when the loop last came round, since boot (E12): it does every fifth of a second, and waits for one
// write at the most.
func (k *Keeper) Beat() time.Duration { return k.beat.At() }

// Held returns whether this node has the seat, and the number of its term.
func (k *Keeper) Held() (term uint64, held bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.term, k.seat.holds(k.cfg.Clock())
}

// Foreign returns who has the seat if that is another program than kvip, else "" (S9).
func (k *Keeper) Foreign() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.seat.foreign(k.cfg.Clock()) {
		return k.seat.last.holder
	}
	return ""
}

// Holder returns who has the seat as far as was seen.
func (k *Keeper) Holder() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.seat.last.holder
}

// Run keeps the seat until ctx ends, and then leaves it.
func (k *Keeper) Run(ctx context.Context) error {
	changed := k.cfg.Catalogue.Subscribe()
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
func (k *Keeper) turn(ctx context.Context) {
	k.beat.Mark(k.cfg.Clock())
	if !k.cfg.Catalogue.Synced() {
		return
	}
	now := k.cfg.Clock()
	k.mu.Lock()
	k.seat.duration = k.cfg.Duration()
	if seen := k.cfg.Catalogue.Seat(); k.lease == nil || seen != nil && svc.Newer(seen, k.lease) {
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
