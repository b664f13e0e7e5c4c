package allocator

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
	"github.com/kvip/kvip/pkg/boottime"
	"github.com/kvip/kvip/pkg/reporter"
	"github.com/kvip/kvip/pkg/required"
	"github.com/kvip/kvip/pkg/svc"
)

const (
	// electionPoll is the longest time between two checks of the Lease: silence changes it, too.
	electionPoll = 200 * time.Millisecond
	// leaseWriteTimeout limits one write of the Lease.
	leaseWriteTimeout = 2 * time.Second
)

// LeaderElectorConfig configures a LeaderElector. All fields without a default are required.
type LeaderElectorConfig struct {
	Namespace, Name string
	Identity        string
	Cache           *svc.Cache
	Router          *apiclient.Router
	// Clock is boottime.Now if nil.
	Clock boottime.Clock
	// Log discards if nil.
	Log *slog.Logger
	// Duration is how long the leader counts without a renewal, in whole seconds. Interval is the time
	// between renewals. Both follow the number of nodes, as those of node Leases (S1).
	Duration, Interval func() time.Duration
	// Eligible reports whether this node may become the leader: it has read what it needs. Nil means
	// always.
	Eligible func() bool
	// OnFailure receives each failed request. It may be nil.
	OnFailure func(verb, resource string, err error)
	// Health receives heartbeats: they are at most electionPoll and one write apart. It may be nil.
	Health *reporter.Reporter
}

// LeaderElector elects the allocator of the cluster by a Lease. The ledger fences late writes of a
// former leader (S4), so a paused leader does no harm. It is safe for concurrent use.
type LeaderElector struct {
	cfg   LeaderElectorConfig
	mu    sync.Mutex
	state leadership
	lease *coordinationv1.Lease // the last write of this node; nil without leadership
	term  uint64                // grows with each acquisition
}

// NewLeaderElector returns a LeaderElector that does nothing before Run.
func NewLeaderElector(cfg LeaderElectorConfig) (*LeaderElector, error) {
	if err := required.Fields("leader elector", map[string]bool{
		"Namespace": cfg.Namespace == "", "Name": cfg.Name == "", "Identity": cfg.Identity == "",
		"Cache": cfg.Cache == nil, "Router": cfg.Router == nil, "Duration": cfg.Duration == nil,
		"Interval": cfg.Interval == nil,
	}); err != nil {
		return nil, err
	}
	if cfg.Clock == nil {
		cfg.Clock = boottime.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Eligible == nil {
		cfg.Eligible = func() bool { return true }
	}
	return &LeaderElector{cfg: cfg, state: leadership{self: cfg.Identity}}, nil
}

// IsLeader reports whether this node is the leader, and returns its last term.
func (e *LeaderElector) IsLeader() (term uint64, leader bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.term, e.state.isLeader(e.cfg.Clock())
}

// ForeignHolder returns the holder of the Lease if it is another program than kvip, else "" (S9).
func (e *LeaderElector) ForeignHolder() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.state.isForeign(e.cfg.Clock()) {
		return e.state.last.holder
	}
	return ""
}

// Run takes part in the election until ctx ends, and then releases the Lease.
func (e *LeaderElector) Run(ctx context.Context) error {
	changed := e.cfg.Cache.Subscribe()
	tick := time.NewTicker(electionPoll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			e.release(context.WithoutCancel(ctx))
			return nil
		case <-changed:
		case <-tick.C:
		}
		e.reconcile(ctx)
	}
}

// reconcile observes the Lease, and writes it if that is due.
func (e *LeaderElector) reconcile(ctx context.Context) {
	now := e.cfg.Clock()
	e.cfg.Health.Heartbeat()
	if !e.cfg.Cache.HasSynced() {
		return
	}
	e.mu.Lock()
	e.state.duration = e.cfg.Duration()
	// The cache may lag behind this node's own write. The next renewal detects a deletion since then.
	if seen := e.cfg.Cache.LeaderLease(); e.lease == nil || seen != nil && svc.Newer(seen, e.lease) {
		e.state.observe(observed(seen), now)
	}
	if !e.state.leading {
		e.lease = nil
	}
	due := e.state.shouldWrite(now, e.cfg.Interval()) && (e.state.leading || e.cfg.Eligible())
	e.mu.Unlock()
	if due {
		e.write(ctx, now, e.cfg.Identity)
	}
}

