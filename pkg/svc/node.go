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
	// NotReady reports whether the condition Ready is there and not true, NoNetwork whether the condition
	// NetworkUnavailable is true.
	NotReady, NoNetwork bool
	// Labels are the node's, which decide where pods of a DaemonSet are.
	Labels map[string]string
	// Addresses are the node's own: no Service may have one of them.
	Addresses []netip.Addr
	// PodCIDRs are the networks of the node's pods.
	PodCIDRs []netip.Prefix
}

func readNode(n *corev1.Node) (*Node, bool) {
	result := &Node{ObjectMeta: identified(n), Cordoned: n.Spec.Unschedulable, Labels: n.Labels}
	_, result.Excluded = n.Labels[corev1.LabelNodeExcludeBalancers]
	for _, c := range n.Status.Conditions {
		switch c.Type {
		case corev1.NodeReady:
			result.NotReady = c.Status != corev1.ConditionTrue
		case corev1.NodeNetworkUnavailable:
			result.NoNetwork = c.Status == corev1.ConditionTrue
		}
	}
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
	return a.UID == b.UID && a.Cordoned == b.Cordoned && a.Excluded == b.Excluded && a.NotReady == b.NotReady && a.NoNetwork == b.NoNetwork &&
		slices.Equal(a.Addresses, b.Addresses) && slices.Equal(a.PodCIDRs, b.PodCIDRs)
}
