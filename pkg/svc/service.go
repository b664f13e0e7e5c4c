package svc

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/kvip/kvip/pkg/ipam"
	"github.com/kvip/kvip/pkg/kubevip"
)

// Condition is the type of kvip's condition in the status of a Service. Its presence shows that
// kvip has written the status, also if kvip no longer serves the Service.
const Condition = "kvip.dev/Address"

// FieldManager is kvip's name as the manager of fields (Kubernetes documentation, "Server-Side
// Apply").
const FieldManager = "kvip"

// CleanupFinalizer delays the deletion of a Service until its cloud provider, also kube-vip's,
// removes it (k8s.io/cloud-provider, service/helpers).
const CleanupFinalizer = "service.kubernetes.io/load-balancer-cleanup"

// Service is the decoded part of a Service.
type Service struct {
	metav1.ObjectMeta // namespace, name, UID and resourceVersion only
	// Managed reports whether kvip allocates addresses for it: it has type LoadBalancer and kvip's
	// class, no annotation excludes it, and it is not being deleted.
	Managed bool
	// SkipReason is why a Service of type LoadBalancer is not Managed.
	SkipReason string
	// Announceable reports whether its addresses in the ledger are announced: it has type
	// LoadBalancer, no annotation excludes it, and it is not being deleted. Unlike Managed it depends
	// on no flag, so that it is the same on all nodes.
	Announceable bool
	// Created is its creation time.
	Created time.Time
	// Request is its request for addresses, set if it is Announceable.
	Request ipam.Request
	// Local reports externalTrafficPolicy Local.
	Local bool
	// Link is a name or pattern of the links that may announce it. Empty: any.
	Link string
	// Notes list requested settings that kvip does not support or use.
	Notes []string
	// ClusterIPs are its addresses inside the cluster, of any type of Service.
	ClusterIPs []netip.Addr
	// Status lists the addresses in its status.
	Status []netip.Addr
	// StatusBy names the programs other than kvip that wrote Status, nil if kvip did or the writer is
	// not known.
	StatusBy []string
	// StatusUnreadable reports that the status has values beside the addresses that kvip never writes.
	StatusUnreadable bool
	// Finalizers is set if it is being deleted and waits for kube-vip's cloud provider (S9).
	Finalizers []string
	// Condition is kvip's condition in the status, nil if there is none.
	Condition *metav1.Condition
}

// Key returns the name of s in the ledger.
func (s *Service) Key() ipam.ServiceKey {
	if s.Request.Service != "" { // avoids an allocation for each of thousands of Services
		return s.Request.Service
	}
	return Key(s.Namespace, s.Name)
}

// Key returns the name of a Service in the ledger.
func Key(namespace, name string) ipam.ServiceKey { return ipam.ServiceKey(namespace + "/" + name) }

// Reader decodes Services by the settings of this cluster.
type Reader struct {
	// Class is the loadBalancerClass that kvip serves. ClassOnly excludes Services without a class.
	Class     string
	ClassOnly bool
	// KubeVIP allows requested addresses outside of all pools, as kube-vip does (S9).
	KubeVIP bool
}

// maxRequestedAgain limits how many addresses of a status are requested again.
const maxRequestedAgain = 4

// Service decodes s.
func (r Reader) Service(s *corev1.Service) *Service {
	a := readAnnotations(s)
	balancer := s.Spec.Type == corev1.ServiceTypeLoadBalancer
	result := &Service{
		ObjectMeta: identified(s), Created: s.CreationTimestamp.Time, Link: a.Link, Notes: a.Notes,
		Announceable: balancer && s.DeletionTimestamp == nil && !a.Ignore,
		StatusBy:     statusBy(s), StatusUnreadable: statusUnreadable(s),
	}
	result.Labels = s.Labels
	result.Managed, result.SkipReason = r.managed(s, a)
	if !a.Ignore {
		result.Finalizers = r.finalizers(s)
	}
	for _, text := range s.Spec.ClusterIPs {
		if addr, err := netip.ParseAddr(text); err == nil { // "None" is not an address
			result.ClusterIPs = append(result.ClusterIPs, addr)
		}
	}
	for _, ingress := range s.Status.LoadBalancer.Ingress {
		if addr, err := netip.ParseAddr(ingress.IP); err == nil {
			result.Status = append(result.Status, addr.Unmap())
		}
	}
	for i := range s.Status.Conditions {
		if s.Status.Conditions[i].Type == Condition {
			result.Condition = s.Status.Conditions[i].DeepCopy()
		}
	}
	if result.Announceable {
		result.Local = s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
		result.Request = r.request(s, a)
		result.Notes = append(result.Notes, dropOtherFamilies(&result.Request)...)
		result.Request.Previous = first(result.Status, maxRequestedAgain)
	}
	return result
}

