package allocator

import (
	"context"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/apis/v1alpha1"
	"github.com/kvip/kvip/pkg/ipam"
	"github.com/kvip/kvip/pkg/kubevip"
	"github.com/kvip/kvip/pkg/svc"
)

// poolStatusInterval is the least time between two writes of one pool's status: it need not follow
// each Service.
const poolStatusInterval = time.Second

// poolSource is a pool and its origin.
type poolSource struct {
	ipam.Pool
	object *svc.Pool // nil: kube-vip's ConfigMap
	err    error     // the pool is invalid, perhaps only in its present version
}

// pools returns all pools. A pool that became invalid is used as it was, as long as this agent
// runs. Its Services keep their addresses in any case.
func (a *Allocator) pools() []poolSource {
	var all []poolSource
	valid := map[string]ipam.Pool{}
	for _, p := range a.cfg.Cache.Pools() {
		s := poolSource{Pool: p.Pool, object: p, err: p.Err}
		last, had := a.validPools[p.Pool.Name]
		if p.Err != nil && had {
			s.Pool = last
		}
		if p.Err == nil || len(s.Ranges) > 0 && last.Name != "" {
			valid[p.Pool.Name] = s.Pool
		}
		all = append(all, s)
	}
	a.validPools = valid
	legacy, problems := a.cfg.Cache.KubeVIPPools()
	for _, p := range legacy {
		all = append(all, poolSource{Pool: p})
	}
	for _, p := range problems {
		a.cfg.Log.Debug("invalid value in kube-vip's ConfigMap", "reason", p)
		a.enqueue(func(ctx context.Context) {
			object := corev1.ObjectReference{
				APIVersion: "v1", Kind: "ConfigMap",
				Namespace: kubevip.PoolsNamespace, Name: kubevip.PoolsConfigMap,
			}
			a.events.postAbout(ctx, object, corev1.EventTypeWarning, string(ipam.Malformed), p.Error())
		})
	}
	return all
}

func usable(all []poolSource) []ipam.Pool {
	var list []ipam.Pool
	for _, s := range all {
		if s.err == nil || len(s.Ranges) > 0 && s.Validate() == nil {
			list = append(list, s.Pool)
		}
	}
	return list
}

// queuePoolStatuses brings the status of each IPPool up to date, and adds the pools to stats.
func (a *Allocator) queuePoolStatuses(
	all []poolSource, ledger ipam.Ledger, reserved ipam.Reserved, stats *Stats,
) {
	a.unwritten = false
	overlaps := ipam.Overlaps(usable(all))
	for _, s := range all {
		used, texts := ledger.Used(s.Pool), [2]string{}
		for _, f := range []ipam.Family{ipam.IPv4, ipam.IPv6} {
			if s.Pool.HasFamily(f) {
				usage := s.Pool.Usage(f, ledger, reserved)
				texts[f] = usage.String()
				stats.Pools = append(stats.Pools, PoolStats{s.Pool.Name, f, usage})
			}
		}
		if s.object == nil {
			continue
		}
		want := v1alpha1.IPPoolStatus{
			ObservedGeneration: s.object.Generation,
			Size:               sizeText(s.Pool.Size()), Used: int32(min(used, math.MaxInt32)),
			Addresses: s.Pool.RangesText(), IPv4: texts[ipam.IPv4], IPv6: texts[ipam.IPv6],
			Conflicts: overlaps[s.Pool.Name], Conditions: []metav1.Condition{s.condition()},
		}
		if equalStatus(s.object.Status, want) {
			continue
		}
		object := s.object
		a.writePaced(object.ObjectMeta.Name, want, func(ctx context.Context) {
			a.writePool(ctx, object, want)
		})
	}
}

// writePaced queues write if that is due. It is repeated until the watch shows the result.
func (a *Allocator) writePaced(name string, want any, write func(context.Context)) {
	now := a.cfg.Clock()
	due, soon := a.writePacer.isDue(name, want, now)
	dropped := due && !a.enqueue(write)
	if due && !dropped {
		a.writePacer.record(name, want, now)
	}
	a.unwritten = a.unwritten || soon || dropped
}

