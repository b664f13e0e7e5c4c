package kubevip

import (
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
	got, err := Arguments([]string{"--arp", "--controlplane=true", "--address", "192.0.2.10", "-n", "vips", "--prometheusHTTPServer=:1", "--services"})
	want := []string{"vip_arp=true", "cp_enable=true", "address=192.0.2.10", "cp_namespace=vips", "prometheus_server=:1", "svc_enable=true"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
	for _, bad := range [][]string{{"--etcdEndpoints=x"}, {"--leaderElectionType=etcd"}, {"arp"}, {"--"}, {"--address"}, {""}} {
		if got, err := Arguments(bad); err == nil {
			t.Errorf("%v: got %v", bad, got)
		}
	}
}

func TestApply(t *testing.T) {
	s, _, err := FromEnvironment(with("svc_enable=true", "vip_interface=eth0", "vip_nodename=n1", "k8s_config_file=/x", "vip_loglevel=5", "lb_class_only=true",
		"vip_servicesinterface=eth1"))
	if err != nil {
		t.Fatal(err)
	}
	c := config.Default()
	s.Apply(&c)
	want := config.Default()
	want.VIPs, want.Interface, want.NodeName, want.Kubeconfigs, want.Verbosity = addrs("192.0.2.10"), "eth0", "n1", []string{"/x"}, 1
	want.LeaseName, want.Services, want.ServicesName, want.ServicesInterface = LeaseName, true, ServicesLease, "eth1"
	want.ServiceClass, want.ClassOnly, want.KubeVIP = Class, true, true
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
}

// TestMetricsOnTheHealthPort: kube-vip has no health page, so its metrics may have kvip's port for that.
func TestMetricsOnTheHealthPort(t *testing.T) {
	s, _, err := FromEnvironment(with("prometheus_server=:2113"))
	if err != nil {
		t.Fatal(err)
	}
	c := config.Default()
	s.Apply(&c)
	if err := c.Validate(); err != nil || c.MetricsAddress != ":2113" || c.HealthAddress != config.DaemonSetHealthAddress {
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
		if v.Meaning == "" || v.Fate == Translated && v.set == nil {
			t.Errorf("%s says nothing", v.Name)
		}
		if v.of != "" && !slices.ContainsFunc(Variables(), func(o Variable) bool { return o.Name == v.of && o.Boolean }) {
			t.Errorf("%s belongs to %s, which is none", v.Name, v.of)
		}
	}
	for _, name := range marks {
		if !seen[name] {
			t.Errorf("%s marks kube-vip and is not in the table", name)
		}
	}
}
