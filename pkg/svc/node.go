package svc

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Node is what kvip reads of a Node of the cluster.
type Node struct {
	metav1.ObjectMeta
	// Cordoned is spec.unschedulable.
	Cordoned bool
	// Excluded is the label node.kubernetes.io/exclude-from-external-load-balancers (Kubernetes
	// documentation, "Well-Known Labels").
	Excluded bool
	// Addresses are the node's own: no Service may have one of them.
	Addresses []netip.Addr
	// PodCIDRs are the networks of the node's pods.
	PodCIDRs []netip.Prefix
}

func readNode(n *corev1.Node) (*Node, bool) {
	result := &Node{ObjectMeta: identified(n), Cordoned: n.Spec.Unschedulable}
	_, result.Excluded = n.Labels[corev1.LabelNodeExcludeBalancers]
	for _, a := range n.Status.Addresses {
		if addr, err := netip.ParseAddr(a.Address); err == nil {
			result.Addresses = append(result.Addresses, addr.Unmap())
		}
	}
	for _, text := range n.Spec.PodCIDRs {
		if p, err := netip.ParsePrefix(text); err == nil {
			result.PodCIDRs = append(result.PodCIDRs, p)
		}
	}
	return result, true
}

// sameNode is whether b is a with another heartbeat.
func sameNode(a, b *Node) bool {
	return a.UID == b.UID && a.Cordoned == b.Cordoned && a.Excluded == b.Excluded && slices.Equal(a.Addresses, b.Addresses) &&
		slices.Equal(a.PodCIDRs, b.PodCIDRs)
}
