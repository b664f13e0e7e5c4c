package allocator

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"reflect"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/apis/v1alpha1"
	"github.com/kvip/kvip/pkg/ipam"
	"github.com/kvip/kvip/pkg/svc"
)

// statusEvery is the least time between two writes of one pool's status: it counts, and need not
// follow each Service.
const statusEvery = time.Second

// publishPools brings the status of each IPPool up to date.
func (a *Allocator) publishPools(all []source, ledger ipam.Ledger, reserved ipam.Reserved, figures *Stats) {
	a.unwritten = false
	overlaps := ipam.Overlaps(usable(all))
	for _, s := range all {
		used, texts := ledger.Used(s.Pool), [2]string{}
		for _, f := range []ipam.Family{ipam.IPv4, ipam.IPv6} {
			if s.Pool.HasFamily(f) {
				room := s.Pool.Usage(f, ledger, reserved)
				texts[f] = room.String()
				figures.Pools = append(figures.Pools, PoolStats{s.Pool.Name, f, room})
			}
		}
		if s.object == nil {
			continue
		}
		want := v1alpha1.IPPoolStatus{
			ObservedGeneration: s.object.Generation, Size: sizeText(s.Pool.Size()), Used: int32(min(used, math.MaxInt32)),
			Addresses: s.Pool.RangesText(), IPv4: texts[ipam.IPv4], IPv6: texts[ipam.IPv6],
			Conflicts: overlaps[s.Pool.Name], Conditions: []metav1.Condition{readyCondition(s)},
		}
		if sameStatus(s.object.Status, want) {
			continue
		}
		due, soon := a.duePool(s.object.ObjectMeta.Name, want)
		a.unwritten = a.unwritten || soon // until it is seen
		if due {
			object := s.object
			a.background(func(ctx context.Context) { a.writePool(ctx, object, want) })
		}
	}
}

// sizeText is a pool's size in decimal. A Size that cannot be told is the largest there is.
func sizeText(size uint64) string {
	if size == math.MaxUint64 {
		return ">=" + strconv.FormatUint(math.MaxUint64, 10)
	}
	return strconv.FormatUint(size, 10)
}

func readyCondition(s source) metav1.Condition {
	c := metav1.Condition{
		Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: "Usable", Message: "its addresses are given out",
		ObservedGeneration: s.object.Generation, LastTransitionTime: metav1.Now(),
	}
	if s.err != nil {
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, string(ipam.Malformed), svc.Brief(s.err.Error())
	}
	for _, old := range s.object.Status.Conditions {
		if old.Type == c.Type && old.Status == c.Status {
			c.LastTransitionTime = old.LastTransitionTime
		}
	}
	return c
}

func sameStatus(have, want v1alpha1.IPPoolStatus) bool {
	if len(have.Conditions) == 1 && len(want.Conditions) == 1 && have.Conditions[0].Status == want.Conditions[0].Status {
		want.Conditions[0].LastTransitionTime = have.Conditions[0].LastTransitionTime
	}
	if len(have.Conflicts) == 0 && len(want.Conflicts) == 0 {
		have.Conflicts, want.Conflicts = nil, nil
	}
	return reflect.DeepEqual(have, want)
}

// poolWrite is the last write of a pool's status.
type poolWrite struct {
	at    time.Duration
	want  v1alpha1.IPPoolStatus
	again bool // the same was written before
}

// duePool spaces the writes of one pool's status. What was written twice and is not seen, because the right is missing
// or the installed definition has no such field, is written seldom: then soon is false, as nothing is to be done before.
func (a *Allocator) duePool(name string, want v1alpha1.IPPoolStatus) (now, soon bool) {
	at := a.cfg.Clock()
	last, had := a.poolWritten[name]
	again := had && sameStatus(last.want, want)
	pause, soon := statusEvery, true
	if again && last.again {
		pause, soon = lookAnyway, false
	}
	if had && at-last.at < pause {
		return false, soon
	}
	maps.DeleteFunc(a.poolWritten, func(_ string, w poolWrite) bool { return at-w.at >= 2*lookAnyway })
	a.poolWritten[name] = poolWrite{at, want, again}
	return true, soon
}

// writePool applies the status, and posts an Event if the pool cannot be used.
func (a *Allocator) writePool(ctx context.Context, p *svc.Pool, want v1alpha1.IPPoolStatus) {
	name := p.ObjectMeta.Name
	if want.Conditions[0].Status == metav1.ConditionFalse {
		a.writer.status.events.about(ctx, corev1.ObjectReference{APIVersion: v1alpha1.GroupVersion().String(), Kind: v1alpha1.Kind, Name: name, UID: p.UID},
			corev1.EventTypeWarning, want.Conditions[0].Reason, want.Conditions[0].Message)
	}
	body, err := json.Marshal(map[string]any{
		"apiVersion": v1alpha1.GroupVersion().String(), "kind": v1alpha1.Kind, "metadata": map[string]string{"name": name}, "status": want,
	})
	if err == nil {
		err = a.cfg.failed().do(ctx, a.cfg.Router, "patch", "ippools", func(ctx context.Context, s *apiclient.Server) error {
			return a.applyPool(ctx, s, name, body)
		})
	}
	if err != nil && ctx.Err() == nil && !apierrors.IsNotFound(err) { // deleted meanwhile
		a.cfg.Log.Warn("cannot write the status of a pool; trying again", "pool", name, "reason", fmt.Errorf("apply status of IPPool %s: %w", name, err))
	}
}

func (a *Allocator) applyPool(ctx context.Context, s *apiclient.Server, name string, body []byte) error {
	err := s.KVIP.Patch(types.ApplyPatchType).Resource(v1alpha1.Plural).Name(name).SubResource("status").
		Param("fieldManager", FieldManager).Body(body).Do(ctx).Error()
	if a.cfg.failed().of("patch", "ippools", err); apierrors.IsForbidden(err) { // no reason to change credentials
		a.writer.status.rights.missing("patch ippools/status", "pools do not say how much of them is used", err)
		return nil
	}
	return err
}
