package serve

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
	"github.com/kvip/kvip/pkg/clock"
	"github.com/kvip/kvip/pkg/members"
	"github.com/kvip/kvip/pkg/svc"
)

// renewTimeout bounds one renewal: a server that is silent for longer is left for another one.
const renewTimeout = time.Second

// HeartConfig of a Heart. All fields are needed.
type HeartConfig struct {
	Node, Identity  string
	Namespace, Name string // of the node's Lease
	Catalogue       *svc.Catalogue
	Router          *apiclient.Router
	Clock           clock.Func
	Log             *slog.Logger
	// Failed is told of each failed renewal.
	Failed func(op string, err error)
}

// Heart renews this node's Lease and judges by the others' who is alive (S1, S2).
type Heart struct {
	cfg  HeartConfig
	wake chan struct{}

	mu      sync.Mutex
	judge   *members.Judge
	info    svc.NodeInfo
	dirty   bool // info changed since the last renewal
	verdict members.Verdict
	nodes   int
	lease   *coordinationv1.Lease
	sent    time.Duration // when the last renewal that succeeded was sent
	due     time.Duration
	misses  int
	twin    string // another machine under this node's name
	seen    rival
	told    []func()
	problem string
}

// rival is a Lease of this node's name that this process did not write.
type rival struct {
	version string
	at      time.Duration
}

// NewHeart returns a Heart that does not beat yet.
func NewHeart(cfg HeartConfig) *Heart {
	return &Heart{cfg: cfg, wake: make(chan struct{}, 1), judge: members.NewJudge(cfg.Node), nodes: 1}
}

// OnVerdict has fn called, with no lock held, after the verdict may have changed. It is called before Run.
func (h *Heart) OnVerdict(fn func()) { h.told = append(h.told, fn) }

// Inform sets what the Lease tells the others of this node; a change is written at once.
func (h *Heart) Inform(info svc.NodeInfo) {
	h.mu.Lock()
	changed := !reflect.DeepEqual(h.info, info)
	h.info, h.dirty = info, h.dirty || changed
	h.mu.Unlock()
	if changed {
		h.rouse()
	}
}

func (h *Heart) rouse() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// Verdict says who is alive now.
func (h *Heart) Verdict() members.Verdict {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.verdict = h.judge.Verdict(h.cfg.Clock())
	return h.verdict
}

// Terms returns the interval between renewals and how long a Lease lasts, by the number of nodes (S1).
func (h *Heart) Terms() (interval, duration time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return members.Interval(h.nodes), members.Duration(h.nodes)
}

// Problem says why the Lease is not renewed, or "".
func (h *Heart) Problem() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.twin != "" {
		return fmt.Sprintf("another machine announces Services under this node's name: %s; give every node its own name", h.twin)
	}
	return h.problem
}

// Run renews until ctx ends. It leaves the Lease as it is: Leave says that the node is gone.
func (h *Heart) Run(ctx context.Context) error {
	changed := h.cfg.Catalogue.Subscribe()
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
func (h *Heart) look() {
	if !h.cfg.Catalogue.Synced() {
		return
	}
	now := h.cfg.Clock()
	h.mu.Lock()
	var all []members.Seen
	living := 0
	for _, l := range h.cfg.Catalogue.Leases() {
		if l.Role != svc.RoleNode || l.Info.Node == "" {
			continue
		}
		s := members.Seen{Node: l.Info.Node, Version: l.ResourceVersion, Duration: l.Duration, Left: l.Holder == ""}
		if !s.Left {
			living++
		}
		all = append(all, s)
	}
	h.nodes = max(1, living)
	h.judge.Sync(all, now)
	h.verdict = h.judge.Verdict(now)
	h.mu.Unlock()
	for _, fn := range h.told {
		fn()
	}
}

func (h *Heart) isDue() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.dirty && h.misses == 0 && h.info.Node != "" || h.cfg.Clock() >= h.due && h.info.Node != ""
}

// next returns how long nothing is to be done.
func (h *Heart) next() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.cfg.Clock()
	at := h.due
	if h.misses == 0 {
		at = h.verdict.RenewAt(h.sent, h.due, h.nodes)
		h.due = min(h.due, at)
	}
	if h.verdict.Next > now {
		at = min(at, h.verdict.Next)
	}
	return max(at-now, 10*time.Millisecond)
}

