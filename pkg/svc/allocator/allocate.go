package allocator

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/boottime"
	"github.com/kvip/kvip/pkg/ipam"
	"github.com/kvip/kvip/pkg/placement"
	"github.com/kvip/kvip/pkg/svc"
	"github.com/kvip/kvip/pkg/svc/ledger"
)

const (
	// gather is the least time between two turns: what comes meanwhile is written to the ledger together, so
	// that thousands of Services cost tens of writes (S4). A turn that took longer is followed by a rest of
	// the same length.
	gather = 100 * time.Millisecond
	// lookAgain bounds how long something that changes without an object stays unseen.
	lookAgain = time.Second
)

// Config of an Allocator. All fields are needed but ControlPlane, Placement, Placed, Observed and Failed.
type Config struct {
	Cache   *svc.Cache
	Elector *LeaderElector
	Store   *ledger.Store
	Router  *apiclient.Router
	Clock   boottime.Clock
	Log     *slog.Logger
	// ControlPlane are the virtual IPs that are known without a node that has them, Port their port.
	ControlPlane []netip.Addr
	Port         int
	// Placement says where an address belongs, and explains it; without a reason nobody knows.
	Placement func(addr netip.Addr) (d placement.Decision, why string)
	// PlacementVersion grows whenever Placement may answer otherwise than before.
	PlacementVersion func() uint64
	// KubeVIP says that a kube-vip may still serve some of the Services: those whose Lease it renews
	// are left to it (S9).
	KubeVIP bool
	// Node names the source of Events.
	Node string
	// OnStats is told what was allocated, for metrics; may be nil. The zero value: this node does not allocate.
	OnStats func(Stats)
	// OnFailure is told of each failed request but those of the Book, whose client is not the Allocator's.
	OnFailure func(verb, resource string, err error)
}

func (c Config) failed() failures { return c.OnFailure }

// Stats are what the allocator tells of its work.
type Stats struct {
	// Services has how many have all they want, and Refused how many do not, by reason.
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

// Allocator gives out addresses while this node has the seat.
type Allocator struct {
	cfg       Config
	writer    *writer
	announced *announcements
	beat      boottime.Heartbeat
	term      uint64        // of the seat that the ledger was taken in; 0: not taken
	takeAgain time.Duration // when it may be taken again, after what failed

	control     *controlPlane
	claims      claims
	elections   elections
	goodPools   map[string]ipam.Pool // as they were last without a mistake
	poolWritten map[string]poolWrite // of each pool's status
	basis       basis                // of the last turn
	unwritten   bool                 // the status of a pool is not what it is to be
	errands     chan func(context.Context)
}

// New returns an Allocator that does nothing before Run.
func New(cfg Config) *Allocator {
	if cfg.Placement == nil {
		cfg.Placement = func(netip.Addr) (placement.Decision, string) { return placement.Decision{}, "" }
	}
	if cfg.PlacementVersion == nil {
		cfg.PlacementVersion = func() uint64 { return 0 }
	}
	if cfg.OnStats == nil {
		cfg.OnStats = func(Stats) {}
	}
	return &Allocator{
		cfg: cfg, writer: newWriter(cfg), announced: newAnnouncements(), control: newControlPlane(), claims: claims{map[ipam.Owner]takeover{}},
		poolWritten: map[string]poolWrite{},
		errands:     make(chan func(context.Context), 64),
	}
}

// LastTurn is when the loop last came round, since boot (E12): it does each second, and waits for the writes of
// one turn at the most.
func (a *Allocator) LastTurn() time.Duration { return a.beat.At() }

// Run allocates until ctx ends.
func (a *Allocator) Run(ctx context.Context) error {
	var hands sync.WaitGroup
	defer hands.Wait()
	hands.Go(func() { a.work(ctx) })
	changed := a.cfg.Cache.Subscribe()
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-tick.C:
		}
		began := a.cfg.Clock()
		a.beat.Mark(began)
		if a.turn(ctx) {
			pause(ctx, max(gather, a.cfg.Clock()-began))
		}
	}
}

// work writes statuses and does errands until ctx ends.
func (a *Allocator) work(ctx context.Context) {
	var hands sync.WaitGroup
	hands.Go(func() { a.writer.run(ctx) })
	hands.Go(func() { a.runErrands(ctx) })
	hands.Go(func() { a.tellAnnouncements(ctx) })
	hands.Go(func() { a.followElections(ctx) })
	hands.Wait()
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
