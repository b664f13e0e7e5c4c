package speaker

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/backoff"
	"github.com/kvip/kvip/pkg/boottime"
	"github.com/kvip/kvip/pkg/liveness"
	"github.com/kvip/kvip/pkg/reporter"
	"github.com/kvip/kvip/pkg/required"
	"github.com/kvip/kvip/pkg/svc"
)

// NodeLeaseConfig of a NodeLease.
type NodeLeaseConfig struct {
	// Node is the name of this node, Identity the holder that its Lease names: it is unique to
	// this boot of this host. Namespace and Name are those of the Lease. None may be empty.
	Node, Identity, Namespace, Name string
	// Cache and Router must not be nil.
	Cache  *svc.Cache
	Router *apiclient.Router
	// OnFailure is called for each failed renewal. May be nil.
	OnFailure func(op string, err error)
	// Health receives heartbeats. May be nil.
	Health *reporter.Reporter
	// Clock may be nil: boottime.Now.
	Clock boottime.Clock
	// Log may be nil: it discards.
	Log *slog.Logger
}

// NodeLease renews this node's Lease, and detects by the Leases of the others which nodes are
// alive (S1, S2). It is safe for concurrent use.
type NodeLease struct {
	cfg      NodeLeaseConfig
	wake     backoff.Signal
	onChange []func()

	mu       sync.Mutex
	detector *liveness.FailureDetector
	view     liveness.View // of the last refresh
	nodes    int           // that share the renewals
	info     svc.NodeInfo
	dirty    bool // info changed since the last renewal

	written     *coordinationv1.Lease // by the last renewal; nil: read it first
	sent, due   time.Duration         // when the last renewal left, and when the next one is due
	failures    int                   // of renewals in a row
	problem     string
	unseenSince time.Duration // since when confirmed renewals do not show in the watch; 0: they do
	other       otherHolder
}

// otherHolder is a Lease of this node's name that this process did not write.
type otherHolder struct {
	version   string
	seen      time.Duration
	duplicate string // holder that renews: another host with this node's name
}

// NewNodeLease returns a NodeLease. It sends nothing before Run.
func NewNodeLease(cfg NodeLeaseConfig) (*NodeLease, error) {
	if err := required.Fields("node lease", map[string]bool{
		"Node": cfg.Node == "", "Identity": cfg.Identity == "", "Namespace": cfg.Namespace == "",
		"Name": cfg.Name == "", "Cache": cfg.Cache == nil, "Router": cfg.Router == nil,
	}); err != nil {
		return nil, err
	}
	detector, err := liveness.NewFailureDetector(cfg.Node)
	if err != nil {
		return nil, err
	}
	if cfg.OnFailure == nil {
		cfg.OnFailure = func(string, error) {}
	}
	if cfg.Clock == nil {
		cfg.Clock = boottime.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &NodeLease{
		cfg: cfg, wake: backoff.NewSignal(), nodes: 1, detector: detector,
	}, nil
}

// OnChange registers fn, which is called without locks after the view may have changed. Call it
// before Run.
func (l *NodeLease) OnChange(fn func()) { l.onChange = append(l.onChange, fn) }

// SetInfo sets what the Lease reports to other nodes. A change is written at once. Nothing is
// written before the first call.
func (l *NodeLease) SetInfo(info svc.NodeInfo) {
	l.mu.Lock()
	changed := !reflect.DeepEqual(l.info, info)
	l.info, l.dirty = info, l.dirty || changed
	l.mu.Unlock()
	if changed {
		l.wake.Notify()
	}
}

// changed calls the functions of OnChange: the View may be another one.
func (l *NodeLease) changed() {
	for _, fn := range l.onChange {
		fn()
	}
}

// View returns which nodes are alive now.
func (l *NodeLease) View() liveness.View {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.view = l.detector.View(l.cfg.Clock())
	return l.view
}

// Silent records that a node is silent on the wire (S10).
func (l *NodeLease) Silent(node string) {
	l.mu.Lock()
	news := l.detector.Silent(node)
	l.mu.Unlock()
	if !news {
		return
	}
	l.cfg.Log.Warn("a node is silent; it counts as dead until it renews its Lease", "node", node)
	l.changed()
}

// Timing returns the interval between renewals and the duration of the Lease. Both depend on the
// number of nodes (S1).
func (l *NodeLease) Timing() (interval, duration time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return liveness.Interval(l.nodes), liveness.Duration(l.nodes)
}

// Problem returns why the Lease is not renewed, or "".
func (l *NodeLease) Problem() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.other.duplicate != "" {
		return fmt.Sprintf("another host uses this node's name: %s; give every node a unique name",
			l.other.duplicate)
	}
	return l.problem
}

