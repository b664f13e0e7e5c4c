package svc

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/ipam"
)

const class = "kvip.dev/kvip"

// balancer returns a Service a/web of type LoadBalancer with port 80, after the changes.
func balancer(changes ...func(s *corev1.Service)) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "a", Name: "web", UID: "u", ResourceVersion: "7", Annotations: map[string]string{},
		},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeLoadBalancer, IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol},
			Ports: []corev1.ServicePort{{Protocol: corev1.ProtocolTCP, Port: 80}},
		},
	}
	for _, change := range changes {
		change(s)
	}
	return s
}

func annotated(pairs ...string) func(s *corev1.Service) {
	return func(s *corev1.Service) {
		for i := 0; i < len(pairs); i += 2 {
			s.Annotations[pairs[i]] = pairs[i+1]
		}
	}
}

func classed(name string) func(s *corev1.Service) {
	return func(s *corev1.Service) { s.Spec.LoadBalancerClass = &name }
}

func beingDeleted(s *corev1.Service) { s.DeletionTimestamp = &metav1.Time{} }

func nodePort(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeNodePort }

func TestManagedServices(t *testing.T) {
	const other = "example.com/lb"
	for _, row := range []struct {
		name         string
		only         bool
		change       func(s *corev1.Service)
		managed      bool
		announceable bool
		reason       string // part of it
	}{
		{"without a class", false, annotated(), true, true, ""},
		{"kvip's class", true, classed(class), true, true, ""},
		{"another class", false, classed(other), false, true, other},
		{"only the class is served", true, annotated(), false, true, "--service-class-only"},
		{"another type", false, nodePort, false, false, ""},
		{"being deleted", false, beingDeleted, false, false, "deleted"},
		{"ignored as by kube-vip", false, annotated("kube-vip.io/ignore", "true"), false, false,
			"annotation"},
	} {
		got := Reader{Class: class, ClassOnly: row.only}.Service(balancer(row.change))
		reason := strings.Contains(got.SkipReason, row.reason) &&
			(got.SkipReason == "") == (row.reason == "")
		if got.Managed != row.managed || got.Announceable != row.announceable || !reason {
			t.Errorf("%s: managed %v, announceable %v, reason %q",
				row.name, got.Managed, got.Announceable, got.SkipReason)
		}
		if got.Key() != "a/web" || got.ResourceVersion != "7" || got.UID != "u" {
			t.Errorf("%s: %s %s %s", row.name, got.Key(), got.ResourceVersion, got.UID)
		}
		if asked := got.Request.Service != ""; asked != row.announceable {
			t.Errorf("%s: request %+v", row.name, got.Request)
		}
	}
}

func TestRequestOfAService(t *testing.T) {
	require := corev1.IPFamilyPolicyRequireDualStack
	got := Reader{Class: class, KubeVIP: true}.Service(balancer(func(s *corev1.Service) {
		annotated(AnnotationPool, "p", AnnotationShare, "k", AnnotationInterface, "eth*")(s)
		s.CreationTimestamp = metav1.NewTime(time.Unix(1000, 0))
		s.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv6Protocol, corev1.IPv4Protocol}
		s.Spec.IPFamilyPolicy = &require
		s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
		s.Spec.ClusterIPs = []string{"10.96.0.9", "None", "fd00:1::9"}
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Protocol: corev1.ProtocolUDP, Port: 53})
		s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{
			{IP: "10.0.0.1"}, {Hostname: "h"}, {IP: "fd00::1"},
		}
		s.Status.Conditions = []metav1.Condition{{Type: "Other"}, {Type: Condition, Reason: "Allocated"}}
	}))
	status := []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")}
	want := ipam.Request{
		Service: "a/web", Namespace: "a", Pool: "p", ShareKey: "k",
		Require: true, Local: true, AnyPool: true,
		Families: []ipam.Family{ipam.IPv6, ipam.IPv4}, Previous: status, Fields: got.Request.Fields,
		Ports: []ipam.Port{{Protocol: "TCP", Number: 80}, {Protocol: "UDP", Number: 53}},
	}
	if !reflect.DeepEqual(got.Request, want) {
		t.Errorf("request %+v, want %+v", got.Request, want)
	}
	if !got.Local || got.Link != "eth*" || !reflect.DeepEqual(got.Status, status) ||
		got.Created.Unix() != 1000 {
		t.Errorf("service %+v", got)
	}
	if len(got.ClusterIPs) != 2 || got.Condition == nil || got.Condition.Reason != "Allocated" {
		t.Errorf("cluster IPs %v, condition %+v", got.ClusterIPs, got.Condition)
	}
}

