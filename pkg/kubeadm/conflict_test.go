package kubeadm

import (
	"errors"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/kvip/kvip/pkg/config"
)

// conflictRow is one configuration, request and the conflict that must be named. text "" is a node
// that joins by flags.
type conflictRow struct {
	name, text string
	join       bool
	vips       string
	port       int
	host       []Address
	routed     bool
	reason     Reason
	words      []string // of the sentence: field, value, what to do
}

func (row conflictRow) run(t *testing.T) (Plan, error) {
	t.Helper()
	r := Request{Port: row.port, Host: row.host, Routed: row.routed, Resolve: names(map[string]string{
		"vip.example": "192.0.2.10", "both.example": "192.0.2.10,2001:db8::10",
		"other.example": "192.0.2.11", "mixed.example": "192.0.2.10,192.0.2.11"})}
	if row.vips != "" {
		r.VIPs = vips(row.vips)
	}
	switch {
	case row.text == "":
		return JoinWithoutFile(r)
	case row.join:
		return parse(t, row.text).PlanJoin(r)
	}
	return parse(t, row.text).PlanInit(r)
}

const tokenHead = joinHead +
	"controlPlane: {}\ndiscovery:\n  bootstrapToken:\n    token: abcdef.0123456789abcdef\n"

var conflictRows = []conflictRow{
	{
		name:   "another address",
		text:   clusterHead + "controlPlaneEndpoint: 192.0.2.9:6443\n",
		vips:   "192.0.2.10",
		reason: EndpointMismatch,
		words: []string{
			"kubeadm.yaml, line 3: ClusterConfiguration.controlPlaneEndpoint",
			`"192.0.2.9:6443"`,
			"192.0.2.10",
			"--vip",
		},
	},
	{
		name:   "another address without a port",
		text:   clusterHead + "controlPlaneEndpoint: 192.0.2.9\n",
		vips:   "192.0.2.10",
		reason: EndpointMismatch,
		words:  []string{"192.0.2.9"},
	},
	{
		name:   "name of another",
		text:   clusterHead + "controlPlaneEndpoint: other.example:6443\n",
		vips:   "192.0.2.10",
		reason: EndpointMismatch,
		words:  []string{"other.example", "192.0.2.11", "let it resolve"},
	},
	{
		name:   "name of two",
		text:   clusterHead + "controlPlaneEndpoint: mixed.example\n",
		vips:   "192.0.2.10",
		reason: EndpointMismatch,
		words:  []string{"mixed.example", "192.0.2.11"},
	},
	{
		name:   "name of more than the VIP",
		text:   clusterHead + "controlPlaneEndpoint: both.example\n",
		vips:   "192.0.2.10",
		reason: EndpointMismatch,
		words:  []string{"2001:db8::10"},
	},
	{
		name:   "unknown name",
		text:   clusterHead + "controlPlaneEndpoint: nosuch.example:6443\n",
		vips:   "192.0.2.10",
		reason: NameUnresolved,
		words:  []string{"nosuch.example", "no such host", "/etc/hosts"},
	},
	{
		name:   "a URL",
		text:   clusterHead + "controlPlaneEndpoint: https://192.0.2.10:6443\n",
		vips:   "192.0.2.10",
		reason: EndpointMismatch,
		words:  []string{"neither", "192.0.2.10:6443"},
	},
	{
		name:   "port of letters",
		text:   clusterHead + "controlPlaneEndpoint: 192.0.2.10:https\n",
		vips:   "192.0.2.10",
		reason: EndpointMismatch,
		words:  []string{"host and a port"},
	},
	{
		name:   "port too high",
		text:   clusterHead + "controlPlaneEndpoint: 192.0.2.10:65536\n",
		vips:   "192.0.2.10",
		reason: EndpointMismatch,
		words:  []string{"host and a port"},
	},
	{
		name:   "no VIP anywhere",
		text:   clusterHead,
		reason: NoEndpoint,
		words:  []string{"controlPlaneEndpoint", "--vip"},
	},
	{
		name:   "a name and no VIP",
		text:   clusterHead + "controlPlaneEndpoint: vip.example\n",
		reason: NoEndpoint,
		words:  []string{"vip.example", "--vip"},
	},

	{
		name: "endpoint and bindPort",
		text: clusterHead + "controlPlaneEndpoint: 192.0.2.10:6443\n---\n" + initHead +
			"localAPIEndpoint: {bindPort: 8443}\n",
		vips:   "192.0.2.10",
		reason: PortMismatch,
		words: []string{
			"line 7: InitConfiguration.localAPIEndpoint.bindPort",
			`"8443"`,
			"6443",
			"controlPlaneEndpoint",
			"bindPort: 6443",
		},
	},
	{
		name:   "flag and bindPort",
		text:   clusterHead + "---\n" + initHead + "localAPIEndpoint:\n  bindPort: 8443\n",
		vips:   "192.0.2.10",
		port:   6443,
		reason: PortMismatch,
		words:  []string{"line 7: InitConfiguration.localAPIEndpoint.bindPort", "6443 of --port"},
	},
	{
		name:   "flag and endpoint",
		text:   clusterHead + "controlPlaneEndpoint: 192.0.2.10:6443\n",
		vips:   "192.0.2.10",
		port:   8443,
		reason: PortMismatch,
		words:  []string{"controlPlaneEndpoint", "6443", "--port is 8443"},
	},
	{name: "flag and the default", text: clusterHead, vips: "192.0.2.10", port: 8443,
		reason: PortMismatch, words: []string{"InitConfiguration.localAPIEndpoint.bindPort",
			"is not set", "8443", "bindPort: 8443"}},
	{
		name:   "endpoint and the default",
		text:   clusterHead + "controlPlaneEndpoint: 192.0.2.10:443\n",
		vips:   "192.0.2.10",
		reason: PortMismatch,
		words:  []string{"is not set", "443", "6443"},
	},

	{
		name: "bound to an address",
		text: clusterHead +
			"apiServer: {extraArgs: [{name: v, value: '2'}, {name: bind-address, value: 192.0.2.11}]}\n",
		vips:   "192.0.2.10",
		reason: BindAddressMismatch,
		words: []string{
			"line 3: ClusterConfiguration.apiServer.extraArgs",
			`"bind-address=192.0.2.11"`,
			"0.0.0.0",
		},
	},
	{
		name:   "bound to the loopback",
		text:   clusterHead + "apiServer: {extraArgs: [{name: bind-address, value: 127.0.0.1}]}\n",
		vips:   "192.0.2.10",
		reason: BindAddressMismatch,
		words:  []string{"127.0.0.1"},
	},
	{
		name:   "bound to the VIP",
		text:   clusterHead + "apiServer: {extraArgs: [{name: bind-address, value: 192.0.2.10}]}\n",
		vips:   "192.0.2.10",
		reason: BindAddressMismatch,
		words:  []string{"192.0.2.10"},
	},
	{
		name:   "bound to a name",
		text:   clusterHead + "apiServer: {extraArgs: [{name: bind-address, value: localhost}]}\n",
		vips:   "192.0.2.10",
		reason: BindAddressMismatch,
		words:  []string{"localhost"},
	},
	{
		name: "bound to an address in the second of two",
		text: clusterHead + "apiServer: {extraArgs: [{name: bind-address, value: '::'}, {name: " +
			"bind-address, value: '::1'}]}\n",
		vips:   "192.0.2.10",
		reason: BindAddressMismatch,
		words:  []string{"bind-address=::1"},
	},
	{
		name: "bound to an address in v1beta3",
		text: "apiVersion: kubeadm.k8s.io/v1beta3\nkind: ClusterConfiguration\napiServer:\n  " +
			"extraArgs:\n    v: '2'\n    bind-address: 192.0.2.11\n",
		vips:   "192.0.2.10",
		reason: BindAddressMismatch,
		words:  []string{"bind-address=192.0.2.11"},
	},
	{
		name: "advertised by an argument",
		text: clusterHead +
			"apiServer: {extraArgs: [{name: advertise-address, value: '2001:DB8::10'}]}\n",
		vips:   "192.0.2.10,2001:db8::10",
		reason: VIPIsAdvertised,
		words:  []string{"ClusterConfiguration.apiServer.extraArgs", "advertise-address=2001:DB8::10"},
	},
	{
		name:   "another port by an argument",
		text:   clusterHead + "apiServer: {extraArgs: [{name: secure-port, value: '8443'}]}\n",
		vips:   "192.0.2.10",
		reason: PortMismatch,
		words:  []string{"secure-port=8443", "6443", "bindPort"},
	},
	{
		name:   "advertised",
		text:   clusterHead + "---\n" + initHead + "localAPIEndpoint:\n  advertiseAddress: 192.0.2.10\n",
		vips:   "192.0.2.10",
		reason: VIPIsAdvertised,
		words: []string{
			"line 7: InitConfiguration.localAPIEndpoint.advertiseAddress",
			"192.0.2.10",
			"the node's own",
		},
	},
	{
		name: "node-ip",
		text: clusterHead + "---\n" + initHead +
			"nodeRegistration:\n  kubeletExtraArgs:\n  - name: node-ip\n    value: 192.0.2.7,2001:DB8::10\n",
		vips:   "192.0.2.10,2001:db8::10",
		reason: VIPIsNodeIP,
		words: []string{
			"InitConfiguration.nodeRegistration.kubeletExtraArgs",
			"node-ip=192.0.2.7,2001:DB8::10",
		},
	},
	{
		name: "node-ip of v1beta3",
		text: "apiVersion: kubeadm.k8s.io/v1beta3\nkind: InitConfiguration\nnodeRegistration:\n  " +
			"kubeletExtraArgs: {v: '2', node-ip: 192.0.2.10}\n",
		vips:   "192.0.2.10",
		reason: VIPIsNodeIP,
		words:  []string{"node-ip=192.0.2.10"},
	},
	{
		name:   "among pods",
		text:   clusterHead + "networking: {podSubnet: 'fd00::/48,192.0.0.0/16'}\n",
		vips:   "192.0.2.10",
		reason: VIPInPodSubnet,
		words: []string{
			"ClusterConfiguration.networking.podSubnet",
			"fd00::/48,192.0.0.0/16",
			"192.0.2.10",
		},
	},
	{
		name:   "among Services",
		text:   clusterHead + "networking:\n  serviceSubnet: 192.0.2.0/25\n",
		vips:   "192.0.2.10",
		reason: VIPInServiceSubnet,
		words:  []string{"line 4: ClusterConfiguration.networking.serviceSubnet", "192.0.2.0/25"},
	},
	{
		name:   "among the default Services",
		text:   clusterHead,
		vips:   "10.96.1.1",
		reason: VIPInServiceSubnet,
		words:  []string{"10.96.0.0/12", "default"},
	},

	{
		name:   "of the host",
		text:   clusterHead,
		vips:   "192.0.2.7",
		host:   prefixes("127.0.0.1/8", "192.0.2.7/24"),
		reason: VIPOnHost,
		words:  []string{"--vip", `"192.0.2.7"`, "on eth1", "no machine has"},
	},
	{
		name:   "second of the host",
		text:   clusterHead,
		vips:   "192.0.2.10,2001:db8::7",
		host:   prefixes("192.0.2.7/24", "2001:db8::7/64"),
		reason: VIPOnHost,
		words:  []string{"2001:db8::7"},
	},
	{
		name:   "off link",
		text:   clusterHead,
		vips:   "192.0.2.10",
		host:   prefixes("127.0.0.1/8", "198.51.100.7/24", "192.0.2.9/32", "2001:db8::7/64"),
		reason: VIPOffLink,
		words:  []string{"192.0.2.10", "198.51.100.0/24 on eth1", "--skip-host-checks"},
	},
	{
		name:   "no IPv6 here",
		text:   clusterHead,
		vips:   "192.0.2.10,2001:db8::10",
		host:   prefixes("192.0.2.7/24", "fe80::1/64", "::1/128"),
		reason: VIPOffLink,
		words:  []string{"2001:db8::10", "none of that family"},
	},
	{
		name:   "by BGP, in a subnet",
		text:   clusterHead,
		vips:   "192.0.2.10",
		host:   prefixes("192.0.2.7/24"),
		routed: true,
		reason: VIPOnLink,
		words:  []string{"192.0.2.10", "--announce=bgp"},
	},
	{
		name:   "broadcast",
		text:   clusterHead,
		vips:   "192.0.2.255",
		host:   prefixes("192.0.0.0/8", "192.0.2.7/24"),
		reason: VIPIsSubnetAddress,
		words:  []string{"192.0.2.255", "192.0.2.0/24 on eth1"},
	},
	{
		name:   "by flags, of the host",
		vips:   "192.0.2.7",
		host:   prefixes("192.0.2.7/24"),
		reason: VIPOnHost,
		words:  []string{"192.0.2.7"},
	},
	{
		name:   "by flags, off link",
		vips:   "192.0.2.7",
		host:   []Address{},
		reason: VIPOffLink,
		words:  []string{"192.0.2.7"},
	},

	{
		name:   "discovers elsewhere",
		join:   true,
		text:   tokenHead + "    apiServerEndpoint: 192.0.2.9:6443\n",
		vips:   "192.0.2.10",
		reason: DiscoveryMismatch,
		words: []string{
			"line 7: JoinConfiguration.discovery.bootstrapToken.apiServerEndpoint",
			"192.0.2.9:6443",
		},
	},
	{
		name:   "discovers a load balancer",
		join:   true,
		text:   tokenHead + "    apiServerEndpoint: kind-external-load-balancer:6443\n",
		vips:   "192.0.2.10",
		reason: NameUnresolved,
		words:  []string{"kind-external-load-balancer"},
	},
	{
		name:   "discovers without a port",
		join:   true,
		text:   tokenHead + "    apiServerEndpoint: 192.0.2.10\n",
		vips:   "192.0.2.10",
		reason: PortMismatch,
		words:  []string{"192.0.2.10:6443"},
	},
	{
		name:   "discovers on another port",
		join:   true,
		text:   tokenHead + "    apiServerEndpoint: 192.0.2.10:443\n",
		vips:   "192.0.2.10",
		reason: PortMismatch,
		words:  []string{"JoinConfiguration.controlPlane.localAPIEndpoint.bindPort"},
	},
	{
		name: "worker on another port than said",
		join: true,
		text: joinHead +
			"discovery: {bootstrapToken: {token: a, apiServerEndpoint: '192.0.2.10:443'}}\n",
		vips:   "192.0.2.10",
		port:   6443,
		reason: PortMismatch,
		words:  []string{"443", "--port is 6443"},
	},
	{
		name:   "discovers nowhere",
		join:   true,
		text:   joinHead + "controlPlane: {}\ndiscovery: {}\n",
		vips:   "192.0.2.10",
		reason: NoDiscovery,
		words:  []string{"JoinConfiguration.discovery", "bootstrapToken"},
	},
	{
		name:   "joins advertising the VIP",
		join:   true,
		text:   tokenHead + "---\n" + clusterHead,
		vips:   "10.96.0.7",
		reason: VIPInServiceSubnet,
		words:  []string{"10.96.0.0/12"},
	},
	{
		name:   "joins with the VIP as its own",
		join:   true,
		text:   strings.Replace(tokenHead, "{}", "{localAPIEndpoint: {advertiseAddress: 192.0.2.10}}", 1),
		vips:   "192.0.2.10",
		reason: VIPIsAdvertised,
		words:  []string{"JoinConfiguration.controlPlane.localAPIEndpoint.advertiseAddress"},
	},
	{
		name: "joins with the VIP as node-ip",
		join: true,
		text: tokenHead +
			"nodeRegistration: {kubeletExtraArgs: [{name: node-ip, value: 192.0.2.10}]}\n",
		vips:   "192.0.2.10",
		reason: VIPIsNodeIP,
		words:  []string{"JoinConfiguration.nodeRegistration"},
	},
	{
		name:   "no VIP in a JoinConfiguration",
		join:   true,
		text:   tokenHead,
		reason: NoEndpoint,
		words:  []string{"apiServerEndpoint", "--vip"},
	},
}

