package svc

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/printable"
)

// Whatever is in kube-vip's ConfigMap, a bounded part of it is used, and what is left out is told.
func TestBoundsOfTheConfigMap(t *testing.T) {
	data := map[string]string{}
	var ranges []string
	for i := range 2000 {
		ranges = append(ranges, fmt.Sprintf("10.0.%d.%d/32", i/200, i%200))
		data[fmt.Sprintf("unknown-%d", i)] = strings.Repeat("x", 100)
	}
	data["cidr-global"] = strings.Join(ranges, ",")
	data["search-order"] = strings.Repeat("z", 100_000)
	got, _ := readLegacy(&corev1.ConfigMap{Data: data})
	if len(got.Pools) != 1 || len(got.Pools[0].Ranges) != maxRanges || len(got.Problems) != maxProblems {
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
	if got, _ = readLegacy(&corev1.ConfigMap{Data: data}); len(got.Pools) != maxLegacyPools || len(got.Problems) != 2 {
		t.Errorf("%d pools, problems %v", len(got.Pools), got.Problems)
	}
}

// Anybody may write EndpointSlices for a Service of a namespace of theirs, also what an API server would refuse.
func TestBoundsOfSlices(t *testing.T) {
	s := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "web", Labels: map[string]string{discoveryv1.LabelServiceName: "web"}}}
	long := strings.Repeat("n", 300)
	s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{"10.1.0.1"}, NodeName: &long})
	for i := range 5000 {
		name := fmt.Sprintf("n%d", i)
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{"10.1.0.1"}, NodeName: &name})
	}
	got, _ := readSlice(s)
	if len(got.Nodes) != maxEndpoints {
		t.Errorf("%d nodes", len(got.Nodes))
	}
	s.Namespace, s.Labels = "default", map[string]string{discoveryv1.LabelServiceName: "kubernetes"}
	s.Endpoints = nil
	for i := range 500 {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{fmt.Sprintf("10.1.%d.%d", i/200, i%200+1)}})
	}
	c := NewCache(CacheConfig{Lease: "s"})
	if err := c.slices.Add(s); err != nil {
		t.Fatal(err)
	}
	if n := len(c.Servers()); n != maxServers {
		t.Errorf("%d API servers", n)
	}
}

// Messages quote users, and are cut to what the API takes.
func TestBrief(t *testing.T) {
	for text, want := range map[string]int{"short": 5, strings.Repeat("x", 1024): 1024, strings.Repeat("x", 1025): 1024, strings.Repeat("ä", 900): 1023} {
		if got := Brief(text); len(got) != want || !strings.HasPrefix(text, strings.TrimSuffix(got, "...")) {
			t.Errorf("%d bytes become %d", len(text), len(got))
		}
	}
}

// TestBriefIsSafeForATerminal: kubectl shows conditions and Events, and escapes little of them.
func TestBriefIsSafeForATerminal(t *testing.T) {
	if got, want := Brief("\x1b[2J\u009b2Jone\nNormal  Allocated\u202e"), `\x1b[2J\u009b2Jone\nNormal  Allocated\u202e`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
