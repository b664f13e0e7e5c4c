package kubevip

import (
	"errors"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/config"
)

// controlPlane is the least that kube-vip holds an address with.
var controlPlane = []string{"cp_enable=true", "vip_arp=true", "address=192.0.2.10"}

func with(more ...string) []string { return append(slices.Clone(controlPlane), more...) }

func names(notes []Note) []string {
	var all []string
	for _, n := range notes {
		all = append(all, n.Name)
	}
	return all
}

func addrs(texts ...string) []netip.Addr {
	var all []netip.Addr
	for _, text := range texts {
		all = append(all, netip.MustParseAddr(text))
	}
	return all
}

func TestDefaultsAreThoseOfKubeVIP(t *testing.T) { // S9: its leases are kept
	got, notes, err := ParseEnvironment(controlPlane)
	if err != nil || len(notes) > 0 {
		t.Fatalf("%v, notes %v", err, notes)
	}
	want := Settings{
		ControlPlane: true, VIPs: addrs("192.0.2.10"), Port: 6443, LeaseName: "plndr-cp-lock",
		ServicesLease: "plndr-svcs-lock",
		Namespace:     "kube-system", LeaseDuration: 5 * time.Second, RenewInterval: time.Second,
		Class: "kube-vip.io/kube-vip-class", MetricsAddress: ":2112",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestFromEnvironmentUnderstands(t *testing.T) {
	for _, row := range []struct {
		env   string
		check func(Settings) any
		want  any
	}{
		{"address=192.0.2.10,2001:db8::10", func(s Settings) any { return s.VIPs }, addrs("192.0.2.10",
			"2001:db8::10")},
		{"vip_address=192.0.2.11", func(s Settings) any { return s.VIPs }, addrs("192.0.2.10")},
		// address wins
		{"port=8443", func(s Settings) any { return s.Port }, 8443},
		{"vip_interface=eth1", func(s Settings) any { return s.Interface }, "eth1"},
		{"vip_interface=", func(s Settings) any { return s.Interface }, ""},
		{"svc_enable=true vip_servicesinterface=eth2",
			func(s Settings) any { return s.ServicesInterface },
			"eth2"},
		{"svc_enable=true vip_interface=eth0", func(s Settings) any { return s.Services }, true},
		{"svc_enable=false", func(s Settings) any { return s.Services }, false},
		{"vip_leasename=a", func(s Settings) any { return s.LeaseName }, "a"},
		{"svc_enable=true vip_interface=eth0 svc_leasename=b",
			func(s Settings) any { return s.ServicesLease },
			"b"},
		{"cp_namespace=vips", func(s Settings) any { return s.Namespace }, "vips"},
		{"vip_leaseduration=15", func(s Settings) any { return s.LeaseDuration }, 15 * time.Second},
		{"vip_nodename=n1", func(s Settings) any { return s.NodeName }, "n1"},
		{"k8s_config_file=/etc/rancher/k3s/k3s.yaml", func(s Settings) any { return s.Kubeconfig },
			"/etc/rancher/k3s/k3s.yaml"},
		{"svc_enable=true vip_interface=eth0 lb_class_name=example.com/lb",
			func(s Settings) any { return s.Class },
			"example.com/lb"},
		{"svc_enable=true vip_interface=eth0 lb_class_only=true",
			func(s Settings) any { return s.ClassOnly }, true},
		{"svc_enable=true vip_interface=eth0 lb_class_legacy_handling=true",
			func(s Settings) any { return s.ClassOnly }, false},
		{"svc_enable=true vip_interface=eth0 lb_class_legacy_handling=false",
			func(s Settings) any { return s.ClassOnly }, true},
		{"prometheus_server=127.0.0.1:9100", func(s Settings) any { return s.MetricsAddress },
			"127.0.0.1:9100"},
		{"vip_loglevel=4", func(s Settings) any { return s.Verbosity }, 0},
		{"vip_loglevel=5", func(s Settings) any { return s.Verbosity }, 1},
		{"vip_loglevel=-4", func(s Settings) any { return s.Verbosity }, 1},
		{"vip_arp=1", func(s Settings) any { return s.ControlPlane }, true},
	} {
		got, notes, err := ParseEnvironment(with(strings.Fields(row.env)...))
		if err != nil || len(notes) > 0 {
			t.Errorf("%s: %v, notes %v", row.env, err, notes)
		} else if value := row.check(got); !reflect.DeepEqual(value, row.want) {
			t.Errorf("%s: got %v, want %v", row.env, value, row.want)
		}
	}
}

// TestWhereServicesGo: kube-vip has one interface for all Services, whatever its subnets, but for
// `auto`.
func TestWhereServicesGo(t *testing.T) {
	for _, row := range []struct {
		env            string
		link, fallback string
		notes          []string
	}{
		{"vip_servicesinterface=eth1", "eth1", "", nil},
		{"vip_servicesinterface=eth1 vip_interface=eth0", "eth1", "", nil},
		{"vip_interface=eth0", "eth0", "", nil},
		{"vip_servicesinterface=auto vip_interface=eth0", "", "eth0", nil},
		{"vip_servicesinterface=auto", "", config.DefaultRoute, nil},
		{"", "", config.DefaultRoute, []string{"vip_servicesinterface"}},
		{"svc_enable=false vip_interface=eth0", "", "", nil},
		{"svc_enable=false", "", "", nil},
	} {
		got, notes, err := ParseEnvironment(
			with(append([]string{"svc_enable=true"}, strings.Fields(row.env)...)...),
		)
		if err != nil || got.ServicesInterface != row.link || got.ServicesFallback != row.fallback ||
			!slices.Equal(names(notes), row.notes) {
			t.Errorf("%s: got %q and %q, notes %v, %v", row.env, got.ServicesInterface, got.ServicesFallback,
				notes, err)
		}
		c := config.Default()
		got.Apply(&c)
		if err := c.Validate(); err != nil || c.ServicesInterface != row.link ||
			c.ServicesFallback != row.fallback {
			t.Errorf("%s: kvip has %q and %q, %v", row.env, c.ServicesInterface, c.ServicesFallback, err)
		}
	}
}

func TestTheLastValueCounts(t *testing.T) {
	got, _, err := ParseEnvironment(with("port=1", "port=8443"))
	if err != nil || got.Port != 8443 {
		t.Errorf("got %d, %v", got.Port, err)
	}
}

func TestServicesAloneHaveNoAddress(t *testing.T) {
	got, _, err := ParseEnvironment([]string{"svc_enable=true", "vip_arp=true", "address=192.0.2.10"})
	if err != nil || len(got.VIPs) > 0 || !got.Services || got.ControlPlane {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestTimingIsBroughtWithinBounds(t *testing.T) {
	for _, row := range []struct {
		env          []string
		lease, renew time.Duration
		notes        []string
	}{
		{[]string{"vip_leaseduration=5", "vip_retryperiod=1"}, 5 * time.Second, time.Second, nil},
		{[]string{"vip_leaseduration=15", "vip_renewdeadline=10", "vip_retryperiod=2"}, 15 * time.Second,
			2 * time.Second, []string{"vip_renewdeadline"}},
		{[]string{"vip_leaseduration=5", "vip_retryperiod=2"}, 5 * time.Second, 1600 * time.Millisecond,
			[]string{"vip_retryperiod"}},
		{[]string{"vip_leaseduration=1"}, 3 * time.Second, 700 * time.Millisecond,
			[]string{"vip_leaseduration",
				"vip_retryperiod"}},
		{[]string{"vip_leaseduration=3600", "vip_retryperiod=300"}, 10 * time.Minute, 200 * time.Second,
			[]string{"vip_leaseduration",
				"vip_retryperiod"}},
		{[]string{"vip_leaseduration=60", "vip_retryperiod=20"}, time.Minute, 20 * time.Second, nil},
	} {
		got, notes, err := ParseEnvironment(with(row.env...))
		if err != nil || got.LeaseDuration != row.lease || got.RenewInterval != row.renew ||
			!slices.Equal(names(notes), row.notes) {
			t.Errorf("%v: got %s %s, notes %v, %v", row.env, got.LeaseDuration, got.RenewInterval, notes,
				err)
		}
	}
}

func TestFromEnvironmentRefuses(t *testing.T) {
	for _, row := range []struct {
		env  []string
		name string
		says string
	}{
		{nil, "cp_enable", "do nothing"},
		{[]string{"cp_enable=true", "vip_arp=true"}, "address", "no address"},
		{[]string{"cp_enable=true", "address=192.0.2.10"}, "vip_arp", "announce nothing"},
		{with("cp_enable=yes"), "cp_enable", `"yes" is neither`},
		{with("vip_arp=yes"), "vip_arp", `"yes" is neither`},
		{with("address=k8s.example.com"), "address", "does not resolve names"},
		{with("address=192.0.2.10/24"), "address", "192.0.2.10/24"},
		{with("address=192.0.2.10,192.0.2.11"), "address", "one family"},
		{with("address=127.0.0.1"), "address", "loopback"},
		{with("port=0"), "port", `"0" is not`},
		{with("port=x"), "port", `"x" is not`},
		{with("port=8443="), "port", `"8443=" is not`},
		{with("vip_interface=a/b"), "vip_interface", "a/b"},
		{with("svc_enable=true", "vip_servicesinterface=a/b"), "vip_servicesinterface", "a/b"},
		{with("vip_leasename=A_b"), "vip_leasename", "A_b"},
		{with("svc_enable=true", "svc_leasename=A_b"), "svc_leasename", "A_b"},
		{with("svc_enable=true", "svc_leasename=plndr-cp-lock"), "svc_leasename",
			"control plane's Lease"},
		{with("cp_namespace=a.b"), "cp_namespace", "a.b"},
		{with("vip_nodename=N"), "vip_nodename", `"N"`},
		{with("vip_leaseduration=0"), "vip_leaseduration", `"0" is not`},
		{with("vip_leaseduration=5s"), "vip_leaseduration", `"5s" is not`},
		{with("vip_retryperiod=-1"), "vip_retryperiod", `"-1" is not`},
		{with("prometheus_server=localhost:2112"), "prometheus_server", "localhost:2112"},
		{with("prometheus_server=:0"), "prometheus_server", ":0"},
		{with("health_check_port=80"), "health_check_port", `"80" is not`},
		{with("health_check_port=2112"), "prometheus_server", "port of health_check_port"},
		{with("vip_loglevel=debug"), "vip_loglevel", "debug"},
		{with("svc_enable=true", "lb_class_name=a b"), "lb_class_name", "a b"},
		{with("svc_enable=true", "lb_class_legacy_handling=false", "lb_class_name="),
			"lb_class_legacy_handling", "every class"},
		{with("vip_ddns=true"), "vip_ddns", "no DHCP client"},
		{with("svc_enable=true", "svc_namespace=shop"), "svc_namespace", "every namespace"},
		{with("config_file=/etc/kube-vip.yaml"), "config_file", "does not read the file"},
		{with("vip_packet=true"), "vip_packet", "cloud"},
		{with("lb_enable=true", "lb_port=8443"), "lb_port", "translate ports"},
		{with("vip_arp=", "vip_wireguard=true"), "vip_wireguard", "only method"},
		{with("vip_arp=", "vip_routingtable=true"), "vip_routingtable", "only method"},
	} {
		_, _, err := ParseEnvironment(row.env)
		var refused *Error
		if !errors.As(err, &refused) || refused.Name != row.name ||
			!strings.Contains(refused.Problem, row.says) {
			t.Errorf("%v: got %v, want one of %s that says %q", row.env, err, row.name, row.says)
		}
	}
}

// TestEachSettingWithoutCounterpartIsNamedOnce is of S9.
func TestEachSettingWithoutCounterpartIsNamedOnce(t *testing.T) {
	for _, v := range Variables() {
		if v.Support != Unsupported {
			continue
		}
		value := "x"
		if v.Boolean {
			value = map[bool]string{true: "false", false: "true"}[slices.Contains(v.satisfied, "true")]
		}
		if v.Name == "lb_port" {
			value = "6443"
		}
		if v.Requires == "vip_packet" {
			continue // that is refused
		}
		env, want := with("vip_interface=eth0", v.Name+"="+value), []string{v.Name}
		if slices.Contains([]string{"bgp_enable", "zebra_enable"}, v.Requires) {
			env = append([]string{"vip_arp=false", "vip_interface=", "bgp_peers=192.0.2.1:65000"}, env...)
			env = slices.DeleteFunc(env, func(e string) bool {
				return e == "vip_arp=true" || e == "vip_interface=eth0"
			})
		}
		for parent := v.Requires; parent != ""; {
			p, _ := lookUp(parent)
			if env = append(env, parent+"=true"); p.Support == Unsupported {
				want = append(want, parent)
			}
			parent = p.Requires
		}
		_, notes, err := ParseEnvironment(env)
		got := names(notes)
		slices.Sort(got)
		slices.Sort(want)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s=%s: notes %v, %v", v.Name, value, notes, err)
		}
	}
}

func TestWhatKvipDoesAnywayIsNotNamed(t *testing.T) {
	env := with("lb_enable=false", "lb_port=8443", "lb_fwdmethod=local", "bgp_enable=false",
		"bgp_as=65000", "bgp_peerpass=secret", "vip_ddns=false",
		"vip_cidr=32", "vip_subnet=/32", "dns_mode=first", "vip_loseleadership=true", "vip_skipdad=true",
		"svc_election=false", "enable_upnp=false",
		"egress_withnftables=false", "vip_startleader=false", "vip_leaderelection=true",
		"enable_service_security=true", "HOME=/root", "PATH=/bin",
		"cp_detect=true", "vip_packet=false", "vip_packetproject=p", "enable_endpointslices=true",
		"KUBERNETES_PORT=tcp://10.96.0.1:443")
	if _, notes, err := ParseEnvironment(env); err != nil || len(notes) > 0 {
		t.Errorf("notes %v, %v", notes, err)
	}
}

func TestWhatIsAskedForOtherwiseIsNamed(t *testing.T) {
	for env, name := range map[string]string{
		"vip_leaderelection=false":     "vip_leaderelection",
		"instance_name=a":              "instance_name",
		"KUBECONFIG=/x":                "KUBECONFIG",
		"HTTPS_PROXY=http://192.0.2.1": "HTTPS_PROXY",
		"svc_enable=true vip_interface=eth0 enable_service_security=false": "enable_service_security",
		"health_check_port=10256": "health_check_port",
		"vip_madeup=1":            "vip_madeup",
		"egress_of_the_future=1":  "egress_of_the_future",
	} {
		if _, notes, err := ParseEnvironment(with(strings.Fields(env)...)); err != nil ||
			!slices.Equal(names(notes), []string{name}) {
			t.Errorf("%s: notes %v, %v", env, notes, err)
		}
	}
}

// TestAPartThatIsOffIsNotNamed: what belongs to it means nothing, whatever it says.
func TestAPartThatIsOffIsNotNamed(t *testing.T) {
	for _, env := range [][]string{
		with("svc_election=true", "enable_service_security=false", "svc_namespace=shop",
			"vip_servicesinterface=a/b", "svc_leasename=A_b", "lb_class_legacy_handling=false",
			"lb_class_name=", "egress_clean=true", "enable_upnp=true"),
		{"svc_enable=true", "vip_arp=true", "vip_interface=eth0", "address=k8s.example.com",
			"vip_ddns=true", "lb_enable=true", "lb_port=8443", "lb_fwdmethod=masquerade", "cp_detect=false",
			"control_plane_health_check_address=https://127.0.0.1:6443", "enable_service_security=true"},
	} {
		if _, notes, err := ParseEnvironment(env); err != nil || len(notes) > 0 {
			t.Errorf("%v: notes %v, %v", env, notes, err)
		}
	}
}

func TestNoNoteTellsASecret(t *testing.T) {
	_, notes, err := ParseManifest(nil, with("vip_arp=false", "bgp_enable=true",
		"bgp_peerpass=s3cret", "bgp_peeraddress=192.0.2.2", "bgp_peers=192.0.2.1:65000:s3cret:false"))
	if err != nil || len(notes) != 2 {
		t.Fatalf("notes %v, %v", notes, err)
	}
	for _, n := range notes {
		if strings.Contains(n.String(), "s3cret") {
			t.Errorf("%s", n)
		}
	}
}
