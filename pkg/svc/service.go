package svc

import (
	"net/netip"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/ipam"
)

// Condition is the type of the condition that kvip writes into a Service's status. That it is there
// says that kvip has written into the status, also of a Service that is not kvip's any more.
const Condition = "kvip.dev/Address"

// Service is what kvip reads of a Service of the cluster.
type Service struct {
	metav1.ObjectMeta // namespace, name, UID and resourceVersion only
	// Managed says that kvip gives this Service addresses: it is of type LoadBalancer, of kvip's class,
	// not left to others by an annotation, and not being deleted.
	Managed bool
	// Announceable reports whether it is announced where the ledger gives it an address: it is of type LoadBalancer,
	// not left to others by an annotation, and not being deleted. Unlike Managed it depends on no flag, so that all agents
	// say the same.
	Announceable bool
	// Created is when the Service was made.
	Created time.Time
	// SkipReason says why it is not ours, where it is of type LoadBalancer.
	SkipReason string
	// Request is what it wants of a pool.
	Request ipam.Request
	// Local is externalTrafficPolicy Local.
	Local bool
	// Link narrows down where it is announced: a name or pattern of links. Empty: any.
	Link string
	// Notes name what an annotation asks for and kvip has no counterpart of.
	Notes []string
	// ClusterIPs are the addresses of any Service inside the cluster.
	ClusterIPs []netip.Addr
	// Status lists the addresses in its status.
	Status []netip.Addr
	// StatusBy names the programs that wrote Status, if those are others than kvip.
	StatusBy []string
	// StatusUnreadable says that the status has more with the addresses than kvip writes.
	StatusUnreadable bool
	// Finalizers are set where the Service is being deleted and waits for kube-vip's cloud provider.
	Finalizers []string
	// Condition is kvip's own condition in the status; nil where there is none.
	Condition *metav1.Condition
}

// Owner names the Service as the ledger does.
func (s *Service) Owner() ipam.Owner {
	if s.Request.Owner != "" { // made once: thousands are asked for theirs again and again
		return s.Request.Owner
	}
	return OwnerOf(s.Namespace, s.Name)
}

// OwnerOf names a Service as the ledger does.
func OwnerOf(namespace, name string) ipam.Owner { return ipam.Owner(namespace + "/" + name) }

// identified returns the metadata that tells one version of an object from another, and no more.
func identified(o metav1.Object) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: o.GetNamespace(), Name: o.GetName(), UID: o.GetUID(), ResourceVersion: o.GetResourceVersion()}
}