// release makes the Lease free, if this node holds it.
func (e *LeaderElector) release(ctx context.Context) {
	if _, leader := e.IsLeader(); leader {
		e.write(ctx, e.cfg.Clock(), "")
	}
}

// write acquires, renews or releases the Lease. The response decides about leadership.
func (e *LeaderElector) write(ctx context.Context, now time.Duration, holder string) {
	ctx, cancel := context.WithTimeout(ctx, leaseWriteTimeout)
	defer cancel()
	var written *coordinationv1.Lease
	err := e.failures().send(ctx, e.cfg.Router, "update", "leases",
		func(ctx context.Context, s *apiclient.Server) (err error) {
			written, err = e.send(ctx, s, holder)
			return err
		})
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case err == nil:
		e.confirm(written, now)
	case apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err):
		e.lose()
	default:
		e.cfg.Log.Debug("cannot write the allocator's Lease", "lease", e.cfg.Name, "err", err)
	}
}

// confirm evaluates the response to a write. The caller holds the lock.
func (e *LeaderElector) confirm(written *coordinationv1.Lease, sentAt time.Duration) {
	if written.Spec.HolderIdentity == nil || *written.Spec.HolderIdentity != e.cfg.Identity {
		e.lose()
		return
	}
	if !e.state.leading {
		e.term++
		e.cfg.Log.Info("became the allocator", "lease", e.cfg.Name)
	}
	e.lease = written
	e.state.confirm(observed(svc.ReadLease(written)), sentAt, e.cfg.Clock())
}

func (e *LeaderElector) lose() {
	e.state.lose()
	e.lease = nil
}

// send creates the Lease, or updates it at the observed version.
func (e *LeaderElector) send(
	ctx context.Context, s *apiclient.Server, holder string,
) (*coordinationv1.Lease, error) {
	leases := countingClient{s.Coordination.Leases(e.cfg.Namespace), e.failures()}
	e.mu.Lock()
	last, base := e.state.last, e.lease
	e.mu.Unlock()
	if !last.exists {
		base = &coordinationv1.Lease{
			ObjectMeta: metav1.ObjectMeta{Name: e.cfg.Name, Namespace: e.cfg.Namespace},
		}
	} else if base == nil || base.ResourceVersion != last.version {
		var err error
		base, err = leases.Get(ctx, e.cfg.Name, metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		if base.ResourceVersion != last.version { // E2: silence was measured from this version
			return nil, apierrors.NewConflict(coordinationv1.Resource("leases"), e.cfg.Name,
				fmt.Errorf("it changed to version %s", base.ResourceVersion))
		}
	}
	return apiclient.WriteLease(ctx, leases, base, func(l *coordinationv1.Lease) { e.fill(l, holder) })
}

func (e *LeaderElector) failures() failures { return e.cfg.OnFailure }

// fill sets holder, duration and times in l.
func (e *LeaderElector) fill(l *coordinationv1.Lease, holder string) {
	l.Annotations[svc.AnnotationLeader] = signature(holder)
	now, seconds := metav1.NowMicro(), int32(e.cfg.Duration()/time.Second)
	if l.Spec.HolderIdentity == nil || *l.Spec.HolderIdentity != holder {
		transitions := int32(1)
		if l.Spec.LeaseTransitions != nil {
			transitions += *l.Spec.LeaseTransitions
		}
		l.Spec.LeaseTransitions, l.Spec.AcquireTime = &transitions, &now
	}
	l.Spec.HolderIdentity, l.Spec.LeaseDurationSeconds, l.Spec.RenewTime = &holder, &seconds, &now
}

func observed(l *svc.Lease) observedLease {
	if l == nil {
		return observedLease{}
	}
	return observedLease{
		exists: true, version: l.ResourceVersion, holder: l.Holder, duration: l.Duration,
		kvip: l.Leader == signature(l.Holder),
	}
}

// signature is what a kvip writes next to the holder: another program keeps the annotation, but
// changes the holder.
func signature(holder string) string { return "kvip:" + holder }
