package svc

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/ipam"
)

const class = "kvip.dev/kvip"

// balancer is a Service a/web of type LoadBalancer with port 80, and what change makes of it.
func balancer(change func(s *corev1.Service)) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "web", UID: "u", ResourceVersion: "7", Annotations: map[string]string{}},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeLoadBalancer, IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol},
			Ports: []corev1.ServicePort{{Protocol: corev1.ProtocolTCP, Port: 80}},
		},
	}
	if change != nil {
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

func TestWhichServicesAreOurs(t *testing.T) {
	other, own := "example.com/lb", class
	for _, row := range []struct {
		name   string
		only   bool
		change func(s *corev1.Service)
		ours   bool
		why    string // part of it
	}{
		{"classless", false, nil, true, ""},
		{"of the class", true, func(s *corev1.Service) { s.Spec.LoadBalancerClass = &own }, true, ""},
		{"of another class", false, func(s *corev1.Service) { s.Spec.LoadBalancerClass = &other }, false, other},
		{"classless, and only the class is served", true, nil, false, "--service-class-only"},
		{"of another type", false, func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeNodePort }, false, ""},
		{"being deleted", false, func(s *corev1.Service) { s.DeletionTimestamp = &metav1.Time{} }, false, "deleted"},
		{"left alone as with kube-vip", false, annotated("kube-vip.io/ignore", "true"), false, "annotation"},
	} {
		got := Reader{Class: class, ClassOnly: row.only}.Service(balancer(row.change))
		if got.Managed != row.ours || !strings.Contains(got.SkipReason, row.why) || (got.SkipReason == "") != (row.why == "") {
			t.Errorf("%s: ours %v, because %q", row.name, got.Managed, got.SkipReason)
		}
		if got.Owner() != "a/web" || got.ResourceVersion != "7" || got.UID != "u" {
			t.Errorf("%s: %s %s %s", row.name, got.Owner(), got.ResourceVersion, got.UID)
		}
	}
}

