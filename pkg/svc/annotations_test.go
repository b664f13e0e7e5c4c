package svc

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/kvip/kvip/pkg/ipam"
)

const kubeVIPAddresses = "kube-vip.io/loadbalancerIPs"

// S9: kvip's annotations come first, then kube-vip's, then the spec.
func TestRequestedAddresses(t *testing.T) {
	spec := func(s *corev1.Service) { s.Spec.LoadBalancerIP = "10.0.0.9" }
	badSpec := func(s *corev1.Service) { s.Spec.LoadBalancerIP = "10.0.0" }
	dual := func(s *corev1.Service) {
		s.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}
	}
	own := func(text string) func(*corev1.Service) { return annotated(AnnotationAddresses, text) }
	kubeVIP := func(text string) func(*corev1.Service) { return annotated(kubeVIPAddresses, text) }
	type changes []func(*corev1.Service)
	for _, row := range []struct {
		name    string
		changes changes
		want    string // addresses, separated by spaces
		field   string
		invalid string // part of the message
	}{
		{"nothing", nil, "", "", ""},
		{"an annotation", changes{dual, own("10.0.0.1, fd00::1")}, "10.0.0.1 fd00::1",
			AnnotationAddresses, ""},
		{"one family of two", changes{own("10.0.0.1, fd00::1")}, "10.0.0.1", AnnotationAddresses, ""},
		{"one family of two by kube-vip's", changes{kubeVIP("fd00::1,10.0.0.1")}, "10.0.0.1",
			kubeVIPAddresses, ""},
		{"only the other family", changes{own("fd00::1")}, "fd00::1", AnnotationAddresses, ""},
		{"beside an invalid one of kube-vip's", changes{own("10.0.0.1"), kubeVIP("x")}, "10.0.0.1",
			AnnotationAddresses, ""},
		{"IPv4 in IPv6", changes{own("::ffff:10.0.0.1")}, "10.0.0.1", AnnotationAddresses, ""},
		{"the spec", changes{spec}, "10.0.0.9", "spec.loadBalancerIP", ""},
		{"annotation before spec", changes{spec, own("10.0.0.1")}, "10.0.0.1", AnnotationAddresses, ""},
		{"kube-vip's before spec", changes{spec, kubeVIP("10.0.0.2")}, "10.0.0.2", kubeVIPAddresses, ""},
		{"before kube-vip's", changes{own("10.0.0.1"), kubeVIP("10.0.0.2")}, "10.0.0.1",
			AnnotationAddresses, ""},
		{"a long list", changes{own(strings.Repeat("10.0.0.1,", 9999))}, "", "", "too long"},
		{"a long list of kube-vip's", changes{kubeVIP(strings.Repeat("x", 99999))}, "", "",
			"loadbalancerIPs"},
		{"a long pool", changes{annotated(AnnotationPool, strings.Repeat("p", 999))}, "", "",
			"has 999 bytes"},
		{"a long interface", changes{annotated(AnnotationInterface, strings.Repeat("e", 999))}, "", "",
			"has 999 bytes"},
		{"not an address", changes{own("web")}, "", "", `"web" is not an IP address`},
		{"an empty annotation", changes{own("")}, "", "", "is not an IP address"},
		{"a zone", changes{own("fe80::1%eth0")}, "", "", "is not an IP address"},
		{"two of a family", changes{own("10.0.0.1,10.0.0.2")}, "", "", "two addresses of one family"},
		{"an invalid spec", changes{badSpec}, "", "", "spec.loadBalancerIP"},
		{"an invalid one of kube-vip's", changes{kubeVIP("10.0.0")}, "", "", kubeVIPAddresses},
	} {
		r := Reader{Class: class}.Service(balancer(row.changes...)).Request
		var got []string
		for _, a := range r.Addresses {
			got = append(got, a.String())
		}
		if strings.Join(got, " ") != row.want || !strings.Contains(r.Fields.Addresses, row.field) {
			t.Errorf("%s: requests %v by %q", row.name, got, r.Fields.Addresses)
		}
		switch {
		case (r.Invalid != nil) != (row.invalid != ""):
			t.Errorf("%s: refused with %v", row.name, r.Invalid)
		case r.Invalid == nil:
		case r.Invalid.Reason != ipam.Malformed || !strings.Contains(r.Invalid.Message, row.invalid):
			t.Errorf("%s: refused with %v", row.name, r.Invalid)
		case len(r.Invalid.Message) > 1024:
			t.Errorf("%s: a message of %d bytes", row.name, len(r.Invalid.Message))
		}
	}
}

