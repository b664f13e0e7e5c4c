package speaker

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/boottime"
	"github.com/kvip/kvip/pkg/liveness"
	"github.com/kvip/kvip/pkg/svc"
)

// NodeLeaseConfig of a Heart. All fields are needed.
type NodeLeaseConfig struct {
	Node, Identity  string
	Namespace, Name string // of the node's Lease
	Cache           *svc.Cache
	Router          *apiclient.Router
	Clock           boottime.Clock
	Log             *slog.Logger
	// OnFailure is told of each failed renewal.
	OnFailure func(op string, err error)
}

// NodeLease renews this node's Lease and judges by the others' who is alive (S1, S2).
type NodeLease struct {
	cfg  NodeLeaseConfig
	wake chan struct{}
	beat boottime.Heartbeat

	mu      sync.Mutex
	judge   *liveness.FailureDetector
	info    svc.NodeInfo
	dirty   bool // info changed since the last renewal
	verdict liveness.View
	nodes   int
	lease   *coordinationv1.Lease
	sent    time.Duration // when the last renewal that succeeded was sent
	due     time.Duration
	misses  int
	blind   time.Duration // since when the watch shows no renewal although they are confirmed; 0: it does
	twin    string        // another machine under this node's name
	seen    rival
	told    []func()
	problem string
}

// rival is a Lease of this node's name that this process did not write.
type rival struct {
	version string
	at      time.Duration
}

// NewNodeLease returns a Heart that does not beat yet.
func NewNodeLease(cfg NodeLeaseConfig) *NodeLease {
	return &NodeLease{cfg: cfg, wake: make(chan struct{}, 1), judge: liveness.NewFailureDetector(cfg.Node), nodes: 1}
}

// OnChange has fn called, with no lock held, after the verdict may have changed. It is called before Run.
func (h *NodeLease) OnChange(fn func()) { h.told = append(h.told, fn) }

// SetInfo sets what the Lease tells the others of this node; a change is written at once.
func (h *NodeLease) SetInfo(info svc.NodeInfo) {
	h.mu.Lock()
	changed := !reflect.DeepEqual(h.info, info)
	h.info, h.dirty = info, h.dirty || changed
	h.mu.Unlock()
	if changed {
		h.rouse()
	}
}

func (h *NodeLease) rouse() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// View says who is alive now.
func (h *NodeLease) View() liveness.View {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.verdict = h.judge.View(h.cfg.Clock())
	return h.verdict
}

// Timing returns the interval between renewals and how long a Lease lasts, by the number of nodes (S1).
func (h *NodeLease) Timing() (interval, duration time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return liveness.Interval(h.nodes), liveness.Duration(h.nodes)
}

// LastReconcile is when the loop last came round, since boot (E12): it does in each interval between renewals.
func (h *NodeLease) LastReconcile() time.Duration { return h.beat.At() }

// Problem says why the Lease is not renewed, or "".
func (h *NodeLease) Problem() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.twin != "" {
		return fmt.Sprintf("another machine announces Services under this node's name: %s; give every node its own name", h.twin)
	}
	return h.problem
}

// Run renews until ctx ends. It leaves the Lease as it is: Leave says that the node is gone.
func (h *NodeLease) Run(ctx context.Context) error {
	changed := h.cfg.Cache.Subscribe()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-h.wake:
		case <-timer.C:
		}
		h.look()
		if h.isDue() {
			h.renew(ctx)
			h.look()
		}
		timer.Reset(h.next())
	}
}

// look takes in the Leases as the watch shows them, and passes the verdict on.
func (h *NodeLease) look() {
	h.beat.Mark(h.cfg.Clock())
	if !h.cfg.Cache.HasSynced() {
		return
	}
	now := h.cfg.Clock()
	h.mu.Lock()
	all := seen(h.cfg.Cache.Leases())
	h.judge.Sync(all, now)
	h.verdict = h.judge.View(now)
	h.nodes = announcing(h.verdict, all)
	h.mu.Unlock()
	for _, fn := range h.told {
		fn()
	}
}

// seen is what the Leases of nodes say to the judge.
func seen(leases []*svc.Lease) (all []liveness.Observation) {
	for _, l := range leases {
		if l.Role == svc.RoleNode {
			all = append(all, liveness.Observation{Node: l.Info.Node, Version: l.ResourceVersion, Duration: l.Duration, Released: l.Holder == ""})
		}
	}
	return all
}

// announcing is how many nodes share the renewals that the API server is to bear (S1). The Leases of the dead
// cost nothing; before a first verdict nobody knows who that is.
func announcing(v liveness.View, all []liveness.Observation) int {
	count := len(v.Alive)
	if count == 0 {
		for _, s := range all {
			if !s.Released {
				count++
			}
		}
	}
	return max(1, count)
}

func (h *NodeLease) isDue() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.info.Node != "" && (h.dirty && h.misses == 0 || h.cfg.Clock() >= h.due)
}

// next returns how long nothing is to be done.
func (h *NodeLease) next() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.cfg.Clock()
	if h.info.Node == "" {
		return lookAgain // SetInfo wakes
	}
	at := h.due
	if h.misses == 0 {
		at = h.verdict.RenewAt(h.sent, h.due, h.nodes)
		h.due = min(h.due, at)
	}
	if h.verdict.FreshUntil > now {
		at = min(at, h.verdict.FreshUntil)
	}
	return max(at-now, 10*time.Millisecond)
}