func TestConflictsAreNamed(t *testing.T) {
	for _, row := range conflictRows {
		t.Run(row.name, func(t *testing.T) {
			_, err := row.run(t)
			var c *Conflict
			if !errors.As(err, &c) || c.Reason != row.reason {
				t.Fatalf("got %v, want %s", err, row.reason)
			}
			for _, word := range append(row.words, string(row.reason)) {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("%q says nothing of %q", err, word)
				}
			}
			if c.Fix == "" || c.Problem == "" || c.Field == "" {
				t.Errorf("%q does not name field, problem and fix", err)
			}
		})
	}
}

// TestNoConflict has what looks like one and is none.
func TestNoConflict(t *testing.T) {
	own := append(prefixes("192.0.2.7/24"), Address{
		Prefix: netip.MustParsePrefix("192.0.2.10/32"), Link: "eth0", Managed: true,
	})
	for _, row := range []struct {
		conflictRow
		endpoint string
	}{
		{conflictRow{name: "name of the VIP", text: clusterHead +
			"controlPlaneEndpoint: vip.example:6443\n", vips: "192.0.2.10"}, "vip.example:6443"},
		{conflictRow{name: "name without a port", text: clusterHead +
			"controlPlaneEndpoint: vip.example\n", vips: "192.0.2.10"}, "vip.example:6443"},
		{conflictRow{name: "name of both", text: clusterHead + "controlPlaneEndpoint: both.example\n",
			vips: "192.0.2.10,2001:db8::10"}, "both.example:6443"},
		{conflictRow{name: "second address as endpoint", text: clusterHead +
			"controlPlaneEndpoint: '[2001:db8::10]:6443'\n", vips: "192.0.2.10,2001:db8::10"},
			"[2001:db8::10]:6443"},
		{conflictRow{name: "other spelling", text: clusterHead +
			"controlPlaneEndpoint: '[2001:DB8:0::10]'\n", vips: "2001:db8::10"}, "[2001:DB8:0::10]:6443"},
		{conflictRow{name: "VIP from the file", text: clusterHead + "controlPlaneEndpoint: 192.0.2.10\n"},
			"192.0.2.10:6443"},
		{conflictRow{name: "port of bindPort", text: clusterHead + "---\n" + initHead +
			"localAPIEndpoint: {bindPort: 8443}\n", vips: "192.0.2.10"}, "192.0.2.10:8443"},
		{conflictRow{name: "equal ports", text: clusterHead +
			"controlPlaneEndpoint: 192.0.2.10:8443\n---\n" + initHead +
			"localAPIEndpoint: {bindPort: 8443}\n", vips: "192.0.2.10", port: 8443}, "192.0.2.10:8443"},
		{conflictRow{name: "held by this host", text: clusterHead, vips: "192.0.2.10", host: own},
			"192.0.2.10:6443"},
		{conflictRow{name: "one of two links", text: clusterHead, vips: "192.0.2.10", host: prefixes(
			"198.51.100.7/24", "192.0.2.7/24")}, "192.0.2.10:6443"},
		{conflictRow{name: "other Services", text: clusterHead +
			"networking: {serviceSubnet: 10.100.0.0/16}\n", vips: "10.96.0.7"}, "10.96.0.7:6443"},
		{conflictRow{name: "Services of the cluster joined", join: true, text: tokenHead,
			vips: "10.96.0.7"}, "10.96.0.7:6443"},
		{conflictRow{name: "discovers the VIP", join: true, text: tokenHead +
			"    apiServerEndpoint: 192.0.2.10:6443\n"}, "192.0.2.10:6443"},
		{conflictRow{name: "discovers a name", join: true, text: tokenHead +
			"    apiServerEndpoint: vip.example:6443\n", vips: "192.0.2.10"}, "vip.example:6443"},
		{conflictRow{name: "joins on its port", join: true, text: strings.Replace(tokenHead, "{}",
			"{localAPIEndpoint: {bindPort: 8443}}", 1), vips: "192.0.2.10"}, "192.0.2.10:8443"},
		{conflictRow{name: "bound to everything", text: clusterHead +
			"apiServer: {extraArgs: [{name: bind-address, value: 0.0.0.0}, {name: secure-port, value: " +
			"'6443'}, {name: advertise-address, value: 192.0.2.11}]}\n", vips: "2001:db8::10"},
			"[2001:db8::10]:6443"},
		{conflictRow{name: "worker", join: true, text: strings.Replace(tokenHead, "controlPlane: {}\n",
			"", 1), vips: "192.0.2.10", port: 8443}, "192.0.2.10:8443"},
		{conflictRow{name: "by flags", vips: "192.0.2.10", port: 8443, host: own}, "192.0.2.10:8443"},
	} {
		t.Run(row.name, func(t *testing.T) {
			plan, err := row.run(t)
			if err != nil {
				t.Fatal(err)
			}
			if plan.Endpoint != row.endpoint {
				t.Errorf("endpoint %s, want %s", plan.Endpoint, row.endpoint)
			}
			if row.text != "" && plan.Data == nil {
				t.Error("no configuration")
			}
		})
	}
}