// Settings that are ignored or not supported are in the notes (S9).
func TestNotes(t *testing.T) {
	for _, row := range []struct {
		name  string
		pairs []string
		want  string // part of the only note; empty: no notes
	}{
		{"another family", []string{AnnotationAddresses, "10.0.0.1,fd00::1"},
			"fd00::1 is ignored because"},
		{"an invalid annotation of kube-vip's", []string{AnnotationAddresses, "10.0.0.1",
			kubeVIPAddresses, "x"},
			"ignored because annotation " + AnnotationAddresses + " is set"},
		{"another address of kube-vip's", []string{AnnotationAddresses, "10.0.0.1", kubeVIPAddresses,
			"10.0.0.2"}, ""},
		{"an unknown one of kube-vip's", []string{"kube-vip.io/something-new", "true"},
			"kube-vip.io/something-new"},
		{"another program's", []string{"example.com/x", "y"}, ""},
	} {
		got := Reader{Class: class}.Service(balancer(annotated(row.pairs...)))
		switch {
		case row.want == "" && len(got.Notes) != 0:
			t.Errorf("%s: notes %q", row.name, got.Notes)
		case row.want != "" && (len(got.Notes) != 1 || !strings.Contains(got.Notes[0], row.want)):
			t.Errorf("%s: notes %q, want %q", row.name, got.Notes, row.want)
		case !got.Managed:
			t.Errorf("%s: not managed: %s", row.name, got.SkipReason)
		}
	}
}

// A long share key costs the ledger little. Equal keys remain equal, different ones different.
func TestLongShareKeys(t *testing.T) {
	key := func(text string) string {
		return Reader{Class: class}.Service(balancer(annotated(AnnotationShare, text))).Request.ShareKey
	}
	long := strings.Repeat("k", 140_000)
	if k := key(long); len(k) > 63 || k != key(long) || k == key(long+"k") || k != ipam.ShareKey(k) {
		t.Errorf("a long key becomes %q", k)
	}
	if k := key("\x00<&"); strings.ContainsAny(k, "\x00<&") {
		t.Errorf("a key with special characters becomes %q", k)
	}
	if k := key("web-1"); k != "web-1" {
		t.Errorf("a plain key becomes %q", k)
	}
}

// S9: kube-vip lets Services with the same requested address share it.
func TestKubeVIPShareKey(t *testing.T) {
	for name, row := range map[string]struct {
		pairs []string
		want  bool
	}{
		"kube-vip's address": {[]string{kubeVIPAddresses, "10.0.0.1"}, true},
		"kvip's address":     {[]string{AnnotationAddresses, "10.0.0.1"}, false},
	} {
		if a := readAnnotations(balancer(annotated(row.pairs...))); (a.Key != "") != row.want {
			t.Errorf("%s: key %q", name, a.Key)
		}
	}
	a := readAnnotations(balancer(annotated(kubeVIPAddresses, "10.0.0.1", AnnotationShare, "own")))
	if a.Key != "own" {
		t.Errorf("kvip's key does not come first: %q", a.Key)
	}
}

func FuzzParseAddresses(f *testing.F) {
	for _, text := range []string{"10.0.0.1, fd00::1", "::ffff:10.0.0.1", "fe80::1%eth0", ",",
		"10.0.0.1,10.0.0.2"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		list, err := parseAddresses("field", text)
		if err != nil {
			if len(list) > 0 || !strings.HasPrefix(err.Error(), "field: ") {
				t.Errorf("%q: %v, %v", text, list, err)
			}
			return
		}
		var back []string
		for _, a := range list {
			if !a.IsValid() || a.Zone() != "" || a.Is4In6() {
				t.Errorf("%q: address %v", text, a)
			}
			back = append(back, a.String())
		}
		if len(list) == 0 || len(list) > 2 || len(list) == 2 && list[0].Is4() == list[1].Is4() {
			t.Errorf("%q: %v", text, list)
		}
		again, err := parseAddresses("field", strings.Join(back, ","))
		if err != nil || !slices.Equal(again, list) {
			t.Errorf("%q: %v, then %v, %v", text, list, again, err)
		}
	})
}

// Fields name the source of each setting, for messages.
func TestFields(t *testing.T) {
	got := readAnnotations(balancer(annotated(AnnotationPool, "p", AnnotationShare, "k",
		AnnotationAddresses, "10.0.0.1")))
	want := annotations{
		Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.1")}, Pool: "p", Key: "k",
		Fields: ipam.Fields{
			Addresses: "annotation kvip.dev/addresses", Pool: "annotation kvip.dev/pool",
			ShareKey: "annotation kvip.dev/share",
		},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("annotations %+v, want %+v", got, want)
	}
}
