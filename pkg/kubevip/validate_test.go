package kubevip

import (
	"errors"
	"strings"
	"testing"

	"github.com/kvip/kvip/pkg/config"
)

// TestSettingsThatDependOnEachOther has each check of the parser, in its order.
func TestSettingsThatDependOnEachOther(t *testing.T) {
	const services = "svc_enable=true vip_arp=true "
	for _, row := range []struct{ name, env, variable, problem string }{
		{"no job", "vip_arp=true", "cp_enable", "neither it nor svc_enable is true"},
		{"no job that is on", "vip_arp=true cp_enable=false svc_enable=0", "cp_enable", "neither it nor"},
		{"no method", "cp_enable=true address=192.0.2.10", "vip_arp", "kube-vip would announce nothing"},
		{"a table only", "cp_enable=true address=192.0.2.10 vip_routingtable=true", "vip_routingtable",
			onlyMethod},
		{"BGP only", "cp_enable=true address=192.0.2.10 bgp_enable=true bgp_peers=192.0.2.1:65000", "",
			""},
		{"BGP without a router", "cp_enable=true address=192.0.2.10 bgp_enable=true", "bgp_peers",
			"there is no router"},
		{"ARP and BGP", control + "bgp_enable=true", "", ""},
		{"no address", "cp_enable=true vip_arp=true", "address", "there is no address"},
		{"two of a family", "cp_enable=true vip_arp=true address=192.0.2.1,192.0.2.2", "address",
			"are of one family"},
		{"an unusable address", "cp_enable=true vip_arp=true address=127.0.0.1", "address",
			"a loopback address"},
		{"an address without its job", services + "address=127.0.0.1", "", ""},
		{"a balancer's port", control + "lb_enable=true lb_port=8443", "lb_port",
			"kvip does not translate ports"},
		{"the same port", control + "lb_enable=true lb_port=6443", "", ""},
		{"a port of a balancer that is off", control + "lb_port=8443", "", ""},
		{"every class", services + "lb_class_legacy_handling=false lb_class_name=",
			"lb_class_legacy_handling",
			"Services of every class"},
		{"one class", services + "lb_class_legacy_handling=false lb_class_name=a/b", "", ""},
		{"one Lease", control + services + "svc_leasename=" + LeaseName, "svc_leasename",
			"set another name"},
		{"one Lease for one job", services + "svc_leasename=" + LeaseName, "", ""},
		{"a bad Lease", control + "vip_leasename=A", "vip_leasename", "cannot name a Kubernetes object"},
		{"a bad interface", control + "vip_interface=a/b", "vip_interface", "no Linux interface"},
		{"a bad node", control + "vip_nodename=A_B", "vip_nodename", "cannot name a node"},
		{"a bad number", control + "port=65536", "port", "whole number from 1 to 65535"},
		{"a bad truth value", control + "vip_leaderelection=maybe", "vip_leaderelection",
			"neither true nor false"},
		{"a system's port", control + "health_check_port=80", "health_check_port", "from 1024"},
		{"a host name for metrics", control + "prometheus_server=localhost:2112", "prometheus_server",
			"write one like :2112"},
	} {
		_, _, err := ParseEnvironment(strings.Fields(row.env))
		var refused *Error
		switch {
		case row.variable == "" && err != nil:
			t.Errorf("%s: %v", row.name, err)
		case row.variable != "" && (!errors.As(err, &refused) || refused.Name != row.variable ||
			!strings.Contains(refused.Problem, row.problem)):
			t.Errorf("%s: %v, want %q about %s", row.name, err, row.problem, row.variable)
		}
	}
}

// TestClassOnly has the two variables for Services without a class.
func TestClassOnly(t *testing.T) {
	for env, want := range map[string]bool{
		"":                               false,
		"lb_class_only=true":             true,
		"lb_class_legacy_handling=true":  false,
		"lb_class_legacy_handling=false": true,
		"lb_class_only=true lb_class_legacy_handling=true": true,
	} {
		got, _, err := ParseEnvironment(strings.Fields("svc_enable=true vip_arp=true " + env))
		if err != nil || got.ClassOnly != want || got.Class != Class {
			t.Errorf("%q: %+v, %v", env, got, err)
		}
	}
}

// TestInterfaceForServices has the three ways to choose it, and their order.
func TestInterfaceForServices(t *testing.T) {
	for _, row := range []struct{ env, link, fallback string }{
		{"", "", config.DefaultRoute},
		{"vip_interface=eth0", "eth0", ""},
		{"vip_interface=eth0 vip_servicesinterface=eth1", "eth1", ""},
		{"vip_servicesinterface=auto", "", config.DefaultRoute},
		{"vip_interface=eth0 vip_servicesinterface=auto", "", "eth0"},
	} {
		got, notes, err := ParseEnvironment(strings.Fields("svc_enable=true vip_arp=true " + row.env))
		if err != nil || got.ServicesInterface != row.link || got.ServicesFallback != row.fallback {
			t.Errorf("%q: interface %q, fallback %q, %v", row.env, got.ServicesInterface,
				got.ServicesFallback, err)
		}
		if noted := len(notes) > 0; noted != (row.env == "") {
			t.Errorf("%q: notes %v", row.env, notes)
		}
	}
}