// TestAddressesThatAreNoVIP are refused as they are for the agent.
func TestAddressesThatAreNoVIP(t *testing.T) {
	for _, text := range []string{"127.0.0.1", "0.0.0.0", "224.0.0.1", "fe80::1",
		"::ffff:192.0.2.10"} {
		_, err := parse(t, clusterHead).PlanInit(Request{VIPs: vips(text)})
		if usage := (*config.UsageError)(nil); !errors.As(err, &usage) {
			t.Errorf("%s: got %v", text, err)
		}
	}
}

func TestNamesAreKeptUncheckedWithoutAResolver(t *testing.T) {
	plan, err := parse(t,
		clusterHead+"controlPlaneEndpoint: nosuch.example\n").PlanInit(Request{VIPs: vips("192.0.2.10")})
	if err != nil || len(plan.Notes) != 1 || !strings.Contains(plan.Notes[0], "nosuch.example") {
		t.Errorf("got %v and the notes %q", err, plan.Notes)
	}
}

func TestWhoGetsAnAPIServer(t *testing.T) {
	for text, want := range map[string]bool{tokenHead: true, strings.Replace(tokenHead,
		"controlPlane: {}\n", "", 1): false} {
		plan, err := parse(t, text).PlanJoin(Request{VIPs: vips("192.0.2.10")})
		if err != nil || plan.ControlPlane != want {
			t.Errorf("got %v, %v for\n%s", plan.ControlPlane, err, text)
		}
	}
}

