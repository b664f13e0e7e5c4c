package svc

import (
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/apis/v1alpha1"
	"github.com/kvip/kvip/pkg/printable"
)

func TestReadPool(t *testing.T) {
	manual := false
	p := &v1alpha1.IPPool{ObjectMeta: metav1.ObjectMeta{Name: "p", Generation: 3}}
	p.Spec = v1alpha1.IPPoolSpec{
		Addresses:  []v1alpha1.Addresses{"10.0.0.0/30", "10.0.1.1-10.0.1.3"},
		Namespaces: []v1alpha1.Namespace{"a"}, AutoAssign: &manual, AvoidBuggyIPs: true,
		SearchOrder: v1alpha1.Descending, Sharing: v1alpha1.ByPort,
	}
	got, _ := readPool(p)
	if got.Err != nil || got.Pool.Name != "p" || got.Generation != 3 || len(got.Ranges) != 2 {
		t.Errorf("pool %+v", got)
	}
	if !got.Manual || !got.Descending || !got.Shared || !got.AvoidBuggyIPs ||
		!reflect.DeepEqual(got.Namespaces, []string{"a"}) {
		t.Errorf("pool %+v", got)
	}
}

func TestReadPoolDefaults(t *testing.T) {
	p := &v1alpha1.IPPool{ObjectMeta: metav1.ObjectMeta{Name: "p"}}
	p.Spec.Addresses = []v1alpha1.Addresses{"10.0.0.0/30"}
	got, _ := readPool(p)
	if got.Err != nil || got.Manual || got.Descending || got.Shared || got.AvoidBuggyIPs ||
		got.Namespaces != nil {
		t.Errorf("pool %+v", got)
	}
	automatic := true
	p.Spec.AutoAssign = &automatic
	if got, _ := readPool(p); got.Manual {
		t.Error("autoAssign: true is manual")
	}
}

// The error names the object, the field and the position.
func TestReadInvalidPool(t *testing.T) {
	for spec, want := range map[string]string{
		"10.0.0.9-10.0.0.1":                   "spec.addresses[0]",
		"10.0.0.0/33":                         "spec.addresses[0]",
		"web":                                 "spec.addresses[0]",
		"10.0.0.0/30 web":                     "spec.addresses[1]",
		"10.0.0.0/30 10.0.0.1-10.0.0.2":       "spec.addresses",
		"10.0.0.0/30 10.0.1.0/30 10.0.0.3/32": "spec.addresses",
	} {
		p := &v1alpha1.IPPool{ObjectMeta: metav1.ObjectMeta{Name: "p"}}
		for _, text := range strings.Fields(spec) {
			p.Spec.Addresses = append(p.Spec.Addresses, v1alpha1.Addresses(text))
		}
		if got, _ := readPool(p); got.Err == nil || !strings.Contains(got.Err.Error(),
			"IPPool p: "+want) {
			t.Errorf("%s: %v", spec, got.Err)
		}
	}
}

// S9: pools and interfaces of kube-vip's ConfigMap.
func TestReadKubeVIPConfigMap(t *testing.T) {
	got, ok := readKubeVIPConfigMap(&corev1.ConfigMap{Data: map[string]string{
		"cidr-global": "10.0.0.0/30", "cidr-a": "10.1.0.0/30",
		"interface-a": "eth1", "interface-global": "eth0", "bad": "x",
	}})
	if !ok || got.Interfaces["a"] != "eth1" || got.Interfaces[""] != "eth0" || len(got.Pools) != 2 {
		t.Errorf("pools %+v, interfaces %v", got.Pools, got.Interfaces)
	}
	if len(got.Problems) != 1 || !strings.Contains(got.Problems[0].Error(),
		"ConfigMap kube-system/kubevip: bad") {
		t.Errorf("problems %v", got.Problems)
	}
	for _, p := range got.Pools {
		if p.Name == "" || len(p.Ranges) == 0 {
			t.Errorf("pool %+v", p)
		}
	}
}

// The ConfigMap is used up to its limits, and problems report what exceeds them.
func TestKubeVIPConfigMapIsLimited(t *testing.T) {
	data := map[string]string{}
	var ranges []string
	for i := range 2000 {
		ranges = append(ranges, fmt.Sprintf("10.0.%d.%d/32", i/200, i%200))
		data[fmt.Sprintf("unknown-%d", i)] = strings.Repeat("x", 100)
	}
	data["cidr-global"] = strings.Join(ranges, ",")
	data["search-order"] = strings.Repeat("z", 100_000)
	got, _ := readKubeVIPConfigMap(&corev1.ConfigMap{Data: data})
	if len(got.Pools) != 1 || len(got.Pools[0].Ranges) != maxRanges ||
		len(got.Problems) != maxProblems {
		t.Errorf("%d pools, %d problems", len(got.Pools), len(got.Problems))
	}
	for _, p := range got.Problems {
		if len(p.Error()) > printable.MaxMessage {
			t.Errorf("a problem of %d bytes", len(p.Error()))
		}
	}
	data = map[string]string{"cidr-global": data["cidr-global"]}
	for i := range 600 {
		data[fmt.Sprintf("cidr-ns%d", i)] = "10.1.0.0/24"
	}
	got, _ = readKubeVIPConfigMap(&corev1.ConfigMap{Data: data})
	if len(got.Pools) != maxKubeVIPPools || len(got.Problems) != 2 {
		t.Errorf("%d pools, problems %v", len(got.Pools), got.Problems)
	}
}

func TestReadServiceCIDR(t *testing.T) {
	s := &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: "kubernetes"}}
	s.Spec.CIDRs = []string{"10.96.0.0/12", "x", "fd00:1::/112"}
	got, ok := readServiceCIDR(s)
	want := []netip.Prefix{netip.MustParsePrefix("10.96.0.0/12"),
		netip.MustParsePrefix("fd00:1::/112")}
	if !ok || got.Name != "kubernetes" || !reflect.DeepEqual(got.prefixes, want) {
		t.Errorf("networks %+v", got)
	}
}