// Run renews the Lease until ctx ends, and returns nil. The Lease stays: Release gives it up.
func (l *NodeLease) Run(ctx context.Context) error {
	changed := l.cfg.Cache.Subscribe()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-l.wake:
		case <-timer.C:
		}
		l.refresh()
		if l.renewalDue() {
			l.renew(ctx)
			l.refresh()
		}
		timer.Reset(l.wait())
	}
}

// refresh passes the Leases in the cache to the failure detector.
func (l *NodeLease) refresh() {
	now := l.cfg.Clock()
	l.cfg.Health.Heartbeat()
	if !l.cfg.Cache.HasSynced() {
		return
	}
	l.mu.Lock()
	all := observedLeases(l.cfg.Cache.Leases())
	l.detector.Sync(all, now)
	l.view = l.detector.View(now)
	l.nodes = countNodes(l.view, all)
	interval := liveness.Interval(l.nodes)
	l.mu.Unlock()
	l.cfg.Health.SetTimeout(reporter.DefaultTimeout + interval) // it runs once in each interval
	l.changed()
}

// observedLeases returns what the failure detector needs of the nodes' Leases.
func observedLeases(leases []*svc.Lease) (all []liveness.ObservedLease) {
	for _, one := range leases {
		if one.Role == svc.RoleNode {
			all = append(all, liveness.ObservedLease{
				Node: one.Info.Node, Version: one.ResourceVersion, Duration: one.Duration,
				Released: one.Holder == "",
			})
		}
	}
	return all
}

// countNodes returns the number of nodes that share the renewals (S1): those that are alive or,
// before the first view, those whose Lease is not released.
func countNodes(view liveness.View, all []liveness.ObservedLease) int {
	count := len(view.Alive)
	if count == 0 {
		for _, o := range all {
			if !o.Released {
				count++
			}
		}
	}
	return max(1, count)
}

func (l *NodeLease) renewalDue() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.info.Node != "" && (l.dirty && l.failures == 0 || l.cfg.Clock() >= l.due)
}

// wait returns the time until the next iteration of Run.
func (l *NodeLease) wait() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.cfg.Clock()
	if l.info.Node == "" {
		return resyncInterval // SetInfo wakes
	}
	if l.failures == 0 {
		l.due = min(l.due, l.view.RenewAt(l.sent, l.due, l.nodes))
	}
	at := l.due
	if l.view.FreshUntil > now {
		at = min(at, l.view.FreshUntil)
	}
	return max(at-now, 10*time.Millisecond)
}

// renewTimeout limits one renewal.
const renewTimeout = 2 * time.Second

// renewalHedge sends a renewal to another API server after each 500 ms without an answer. When the
// node of etcd's leader dies, etcd loses requests for a second or two. A node that waited for an
// answer to one of them, and then for a second dead server, would renew so late that the failure
// detector sees an outage, after which the dead node gets its duration again (S2).
var renewalHedge = apiclient.HedgeConfig{
	Delay: renewTimeout / 4, Attempts: 5, Retry: apiclient.IsNoResponse,
}

// renewal is a successful renewal.
type renewal struct {
	sent    time.Duration // since boot
	written *coordinationv1.Lease
}

// renew writes the Lease once.
func (l *NodeLease) renew(ctx context.Context) {
	l.mu.Lock()
	info, nodes := l.info, l.nodes
	l.dirty = false
	l.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, renewTimeout)
	defer cancel()
	r, err := apiclient.Hedge(ctx, l.cfg.Router, renewalHedge,
		func(ctx context.Context, s *apiclient.Server) (r renewal, err error) {
			r.sent = l.cfg.Clock()
			c := content{info, l.cfg.Identity, liveness.Duration(nodes)}
			r.written, err = l.write(ctx, s, c)
			return r, err
		})
	if err != nil {
		l.renewalFailed(err)
		l.cfg.OnFailure("renew-node", err)
		return
	}
	if l.renewed(r, nodes) {
		l.cfg.Log.Warn("API server confirms renewals but does not show them in its watch; resyncing",
			"lease", l.cfg.Name)
		l.cfg.Cache.Resync()
	}
}

// renewed records a successful renewal, and reports whether the watch is stuck.
func (l *NodeLease) renewed(r renewal, nodes int) (stuck bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.cfg.Clock()
	stuck = l.watchStuck(now)
	l.written, l.failures, l.problem, l.other.duplicate = r.written, 0, "", ""
	l.sent, l.due = r.sent, r.sent+liveness.Interval(nodes)
	l.detector.RecordRenewal(liveness.Renewal{
		Version: r.written.ResourceVersion, Sent: r.sent, Duration: liveness.Duration(nodes),
	}, now)
	return stuck
}

// watchStuck reports whether confirmed renewals have not been seen back for two durations: the
// API server's watches are open and show nothing new, as when it has lost its etcd. The caller
// holds the lock.
func (l *NodeLease) watchStuck(now time.Duration) bool {
	shown := l.cfg.Cache.Lease(l.cfg.Name)
	switch {
	case l.written == nil || !l.cfg.Cache.HasSynced(), shown != nil && !svc.Newer(l.written, shown):
		l.unseenSince = 0
	case l.unseenSince == 0:
		l.unseenSince = now
	case now-l.unseenSince > 2*liveness.Duration(l.nodes):
		l.unseenSince = 0
		return true
	}
	return false
}

