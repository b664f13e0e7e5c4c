package svc

import (
	"net/netip"
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func testNode(conditions ...corev1.NodeCondition) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name: "n", UID: "1", ResourceVersion: "7",
		Labels: map[string]string{corev1.LabelNodeExcludeBalancers: ""},
	}}
	n.Spec.Unschedulable = true
	n.Spec.PodCIDRs = []string{"10.244.0.0/24", "x", "fd00:2::/64"}
	n.Status.Addresses = []corev1.NodeAddress{
		{Address: "10.0.0.1"}, {Address: "n"}, {Address: "fd00::1"}, {Address: "::ffff:10.0.0.2"},
	}
	n.Status.Conditions = conditions
	return n
}

func TestReadNode(t *testing.T) {
	got, ok := readNode(testNode())
	want := &Node{
		ObjectMeta: metav1.ObjectMeta{Name: "n", UID: "1",
			ResourceVersion: "7"}, Cordoned: true, Excluded: true,
		Labels: map[string]string{corev1.LabelNodeExcludeBalancers: ""},
		Addresses: []netip.Addr{
			netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1"), netip.MustParseAddr("10.0.0.2"),
		},
		PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/24"),
			netip.MustParsePrefix("fd00:2::/64")},
	}
	if !ok || !reflect.DeepEqual(got, want) {
		t.Errorf("node %+v, want %+v", got, want)
	}
}

func TestNodeConditions(t *testing.T) {
	condition := func(kind corev1.NodeConditionType,
		status corev1.ConditionStatus) corev1.NodeCondition {
		return corev1.NodeCondition{Type: kind, Status: status}
	}
	for _, row := range []struct {
		name                string
		conditions          []corev1.NodeCondition
		notReady, noNetwork bool
	}{
		{"none", nil, false, false},
		{"ready", []corev1.NodeCondition{condition(corev1.NodeReady, "True")}, false, false},
		{"not ready", []corev1.NodeCondition{condition(corev1.NodeReady, "False")}, true, false},
		{"kubelet without contact", []corev1.NodeCondition{condition(corev1.NodeReady, "Unknown")}, true,
			false},
		{"no network", []corev1.NodeCondition{condition(corev1.NodeNetworkUnavailable, "True")}, false,
			true},
		{"a network", []corev1.NodeCondition{condition(corev1.NodeNetworkUnavailable, "False")}, false,
			false},
		{"another condition", []corev1.NodeCondition{condition(corev1.NodeMemoryPressure, "True")}, false,
			false},
	} {
		got, _ := readNode(testNode(row.conditions...))
		if got.NotReady != row.notReady || got.NoNetwork != row.noNetwork {
			t.Errorf("%s: not ready %v, no network %v", row.name, got.NotReady, got.NoNetwork)
		}
	}
}

// A heartbeat is not a change. Each field on which decisions depend is one.
func TestSameNode(t *testing.T) {
	got, _ := readNode(testNode())
	heartbeat := *got
	heartbeat.ResourceVersion = "99"
	if !sameNode(got, &heartbeat) {
		t.Error("a heartbeat is a change")
	}
	for what, change := range map[string]func(*Node){
		"cordon": func(n *Node) { n.Cordoned = false }, "label": func(n *Node) { n.Excluded = false },
		"readiness": func(n *Node) { n.NotReady = true }, "network": func(n *Node) { n.NoNetwork = true },
		"address": func(n *Node) { n.Addresses = nil }, "pods": func(n *Node) { n.PodCIDRs = nil },
		"object": func(n *Node) { n.UID = "2" },
		"labels": func(n *Node) { n.Labels = map[string]string{"rack": "b"} },
	} {
		changed := *got
		change(&changed)
		if sameNode(got, &changed) {
			t.Errorf("a change of %s is not seen", what)
		}
	}
}
