package svc

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/apis/v1alpha1"
	"github.com/kvip/kvip/pkg/ipam"
	"github.com/kvip/kvip/pkg/placement"
)

func TestReadSlice(t *testing.T) {
	yes, no, n1, n2 := true, false, "n1", "n2"
	end := func(node *string, ready, serving, terminating *bool) discoveryv1.Endpoint {
		return discoveryv1.Endpoint{NodeName: node, Conditions: discoveryv1.EndpointConditions{Ready: ready, Serving: serving, Terminating: terminating}}
	}
	for _, row := range []struct {
		name string
		all  []discoveryv1.Endpoint
		want placement.Endpoints
	}{
		{"none", nil, placement.Endpoints{}},
		{"ready, and unknown counts as ready", []discoveryv1.Endpoint{end(&n1, &yes, nil, nil), end(&n2, nil, nil, nil)}, placement.Endpoints{n1: placement.Ready, n2: placement.Ready}},
		{"not ready", []discoveryv1.Endpoint{end(&n1, &no, nil, nil), end(&n2, &no, &yes, &no)}, placement.Endpoints{}},
		{"terminating", []discoveryv1.Endpoint{end(&n1, &no, &yes, &yes), end(&n2, &no, &no, &yes)}, placement.Endpoints{n1: placement.ServingTerminating}},
		{"the best of a node counts", []discoveryv1.Endpoint{end(&n1, &no, &yes, &yes), end(&n1, &yes, nil, nil), end(&n1, &no, &yes, &yes)}, placement.Endpoints{n1: placement.Ready}},
		{"on no node", []discoveryv1.Endpoint{end(nil, &yes, nil, nil)}, placement.Endpoints{}},
	} {
		got, ok := readSlice(&discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "web-1", Labels: map[string]string{discoveryv1.LabelServiceName: "web"}}, Endpoints: row.all,
		})
		if !ok || got.Owner != "a/web" || !reflect.DeepEqual(got.Nodes, row.want) || got.servers != nil {
			t.Errorf("%s: %v %+v", row.name, ok, got)
		}
	}
	if _, ok := readSlice(&discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "custom"}}); ok {
		t.Error("a slice of no Service is of interest")
	}
}

func TestReadSliceOfAPIServers(t *testing.T) {
	https, other, p6443, p1 := "https", "other", int32(7443), int32(1)
	s := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "kubernetes", Labels: map[string]string{discoveryv1.LabelServiceName: "kubernetes"}},
		Endpoints:  []discoveryv1.Endpoint{{Addresses: []string{"10.0.0.2"}}, {Addresses: []string{"fd00::1"}}},
		Ports:      []discoveryv1.EndpointPort{{Name: &https, Port: &p6443}, {Name: &other, Port: &p1}},
	}
	if got, _ := readSlice(s); !reflect.DeepEqual(got.servers, []string{"10.0.0.2:7443", "[fd00::1]:7443"}) {
		t.Errorf("servers %v", got.servers)
	}
}

func TestReadNode(t *testing.T) {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", Labels: map[string]string{corev1.LabelNodeExcludeBalancers: ""}}}
	n.Spec.Unschedulable = true
	n.Status.Addresses = []corev1.NodeAddress{{Address: "10.0.0.1"}, {Address: "n"}, {Address: "fd00::1"}}
	got, _ := readNode(n)
	want := []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")}
	if !got.Cordoned || !got.Excluded || !reflect.DeepEqual(got.Addresses, want) {
		t.Errorf("node %+v", got)
	}
	beat := *got
	beat.ResourceVersion = "99"
	if !sameNode(got, &beat) {
		t.Error("a heartbeat is a change")
	}
	for what, change := range map[string]func(*Node){
		"cordon": func(n *Node) { n.Cordoned = false }, "label": func(n *Node) { n.Excluded = false },
		"address": func(n *Node) { n.Addresses = nil }, "another of the name": func(n *Node) { n.UID = "2" },
	} {
		changed := *got
		change(&changed)
		if sameNode(got, &changed) {
			t.Errorf("%s: is no change", what)
		}
	}
}

func TestReadPool(t *testing.T) {
	manual := false
	p := &v1alpha1.IPPool{ObjectMeta: metav1.ObjectMeta{Name: "p", Generation: 3}}
	p.Spec.Addresses = []v1alpha1.Addresses{"10.0.0.0/30", "10.0.1.1-10.0.1.3"}
	p.Spec.Namespaces = []v1alpha1.Namespace{"a"}
	p.Spec.AutoAssign, p.Spec.SearchOrder, p.Spec.Sharing, p.Spec.AvoidBuggyIPs = &manual, v1alpha1.Descending, v1alpha1.ByPort, true
	got, _ := readPool(p)
	if got.Err != nil || got.Pool.Name != "p" || got.Generation != 3 || !got.Manual || !got.Descending || !got.Shared || !got.AvoidBuggyIPs ||
		!reflect.DeepEqual(got.Namespaces, []string{"a"}) || len(got.Ranges) != 2 {
		t.Errorf("pool %+v", got)
	}
	for spec, want := range map[string]string{
		"10.0.0.9-10.0.0.1": "spec.addresses[0]", "10.0.0.0/33": "spec.addresses[0]", "web": "spec.addresses[0]", "10.0.0.0/30 10.0.0.1-10.0.0.2": "spec.addresses",
	} {
		p.Spec.Addresses = nil
		for _, text := range strings.Fields(spec) {
			p.Spec.Addresses = append(p.Spec.Addresses, v1alpha1.Addresses(text))
		}
		if got, _ := readPool(p); got.Err == nil || !strings.Contains(got.Err.Error(), "IPPool p: "+want) {
			t.Errorf("%s: %v", spec, got.Err)
		}
	}
}

func TestReadLegacy(t *testing.T) {
	got, ok := readLegacy(&corev1.ConfigMap{Data: map[string]string{
		"cidr-global": "10.0.0.0/30", "range-a": "10.1.0.1-10.1.0.2", "interface-a": "eth1", "interface-global": "eth0", "bad": "x",
	}})
	if !ok || got.Interfaces["a"] != "eth1" || got.Interfaces[""] != "eth0" || len(got.Pools) == 0 {
		t.Errorf("pools %+v, interfaces %v", got.Pools, got.Interfaces)
	}
	found := false
	for _, p := range got.Problems {
		found = found || strings.Contains(p.Error(), "ConfigMap kube-system/kubevip: bad")
	}
	if !found {
		t.Errorf("problems %v", got.Problems)
	}
	var none ipam.Pool
	if got.Pools[0].Name == none.Name {
		t.Error("a pool without a name")
	}
}

func TestNewer(t *testing.T) {
	of := func(version string) *Lease { return &Lease{ObjectMeta: metav1.ObjectMeta{ResourceVersion: version}} }
	for _, row := range []struct {
		a, b string
		want bool
	}{{"10", "9", true}, {"9", "10", false}, {"9", "9", false}, {"x", "9", true}, {"x", "x", false}} {
		if got := Newer(of(row.a), of(row.b)); got != row.want {
			t.Errorf("%s newer than %s: %v", row.a, row.b, got)
		}
	}
}
