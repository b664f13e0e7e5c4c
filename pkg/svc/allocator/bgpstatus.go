package allocator

import (
	"context"
	"encoding/json"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/apis/v1alpha1"
	"github.com/kvip/kvip/pkg/svc"
)

// bgpStatus is the status of a BGPPeer, or of a BGPAdvertisement, which has no Sessions.
type bgpStatus struct {
	ObservedGeneration int64              `json:"observedGeneration,omitempty"`
	Sessions           string             `json:"sessions,omitempty"`
	Conditions         []metav1.Condition `json:"conditions,omitempty"`
}

// bgpTarget is an object of BGP whose status is written.
type bgpTarget struct {
	kind, plural string
	meta         metav1.ObjectMeta
	have         bgpStatus
}

// queueBGPStatuses brings the status of each BGPPeer and BGPAdvertisement up to date. It does
// nothing until their kinds were read.
func (a *Allocator) queueBGPStatuses() {
	check := newBGPCheck(a.cfg.Cache)
	if !check.bgp.Synced {
		return
	}
	for i, p := range a.cfg.Cache.BGPPeers() {
		have := p.Value.Status
		target := bgpTarget{v1alpha1.BGPPeerKind, v1alpha1.BGPPeerPlural, p.ObjectMeta,
			bgpStatus{have.ObservedGeneration, have.Sessions, have.Conditions}}
		if is, known := check.peer(i, p); known {
			a.queueBGPStatus(target, is, a.sessions.text(p.Name, have.Sessions))
		}
	}
	for i, ad := range a.cfg.Cache.BGPAdvertisements() {
		have := ad.Value.Status
		target := bgpTarget{v1alpha1.BGPAdvertisementKind, v1alpha1.BGPAdvertisementPlural,
			ad.ObjectMeta, bgpStatus{have.ObservedGeneration, "", have.Conditions}}
		if is, known := check.advertisement(i, ad, &a.sessions); known {
			a.queueBGPStatus(target, is, "")
		}
	}
}

// queueBGPStatus queues the write of a status, if the object has another one.
func (a *Allocator) queueBGPStatus(target bgpTarget, is assessment, sessions string) {
	condition := metav1.Condition{
		Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: is.reason,
		Message: is.message, ObservedGeneration: target.meta.Generation,
	}
	if is.ready {
		condition.Status = metav1.ConditionTrue
	}
	want := bgpStatus{target.meta.Generation, sessions, []metav1.Condition{condition}}
	if target.have.equal(want) {
		return
	}
	a.writePaced(target.kind+" "+target.meta.Name, want, func(ctx context.Context) {
		a.writeBGPStatus(ctx, target, want)
	})
}

// ready returns the condition Ready, the zero value if there is none.
func (s bgpStatus) ready() metav1.Condition {
	for _, c := range s.Conditions {
		if c.Type == v1alpha1.ConditionReady {
			return c
		}
	}
	return metav1.Condition{}
}

// equal compares what kvip writes, without the time of the transition.
func (s bgpStatus) equal(want bgpStatus) bool {
	x, y := s.ready(), want.ready()
	x.LastTransitionTime, y.LastTransitionTime = metav1.Time{}, metav1.Time{}
	return s.ObservedGeneration == want.ObservedGeneration && s.Sessions == want.Sessions && x == y
}

// writeBGPStatus applies a status, and posts an Event if the object is not used.
func (a *Allocator) writeBGPStatus(ctx context.Context, target bgpTarget, want bgpStatus) {
	condition, group := want.ready(), v1alpha1.GroupVersion().String()
	condition.LastTransitionTime = metav1.Now()
	if old := target.have.ready(); old.Status == condition.Status {
		condition.LastTransitionTime = old.LastTransitionTime
	}
	want.Conditions = []metav1.Condition{condition}
	if condition.Status == metav1.ConditionFalse {
		a.events.postAbout(ctx, corev1.ObjectReference{APIVersion: group, Kind: target.kind,
			Name: target.meta.Name, UID: target.meta.UID}, corev1.EventTypeWarning, condition.Reason,
			condition.Message)
	}
	err := a.applyStatus(ctx, target.kind, target.plural, target.meta.Name, want)
	if err != nil && ctx.Err() == nil && !apierrors.IsNotFound(err) { // not found: deleted meanwhile
		a.cfg.Log.Warn("cannot write the status of an object of BGP; trying again",
			"kind", target.kind, "name", target.meta.Name, "err", err)
	}
}

// applyStatus applies the status of an object of kvip.dev. A missing permission is not an error.
func (a *Allocator) applyStatus(
	ctx context.Context, kind, plural, name string, status any,
) error {
	body, err := json.Marshal(map[string]any{
		"apiVersion": v1alpha1.GroupVersion().String(), "kind": kind,
		"metadata": map[string]string{"name": name}, "status": status,
	})
	if err != nil {
		return err
	}
	failures := a.cfg.failures()
	return failures.send(ctx, a.cfg.Router, "patch", plural,
		func(ctx context.Context, s *apiclient.Server) error {
			err := s.KVIP.Patch(types.ApplyPatchType).Resource(plural).Name(name).
				SubResource("status").Param("fieldManager", svc.FieldManager).Body(body).Do(ctx).Error()
			if failures.count("patch", plural, err); apierrors.IsForbidden(err) { // keep the credentials
				a.allowed.missing("patch "+plural+"/status", missingStatus[plural], err)
				return nil
			}
			return err
		})
}

// missingStatus has the consequence of the missing permission to write the statuses of a kind.
var missingStatus = map[string]string{
	v1alpha1.Plural:                 "pools do not report their usage",
	v1alpha1.BGPPeerPlural:          "BGPPeers do not report their state",
	v1alpha1.BGPAdvertisementPlural: "BGPAdvertisements do not report their state",
}