// An API server sets a default family; an object without one is IPv4.
func TestRequestWithoutFamilies(t *testing.T) {
	got := Reader{Class: class}.Service(balancer(func(s *corev1.Service) { s.Spec.IPFamilies = nil }))
	if !reflect.DeepEqual(got.Request.Families, []ipam.Family{ipam.IPv4}) || got.Condition != nil {
		t.Errorf("service %+v", got)
	}
}

// A status may have any number of addresses; only the first ones are requested again.
func TestRequestsAgainAreLimited(t *testing.T) {
	got := Reader{Class: class}.Service(balancer(func(s *corev1.Service) {
		for i := range 100 {
			ip := netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}).String()
			s.Status.LoadBalancer.Ingress = append(s.Status.LoadBalancer.Ingress,
				corev1.LoadBalancerIngress{IP: ip})
		}
	}))
	if len(got.Status) != 100 || len(got.Request.Previous) != maxRequestedAgain {
		t.Errorf("%d addresses, %d requested again", len(got.Status), len(got.Request.Previous))
	}
}

// Namespace and selector identify the pods, in whatever order the labels are written.
func TestSelectorHash(t *testing.T) {
	of := func(namespace string, selector map[string]string) string {
		s := balancer(func(s *corev1.Service) { s.Namespace, s.Spec.Selector = namespace, selector })
		return Reader{Class: class}.Service(s).Request.Selector
	}
	one := of("a", map[string]string{"app": "web", "tier": "x"})
	if one == "" || one != of("a", map[string]string{"tier": "x", "app": "web"}) {
		t.Error("equal selectors differ")
	}
	for name, other := range map[string]string{
		"another namespace": of("b", map[string]string{"app": "web", "tier": "x"}),
		"another selector":  of("a", map[string]string{"app": "web"}),
		"no selector":       of("a", nil),
	} {
		if other == one {
			t.Errorf("%s is the same", name)
		}
	}
}

// managedBy adds the fields of a program to a Service that has an address in its status.
func managedBy(manager, fields string) func(s *corev1.Service) {
	return func(s *corev1.Service) {
		s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "10.0.0.1"}}
		f := metav1.ManagedFieldsEntry{Manager: manager}
		if fields != "" {
			f.FieldsV1 = &metav1.FieldsV1{}
			f.FieldsV1.SetRawString(fields)
		}
		s.ManagedFields = append(s.ManagedFields, f)
	}
}

// S9: kvip knows which other program wrote the addresses.
func TestStatusBy(t *testing.T) {
	const status, spec = `{"f:status":{"f:loadBalancer":{}}}`, `{"f:spec":{}}`
	empty := func(s *corev1.Service) { s.Status.LoadBalancer.Ingress = nil }
	for _, row := range []struct {
		name    string
		changes []func(*corev1.Service)
		want    []string
	}{
		{"no address", []func(*corev1.Service){managedBy("x", status), empty}, nil},
		{"not known", []func(*corev1.Service){managedBy("x", spec)}, nil},
		{"without fields", []func(*corev1.Service){managedBy("x", "")}, nil},
		{"kvip", []func(*corev1.Service){managedBy(FieldManager, status)}, nil},
		{"kvip beside another", []func(*corev1.Service){managedBy("x", status),
			managedBy(FieldManager, status)}, nil},
		{"another", []func(*corev1.Service){managedBy("x", status)}, []string{"x"}},
		{"others, sorted and once", []func(*corev1.Service){
			managedBy("y", status), managedBy("x", status), managedBy("y", status),
		}, []string{"x", "y"}},
	} {
		got := Reader{Class: class}.Service(balancer(row.changes...)).StatusBy
		if !reflect.DeepEqual(got, row.want) {
			t.Errorf("%s: %v, want %v", row.name, got, row.want)
		}
	}
}

