package kubevip

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestAnnotationsAreUnderstood(t *testing.T) {
	const p = annotationPrefix
	for _, row := range []struct {
		all   map[string]string
		want  ServiceSettings
		notes []string
	}{
		{nil, ServiceSettings{}, nil},
		{map[string]string{"example.com/x": "y"}, ServiceSettings{}, nil},
		{map[string]string{p + "loadbalancerIPs": "192.0.2.20"}, ServiceSettings{Addresses: addrs(
			"192.0.2.20"), ShareKey: ShareKey}, nil},
		{map[string]string{p + "loadbalancerIPs": "192.0.2.20, 2001:db8::20"},
			ServiceSettings{Addresses: addrs(
				"192.0.2.20", "2001:db8::20"), ShareKey: ShareKey}, nil},
		{map[string]string{p + "loadbalancerIPs": ""}, ServiceSettings{}, nil},
		{map[string]string{p + "serviceInterface": "eth1"}, ServiceSettings{Interface: "eth1"}, nil},
		{map[string]string{p + "serviceInterface": "auto"}, ServiceSettings{}, nil},
		{map[string]string{p + "vipHost": "n1", p + "hwaddr": "02:00:00:00:00:01",
			p + "requestedIP": "192.0.2.9"}, ServiceSettings{}, nil},
		{map[string]string{p + "ignore": "true"}, ServiceSettings{Ignore: true}, nil},
		{map[string]string{p + "ignore": "false"}, ServiceSettings{}, nil},
		{map[string]string{p + "ignore": "true", p + "serviceVLAN": "eth0.2", p + "egress": "true"},
			ServiceSettings{Ignore: true}, nil},
		{map[string]string{p + "ignore": "true", p + "loadbalancerIPs": "0.0.0.0"},
			ServiceSettings{Ignore: true}, nil},
		{map[string]string{p + "leaseName": "l", p + "allow-reconcile-without-endpoints": "true"},
			ServiceSettings{}, nil},
		{map[string]string{p + "egress": "true", p + "egress-source-ports": "tcp:80"}, ServiceSettings{},
			[]string{p +
				"egress", p + "egress-source-ports"}},
		{map[string]string{p + "egress": "false", p + "egress-source-ports": "tcp:80"},
			ServiceSettings{}, nil},
		{map[string]string{p + "forwardUPNP": "true"}, ServiceSettings{}, []string{p + "forwardUPNP"}},
		{map[string]string{p + "serviceVLAN": "eth0.2"}, ServiceSettings{}, []string{p + "serviceVLAN"}},
		{map[string]string{p + "madeUp": "1"}, ServiceSettings{}, []string{p + "madeUp"}},
	} {
		got, notes, err := ParseAnnotations(row.all)
		if err != nil || !reflect.DeepEqual(got, row.want) || !slices.Equal(names(notes), row.notes) {
			t.Errorf("%v: got %+v, notes %v, %v", row.all, got, notes, err)
		}
	}
}

func TestAnnotationsRefuse(t *testing.T) {
	for value, says := range map[string]string{
		"0.0.0.0":               "DHCP",
		"::":                    "DHCP",
		"192.0.2.20,0.0.0.0":    "DHCP",
		"192.0.2.20,":           `"" is not an IP address`,
		"k8s.example.com":       "is not an IP address",
		"192.0.2.0/24":          "is not an IP address",
		"192.0.2.20,192.0.2.21": "one family",
		"224.0.0.1":             "multicast",
		"fe80::1%eth0":          "zone",
	} {
		w, _, err := ParseAnnotations(map[string]string{AnnotationAddresses: value})
		var refused *Error
		if !errors.As(err, &refused) || refused.Name != AnnotationAddresses ||
			!strings.Contains(refused.Problem, says) ||
			!reflect.DeepEqual(w, ServiceSettings{}) {
			t.Errorf("%q: got %+v, %v, want an error that says %q", value, w, err, says)
		}
	}
	if _, _, err := ParseAnnotations(map[string]string{annotationPrefix +
		"serviceInterface": "a/b"}); err == nil {
		t.Error("an impossible interface is accepted")
	}
}

// TestEachAnnotationWithoutCounterpartIsNamed is of S9.
func TestEachAnnotationWithoutCounterpartIsNamed(t *testing.T) {
	seen := map[string]bool{}
	for _, a := range AnnotationTable() {
		if seen[a.Name] || !strings.HasPrefix(a.Name, annotationPrefix) || a.Meaning == "" {
			t.Errorf("%s is there twice, or says nothing", a.Name)
		}
		seen[a.Name] = true
		all := map[string]string{a.Name: "true"}
		if a.requires != "" {
			all[a.requires] = "true"
		}
		_, notes, err := ParseAnnotations(all)
		if named := slices.Contains(names(notes), a.Name); err == nil &&
			named != (a.Support == Unsupported) {
			t.Errorf("%s: notes %v", a.Name, notes)
		}
	}
}

func FuzzAnnotations(f *testing.F) {
	for _, a := range AnnotationTable() {
		f.Add(a.Name, "true")
	}
	f.Add(AnnotationAddresses, "192.0.2.20, 2001:db8::20")
	f.Add(AnnotationAddresses, "::ffff:192.0.2.1")
	f.Fuzz(func(t *testing.T, name, value string) {
		w, notes, err := ParseAnnotations(map[string]string{name: value})
		if err != nil &&
			(!reflect.DeepEqual(w, ServiceSettings{}) || len(notes) > 0 || !strings.Contains(err.Error(),
				name)) {
			t.Fatalf("%+v and %v with %v", w, notes, err)
		}
		for _, addr := range w.Addresses {
			if addr.IsUnspecified() || addr.Zone() != "" || addr.Is4In6() {
				t.Fatalf("%q gave %s", value, addr)
			}
		}
		if len(w.Addresses) > 2 || (w.ShareKey == "") != (len(w.Addresses) == 0) {
			t.Fatalf("%q gave %+v", value, w)
		}
	})
}

func FuzzFromEnvironment(f *testing.F) {
	for _, v := range Variables() {
		f.Add(v.Name, "true")
		f.Add(v.Name, "12")
	}
	f.Add("address", "192.0.2.10,2001:db8::10")
	f.Add("prometheus_server", "[::1]:9")
	f.Fuzz(func(t *testing.T, name, value string) {
		s, _, err := ParseEnvironment(with(name + "=" + value))
		if err != nil {
			return
		}
		if len(s.VIPs) == 0 || s.RenewInterval > s.LeaseDuration/3 || s.Port < 1 || s.LeaseName == "" {
			t.Fatalf("%s=%q gave %+v", name, value, s)
		}
	})
}