// managed decides by type, class and annotations whether kvip serves s, or returns why not.
func (r Reader) managed(s *corev1.Service, a annotations) (bool, string) {
	switch class := s.Spec.LoadBalancerClass; {
	case s.Spec.Type != corev1.ServiceTypeLoadBalancer:
		return false, ""
	case s.DeletionTimestamp != nil:
		return false, "it is being deleted"
	case class != nil && *class != r.Class:
		const format = "its loadBalancerClass %s is not %s, which kvip serves"
		return false, fmt.Sprintf(format, *class, r.Class)
	case class == nil && r.ClassOnly:
		return false, "it has no loadBalancerClass, and kvip serves none without " + r.Class +
			" (--service-class-only)"
	case a.Ignore:
		return false, "an annotation excludes it"
	}
	return true, ""
}

// request converts the spec for the allocator.
func (r Reader) request(s *corev1.Service, a annotations) ipam.Request {
	policy := s.Spec.IPFamilyPolicy
	request := ipam.Request{
		Service: Key(s.Namespace, s.Name), Namespace: s.Namespace,
		Addresses: a.Addresses, AnyPool: r.KubeVIP, Pool: a.Pool, ShareKey: ipam.ShareKey(a.Key),
		Fields:   a.Fields,
		Local:    s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal,
		Require:  policy != nil && *policy == corev1.IPFamilyPolicyRequireDualStack,
		Selector: selectorHash(s),
	}
	for _, family := range s.Spec.IPFamilies {
		if family == corev1.IPv6Protocol {
			request.Families = append(request.Families, ipam.IPv6)
		} else {
			request.Families = append(request.Families, ipam.IPv4)
		}
	}
	if len(request.Families) == 0 { // the default of an API server
		request.Families = []ipam.Family{ipam.IPv4}
	}
	for _, p := range s.Spec.Ports {
		port := ipam.Port{Protocol: string(p.Protocol), Number: uint16(p.Port)}
		request.Ports = append(request.Ports, port)
	}
	if a.Err != nil {
		message := Brief(fmt.Sprintf("service %s: %v", request.Service, a.Err))
		request.Invalid = &ipam.Refusal{Reason: ipam.Malformed, Message: message}
	}
	return request
}

// selectorHash identifies the pods of a Service; "" if it has no selector.
func selectorHash(s *corev1.Service) string {
	if len(s.Spec.Selector) == 0 {
		return ""
	}
	sum := sha256.Sum256([]byte(s.Namespace + "\x00" + labels.FormatLabels(s.Spec.Selector)))
	return hex.EncodeToString(sum[:6])
}

// dropOtherFamilies removes requested addresses of families that the Service does not have, if it
// has the family of another one: kube-vip's annotations often request both. It returns notes.
func dropOtherFamilies(r *ipam.Request) (notes []string) {
	fits := func(a netip.Addr) bool { return slices.Contains(r.Families, ipam.FamilyOf(a)) }
	if !slices.ContainsFunc(r.Addresses, fits) {
		return nil
	}
	var kept []netip.Addr
	for _, a := range r.Addresses {
		if fits(a) {
			kept = append(kept, a)
			continue
		}
		notes = append(notes, fmt.Sprintf("%s: %s is ignored because the Service is not %s: "+
			"add that to spec.ipFamilies, or remove the address", r.Fields.Addresses, a, ipam.FamilyOf(a)))
	}
	r.Addresses = kept
	return notes
}

// statusBy returns the programs that wrote the addresses in the status of s, nil if kvip did, if
// there are none, or if it is not known.
func statusBy(s *corev1.Service) []string {
	if len(s.Status.LoadBalancer.Ingress) == 0 {
		return nil
	}
	var all []string
	for _, f := range s.ManagedFields {
		if f.FieldsV1 == nil || !strings.Contains(f.FieldsV1.GetRawString(), `"f:loadBalancer"`) {
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

// statusUnreadable reports whether the status of s has values beside addresses that kvip never
// writes: a host name, a mode that kube-proxy does not serve, or ports that are not the Service's.
func statusUnreadable(s *corev1.Service) bool {
	foreign := func(status corev1.PortStatus) bool {
		return status.Error != nil || !slices.ContainsFunc(s.Spec.Ports, func(p corev1.ServicePort) bool {
			return p.Port == status.Port && p.Protocol == status.Protocol
		})
	}
	ingresses := s.Status.LoadBalancer.Ingress
	return slices.ContainsFunc(ingresses, func(i corev1.LoadBalancerIngress) bool {
		proxied := i.IPMode != nil && *i.IPMode != corev1.LoadBalancerIPModeVIP
		return i.Hostname != "" || i.IP == "" || proxied || slices.ContainsFunc(i.Ports, foreign)
	})
}

// finalizers returns the finalizers of a Service that is being deleted and waits for kube-vip's
// cloud provider, if kvip replaces that (S9); else nil.
func (r Reader) finalizers(s *corev1.Service) []string {
	replaces := r.KubeVIP
	if class := s.Spec.LoadBalancerClass; class != nil {
		replaces = *class == r.Class && (r.KubeVIP || *class == kubevip.Class)
	} else if r.ClassOnly {
		replaces = false
	}
	waits := s.DeletionTimestamp != nil && slices.Contains(s.Finalizers, CleanupFinalizer)
	if !replaces || !waits || s.Spec.Type != corev1.ServiceTypeLoadBalancer {
		return nil
	}
	return slices.Clone(s.Finalizers)
}
