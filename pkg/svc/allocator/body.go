package allocator

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/svc"
)

// applied is the body of a server-side apply: all that kvip wants to own, at the version decided upon.
func applied(s *svc.Service, want wish) ([]byte, error) {
	status := map[string]any{}
	if !want.clear {
		status["conditions"] = []metav1.Condition{condition(s, want)}
		if ingress := ingressOf(want); len(ingress) > 0 && !want.others {
			status["loadBalancer"] = corev1.LoadBalancerStatus{Ingress: ingress}
		}
	}
	body, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Service",
		"metadata": map[string]string{"namespace": s.Namespace, "name": s.Name, "resourceVersion": s.ResourceVersion, "uid": string(s.UID)},
		"status":   status,
	})
	if err != nil {
		return nil, fmt.Errorf("encode status of service %s: %w", s.Owner(), err)
	}
	return body, nil
}

// update puts the same into a whole object. Addresses that another program has written since are not
// cleared.
func update(o *corev1.Service, s *svc.Service, want wish) {
	o.Status.Conditions = slices.DeleteFunc(o.Status.Conditions, func(c metav1.Condition) bool { return c.Type == svc.Condition })
	if !want.clear {
		o.Status.Conditions = append(o.Status.Conditions, condition(s, want))
	}
	if !want.clear && !want.others || want.clear && updatedByKVIP(o) {
		o.Status.LoadBalancer.Ingress = ingressOf(want)
	}
}

// updatedByKVIP is whether kvip owns the addresses in a Service's status by an update (Kubernetes
// documentation, "Server-Side Apply": an apply of the same manager counts as another's).
func updatedByKVIP(o *corev1.Service) bool {
	return slices.ContainsFunc(o.ManagedFields, func(f metav1.ManagedFieldsEntry) bool {
		return f.Manager == FieldManager && f.Operation == metav1.ManagedFieldsOperationUpdate &&
			f.FieldsV1 != nil && strings.Contains(f.FieldsV1.GetRawString(), `"f:loadBalancer"`)
	})
}

func ingressOf(want wish) []corev1.LoadBalancerIngress {
	mode := corev1.LoadBalancerIPModeVIP
	var list []corev1.LoadBalancerIngress
	for _, addr := range want.addresses {
		list = append(list, corev1.LoadBalancerIngress{IP: addr.String(), IPMode: &mode})
	}
	return list
}

func condition(s *svc.Service, want wish) metav1.Condition {
	c := metav1.Condition{Type: svc.Condition, Status: metav1.ConditionTrue, Reason: want.reason, Message: want.message, LastTransitionTime: metav1.Now()}
	if !want.ok {
		c.Status = metav1.ConditionFalse
	}
	if s.Condition != nil && s.Condition.Status == c.Status {
		c.LastTransitionTime = s.Condition.LastTransitionTime
	}
	return c
}
