package svc

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/kubevip"
)

// FieldManager is kvip's name as the owner of fields (Kubernetes documentation, "Server-Side Apply").
const FieldManager = "kvip"

// CleanupFinalizer is what a cloud provider puts on Services, kube-vip's too: none is gone before it is taken away
// (k8s.io/cloud-provider, service/helpers).
const CleanupFinalizer = "service.kubernetes.io/load-balancer-cleanup"

// statusBy names who wrote the addresses in the status of s, if that is not kvip; nil where there are none, or
// nobody knows.
func statusBy(s *corev1.Service) []string {
	if len(s.Status.LoadBalancer.Ingress) == 0 {
		return nil
	}
	var all []string
	for _, f := range s.ManagedFields {
		if !ownsLoadBalancer(f) {
			continue
		}
		if f.Manager == FieldManager {
			return nil
		}
		all = append(all, f.Manager)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func ownsLoadBalancer(f metav1.ManagedFieldsEntry) bool {
	return f.FieldsV1 != nil && strings.Contains(f.FieldsV1.GetRawString(), `"f:loadBalancer"`)
}

// odd reports whether the addresses in the status of s come with what kvip never writes: a host name, a mode that
// kube-proxy does not serve, or ports that are not the Service's.
func odd(s *corev1.Service) bool {
	return slices.ContainsFunc(s.Status.LoadBalancer.Ingress, func(i corev1.LoadBalancerIngress) bool {
		return i.Hostname != "" || i.IP == "" || i.IPMode != nil && *i.IPMode != corev1.LoadBalancerIPModeVIP ||
			slices.ContainsFunc(i.Ports, func(p corev1.PortStatus) bool { return p.Error != nil || !serves(s, p) })
	})
}

func serves(s *corev1.Service, status corev1.PortStatus) bool {
	return slices.ContainsFunc(s.Spec.Ports, func(p corev1.ServicePort) bool { return p.Port == status.Port && p.Protocol == status.Protocol })
}

// finalizers returns those of a Service that is being deleted and waits for kube-vip's cloud provider, where kvip
// has its place (S9); else nil.
func (r Reader) finalizers(s *corev1.Service) []string {
	class, afterKubeVIP := s.Spec.LoadBalancerClass, r.KubeVIP
	if class != nil {
		afterKubeVIP = *class == r.Class && (r.KubeVIP || *class == kubevip.Class)
	} else if r.ClassOnly {
		afterKubeVIP = false
	}
	if s.DeletionTimestamp == nil || s.Spec.Type != corev1.ServiceTypeLoadBalancer || !afterKubeVIP || !slices.Contains(s.Finalizers, CleanupFinalizer) {
		return nil
	}
	return slices.Clone(s.Finalizers)
}