func TestDiscoveryByFileIsLeftAlone(t *testing.T) {
	text := joinHead + "controlPlane: {}\ndiscovery: {file: {kubeConfigPath: /etc/join.conf}}\n"
	plan, err := parse(t, text).PlanJoin(Request{VIPs: vips("192.0.2.10")})
	if err != nil || plan.DiscoveryFile != "/etc/join.conf" || string(plan.Data) != text {
		t.Errorf("got %+v, %v", plan, err)
	}
	servers, err := DiscoveryServers(
		[]byte("clusters: [{cluster: {server: 'https://a'}}, {cluster: {server: 'https://b'}}]"),
	)
	if err != nil || !slices.Equal(servers, []string{"https://a", "https://b"}) {
		t.Errorf("got %v, %v", servers, err)
	}
	if _, err := DiscoveryServers([]byte("clusters: [")); err == nil {
		t.Error("read a broken kubeconfig")
	}
}

func TestSettings(t *testing.T) {
	for _, row := range []struct {
		name, text, vip string
		port            int
		repository      string
	}{
		{"address", clusterHead +
			"controlPlaneEndpoint: 192.0.2.10:6443\nimageRepository: registry.example/k8s\n",
			"192.0.2.10", 6443,
			"registry.example/k8s"},
		{"IPv6 and bindPort", clusterHead + "controlPlaneEndpoint: '2001:db8::10'\n---\n" + initHead +
			"localAPIEndpoint: {bindPort: 8443}\n", "2001:db8::10", 8443, ""},
		{"name", clusterHead + "controlPlaneEndpoint: vip.example\n", "invalid IP", 6443, ""},
		{"nothing", clusterHead, "invalid IP", 6443, ""},
		{"join", tokenHead + "    apiServerEndpoint: 192.0.2.10:6443\n", "192.0.2.10", 6443, ""},
		{"worker", joinHead +
			"discovery: {bootstrapToken: {token: a, apiServerEndpoint: '192.0.2.10:8443'}}\n",
			"192.0.2.10", 8443,
			""},
	} {
		vip, port, repository, err := parse(t, row.text).Settings()
		if err != nil || vip.String() != row.vip || port != row.port || repository != row.repository {
			t.Errorf("%s: got %s %d %q, %v", row.name, vip, port, repository, err)
		}
	}
	if _, _, _, err := parse(t,
		clusterHead+"controlPlaneEndpoint: 192.0.2.10:443\n").Settings(); err == nil {
		t.Error("two ports passed")
	}
	if _, _, _, err := parse(t, clusterHead+
		"apiServer: {extraArgs: [{name: bind-address, value: 127.0.0.1}]}\n").Settings(); err == nil {
		t.Error("an API server on the loopback passed")
	}
}

// TestReasonsAreExplained: every reason has a row in the page and a test here.
func TestReasonsAreExplained(t *testing.T) {
	source := readFile(t, "errors.go")
	page, err := os.ReadFile("../../docs/kubeadm.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, found := range regexp.MustCompile(`Reason = "(\w+)"`).FindAllStringSubmatch(source, -1) {
		reason := found[1]
		if !strings.Contains(string(page), "\n| `"+reason+"` |") {
			t.Errorf("docs/kubeadm.md does not explain %s", reason)
		}
		if tested := slices.ContainsFunc(conflictRows,
			func(row conflictRow) bool { return string(row.reason) == reason }); !tested &&
			reason != string(FlagMismatch) {
			t.Errorf("no test ends in %s", reason)
		}
	}
}
