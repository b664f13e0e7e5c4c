package kubevip

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/kvip/kvip/pkg/config"
)

func TestDetect(t *testing.T) {
	for _, row := range []struct {
		env  []string
		want bool
	}{
		{controlPlane, true},
		{[]string{"svc_enable=true"}, true},
		{[]string{"vip_interface=eth0"}, true},
		{[]string{"cp_enable="}, false},
		{[]string{"address=192.0.2.10", "port=6443", "NODE_NAME=n1"}, false},
		{nil, false},
	} {
		if got := Detect(row.env); got != row.want {
			t.Errorf("%v: %v", row.env, got)
		}
	}
}

func TestArgumentsMeanVariables(t *testing.T) {
	got, err := Arguments([]string{"--arp", "--controlplane=true", "--address", "192.0.2.10", "-n",
		"vips", "--leaderElectionType", "kubernetes", "--prometheusHTTPServer=:1", "--services"})
	want := []string{"vip_arp=true", "cp_enable=true", "address=192.0.2.10", "cp_namespace=vips",
		"prometheus_server=:1", "svc_enable=true"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
	s, _, err := Parse(
		[]string{"vip_arp=true", "address=192.0.2.9", "vip_interface=eth1"},
		[]string{"cp_enable=true",
			"address=192.0.2.10", "vip_interface="},
	)
	if err != nil || !slices.Equal(s.VIPs, addrs("192.0.2.10")) || s.Interface != "eth1" {
		t.Errorf("a variable goes before a flag, and an empty one is none: %+v, %v", s, err)
	}
	for _, bad := range [][]string{{"--etcdEndpoints=x"}, {"--leaderElectionType=etcd"}, {"arp"},
		{"--"}, {"--address"}, {""}} {
		if got, err := Arguments(bad); err == nil {
			t.Errorf("%v: got %v", bad, got)
		}
	}
}

// TestMetricsAreSwitchedOffByAnEmptyFlag, as kube-vip has it: an empty variable says nothing.
func TestMetricsAreSwitchedOffByAnEmptyFlag(t *testing.T) {
	for _, row := range []struct {
		flags, env []string
		want       string
	}{
		{[]string{"prometheus_server="}, nil, ""},
		{[]string{"prometheus_server="}, []string{"prometheus_server="}, ""},
		{[]string{"prometheus_server="}, []string{"prometheus_server=:2113"}, ":2113"},
		{[]string{"prometheus_server=:2113"}, []string{"prometheus_server="}, ":2113"},
		{nil, []string{"prometheus_server="}, ":2112"},
		{[]string{"vip_interface="}, nil, ":2112"},
	} {
		s, notes, err := Parse(row.flags, with(row.env...))
		if err != nil || len(notes) > 0 || s.MetricsAddress != row.want {
			t.Errorf("%v with %v: %q, notes %v, %v", row.flags, row.env, s.MetricsAddress, notes, err)
		}
		c := config.Default()
		s.Apply(&c)
		if err := c.Validate(); err != nil || c.MetricsAddress != row.want {
			t.Errorf("%v with %v: %q, %v", row.flags, row.env, c.MetricsAddress, err)
		}
	}
}

func TestErrorsSpeakOfVariables(t *testing.T) {
	for _, row := range []struct{ flag, reason, hint, want string }{
		{"vip", "192.0.2.7 is an address of this host, on eth0", "choose another",
			"kube-vip's address: 192.0.2.7 is an address of this host, on eth0; choose another"},
		{"kubeconfig", "stat /x: no such file", "leave it out",
			"kube-vip's k8s_config_file: stat /x: no such file; leave it out"},
		{"metrics-address", ":1 takes the port of --health-address", "use --port or --log-format",
			"kube-vip's prometheus_server: :1 takes the port of health_check_port; use port or " +
				"--log-format"},
	} {
		err := TranslateError(
			fmt.Errorf("start: %w", &config.UsageError{Flag: row.flag, Reason: row.reason, Hint: row.hint}),
		)
		var refused *Error
		if !errors.As(err, &refused) || err.Error() != row.want {
			t.Errorf("%s: got %v", row.flag, err)
		}
	}
	other := errors.New("other")
	if err := TranslateError(other); err != other {
		t.Errorf("another error became %v", err)
	}
	if TranslateError(nil) != nil {
		t.Error("no error became one")
	}
}

func TestApply(t *testing.T) {
	s, _, err := ParseEnvironment(with("svc_enable=true", "vip_interface=eth0", "vip_nodename=n1",
		"k8s_config_file=/x", "vip_loglevel=5", "lb_class_only=true",
		"vip_servicesinterface=eth1"))
	if err != nil {
		t.Fatal(err)
	}
	c := config.Default()
	s.Apply(&c)
	want := config.Default()
	want.VIPs, want.Interface, want.NodeName, want.Kubeconfigs, want.Verbosity = addrs("192.0.2.10"),
		"eth0", "n1", []string{"/x"}, 1
	want.LeaseName, want.Services, want.ServicesName, want.ServicesInterface = LeaseName, true,
		ServicesLease,
		"eth1"
	want.ServiceClass, want.ClassOnly, want.KubeVIP = Class, true, true
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
}

// TestMetricsOnTheHealthPort: kube-vip has no health page, so its metrics may have kvip's port for
// that.
func TestMetricsOnTheHealthPort(t *testing.T) {
	s, _, err := ParseEnvironment(with("prometheus_server=:2113"))
	if err != nil {
		t.Fatal(err)
	}
	c := config.Default()
	s.Apply(&c)
	if err := c.Validate(); err != nil || c.MetricsAddress != ":2113" ||
		c.HealthAddress != config.DaemonSetHealthAddress {
		t.Errorf("got %s and %s, %v", c.MetricsAddress, c.HealthAddress, err)
	}
}

func TestTheTableIsWellFormed(t *testing.T) {
	seen := map[string]bool{}
	for _, v := range Variables() {
		for _, key := range []string{v.Name, "--" + v.Flag} {
			if seen[key] && key != "--" {
				t.Errorf("%s is there twice", key)
			}
			seen[key] = true
		}
		if v.Meaning == "" || v.Support == Supported && v.set == nil {
			t.Errorf("%s says nothing", v.Name)
		}
		if v.Requires != "" &&
			!slices.ContainsFunc(
				Variables(),
				func(o Variable) bool { return o.Name == v.Requires && o.Boolean },
			) {
			t.Errorf("%s belongs to %s, which is none", v.Name, v.Requires)
		}
	}
	for _, name := range marks {
		if !seen[name] {
			t.Errorf("%s marks kube-vip and is not in the table", name)
		}
	}
}