// sizeText returns a pool's size in decimal. math.MaxUint64 means at least that.
func sizeText(size uint64) string {
	text := strconv.FormatUint(size, 10)
	if size == math.MaxUint64 {
		return ">=" + text
	}
	return text
}

func (s poolSource) condition() metav1.Condition {
	c := metav1.Condition{
		Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue,
		Reason: "Usable", Message: "its addresses are allocated",
		ObservedGeneration: s.object.Generation, LastTransitionTime: metav1.Now(),
	}
	if s.err != nil {
		c.Status, c.Reason = metav1.ConditionFalse, string(ipam.Malformed)
		c.Message = svc.Brief(s.err.Error())
	}
	for _, old := range s.object.Status.Conditions {
		if old.Type == c.Type && old.Status == c.Status {
			c.LastTransitionTime = old.LastTransitionTime
		}
	}
	return c
}

// equalStatus compares without the time of a transition that did not happen.
func equalStatus(have, want v1alpha1.IPPoolStatus) bool {
	if len(have.Conditions) == 1 && len(want.Conditions) == 1 &&
		have.Conditions[0].Status == want.Conditions[0].Status {
		want.Conditions = slices.Clone(want.Conditions) // a write in the background reads them
		want.Conditions[0].LastTransitionTime = have.Conditions[0].LastTransitionTime
	}
	if len(have.Conflicts) == 0 && len(want.Conflicts) == 0 {
		have.Conflicts, want.Conflicts = nil, nil
	}
	return reflect.DeepEqual(have, want)
}

// sameWant compares two statuses, or the zero values of two removals.
func sameWant(a, b any) bool {
	x, isPool := a.(v1alpha1.IPPoolStatus)
	y, arePools := b.(v1alpha1.IPPoolStatus)
	if isPool && arePools {
		return equalStatus(x, y)
	}
	return reflect.DeepEqual(a, b)
}

// pacedWrite is the last write of a status or a finalizer.
type pacedWrite struct {
	at       time.Duration
	want     any
	repeated bool // the write before had the same status
}

// writePacer paces the writes of each status of a pool or of an object of BGP, and the removals of
// finalizers. Its keys are the names of pools, "KIND NAME" and "service NAMESPACE/NAME".
type writePacer map[string]pacedWrite

// isDue reports whether a status should be written now. A status that was written twice and is not
// seen, because the permission or a field of the definition is missing, is repeated after
// resyncInterval: then soon is false, since nothing is to be done before.
func (w writePacer) isDue(name string, want any, now time.Duration) (due, soon bool) {
	last, had := w[name]
	pause, soon := poolStatusInterval, true
	if had && last.repeated && sameWant(last.want, want) {
		pause, soon = resyncInterval, false
	}
	return !had || now-last.at >= pause, soon
}

// record records that a status is being written.
func (w writePacer) record(name string, want any, now time.Duration) {
	last, had := w[name]
	maps.DeleteFunc(w, func(_ string, one pacedWrite) bool { return now-one.at >= 2*resyncInterval })
	w[name] = pacedWrite{now, want, had && sameWant(last.want, want)}
}

// writePool applies the status, and posts an Event if the pool is invalid.
func (a *Allocator) writePool(ctx context.Context, p *svc.Pool, want v1alpha1.IPPoolStatus) {
	name, group := p.ObjectMeta.Name, v1alpha1.GroupVersion().String()
	if c := want.Conditions[0]; c.Status == metav1.ConditionFalse {
		object := corev1.ObjectReference{APIVersion: group, Kind: v1alpha1.Kind, Name: name, UID: p.UID}
		a.events.postAbout(ctx, object, corev1.EventTypeWarning, c.Reason, c.Message)
	}
	err := a.applyStatus(ctx, v1alpha1.Kind, v1alpha1.Plural, name, want)
	if err != nil && ctx.Err() == nil && !apierrors.IsNotFound(err) { // not found: deleted meanwhile
		a.cfg.Log.Warn("cannot write the status of a pool; trying again", "pool", name, "err", err)
	}
}
