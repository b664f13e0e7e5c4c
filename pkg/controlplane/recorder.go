package controlplane

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/arp"
	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/election"
	"github.com/kvip/kvip/pkg/fence"
	"github.com/kvip/kvip/pkg/link"
	"github.com/kvip/kvip/pkg/metrics"
	"github.com/kvip/kvip/pkg/printable"
	"github.com/kvip/kvip/pkg/reporter"
)

const (
	// problemLogPeriod is the minimum time between two log records about conflicts, and between two
	// about the fence.
	problemLogPeriod = 10 * time.Second
	// eventTimeout limits the one attempt to create an Event.
	eventTimeout = 2 * time.Second
)

// recorder records what the election changes: in the log, in metrics, in the state of the component
// and as an Event. Its methods belong to the loop's goroutine.
type recorder struct {
	cfg         config.Config
	id          string
	vips        string // for logs
	log         *slog.Logger
	metrics     *metrics.Set
	link        func() link.Link
	createEvent func(ctx context.Context, ev *corev1.Event) error
	onFailure   func(op string, err error)
	health      *reporter.Reporter // of the election loop
	probe       *reporter.Reporter // of the health probe, for its reason

	lastConflict time.Duration // of the last log record about one
	shutSince    time.Duration // since when no Extend of the fence has worked, 0 if the last one has
	shutLogAt    time.Duration // earliest instant of the next log record about that
	holding      bool
	claim        election.Action // in progress
	freeSince    time.Duration   // election.Machine.FreeSince of the claim
	duplicate    bool            // another host holds under this node's name (E8)
	posts        sync.WaitGroup  // of Events
}

// concluded are the reasons of a claim that the claiming node concludes itself.
var concluded = []election.Reason{
	election.ReasonExpired, election.ReasonSilent, election.ReasonGoodbye,
}

// recordConflict records a foreign announcement.
func (r *recorder) recordConflict(c arp.Conflict) {
	r.metrics.Conflict(c.Addr)
	if r.lastConflict != 0 && c.At-r.lastConflict < problemLogPeriod {
		return
	}
	r.lastConflict = c.At
	r.log.Warn("another host announces the VIP: remove it there, or choose another VIP",
		"vip", c.Addr, "mac", c.MAC.String())
}

// recordNotExtended records that the fence could not be extended: not at once where the kernel is
// only busy.
func (r *recorder) recordNotExtended(err error, at time.Duration) {
	if r.shutSince == 0 {
		r.shutSince = at
	}
	busy := errors.Is(err, fence.ErrDeferred) && at-r.shutSince < time.Second
	if busy || at < r.shutLogAt {
		return
	}
	r.shutLogAt = at + problemLogPeriod
	r.log.Warn("cannot extend the fence; trying again", "vip", r.vips, "err", err)
}

// recordClaim records the beginning of a claim of a lease that is free since an instant.
func (r *recorder) recordClaim(a election.Action, freeSince time.Duration) {
	r.claim, r.freeSince = a, freeSince
}

// recordStep records what one event changed. at is the instant after its actions.
func (r *recorder) recordStep(ev election.Event, before, now election.Status, at time.Duration) {
	r.health.Heartbeat()
	if w, ok := ev.(election.Written); ok && before.State == election.Holding {
		r.metrics.Renewal(map[election.Outcome]string{
			election.OutcomeOK: "ok", election.OutcomeConflict: "conflict",
			election.OutcomeFailed: "failed",
		}[w.Outcome])
	}
	r.metrics.Term(now.Term)
	degraded := now.Degraded != "" && now.Holder == r.id
	r.metrics.Degraded(degraded)
	r.recordDuplicate(before, now)
	r.report(now)
	r.metrics.Quorum(metrics.Quorum{
		Mode: modeOf(now), Agents: now.Agents, MajorityAge: now.MajorityAge, Blinks: now.Blinks,
		LateWakeups: now.LateWakeups,
	})
	if now.Owned != before.Owned {
		for _, a := range r.cfg.VIPs {
			r.metrics.Holder(a, now.Owned)
		}
	}
	switch {
	case now.Owned && !r.holding:
		r.recordAcquired(now, at)
	case r.holding && now.State != election.Holding:
		r.recordLost(now)
	case now.State != before.State || now.Reason != before.Reason || now.Holder != before.Holder:
		r.log.Info("election state changed", "vip", r.vips, "state", now.State,
			"holder", election.NodeName(now.Holder), "lease", r.cfg.LeaseName,
			"term", now.Term, "reason", now.Reason)
	}
}

