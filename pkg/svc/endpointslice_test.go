package svc

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/ipam"
	"github.com/kvip/kvip/pkg/placement"
)

// sliceOf returns an EndpointSlice of a Service.
func sliceOf(namespace, service string, all ...discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: service + "-1",
			Labels: map[string]string{discoveryv1.LabelServiceName: service},
		},
		Endpoints: all,
	}
}

func TestReadSlice(t *testing.T) {
	yes, no, n1, n2 := true, false, "n1", "n2"
	end := func(node *string, ready, serving, terminating *bool) discoveryv1.Endpoint {
		conditions := discoveryv1.EndpointConditions{Ready: ready, Serving: serving,
			Terminating: terminating}
		return discoveryv1.Endpoint{NodeName: node, Conditions: conditions}
	}
	type all []discoveryv1.Endpoint
	for _, row := range []struct {
		name string
		all  all
		want placement.Endpoints
	}{
		{"none", nil, placement.Endpoints{}},
		{"ready, also if it is not known", all{end(&n1, &yes, nil, nil), end(&n2, nil, nil, nil)},
			placement.Endpoints{n1: placement.Ready, n2: placement.Ready}},
		{"not ready", all{end(&n1, &no, nil, nil), end(&n2, &no, &yes, &no)}, placement.Endpoints{}},
		{"terminating", all{end(&n1, &no, &yes, &yes), end(&n2, &no, &no, &yes)},
			placement.Endpoints{n1: placement.ServingTerminating}},
		{"the best of a node", all{end(&n1, &no, &yes, &yes), end(&n1, &yes, nil, nil),
			end(&n1, &no, &yes, &yes)},
			placement.Endpoints{n1: placement.Ready}},
		{"without a node", all{end(nil, &yes, nil, nil)}, placement.Endpoints{}},
	} {
		got, ok := readSlice(sliceOf("a", "web", row.all...))
		if !ok || got.Service != "a/web" || !reflect.DeepEqual(got.Nodes, row.want) ||
			got.servers != nil {
			t.Errorf("%s: %v %+v", row.name, ok, got)
		}
	}
}

func TestSliceFamily(t *testing.T) {
	for addressType, want := range map[discoveryv1.AddressType]ipam.Family{
		discoveryv1.AddressTypeIPv4: ipam.IPv4, discoveryv1.AddressTypeIPv6: ipam.IPv6, "": ipam.IPv4,
	} {
		s := sliceOf("a", "web")
		s.AddressType = addressType
		if got, _ := readSlice(s); got.Family != want {
			t.Errorf("%q: family %v", addressType, got.Family)
		}
	}
}

func TestSliceWithoutAService(t *testing.T) {
	s := sliceOf("a", "web")
	s.Labels = nil
	if got, ok := readSlice(s); ok || got != nil {
		t.Errorf("decoded as %+v", got)
	}
}

// Only the slice default/kubernetes lists API servers.
func TestSliceOfAPIServers(t *testing.T) {
	https, other, p7443, p1 := "https", "other", int32(7443), int32(1)
	s := sliceOf("default", "kubernetes", discoveryv1.Endpoint{Addresses: []string{"10.0.0.2"}},
		discoveryv1.Endpoint{Addresses: []string{"fd00::1"}})
	s.Ports = []discoveryv1.EndpointPort{{Name: &https, Port: &p7443}, {Name: &other, Port: &p1}}
	want := []string{"10.0.0.2:7443", "[fd00::1]:7443"}
	if got, _ := readSlice(s); !reflect.DeepEqual(got.servers, want) {
		t.Errorf("servers %v", got.servers)
	}
	s.Namespace = "a"
	if got, _ := readSlice(s); got.servers != nil {
		t.Errorf("servers of another namespace %v", got.servers)
	}
}

// Users may write EndpointSlices in their namespaces, also ones that an API server would refuse.
func TestSlicesAreLimited(t *testing.T) {
	long := strings.Repeat("n", 300)
	s := sliceOf("a", "web", discoveryv1.Endpoint{Addresses: []string{"10.1.0.1"}, NodeName: &long})
	for i := range 5000 {
		name := fmt.Sprintf("n%d", i)
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{"10.1.0.1"},
			NodeName: &name})
	}
	if got, _ := readSlice(s); len(got.Nodes) != maxEndpoints || got.Nodes[long] != 0 {
		t.Errorf("%d nodes", len(got.Nodes))
	}
}
