package svc

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/apis/v1alpha1"
	"github.com/kvip/kvip/pkg/election/kubelease"
	"github.com/kvip/kvip/pkg/ipam"
	"github.com/kvip/kvip/pkg/placement"
)

// filledCache returns a cache without an API server that holds objects.
func filledCache(t *testing.T, reader Reader, objects ...metav1.Object) *Cache {
	t.Helper()
	c, err := NewCache(CacheConfig{
		Reader: reader, Namespace: "kube-system", Lease: "s", Router: &apiclient.Router{},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		var add func(any) error
		switch o.(type) {
		case *corev1.Service:
			add = c.services.Add
		case *corev1.Node:
			add = c.nodes.Add
		case *discoveryv1.EndpointSlice:
			add = c.slices.Add
		case *coordinationv1.Lease:
			add = c.leases.Add
		case *v1alpha1.IPPool:
			add = c.pools.Add
		case *networkingv1.ServiceCIDR:
			add = c.cidrs.Add
		case *corev1.ConfigMap:
			add = c.kubevip.Add
		}
		if err := add(o); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func meta(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name}
}

func TestListersSort(t *testing.T) {
	c := filledCache(t, Reader{},
		&corev1.Service{ObjectMeta: meta("b", "a")}, &corev1.Service{ObjectMeta: meta("a", "z")},
		&corev1.Service{ObjectMeta: meta("a", "b")},
		&v1alpha1.IPPool{ObjectMeta: meta("", "q")}, &v1alpha1.IPPool{ObjectMeta: meta("", "p")},
		lease("s-node-b", RoleNode, AnnotationNode, `{"node":"b"}`), lease("s-ledger-1", RoleLedger,
			AnnotationLedger, `{}`),
		lease("s-node-a", RoleNode, AnnotationNode, `{"node":"a"}`), lease("old-node-a", RoleNode,
			AnnotationNode, `{"node":"a"}`),
	)
	var services, pools, leases []string
	for _, s := range c.Services() {
		services = append(services, string(s.Key()))
	}
	for _, p := range c.Pools() {
		pools = append(pools, p.ObjectMeta.Name)
	}
	for _, l := range c.Leases() {
		leases = append(leases, l.Name)
	}
	for what, row := range map[string]struct {
		got  []string
		want string
	}{
		"Services": {services, "a/b a/z b/a"}, "pools": {pools, "p q"},
		"Leases": {leases, "s-ledger-1 s-node-a s-node-b"},
	} {
		if got := strings.Join(row.got, " "); got != row.want {
			t.Errorf("%s: %s, want %s", what, got, row.want)
		}
	}
	if c.Lease("s-node-a") == nil || c.Lease("old-node-a") != nil || c.Lease("none") != nil {
		t.Error("Lease does not find the Leases that belong here")
	}
}

// Several EndpointSlices of one Service and family are merged, and the cached ones do not change.
func TestEndpointsMerge(t *testing.T) {
	end := func(node string, serving bool) discoveryv1.Endpoint {
		yes, no := true, false
		if serving {
			return discoveryv1.Endpoint{NodeName: &node, Conditions: discoveryv1.EndpointConditions{
				Ready: &no, Serving: &yes, Terminating: &yes,
			}}
		}
		return discoveryv1.Endpoint{NodeName: &node}
	}
	one := sliceOf("a", "web", end("n1", true), end("n2", false))
	two := sliceOf("a", "web", end("n1", false), end("n3", true))
	two.Name = "web-2"
	six := sliceOf("a", "web", end("n4", false))
	six.Name, six.AddressType = "web-6", discoveryv1.AddressTypeIPv6
	c := filledCache(t, Reader{}, one, two, six)
	want := map[Backend]placement.Endpoints{
		{Service: "a/web"}: {
			"n1": placement.Ready, "n2": placement.Ready, "n3": placement.ServingTerminating,
		},
		{Service: "a/web", Family: ipam.IPv6}: {"n4": placement.Ready},
	}
	for range 10 { // in any order of the slices
		if got := c.Endpoints(); !reflect.DeepEqual(got, want) {
			t.Fatalf("endpoints %v, want %v", got, want)
		}
	}
	for _, s := range c.slices.all() {
		if len(s.Nodes) > 2 {
			t.Errorf("the EndpointSlice %s has %v now", s.Name, s.Nodes)
		}
	}
}

func TestServersAreLimited(t *testing.T) {
	s := sliceOf("default", "kubernetes")
	for i := range 500 {
		addresses := []string{fmt.Sprintf("10.1.%d.%d", i/200, i%200+1)}
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: addresses})
	}
	if n := len(filledCache(t, Reader{}, s).Servers()); n != apiclient.MaxServers {
		t.Errorf("%d API servers", n)
	}
	if got := filledCache(t, Reader{}).Servers(); got != nil {
		t.Errorf("API servers of an empty cache: %v", got)
	}
}