func TestStatusUnreadable(t *testing.T) {
	vip, proxy, failed := corev1.LoadBalancerIPModeVIP, corev1.LoadBalancerIPModeProxy, "failed"
	port := func(number int32, protocol corev1.Protocol, err *string) []corev1.PortStatus {
		return []corev1.PortStatus{{Port: number, Protocol: protocol, Error: err}}
	}
	for _, row := range []struct {
		name    string
		ingress corev1.LoadBalancerIngress
		want    bool
	}{
		{"an address", corev1.LoadBalancerIngress{IP: "10.0.0.1"}, false},
		{"mode VIP", corev1.LoadBalancerIngress{IP: "10.0.0.1", IPMode: &vip}, false},
		{"a port of the Service", corev1.LoadBalancerIngress{IP: "10.0.0.1", Ports: port(80, "TCP", nil)},
			false},
		{"mode Proxy", corev1.LoadBalancerIngress{IP: "10.0.0.1", IPMode: &proxy}, true},
		{"a host name", corev1.LoadBalancerIngress{Hostname: "lb.example.com"}, true},
		{"both", corev1.LoadBalancerIngress{IP: "10.0.0.1", Hostname: "lb.example.com"}, true},
		{"nothing", corev1.LoadBalancerIngress{}, true},
		{"another port", corev1.LoadBalancerIngress{IP: "10.0.0.1", Ports: port(81, "TCP", nil)}, true},
		{"another protocol", corev1.LoadBalancerIngress{IP: "10.0.0.1", Ports: port(80, "UDP", nil)},
			true},
		{"a failed port", corev1.LoadBalancerIngress{IP: "10.0.0.1", Ports: port(80, "TCP", &failed)},
			true},
	} {
		got := Reader{Class: class}.Service(balancer(func(s *corev1.Service) {
			s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "10.0.0.9"}, row.ingress}
		}))
		if got.StatusUnreadable != row.want {
			t.Errorf("%s: %v", row.name, got.StatusUnreadable)
		}
	}
}

// S9: kvip removes the finalizer of kube-vip's cloud provider from the Services that it took over.
func TestFinalizers(t *testing.T) {
	const kubeVIPClass = "kube-vip.io/kube-vip-class"
	finalized := func(s *corev1.Service) { s.Finalizers = []string{"x", CleanupFinalizer} }
	for _, row := range []struct {
		name    string
		reader  Reader
		changes []func(*corev1.Service)
		want    bool
	}{
		{"with kube-vip's rules", Reader{Class: class, KubeVIP: true}, []func(*corev1.Service){finalized},
			true},
		{"without", Reader{Class: class}, []func(*corev1.Service){finalized}, false},
		{"kvip's class, without", Reader{Class: class}, []func(*corev1.Service){finalized,
			classed(class)}, false},
		{"kvip's class", Reader{Class: class, KubeVIP: true}, []func(*corev1.Service){finalized,
			classed(class)}, true},
		{"kube-vip's class served by kvip", Reader{Class: kubeVIPClass},
			[]func(*corev1.Service){finalized, classed(kubeVIPClass)}, true},
		{"another class", Reader{Class: class, KubeVIP: true}, []func(*corev1.Service){finalized,
			classed("x.example/lb")}, false},
		{"only the class", Reader{Class: class, KubeVIP: true, ClassOnly: true},
			[]func(*corev1.Service){finalized}, false},
		{"another type", Reader{Class: class, KubeVIP: true}, []func(*corev1.Service){finalized,
			nodePort}, false},
		{"ignored", Reader{Class: class, KubeVIP: true}, []func(*corev1.Service){finalized,
			annotated("kube-vip.io/ignore", "true")}, false},
		{"another finalizer", Reader{Class: class, KubeVIP: true},
			[]func(*corev1.Service){func(s *corev1.Service) { s.Finalizers = []string{"x"} }}, false},
	} {
		if got := row.reader.Service(balancer(row.changes...)).Finalizers; got != nil {
			t.Errorf("%s, not deleted: %v", row.name, got)
		}
		got := row.reader.Service(balancer(append(row.changes, beingDeleted)...)).Finalizers
		if want := []string{"x", CleanupFinalizer}; row.want != reflect.DeepEqual(got, want) ||
			!row.want && got != nil {
			t.Errorf("%s: %v", row.name, got)
		}
	}
}

// The key is a part of the request where there is one, and the name otherwise.
func TestOwner(t *testing.T) {
	for want, s := range map[ipam.ServiceKey]*Service{
		"a/web": {ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "web"}},
		"b/web": {Request: ipam.Request{Service: "b/web"}},
	} {
		if got := s.Key(); got != want {
			t.Errorf("key %s, want %s", got, want)
		}
	}
}

func BenchmarkReadService(b *testing.B) {
	r, s := Reader{Class: class}, balancer(annotated(AnnotationAddresses, "10.0.0.1", AnnotationShare,
		"k"))
	b.ReportAllocs()
	for b.Loop() {
		r.Service(s)
	}
}