// report reports whether this node holds the addresses or could take over.
func (r *recorder) report(now election.Status) {
	standby := now.State == election.Standby &&
		(now.Reason == election.ReasonHeldByOther || now.Reason == election.ReasonWaitingForExpiry)
	switch {
	case r.duplicate:
		r.health.Stopped("another host holds the lease under this node's name: " + now.Holder +
			"; give every node its own name")
	case now.State == election.Holding && now.Owned && now.Degraded != "":
		r.health.Impaired(election.Reason(now.Degraded).Sentence())
	case now.State == election.Holding && now.Owned, standby:
		r.health.OK()
	default:
		detail := ""
		if _, reason := r.probe.Status(); reason != "" {
			detail = " (" + reason + ")"
		}
		r.health.Stopped(fmt.Sprintf("%s: %s%s", now.Reason, now.Reason.Sentence(), detail))
	}
}

func (r *recorder) recordAcquired(now election.Status, at time.Duration) {
	r.holding = true
	r.metrics.Transition(string(now.Reason))
	r.log.Info("holding the VIP", "vip", r.vips, "link", r.link().Name, "node", r.cfg.NodeName,
		"lease", r.cfg.LeaseName, "term", now.Term, "reason", now.Reason)
	claimed := now.Reason == election.ReasonReleased || slices.Contains(concluded, now.Reason)
	if r.freeSince == 0 || !claimed {
		return
	}
	if r.claim.LastHolder != "" { // else it is the first claim, not a fail-over
		r.metrics.Failover(at - r.freeSince)
	}
	r.freeSince = 0
	r.postTransition(r.claim)
}

func (r *recorder) recordLost(now election.Status) {
	r.holding = false
	r.metrics.Transition(string(now.Cause))
	level := slog.LevelWarn
	if now.Cause == election.ReasonShutdown {
		level = slog.LevelInfo
	}
	r.log.Log(context.Background(), level, "stopped holding the VIP", "vip", r.vips,
		"node", r.cfg.NodeName, "lease", r.cfg.LeaseName, "term", now.Term, "state", now.State,
		"reason", fmt.Sprintf("%s: %s", now.Cause, now.Cause.Sentence()))
}

// recordDuplicate detects another host that holds under this node's name (E8). A holder that
// does not renew may be this machine before its last boot.
func (r *recorder) recordDuplicate(before, now election.Status) {
	renewed := now.Holder == before.Holder && now.Age < before.Age
	switch {
	case !isDuplicate(now.Holder, r.id):
		r.duplicate = false
	case renewed && !r.duplicate:
		r.duplicate = true
		r.log.Error(
			"another host holds the lease under this node's name: give every node its own name "+
				"(--node-name)",
			"node", r.cfg.NodeName, "lease", r.cfg.LeaseName, "reason", "held by "+now.Holder)
	}
}

// isDuplicate reports whether holder is another host with the node name of id.
func isDuplicate(holder, id string) bool {
	return holder != "" && holder != id && election.NodeName(holder) == election.NodeName(id)
}

// postTransition creates an Event about a change of holder, on the Lease. The new holder does so.
func (r *recorder) postTransition(a election.Action) {
	r.posts.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), eventTimeout)
		defer cancel()
		ev := transitionEvent(r.cfg.Namespace, r.cfg.LeaseName, r.vips, a, time.Now())
		if err := r.createEvent(ctx, ev); err != nil {
			r.onFailure("create-event", err)
			r.log.Warn("cannot create an Event", "lease", r.cfg.LeaseName, "err", err)
		}
	})
}

// transitionEvent describes a change of holder for `kubectl get events`.
func transitionEvent(namespace, lease, vip string, a election.Action, now time.Time) *corev1.Event {
	from, to := election.NodeName(a.LastHolder), election.NodeName(a.Record.Holder)
	if from == "" {
		from = "no node"
	}
	why, code := a.Reason.Sentence(), a.Reason
	switch {
	case why == "": // not one of kvip's reasons: text from the Lease
		why, code = fmt.Sprintf("%s reports %q", from, string(a.Reason)), election.ReasonReleased
	case !slices.Contains(concluded, a.Reason): // all other reasons are from the last holder
		why = from + " reports that " + why
	}
	at := metav1.NewTime(now)
	return &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: fmt.Sprintf("%s.%x", lease, now.UnixNano()),
		},
		InvolvedObject: corev1.ObjectReference{
			APIVersion: "coordination.k8s.io/v1", Kind: "Lease", Namespace: namespace, Name: lease,
		},
		Reason:         string(code),
		Message:        printable.Message(fmt.Sprintf("%s moved from %s to %s: %s", vip, from, to, why)),
		Type:           corev1.EventTypeNormal,
		Source:         corev1.EventSource{Component: "kvip", Host: to},
		FirstTimestamp: at, LastTimestamp: at, Count: 1,
	}
}

// modeOf returns the mode of the lease, "" while there is none.
func modeOf(s election.Status) string {
	switch {
	case s.Fast:
		return modeFast
	case s.Holder != "":
		return modeSlow
	}
	return ""
}

// The modes of a holder's right (F1).
const (
	modeFast = "fast"
	modeSlow = "slow"
)

// Modes returns the modes of a holder's right, for metrics.
func Modes() []string { return []string{modeFast, modeSlow} }