func TestNodeListers(t *testing.T) {
	one, two := testNode(), testNode()
	two.Name, two.Status.Addresses = "m", []corev1.NodeAddress{{Address: "10.0.0.7"}}
	c := filledCache(t, Reader{}, one, two)
	if len(c.Nodes()) != 2 || c.Nodes()["m"] != c.Node("m") || c.Node("none") != nil {
		t.Errorf("nodes %v", c.Nodes())
	}
	want := map[netip.Addr]string{}
	for text, node := range map[string]string{"10.0.0.1": "n", "fd00::1": "n", "10.0.0.2": "n",
		"10.0.0.7": "m"} {
		want[netip.MustParseAddr(text)] = node
	}
	if got := c.NodeAddresses(); !reflect.DeepEqual(got, want) {
		t.Errorf("addresses %v, want %v", got, want)
	}
}

// Networks of the cluster: ServiceCIDRs, or the addresses of the Services if there are none.
func TestNetworks(t *testing.T) {
	service := &corev1.Service{ObjectMeta: meta("a", "web")}
	service.Spec.ClusterIPs = []string{"10.96.0.9"}
	cidr := &networkingv1.ServiceCIDR{ObjectMeta: meta("", "kubernetes")}
	cidr.Spec.CIDRs = []string{"10.96.0.0/12"}
	for _, row := range []struct {
		name    string
		kubeVIP bool
		objects []metav1.Object
		want    []string
	}{
		{"addresses only come from pools", false, []metav1.Object{service, cidr, testNode()}, nil},
		{"ServiceCIDRs", true, []metav1.Object{service, cidr, testNode()}, []string{
			"10.96.0.0/12 the network of the cluster's Services, 10.96.0.0/12",
			"10.244.0.0/24 the pods of node n", "fd00:2::/64 the pods of node n",
		}},
		{"without ServiceCIDRs", true, []metav1.Object{service}, []string{
			"10.96.0.9/32 Service a/web inside the cluster",
		}},
		{"nothing", true, nil, nil},
	} {
		var got []string
		for _, n := range filledCache(t, Reader{KubeVIP: row.kubeVIP}, row.objects...).Networks() {
			got = append(got, n.Prefix.String()+" "+n.UsedBy)
		}
		if !reflect.DeepEqual(got, row.want) {
			t.Errorf("%s: %q, want %q", row.name, got, row.want)
		}
	}
}

func TestControlPlaneLease(t *testing.T) {
	l := lease("any-name", RoleControlPlane, kubelease.AnnotationVIPs,
		"10.0.0.100:6443,[fd00::100]:6443")
	want := []netip.AddrPort{
		netip.MustParseAddrPort("10.0.0.100:6443"), netip.MustParseAddrPort("[fd00::100]:6443"),
	}
	got := filledCache(t, Reader{}, l).Lease("any-name")
	if got == nil || !slices.Equal(got.ControlPlane, want) {
		t.Errorf("the Lease is %+v, want %v", got, want)
	}
}