// S9: kube-vip's annotations are understood, kvip's own come first and the spec last.
func TestWhatAServiceAsksFor(t *testing.T) {
	ip := func(texts ...string) (all []netip.Addr) {
		for _, text := range texts {
			all = append(all, netip.MustParseAddr(text))
		}
		return all
	}
	spec := func(s *corev1.Service) { s.Spec.LoadBalancerIP = "10.0.0.9" }
	dual := func(s *corev1.Service) {
		s.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}
	}
	both := func(change ...func(s *corev1.Service)) func(s *corev1.Service) {
		return func(s *corev1.Service) {
			for _, c := range change {
				c(s)
			}
		}
	}
	for _, row := range []struct {
		name   string
		change func(s *corev1.Service)
		want   []netip.Addr
		field  string
		wrong  string // part of what is wrong
	}{
		{"nothing", nil, nil, "", ""},
		{"the annotation", both(dual, annotated(AnnotationAddresses, "10.0.0.1, fd00::1")), ip("10.0.0.1", "fd00::1"), AnnotationAddresses, ""},
		{"both families for one", annotated(AnnotationAddresses, "10.0.0.1, fd00::1"), ip("10.0.0.1"), AnnotationAddresses, ""},
		{"both families for one, in kube-vip's way", annotated("kube-vip.io/loadbalancerIPs", "fd00::1,10.0.0.1"), ip("10.0.0.1"), "loadbalancerIPs", ""},
		{"the other family alone", annotated(AnnotationAddresses, "fd00::1"), ip("fd00::1"), AnnotationAddresses, ""},
		{"kvip's, and a bad one of kube-vip's", annotated(AnnotationAddresses, "10.0.0.1", "kube-vip.io/loadbalancerIPs", "x"), ip("10.0.0.1"), AnnotationAddresses, ""},
		{"a long list", annotated(AnnotationAddresses, strings.Repeat("10.0.0.1,", 9999)), nil, "", "too long"},
		{"a long one of kube-vip's", annotated("kube-vip.io/loadbalancerIPs", strings.Repeat("x", 99999)), nil, "", "loadbalancerIPs"},
		{"a long pool", annotated(AnnotationPool, strings.Repeat("p", 999)), nil, "", "has 999 bytes"},
		{"a long interface", annotated(AnnotationInterface, strings.Repeat("e", 999)), nil, "", "has 999 bytes"},
		{"IPv4 in IPv6", annotated(AnnotationAddresses, "::ffff:10.0.0.1"), ip("10.0.0.1"), AnnotationAddresses, ""},
		{"the spec", spec, ip("10.0.0.9"), "spec.loadBalancerIP", ""},
		{"the annotation before the spec", both(spec, annotated(AnnotationAddresses, "10.0.0.1")), ip("10.0.0.1"), AnnotationAddresses, ""},
		{"kube-vip's before the spec", both(spec, annotated("kube-vip.io/loadbalancerIPs", "10.0.0.2")), ip("10.0.0.2"), "kube-vip.io/loadbalancerIPs", ""},
		{"kvip's before kube-vip's", annotated(AnnotationAddresses, "10.0.0.1", "kube-vip.io/loadbalancerIPs", "10.0.0.2"), ip("10.0.0.1"), AnnotationAddresses, ""},
		{"no address", annotated(AnnotationAddresses, "web"), nil, "", `"web" is not an IP address`},
		{"an empty annotation", annotated(AnnotationAddresses, ""), nil, "", "is not an IP address"},
		{"a zone", annotated(AnnotationAddresses, "fe80::1%eth0"), nil, "", "is not an IP address"},
		{"two of a family", annotated(AnnotationAddresses, "10.0.0.1,10.0.0.2"), nil, "", "two addresses of one family"},
		{"a bad spec", func(s *corev1.Service) { s.Spec.LoadBalancerIP = "10.0.0" }, nil, "", "spec.loadBalancerIP"},
		{"a bad one of kube-vip's", annotated("kube-vip.io/loadbalancerIPs", "10.0.0"), nil, "", "kube-vip.io/loadbalancerIPs"},
	} {
		r := Reader{Class: class}.Service(balancer(row.change)).Request
		if !reflect.DeepEqual(r.Addresses, row.want) || row.field != "" && !strings.Contains(r.Fields.Addresses, row.field) {
			t.Errorf("%s: asks for %v in %q", row.name, r.Addresses, r.Fields.Addresses)
		}
		if (r.Invalid != nil) != (row.wrong != "") || r.Invalid != nil && (r.Invalid.Reason != ipam.Malformed || !strings.Contains(r.Invalid.Message, row.wrong)) {
			t.Errorf("%s: refused with %v", row.name, r.Invalid)
		}
		if r.Invalid != nil && len(r.Invalid.Message) > 1024 {
			t.Errorf("%s: a message of %d bytes", row.name, len(r.Invalid.Message))
		}
	}
}

// What is not given is told, and so is what is not used.
func TestNotesOfWhatIsLeftOut(t *testing.T) {
	for _, row := range []struct{ own, foreign, want string }{
		{"10.0.0.1,fd00::1", "", "fd00::1 is not given"},
		{"10.0.0.1", "x", "is not used, as there is annotation " + AnnotationAddresses},
		{"10.0.0.1", "10.0.0.2", ""},
	} {
		got := Reader{Class: class}.Service(balancer(annotated(AnnotationAddresses, row.own, "kube-vip.io/loadbalancerIPs", row.foreign)))
		if text := strings.Join(got.Notes, ";"); text != row.want && (row.want == "" || !strings.Contains(text, row.want)) {
			t.Errorf("%q and %q: notes %q", row.own, row.foreign, text)
		}
	}
}

