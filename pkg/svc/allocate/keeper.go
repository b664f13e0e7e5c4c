package allocate

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/clock"
	"github.com/kvip/kvip/pkg/svc"
)

// writeTimeout bounds one write of the seat's Lease.
const writeTimeout = 2 * time.Second

// KeeperConfig of a Keeper. All fields are needed.
type KeeperConfig struct {
	Namespace, Name string
	Identity        string
	Catalogue       *svc.Catalogue
	Router          *apiclient.Router
	Clock           clock.Func
	Log             *slog.Logger
	// Duration is how long this node is respected without a renewal, whole seconds; Interval the time
	// between renewals, as for the nodes' own Leases (S1).
	Duration, Interval func() time.Duration
	// Eligible says whether this node may take the seat: it has read what it needs.
	Eligible func() bool
}

// Keeper takes the seat when nobody has it, and renews it.
type Keeper struct {
	cfg KeeperConfig

	mu    sync.Mutex
	seat  seat
	lease *coordinationv1.Lease // as this node wrote it last
	term  uint64                // grows whenever the seat is taken
}

// NewKeeper returns a Keeper that holds nothing.
func NewKeeper(cfg KeeperConfig) *Keeper { return &Keeper{cfg: cfg, seat: seat{self: cfg.Identity}} }

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
	tick := time.NewTicker(200 * time.Millisecond)
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
	if !k.cfg.Catalogue.Synced() {
		return
	}
	now := k.cfg.Clock()
	k.mu.Lock()
	k.seat.duration = k.cfg.Duration()
	seen := k.cfg.Catalogue.Seat()
	if k.lease == nil || seen == nil || svc.Newer(seen, k.lease) {
		k.seat.observe(viewOf(seen), now)
	}
	wants := k.seat.wants(now, k.cfg.Interval()) && (k.seat.held || k.cfg.Eligible())
	k.mu.Unlock()
	if wants {
		k.write(ctx, now, k.cfg.Identity)
	}
}

// write takes or renews the seat; the answer decides whether it is held.
func (k *Keeper) write(ctx context.Context, now time.Duration, holder string) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	var written *coordinationv1.Lease
	err := k.cfg.Router.Do(ctx, func(ctx context.Context, s *apiclient.Server) (err error) {
		written, err = k.send(ctx, s, holder)
		return err
	})
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case err == nil:
		k.took(written, now)
	case apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err):
		k.seat.lost()
		k.lease = nil
	default:
		k.cfg.Log.Debug("cannot write the Lease of the allocator", "lease", k.cfg.Name, "reason", err)
	}
}

func (k *Keeper) took(written *coordinationv1.Lease, sentAt time.Duration) {
	if written.Spec.HolderIdentity == nil || *written.Spec.HolderIdentity != k.cfg.Identity {
		k.seat.lost()
		return
	}
	if !k.seat.held {
		k.term++
		k.cfg.Log.Info("this node gives out addresses now", "lease", k.cfg.Name, "reason", "the seat was free")
	}
	k.lease = written
	k.seat.confirmed(viewOf(svc.ReadLease(written)), sentAt, k.cfg.Clock())
}

// send writes the Lease at the version that was judged.
func (k *Keeper) send(ctx context.Context, s *apiclient.Server, holder string) (*coordinationv1.Lease, error) {
	leases := s.Coordination.Leases(k.cfg.Namespace)
	k.mu.Lock()
	last, own := k.seat.last, k.lease
	k.mu.Unlock()
	if !last.exists {
		l := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: k.cfg.Name, Namespace: k.cfg.Namespace}}
		k.fill(l, holder)
		return leases.Create(ctx, l, metav1.CreateOptions{})
	}
	l := own
	if l == nil || l.ResourceVersion != last.version {
		var err error
		if l, err = leases.Get(ctx, k.cfg.Name, metav1.GetOptions{}); err != nil {
			return nil, err
		}
		if l.ResourceVersion != last.version { // E2: the write carries the version that the wait was counted from
			return nil, apierrors.NewConflict(coordinationv1.Resource("leases"), k.cfg.Name, fmt.Errorf("it changed to version %s", l.ResourceVersion))
		}
	}
	l = l.DeepCopy()
	k.fill(l, holder)
	return leases.Update(ctx, l, metav1.UpdateOptions{})
}

func (k *Keeper) fill(l *coordinationv1.Lease, holder string) {
	if l.Annotations == nil {
		l.Annotations = map[string]string{}
	}
	l.Annotations[svc.AnnotationSeat] = signature(holder)
	now, seconds := metav1.NowMicro(), int32(k.cfg.Duration()/time.Second)
	if l.Spec.HolderIdentity == nil || *l.Spec.HolderIdentity != holder {
		transitions := int32(1)
		if l.Spec.LeaseTransitions != nil {
			transitions += *l.Spec.LeaseTransitions
		}
		l.Spec.LeaseTransitions, l.Spec.AcquireTime = &transitions, &now
	}
	l.Spec.HolderIdentity, l.Spec.LeaseDurationSeconds, l.Spec.RenewTime = &holder, &seconds, &now
}

// leave gives the seat to whoever comes first.
func (k *Keeper) leave(ctx context.Context) {
	if _, held := k.Held(); held {
		k.write(ctx, k.cfg.Clock(), "")
	}
}

func viewOf(l *svc.Lease) view {
	if l == nil {
		return view{}
	}
	return view{exists: true, version: l.ResourceVersion, holder: l.Holder, duration: l.Duration, kvip: l.Seat == signature(l.Holder)}
}

// signature is what a kvip writes beside the holder.
func signature(holder string) string { return "kvip:" + holder }
