package main

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/kubevip"
	"github.com/kvip/kvip/test/testutil"
)

// TestInThePlaceOfKubeVIP (S9) takes flags and variables as kube-vip would, with the same
// precedence.
func TestInThePlaceOfKubeVIP(t *testing.T) {
	const least = "--arp --controlplane --address 192.0.2.10 "
	for _, row := range []struct {
		flags, env string
		check      func(config.Config) bool
	}{
		{least, "", func(c config.Config) bool {
			return slices.Equal(c.VIPs, []netip.Addr{netip.MustParseAddr("192.0.2.10")}) &&
				c.MetricsAddress ==
					":2112" && c.KubeVIP && c.LeaseName == kubevip.LeaseName
		}},
		{least + "--interface eth1 --port 8443 --namespace vips", "", func(c config.Config) bool {
			return c.Interface ==
				"eth1" && c.Port == 8443 && c.Namespace == "vips"
		}},
		{least + "-n vips --leaderElectionType kubernetes", "", func(c config.Config) bool {
			return c.Namespace ==
				"vips"
		}},
		{"--arp --controlplane --vip 192.0.2.10", "",
			func(c config.Config) bool { return len(c.VIPs) == 1 }},
		{least + "--services --lbClassOnly", "", func(c config.Config) bool {
			return c.Services &&
				c.ClassOnly
		}},
		{least + "--services=false", "", func(c config.Config) bool { return !c.Services }},
		{least + "--interface eth1", "vip_interface=eth2", func(c config.Config) bool {
			return c.Interface ==
				"eth2"
		}},
		{"--prometheusHTTPServer=", "vip_arp=true cp_enable=true address=192.0.2.10",
			func(c config.Config) bool {
				return c.MetricsAddress ==
					""
			}},
		{"--prometheusHTTPServer=",
			"vip_arp=true cp_enable=true address=192.0.2.10 prometheus_server=:2113",
			func(c config.Config) bool {
				return c.MetricsAddress ==
					":2113"
			}},
	} {
		cmd := newManager()
		if err := cmd.ParseFlags(strings.Fields(row.flags)); err != nil {
			t.Fatalf("%s: %v", row.flags, err)
		}
		flags, err := kubeVIPFlags(cmd.Flags())
		if err != nil || len(flags) == 0 {
			t.Errorf("%s: %q, %v", row.flags, flags, err)
			continue
		}
		cfg := config.Default()
		if _, err := applyKubeVIP(&cfg, flags, strings.Fields(row.env)); err != nil || !row.check(cfg) {
			t.Errorf("%s with %s: %+v, %v", row.flags, row.env, cfg, err)
		}
	}
	cmd := newManager()
	if err := cmd.ParseFlags([]string{"--vip=192.0.2.10", "--interface=eth0"}); err != nil {
		t.Fatal(err)
	}
	if flags, err := kubeVIPFlags(cmd.Flags()); err != nil || flags != nil {
		t.Errorf("flags of kvip's were taken for kube-vip's: %q, %v", flags, err)
	}
}

// TestRefusedInThePlaceOfKubeVIP: exit code 2, and reasons in the words that the user wrote.
func TestRefusedInThePlaceOfKubeVIP(t *testing.T) {
	testutil.NeedRoot(t)
	testutil.NewNetns(t)
	for _, args := range []string{"link add lan0 type veth peer name lan1", "link set lan0 up",
		"link set lan1 up", "address add 192.0.2.7/24 dev lan0"} {
		testutil.IP(t, args)
	}
	for _, row := range []struct{ env, flags, says string }{
		{"cp_enable=true vip_arp=true address=api.example.org", "", "kube-vip's address: "},
		{"cp_enable=true bgp_enable=true address=192.0.2.10", "", "kube-vip's bgp_peers: "},
		{"cp_enable=true vip_arp=true address=192.0.2.7 vip_nodename=n1", "",
			"kube-vip's address: 192.0.2.7 is an address of this host"},
		{"cp_enable=true vip_arp=true address=192.0.2.255 vip_nodename=n1", "", "kube-vip's address: "},
		{"cp_enable=true vip_arp=true address=192.0.2.10 vip_nodename=N_1", "",
			"kube-vip's vip_nodename: "},
		{"cp_enable=true vip_arp=true", "", "kube-vip's address: "},
		{"address=192.0.2.10", "--arp=perhaps", "kube-vip's vip_arp: "},
		{"", "--arp --controlplane --address=192.0.2.7",
			"kube-vip's address: 192.0.2.7 is an address of this host"},
		{"", "--arp --controlplane --address=192.0.2.10 --leaderElectionType=etcd",
			"kube-vip's leaderElectionType: "},
		{"", "--arp --lease-name=a", "--arp is a flag of kube-vip and --lease-name one of kvip"},
	} {
		for entry := range strings.FieldsSeq(row.env) {
			name, value, _ := strings.Cut(entry, "=")
			t.Setenv(name, value)
		}
		got := kvip(t, append([]string{"manager"}, strings.Fields(row.flags)...)...)
		for entry := range strings.FieldsSeq(row.env) {
			name, _, _ := strings.Cut(entry, "=")
			t.Setenv(name, "")
		}
		if got.code != exitUsage || !strings.Contains(got.stderr, row.says) || got.stdout != "" {
			t.Errorf("%s %s: exit code %d, stderr %s, want %q", row.env, row.flags, got.code, got.stderr,
				row.says)
		}
		for _, flag := range []string{"--kubeconfig", "--vip", "--node-name"} {
			if strings.Contains(got.stderr, flag) {
				t.Errorf("%s %s: %s speaks of %s", row.env, row.flags, got.stderr, flag)
			}
		}
	}
}
