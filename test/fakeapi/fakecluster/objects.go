package fakecluster

import (
	"encoding/json"
	"strings"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/apis/v1alpha1"
	"github.com/kvip/kvip/pkg/ipam"
	"github.com/kvip/kvip/pkg/svc"
)

// Put puts an object at a path.
func (e *Env) Put(path string, o any) {
	e.T.Helper()
	if err := e.Store.Put(path, o); err != nil {
		e.T.Fatal(err)
	}
}

// ServicePath is where the Service NAMESPACE/NAME is.
func ServicePath(owner string) string {
	namespace, name, _ := strings.Cut(owner, "/")
	return "/api/v1/namespaces/" + namespace + "/services/" + name
}

// LeasePath is where a Lease of the Services part is.
func LeasePath(name string) string {
	return "/apis/coordination.k8s.io/v1/namespaces/" + Namespace + "/leases/" + name
}

// PutService puts a Service NAMESPACE/NAME of type LoadBalancer with port 80, and what the changes
// make of it.
func (e *Env) PutService(owner string, changes ...func(*corev1.Service)) {
	e.T.Helper()
	namespace, name, _ := strings.Cut(owner, "/")
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Annotations: map[string]string{}},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeLoadBalancer, IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol},
			Ports: []corev1.ServicePort{{Protocol: corev1.ProtocolTCP, Port: 80}},
		},
	}
	e.Service(owner, s)
	for _, change := range changes {
		change(s)
	}
	e.Put(ServicePath(owner), s)
}

// Service reads a Service; false if there is none.
func (e *Env) Service(owner string, s *corev1.Service) bool {
	e.T.Helper()
	ok, err := e.Store.Get(ServicePath(owner), s)
	if err != nil {
		e.T.Fatal(err)
	}
	return ok
}

// ServiceStatus returns what the status of a Service says: its addresses, and the reason of kvip's
// condition.
func (e *Env) ServiceStatus(owner string) string {
	e.T.Helper()
	var s corev1.Service
	e.Service(owner, &s)
	var words []string
	for _, i := range s.Status.LoadBalancer.Ingress {
		words = append(words, i.IP)
	}
	for _, c := range s.Status.Conditions {
		if c.Type == svc.Condition {
			words = append(words, c.Reason)
		}
	}
	return strings.Join(words, " ")
}

// PutNode puts a Node with an address.
func (e *Env) PutNode(name, address string, changes ...func(*corev1.Node)) {
	e.T.Helper()
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{}}}
	n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: address},
		{Type: corev1.NodeHostName, Address: name}}
	for _, change := range changes {
		change(n)
	}
	e.Put("/api/v1/nodes/"+name, n)
}

// PutPool puts an IPPool.
func (e *Env) PutPool(name string, addresses ...string) {
	e.T.Helper()
	p := &v1alpha1.IPPool{ObjectMeta: metav1.ObjectMeta{Name: name, Generation: 1}}
	for _, a := range addresses {
		p.Spec.Addresses = append(p.Spec.Addresses, v1alpha1.Addresses(a))
	}
	e.Put("/apis/kvip.dev/v1alpha1/ippools/"+name, p)
}

// PutSlice puts an EndpointSlice of a Service, with a ready endpoint on each node.
func (e *Env) PutSlice(owner string, nodes ...string) {
	e.T.Helper()
	namespace, name, _ := strings.Cut(owner, "/")
	s := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name,
		Labels: map[string]string{discoveryv1.LabelServiceName: name}}}
	for _, n := range nodes {
		s.Endpoints = append(s.Endpoints,
			discoveryv1.Endpoint{Addresses: []string{"10.1.0.1"}, NodeName: &n})
	}
	e.Put("/apis/discovery.k8s.io/v1/namespaces/"+namespace+"/endpointslices/"+name, s)
}

// PutNodeLease has another node say that it is alive, and what it has.
func (e *Env) PutNodeLease(info svc.NodeInfo, holder string, seconds int32) {
	e.T.Helper()
	text, err := json.Marshal(info)
	if err != nil {
		e.T.Fatal(err)
	}
	l := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{
		Labels:      map[string]string{svc.LabelRole: svc.RoleNode},
		Annotations: map[string]string{svc.AnnotationNode: string(text)},
	}}
	l.Spec.HolderIdentity, l.Spec.LeaseDurationSeconds = &holder, &seconds
	e.Put(LeasePath(svc.NodeLease(LeaseName, info.Node)), l)
}

// PutLedger writes a shard of the ledger.
func (e *Env) PutLedger(shard string, l ipam.Ledger) {
	e.T.Helper()
	e.Put(LeasePath(svc.LedgerPrefix(LeaseName)+shard),
		&coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{
			Labels:      map[string]string{svc.LabelRole: svc.RoleLedger},
			Annotations: map[string]string{svc.AnnotationLedger: svc.EncodeLedger(l)},
		}})
}

// Lease reads a Lease; false if there is none.
func (e *Env) Lease(name string, l *coordinationv1.Lease) bool {
	e.T.Helper()
	ok, err := e.Store.Get(LeasePath(name), l)
	if err != nil {
		e.T.Fatal(err)
	}
	return ok
}