// renew writes the Lease once.
func (h *Heart) renew(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, renewTimeout)
	defer cancel()
	h.mu.Lock()
	info, nodes := h.info, h.nodes
	h.dirty = false
	h.mu.Unlock()
	sent := h.cfg.Clock()
	var written *coordinationv1.Lease
	err := h.cfg.Router.Do(ctx, func(ctx context.Context, s *apiclient.Server) (err error) {
		written, err = h.write(ctx, s, info, h.cfg.Identity, members.Duration(nodes))
		return err
	})
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.cfg.Clock()
	if err != nil {
		h.missed(err, now)
		return
	}
	h.lease, h.misses, h.problem, h.twin = written, 0, "", ""
	h.sent, h.due = sent, sent+members.Interval(nodes)
	h.judge.Confirmed(members.Renewal{Version: written.ResourceVersion, Sent: sent, Duration: members.Duration(nodes)}, now)
}

// missed plans the next attempt (S2: less than the duration later). The caller holds the lock.
func (h *Heart) missed(err error, now time.Duration) {
	h.misses++
	pause := members.Backoff(h.misses, members.Duration(h.nodes))
	h.due = now + pause - time.Duration(rand.Int64N(int64(pause)/4+1))
	h.dirty = true
	if h.lease != nil && apierrors.IsConflict(err) {
		h.lease = nil
	}
	if text := err.Error(); text != h.problem {
		h.cfg.Log.Warn("cannot renew the Lease of this node; trying again", "lease", h.cfg.Name, "reason", err)
		h.problem = text
	}
	h.cfg.Failed("renew-node", err)
}

// write makes or updates the Lease, at the version that this process wrote last or has judged.
func (h *Heart) write(ctx context.Context, s *apiclient.Server, info svc.NodeInfo, holder string, duration time.Duration) (*coordinationv1.Lease, error) {
	leases := s.Coordination.Leases(h.cfg.Namespace)
	h.mu.Lock()
	l := h.lease
	h.mu.Unlock()
	if l == nil {
		var err error
		l, err = leases.Get(ctx, h.cfg.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			l = &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: h.cfg.Name, Namespace: h.cfg.Namespace}}
			fill(l, info, holder, duration)
			return leases.Create(ctx, l, metav1.CreateOptions{})
		}
		if err != nil {
			return nil, err
		}
		if err := h.mayTake(l); err != nil {
			return nil, err
		}
	}
	l = l.DeepCopy()
	fill(l, info, holder, duration)
	written, err := leases.Update(ctx, l, metav1.UpdateOptions{})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		h.mu.Lock()
		h.lease = nil
		h.mu.Unlock()
	}
	return written, err
}

// mayTake refuses a Lease that another machine renews under this node's name (E8): it must have been
// silent for its duration.
func (h *Heart) mayTake(l *coordinationv1.Lease) error {
	seen := svc.ReadLease(l)
	if seen.Holder == "" || seen.Holder == h.cfg.Identity {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.cfg.Clock()
	if h.seen.version != l.ResourceVersion {
		if h.seen.version != "" {
			h.twin = seen.Holder
		}
		h.seen = rival{l.ResourceVersion, now}
	}
	if now-h.seen.at > seen.Duration {
		return nil
	}
	return fmt.Errorf("lease %s is held by %s, an earlier boot of this node or another machine of its name: waiting until it is silent for %v", l.Name, seen.Holder, seen.Duration)
}

// Leave says that this node is gone, so that the others take its addresses at once.
func (h *Heart) Leave(ctx context.Context) error {
	h.mu.Lock()
	info, nodes := h.info, h.nodes
	h.mu.Unlock()
	err := h.cfg.Router.Do(ctx, func(ctx context.Context, s *apiclient.Server) error {
		_, err := h.write(ctx, s, info, "", members.Duration(nodes))
		return err
	})
	if err != nil {
		return fmt.Errorf("give up lease %s: %w", h.cfg.Name, err)
	}
	return nil
}

// Remove deletes the Lease.
func (h *Heart) Remove(ctx context.Context) error {
	err := h.cfg.Router.Do(ctx, func(ctx context.Context, s *apiclient.Server) error {
		return s.Coordination.Leases(h.cfg.Namespace).Delete(ctx, h.cfg.Name, metav1.DeleteOptions{})
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete lease %s: %w", h.cfg.Name, err)
	}
	return nil
}

func fill(l *coordinationv1.Lease, info svc.NodeInfo, holder string, duration time.Duration) {
	text, err := json.Marshal(info)
	if err != nil {
		text = []byte("{}") // cannot happen: it is made of strings and numbers
	}
	if l.Labels == nil {
		l.Labels = map[string]string{}
	}
	if l.Annotations == nil {
		l.Annotations = map[string]string{}
	}
	l.Labels[svc.LabelRole], l.Annotations[svc.AnnotationNode] = svc.RoleNode, string(text)
	now, seconds := metav1.NowMicro(), int32(duration/time.Second)
	l.Spec.HolderIdentity, l.Spec.LeaseDurationSeconds, l.Spec.RenewTime = &holder, &seconds, &now
}