func TestKubeVIPListers(t *testing.T) {
	empty := filledCache(t, Reader{})
	if pools, problems := empty.KubeVIPPools(); pools != nil || problems != nil ||
		empty.Interfaces() != nil {
		t.Errorf("an empty cache has %v, %v, %v", pools, problems, empty.Interfaces())
	}
	c := filledCache(t, Reader{}, &corev1.ConfigMap{
		ObjectMeta: meta("kube-system", "kubevip"),
		Data:       map[string]string{"cidr-global": "10.0.0.0/30", "interface-a": "eth1", "x": "y"},
	})
	pools, problems := c.KubeVIPPools()
	if len(pools) != 1 || len(problems) != 1 || c.Interfaces()["a"] != "eth1" {
		t.Errorf("pools %v, problems %v, interfaces %v", pools, problems, c.Interfaces())
	}
}

// S4: entries of a deleted shard remain in the ledger.
func TestLedgerKeepsDeletedEntries(t *testing.T) {
	shard := lease("s-ledger-0", RoleLedger, AnnotationLedger, ledgerOfThree)
	c := filledCache(t, Reader{}, shard, lease("s-ledger-1", RoleLedger, AnnotationLedger,
		`{"10.0.0.9":[{"service":"d/web"}]}`))
	if got := len(c.Ledger()); got != 4 {
		t.Fatalf("%d addresses", got)
	}
	if err := c.leases.Delete(shard); err != nil {
		t.Fatal(err)
	}
	if got := len(c.Ledger()); got != 4 {
		t.Errorf("%d addresses after the deletion", got)
	}
	if got := len(c.WithDeletedEntries(ipam.Ledger{})); got != 3 {
		t.Errorf("%d deleted entries", got)
	}
}

// Several changes count as one wake-up, and each subscriber receives it.
func TestSubscribe(t *testing.T) {
	c := filledCache(t, Reader{})
	one, two := c.Subscribe(), c.Subscribe()
	for range 5 {
		c.notify()
	}
	if len(one) != 1 || len(two) != 1 {
		t.Errorf("%d and %d wake-ups", len(one), len(two))
	}
}

// TestChangesCountWhatIsSeen: a reader that sees a change and then compares Changes with an earlier
// count learns of it.
func TestChangesCountWhatIsSeen(t *testing.T) {
	c, err := NewCache(CacheConfig{Namespace: "kube-system", Lease: "s", Router: &apiclient.Router{}})
	if err != nil {
		t.Fatal(err)
	}
	const versions = 2000
	go func() {
		for i := range versions {
			node := &corev1.Node{
				ObjectMeta: metav1.ObjectMeta{Name: "n", ResourceVersion: strconv.Itoa(i)},
				Spec:       corev1.NodeSpec{Unschedulable: i%2 == 0},
			}
			if err := c.nodes.Add(node); err != nil {
				t.Error(err)
			}
		}
	}()
	for seen := -1; seen < versions-1; {
		node, ok := c.nodes.get("", "n")
		counted := c.Changes()
		if !ok {
			continue
		}
		if seen, err = strconv.Atoi(node.ResourceVersion); err != nil {
			t.Fatal(err)
		}
		if counted < uint64(seen)+1 {
			t.Fatalf("%d changes are counted, and the %dth is seen", counted, seen+1)
		}
	}
}

func BenchmarkEndpoints(b *testing.B) {
	c, err := NewCache(CacheConfig{Namespace: "kube-system", Lease: "s", Router: &apiclient.Router{}})
	if err != nil {
		b.Fatal(err)
	}
	for i := range 1000 {
		node := fmt.Sprintf("n%d", i%10)
		s := sliceOf("a", fmt.Sprintf("web%d", i), discoveryv1.Endpoint{NodeName: &node})
		if err := c.slices.Add(s); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		c.Endpoints()
	}
}
