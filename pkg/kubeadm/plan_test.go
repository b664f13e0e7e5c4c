package kubeadm

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/kvip/kvip/pkg/config"
)

func TestMinimalConfig(t *testing.T) {
	for _, row := range []struct {
		name    string
		request Request
		want    string
	}{
		{"one address", Request{VIPs: vips("192.0.2.10")}, clusterHead +
			"controlPlaneEndpoint: 192.0.2.10:6443\napiServer:\n  certSANs:\n    - 192.0.2.10\n"},
		{"two addresses", Request{VIPs: vips("2001:db8::10,192.0.2.10")}, clusterHead +
			"controlPlaneEndpoint: \"[2001:db8::10]:6443\"\napiServer:\n  certSANs:\n    - " +
			"\"2001:db8::10\"\n    - 192.0.2.10\n"},
		{"another port", Request{VIPs: vips("192.0.2.10"), Port: 8443}, clusterHead +
			"controlPlaneEndpoint: 192.0.2.10:8443\napiServer:\n  certSANs:\n    - 192.0.2.10\n---\n" +
			initHead +
			"localAPIEndpoint:\n  bindPort: 8443\n"},
	} {
		text, err := MinimalConfig(row.request)
		if err != nil || string(text) != row.want {
			t.Errorf("%s: %v\n%s\nwant\n%s", row.name, err, text, row.want)
		}
		plan, err := parse(t, string(text)).PlanInit(row.request)
		if err != nil || string(plan.Data) != row.want {
			t.Errorf("%s: init changes the minimal configuration: %v\n%s", row.name, err, plan.Data)
		}
	}
	var usage *config.UsageError
	if _, err := MinimalConfig(Request{}); !errors.As(err, &usage) || usage.Flag != "vip" {
		t.Errorf("without an address: %v", err)
	}
}

func TestSettingsForAManifest(t *testing.T) {
	const endpoint = "controlPlaneEndpoint: 192.0.2.10:8443\n"
	const bind = "localAPIEndpoint:\n  bindPort: 8443\n"
	for _, row := range []struct {
		name, text, vip string
		port            int
		repository      string
	}{
		{"nothing", clusterHead, "", 6443, ""},
		{"an endpoint without port", clusterHead + "controlPlaneEndpoint: 192.0.2.10\n",
			"192.0.2.10", 6443,
			""},
		{"endpoint and port", clusterHead + endpoint + "---\n" + initHead + bind, "192.0.2.10", 8443, ""},
		{"a name", clusterHead + "controlPlaneEndpoint: vip.example\n", "", 6443, ""},
		{"a repository", clusterHead + "imageRepository: registry.example/k8s\n", "", 6443,
			"registry.example/k8s"},
		{"init alone", initHead + bind, "", 8443, ""},
		{"join of a control plane", joinHead +
			"controlPlane:\n  localAPIEndpoint:\n    bindPort: 8443\n" +
			"discovery:\n  bootstrapToken:\n    apiServerEndpoint: \"[2001:db8::10]:8443\"\n",
			"2001:db8::10", 8443, ""},
		{"join of a worker", joinHead +
			"discovery:\n  bootstrapToken:\n    apiServerEndpoint: 192.0.2.10:443\n",
			"192.0.2.10", 443, ""},
		{"join without an endpoint", joinHead + "discovery: {bootstrapToken: {token: a}}\n", "", 6443,
			""},
	} {
		vip, port, repository, err := parse(t, row.text).Settings()
		text := ""
		if vip.IsValid() {
			text = vip.String()
		}
		if err != nil || text != row.vip || port != row.port || repository != row.repository {
			t.Errorf("%s: %q, %d, %q, %v", row.name, text, port, repository, err)
		}
	}
	for _, row := range []struct{ name, text, want string }{
		{"a kubelet's file", "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n",
			"has no ClusterConfiguration"},
		{"a wrong port", clusterHead + "controlPlaneEndpoint: 192.0.2.10:0\n",
			"is not a host and a port"},
		{"two ports", clusterHead + endpoint, "(PortMismatch)"},
		{"bind-address", clusterHead +
			"apiServer:\n  extraArgs:\n  - {name: bind-address, value: 192.0.2.11}\n",
			"(BindAddressMismatch)"},
	} {
		if _, _, _, err := parse(t, row.text).Settings(); err == nil ||
			!strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want %q", row.name, err, row.want)
		}
	}
}

func TestDiscoveryServers(t *testing.T) {
	for _, row := range []struct {
		name, text string
		want       []string
	}{
		{"two clusters",
			"clusters:\n- cluster: {server: 'https://a:6443'}\n- cluster: {server: 'https://b'}\n",
			[]string{"https://a:6443",
				"https://b"}},
		{"JSON", `{"clusters": [{"name": "x", "cluster": {"server": "https://a"}}]}`,
			[]string{"https://a"}},
		{"no cluster", "kind: Config\n", nil},
		{"empty", "", nil},
	} {
		if got, err := DiscoveryServers([]byte(row.text)); err != nil || !slices.Equal(got, row.want) {
			t.Errorf("%s: %q, %v", row.name, got, err)
		}
	}
	if _, err := DiscoveryServers([]byte("clusters: a")); err == nil {
		t.Error("a text as clusters passed")
	}
}