// renewalFailed schedules the next renewal, sooner than the duration of the Lease (S2).
func (l *NodeLease) renewalFailed(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failures++
	pause := liveness.Backoff(l.failures, liveness.Duration(l.nodes))
	l.due = l.cfg.Clock() + pause - time.Duration(rand.Int64N(int64(pause)/4+1))
	l.dirty = true
	if text := err.Error(); text != l.problem {
		l.cfg.Log.Warn("renewal of the node's Lease failed; trying again",
			"lease", l.cfg.Name, "err", err)
		l.problem = text
	}
}

// Release writes the Lease without a holder, so that other nodes take over this node's addresses
// at once.
func (l *NodeLease) Release(ctx context.Context) error {
	l.mu.Lock()
	info, nodes := l.info, l.nodes
	l.mu.Unlock()
	err := l.cfg.Router.Do(ctx, func(ctx context.Context, s *apiclient.Server) error {
		_, err := l.write(ctx, s, content{info, "", liveness.Duration(nodes)})
		return err
	})
	if err != nil {
		return fmt.Errorf("release lease %s: %w", l.cfg.Name, err)
	}
	return nil
}

// Delete deletes the Lease. It is idempotent.
func (l *NodeLease) Delete(ctx context.Context) error {
	err := l.cfg.Router.Do(ctx, func(ctx context.Context, s *apiclient.Server) error {
		return s.Coordination.Leases(l.cfg.Namespace).Delete(ctx, l.cfg.Name, metav1.DeleteOptions{})
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete lease %s: %w", l.cfg.Name, err)
	}
	return nil
}

// content is what a write puts into the Lease.
type content struct {
	info     svc.NodeInfo
	holder   string
	duration time.Duration
}

// write creates the Lease, or updates it at the version that this process wrote last or may take
// over.
func (l *NodeLease) write(ctx context.Context, s *apiclient.Server, c content) (
	*coordinationv1.Lease, error) {
	leases := s.Coordination.Leases(l.cfg.Namespace)
	l.mu.Lock()
	lease := l.written
	l.mu.Unlock()
	if lease == nil {
		var err error
		lease, err = leases.Get(ctx, l.cfg.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			lease, err = &coordinationv1.Lease{
				ObjectMeta: metav1.ObjectMeta{Name: l.cfg.Name, Namespace: l.cfg.Namespace},
			}, nil
		} else if err == nil {
			err = l.checkTakeover(lease)
		}
		if err != nil {
			return nil, err
		}
	}
	written, err := apiclient.WriteLease(ctx, leases, lease, func(lease *coordinationv1.Lease) {
		l.encode(lease, c)
	})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		l.mu.Lock()
		l.written = nil
		l.mu.Unlock()
	}
	return written, err
}

// checkTakeover returns an error while another boot of this host, or another host with this node's
// name, may renew the Lease (E8): it must have been silent for its duration.
func (l *NodeLease) checkTakeover(lease *coordinationv1.Lease) error {
	read := svc.ReadLease(lease)
	if read.Holder == "" || read.Holder == l.cfg.Identity {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.cfg.Clock()
	if l.other.version != lease.ResourceVersion {
		if l.other.version != "" {
			l.other.duplicate = read.Holder
		}
		l.other.version, l.other.seen = lease.ResourceVersion, now
	}
	if now-l.other.seen > read.Duration {
		return nil
	}
	return apierrors.NewConflict(coordinationv1.Resource("leases"), lease.Name, fmt.Errorf(
		"held by %s, an earlier boot of this node or another host with its name: "+
			"waiting until it has been silent for %v", read.Holder, read.Duration))
}

// encode writes c into lease. The Node object owns the Lease, which is deleted with it.
func (l *NodeLease) encode(lease *coordinationv1.Lease, c content) {
	text, err := json.Marshal(c.info)
	if err != nil {
		text = []byte("{}") // cannot happen: it has only strings and numbers
	}
	lease.Labels[svc.LabelRole] = svc.RoleNode
	lease.Annotations[svc.AnnotationNode] = string(text)
	if n := l.cfg.Cache.Node(l.cfg.Node); n != nil {
		lease.OwnerReferences = []metav1.OwnerReference{
			{APIVersion: "v1", Kind: "Node", Name: n.Name, UID: n.UID},
		}
	}
	now, seconds := metav1.NowMicro(), int32(c.duration/time.Second)
	lease.Spec.HolderIdentity, lease.Spec.LeaseDurationSeconds = &c.holder, &seconds
	lease.Spec.RenewTime = &now
}