// A share key of any length costs the ledger little, and equal ones stay equal.
func TestLongShareKeys(t *testing.T) {
	key := func(text string) string {
		return Reader{Class: class}.Service(balancer(annotated(AnnotationShare, text))).Request.ShareKey
	}
	long := strings.Repeat("k", 140_000)
	if k := key(long); len(k) > 63 || k != key(long) || k == key(long+"k") || k != ipam.ShareKey(k) {
		t.Errorf("a long key becomes %q", k)
	}
	if k := key("\x00<&"); strings.ContainsAny(k, "\x00<&") {
		t.Errorf("a key of odd characters becomes %q", k)
	}
	if k := key("web-1"); k != "web-1" {
		t.Errorf("a plain key becomes %q", k)
	}
}

func TestRequestOfAService(t *testing.T) {
	require := corev1.IPFamilyPolicyRequireDualStack
	got := Reader{Class: class, KubeVIP: true}.Service(balancer(func(s *corev1.Service) {
		annotated(AnnotationPool, "p", AnnotationShare, "k", AnnotationInterface, "eth*")(s)
		s.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv6Protocol, corev1.IPv4Protocol}
		s.Spec.IPFamilyPolicy = &require
		s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Protocol: corev1.ProtocolUDP, Port: 53})
		s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "10.0.0.1"}, {Hostname: "h"}, {IP: "fd00::1"}}
		s.Status.Conditions = []metav1.Condition{{Type: "Other"}, {Type: Condition, Reason: "Allocated"}}
	}))
	r := got.Request
	if r.Owner != "a/web" || r.Namespace != "a" || r.Pool != "p" || r.ShareKey != "k" || !r.Require || !r.Local || !r.AnyPool || r.Invalid != nil {
		t.Errorf("request %+v", r)
	}
	if !reflect.DeepEqual(r.Families, []ipam.Family{ipam.IPv6, ipam.IPv4}) || !reflect.DeepEqual(r.Ports, []ipam.Port{{Protocol: "TCP", Number: 80}, {Protocol: "UDP", Number: 53}}) {
		t.Errorf("families %v, ports %v", r.Families, r.Ports)
	}
	if !got.Local || got.Link != "eth*" || len(got.Status) != 2 || got.Status[1] != netip.MustParseAddr("fd00::1") || got.Condition == nil || got.Condition.Reason != "Allocated" {
		t.Errorf("service %+v", got)
	}
	bare := Reader{Class: class}.Service(balancer(func(s *corev1.Service) { s.Spec.IPFamilies = nil }))
	if !reflect.DeepEqual(bare.Request.Families, []ipam.Family{ipam.IPv4}) || bare.Condition != nil {
		t.Errorf("a Service without families: %+v", bare)
	}
}

// S9: what has no counterpart is named.
func TestNotesNameWhatHasNoCounterpart(t *testing.T) {
	got := Reader{Class: class}.Service(balancer(annotated("kube-vip.io/something-new", "true")))
	if len(got.Notes) != 1 || !strings.Contains(got.Notes[0], "kube-vip.io/something-new") || !got.Managed {
		t.Errorf("notes %q", got.Notes)
	}
}

// The same pods are told by the selector and the namespace, in whatever order labels are written.
func TestSelectorStandsForPods(t *testing.T) {
	of := func(namespace string, selector map[string]string) string {
		return Reader{Class: class}.Service(balancer(func(s *corev1.Service) { s.Namespace, s.Spec.Selector = namespace, selector })).Request.Selector
	}
	one := of("a", map[string]string{"app": "web", "tier": "x"})
	if one == "" || one != of("a", map[string]string{"tier": "x", "app": "web"}) {
		t.Error("equal selectors differ")
	}
	for name, other := range map[string]string{
		"another namespace": of("b", map[string]string{"app": "web", "tier": "x"}), "another selector": of("a", map[string]string{"app": "web"}), "none": of("a", nil),
	} {
		if other == one {
			t.Errorf("%s is the same", name)
		}
	}
}