func TestJoinWithoutFile(t *testing.T) {
	r := Request{VIPs: vips("192.0.2.10"), Host: prefixes("192.0.2.11/24")}
	plan, err := JoinWithoutFile(r)
	if err != nil || plan.Endpoint != "192.0.2.10:6443" || !plan.ControlPlane || plan.Data != nil {
		t.Errorf("%+v, %v", plan, err)
	}
	r.Port = 8443
	if plan, err := JoinWithoutFile(r); err != nil || plan.Endpoint != "192.0.2.10:8443" ||
		plan.Port != 8443 {
		t.Errorf("another port: %+v, %v", plan, err)
	}
	r.Host = prefixes("198.51.100.1/24")
	var conflict *Conflict
	if _, err := JoinWithoutFile(r); !errors.As(err, &conflict) || conflict.Reason != VIPOffLink ||
		conflict.File != "" {
		t.Errorf("another subnet: %v", err)
	}
}

func TestMissing(t *testing.T) {
	for names, want := range map[string]string{
		"":                                 "[192.0.2.10 2001:db8::10]",
		"192.0.2.10":                       "[2001:db8::10]",
		"a,2001:DB8:0::10,::ffff:c000:20a": "[]",
		"192.0.2.100":                      "[192.0.2.10 2001:db8::10]",
	} {
		got := missing(vips("192.0.2.10,2001:db8::10"), strings.Split(names, ","))
		if text := "[" + strings.Join(texts(got), " ") + "]"; text != want {
			t.Errorf("%q: %s, want %s", names, text, want)
		}
	}
}

func TestErrorsNameTheirPlace(t *testing.T) {
	for want, err := range map[string]error{
		"f: is empty": &config.InputError{File: "f", Problem: "is empty"},
		"f, document 2, line 3: a.b: is a text": &config.InputError{File: "f", Document: 2, Line: 3,
			Field: "a.b", Problem: "is a text"},
		"f, line 3: a: \"b\" is c; do d (PortMismatch)": &Conflict{Reason: PortMismatch, File: "f",
			Line: 3, Field: "a",
			Value: "b", Problem: "is c", Fix: "do d"},
		"f: a: is missing; do d (NoEndpoint)": &Conflict{Reason: NoEndpoint, File: "f", Field: "a",
			Problem: "is missing", Fix: "do d"},
		"--vip: \"b\" is c; do d (VIPOnHost)": &Conflict{Reason: VIPOnHost, Field: "--vip", Value: "b",
			Problem: "is c", Fix: "do d"},
	} {
		if got := err.Error(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// TestB7RoutedAddressOfTheHost: a VIP that is reached by routes is in no subnet of the node.
func TestB7RoutedAddressOfTheHost(t *testing.T) {
	v := netip.MustParseAddr("198.51.100.1")
	if err := checkHostAddresses(v, prefixes("192.0.2.11/24"), true); err != nil {
		t.Error(err)
	}
	var conflict *Conflict
	err := checkHostAddresses(v, prefixes("192.0.2.11/24", "198.51.100.9/24"), true)
	if !errors.As(err, &conflict) || conflict.Reason != VIPOnLink {
		t.Errorf("in a subnet: %v", err)
	}
}

// TestAddressesOfTheHost has what a VIP must not be, and what does not matter.
func TestAddressesOfTheHost(t *testing.T) {
	managed := []Address{{Prefix: netip.MustParsePrefix("192.0.2.10/32"), Link: "eth0", Managed: true}}
	for _, row := range []struct {
		name string
		host []Address
		want Reason
	}{
		{"in a subnet", prefixes("192.0.2.11/24"), ""},
		{"in the second subnet", prefixes("198.51.100.1/24", "192.0.2.11/24"), ""},
		{"kvip's own", slices.Concat(managed, prefixes("192.0.2.11/24")), ""},
		{"kvip's own alone", managed, VIPOffLink},
		{"no address at all", []Address{}, VIPOffLink},
		{"the host's", prefixes("192.0.2.10/24"), VIPOnHost},
		{"the host's without a subnet", prefixes("192.0.2.10/32"), VIPOnHost},
		{"the last one", prefixes("192.0.2.9/30"), ""},
		{"the broadcast address", prefixes("192.0.2.9/31", "192.0.2.4/29"), VIPOffLink},
		{"another family", prefixes("2001:db8::1/64"), VIPOffLink},
	} {
		err := checkHostAddresses(netip.MustParseAddr("192.0.2.10"), row.host, false)
		var conflict *Conflict
		if row.want == "" && err != nil ||
			row.want != "" && (!errors.As(err, &conflict) || conflict.Reason != row.want) {
			t.Errorf("%s: %v, want %q", row.name, err, row.want)
		}
	}
	for _, row := range []struct{ vip, prefix string }{{"192.0.2.15", "192.0.2.9/29"}, {"192.0.2.8",
		"192.0.2.9/29"}, {"2001:db8::", "2001:db8::1/64"}} {
		var conflict *Conflict
		err := checkHostAddresses(netip.MustParseAddr(row.vip), prefixes(row.prefix), false)
		if !errors.As(err, &conflict) || conflict.Reason != VIPIsSubnetAddress {
			t.Errorf("%s on %s: %v", row.vip, row.prefix, err)
		}
	}
}
