package svc

import (
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Node is the decoded part of a Node.
type Node struct {
	metav1.ObjectMeta // namespace, name, UID and resourceVersion only
	// Cordoned is spec.unschedulable.
	Cordoned bool
	// Excluded reports the label node.kubernetes.io/exclude-from-external-load-balancers (Kubernetes
	// documentation, "Well-Known Labels").
	Excluded bool
	// NotReady reports that the condition Ready exists and is not true, NoNetwork that the condition
	// NetworkUnavailable is true.
	NotReady, NoNetwork bool
	// Labels select the pods of a DaemonSet, and the nodes of a BGPPeer or a BGPAdvertisement.
	Labels map[string]string
	// Addresses are the node's own: no Service may have one of them.
	Addresses []netip.Addr
	// PodCIDRs are the networks of the node's pods.
	PodCIDRs []netip.Prefix
}

func readNode(n *corev1.Node) (*Node, bool) {
	result := &Node{
		ObjectMeta: identified(n), Cordoned: n.Spec.Unschedulable, Labels: n.Labels,
		PodCIDRs: parsePrefixes(n.Spec.PodCIDRs),
	}
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
	return result, true
}

// sameNode reports whether b is a with another heartbeat.
func sameNode(a, b *Node) bool {
	return a.UID == b.UID && a.Cordoned == b.Cordoned && a.Excluded == b.Excluded &&
		a.NotReady == b.NotReady && a.NoNetwork == b.NoNetwork &&
		slices.Equal(a.Addresses, b.Addresses) && slices.Equal(a.PodCIDRs, b.PodCIDRs) &&
		maps.Equal(a.Labels, b.Labels)
}
