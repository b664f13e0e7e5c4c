package allocator

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/ipam"
	"github.com/kvip/kvip/pkg/netaddr"
	"github.com/kvip/kvip/pkg/placement"
	"github.com/kvip/kvip/pkg/svc"
)

// Reasons of a Service's condition in addition to those of ipam and placement.
const (
	// ReasonAllocated: the Service has what it requests.
	ReasonAllocated = "Allocated"
	// ReasonForeignClass: the Service had an address from kvip, and is not managed any more.
	ReasonForeignClass = "ForeignClass"
	// ReasonForeignStatus: another program owns the Service's status.
	ReasonForeignStatus = "ForeignStatus"
)

// desiredStatus is the status that a Service should have.
type desiredStatus struct {
	clear         bool // remove all that kvip has written
	conditionOnly bool // the addresses are another program's: only the condition is written
	takeOver      bool // the addresses were another program's
	addresses     []netip.Addr
	isReady       bool // the condition's status
	reason        string
	message       string
}

func (d desiredStatus) isRefused() bool { return !d.clear && !d.isReady }

// desired returns the status that a Service should have, and false if kvip does not write it. other
// is the program that owns the status, if any.
func (a *Allocator) desired(
	s *svc.Service, result ipam.Result, other string,
) (desiredStatus, bool) {
	d, ok := a.compute(s, result, other)
	d.message = svc.Brief(d.message) // the API limits its length
	return d, ok
}

func (a *Allocator) compute(
	s *svc.Service, result ipam.Result, other string,
) (desiredStatus, bool) {
	if !s.Managed {
		d := desiredStatus{clear: true, reason: ReasonForeignClass, message: s.SkipReason}
		return d, s.Condition != nil
	}
	if other != "" {
		return desiredStatus{conditionOnly: true, reason: ReasonForeignStatus, message: fmt.Sprintf(
			"service %s: status.loadBalancer belongs to %s, so kvip allocates no address: "+
				"stop that program, or give the Service another loadBalancerClass", s.Key(), other)}, true
	}
	d := desiredStatus{
		addresses: result.Assigned[s.Key()], isReady: true, reason: ReasonAllocated,
		takeOver: len(s.StatusBy) > 0,
	}
	d.message = "has " + netaddr.Join(d.addresses, " and ")
	if refusal, refused := result.Refused[s.Key()]; refused {
		d.isReady, d.reason, d.message = false, string(refusal.Reason), refusal.Message
		return d, true
	}
	for _, addr := range d.addresses {
		switch p, why := a.cfg.Placement(addr); {
		case p.Reason == "" && isUnannounced(s) && slices.Equal(s.Status, d.addresses):
			// Placement is unknown, as in an outage of the API: the condition stays (S2).
			d.isReady, d.reason, d.message = false, s.Condition.Reason, s.Condition.Message
			return d, true
		case p.Reason != "" && !p.Announced():
			d.isReady, d.reason = false, string(p.Reason)
			d.message = fmt.Sprintf("service %s: %s is announced by no node: %s", s.Key(), addr, why)
		}
	}
	if len(s.Notes) > 0 {
		d.message += "; " + strings.Join(s.Notes, "; ")
	}
	return d, true
}

// isUnannounced reports whether the condition of s explains why no node announces it.
func isUnannounced(s *svc.Service) bool {
	return s.Condition != nil && placement.Reason(s.Condition.Reason).Sentence() != ""
}

// matches reports whether s has the desired status.
func (d desiredStatus) matches(s *svc.Service) bool {
	if d.clear {
		return s.Condition == nil
	}
	c := s.Condition
	if c == nil || c.Reason != d.reason || c.Message != d.message ||
		(c.Status == metav1.ConditionTrue) != d.isReady {
		return false
	}
	return d.conditionOnly || !s.StatusUnreadable && slices.Equal(s.Status, d.addresses)
}

// applyBody returns the body of a server-side apply: all fields that kvip should own, at the
// version of s.
func (d desiredStatus) applyBody(s *svc.Service) ([]byte, error) {
	status := map[string]any{}
	if !d.clear {
		status["conditions"] = []metav1.Condition{d.condition(s)}
		if ingress := d.ingress(); len(ingress) > 0 && !d.conditionOnly {
			status["loadBalancer"] = corev1.LoadBalancerStatus{Ingress: ingress}
		}
	}
	body, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Service",
		"metadata": map[string]string{
			"namespace": s.Namespace, "name": s.Name,
			"resourceVersion": s.ResourceVersion, "uid": string(s.UID),
		},
		"status": status,
	})
	if err != nil {
		return nil, fmt.Errorf("encode status of service %s: %w", s.Key(), err)
	}
	return body, nil
}

// update sets the same in a whole object. It does not clear addresses that another program has
// written since.
func (d desiredStatus) update(o *corev1.Service, s *svc.Service) {
	o.Status.Conditions = slices.DeleteFunc(o.Status.Conditions, isAddressCondition)
	if !d.clear {
		o.Status.Conditions = append(o.Status.Conditions, d.condition(s))
	}
	if !d.clear && !d.conditionOnly || d.clear && updatedByKVIP(o) {
		o.Status.LoadBalancer.Ingress = d.ingress()
	}
}

func isAddressCondition(c metav1.Condition) bool { return c.Type == svc.Condition }

// updatedByKVIP reports whether kvip owns the addresses in a Service's status by an update
// (Kubernetes documentation, "Server-Side Apply": an apply of the same manager is another owner).
func updatedByKVIP(o *corev1.Service) bool {
	return slices.ContainsFunc(o.ManagedFields, func(f metav1.ManagedFieldsEntry) bool {
		return f.Manager == svc.FieldManager && f.Operation == metav1.ManagedFieldsOperationUpdate &&
			f.FieldsV1 != nil && strings.Contains(f.FieldsV1.GetRawString(), `"f:loadBalancer"`)
	})
}

func (d desiredStatus) ingress() []corev1.LoadBalancerIngress {
	mode := corev1.LoadBalancerIPModeVIP
	var list []corev1.LoadBalancerIngress
	for _, addr := range d.addresses {
		list = append(list, corev1.LoadBalancerIngress{IP: addr.String(), IPMode: &mode})
	}
	return list
}

func (d desiredStatus) condition(s *svc.Service) metav1.Condition {
	c := metav1.Condition{
		Type: svc.Condition, Status: metav1.ConditionTrue, Reason: d.reason, Message: d.message,
		LastTransitionTime: metav1.Now(),
	}
	if !d.isReady {
		c.Status = metav1.ConditionFalse
	}
	if s.Condition != nil && s.Condition.Status == c.Status {
		c.LastTransitionTime = s.Condition.LastTransitionTime
	}
	return c
}
