package config

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// given parses a command line as the manager does, and returns what it means and what was given.
func given(t *testing.T, line string) (Config, *pflag.FlagSet) {
	t.Helper()
	c := Default()
	fs := managerFlags(&c)
	if err := fs.Parse(strings.Fields(line)); err != nil {
		t.Fatal(err)
	}
	return c, fs
}

// TestIdleFlagsAreRefused in the mode in which they mean nothing, and in no other.
func TestIdleFlagsAreRefused(t *testing.T) {
	values := map[string]string{
		"interface": "eth0", "interface-wait": "5s", "lease-name": "a", "lease-duration": "6s",
		"renew-interval":   "1s",
		"failover-timeout": "500ms", "drain-timeout": "5s", "peer-port": "1",
		"health-url": "https://127.0.0.1:1/x", "announce": "arp", "bgp-as": "65010",
		"bgp-router-id": "192.0.2.1", "bgp-peer": "192.0.2.2,as=1", "bgp-config": "/etc/kvip/x",
		"bgp-hold-time": "6s",
		"services-name": "a", "service-class": "a/b", "service-class-only": "true",
		"services-interface": "eth1", "services-fallback": "eth1",
		"daemonset": "a", "kube-vip": "true",
	}
	modes := map[string]struct {
		line string
		idle []string
	}{
		"a VIP":    {"--vip=192.0.2.10", slices.Concat(servicesFlags, bgpFlags)},
		"BGP":      {"--vip=192.0.2.10 --announce=bgp", slices.Concat(servicesFlags, electionFlags)},
		"Services": {"--services", controlPlaneFlags},
		"both":     {"--vip=192.0.2.10 --services", bgpFlags},
	}
	for mode, row := range modes {
		for flag, value := range values {
			if mode == "BGP" && flag == "announce" {
				value = "bgp"
			}
			c, fs := given(t, row.line+" --"+flag+"="+value)
			err := c.CheckUnusedFlags(fs)
			var refused *UsageError
			if want := slices.Contains(row.idle, flag); errors.As(err, &refused) != want ||
				want && refused.Flag != flag {
				t.Errorf("%s with --%s: %v", mode, flag, err)
			}
		}
	}
	if len(values) != len(controlPlaneFlags)+len(servicesFlags) {
		t.Error("not every flag is tried")
	}
}

// TestEveryFlagOfOneJobIsListed: flags of the groups that only one job has.
func TestEveryFlagOfOneJobIsListed(t *testing.T) {
	for _, row := range []struct {
		groups []Group
		listed []string
	}{
		{[]Group{Interface, Timing}, controlPlaneFlags},
		{[]Group{Services}, append([]string{"services"}, servicesFlags...)},
	} {
		c := Default()
		fs := pflag.NewFlagSet("", pflag.ContinueOnError)
		c.AddFlags(fs, row.groups...)
		fs.VisitAll(func(f *pflag.Flag) {
			if !slices.Contains(row.listed, f.Name) {
				t.Errorf("--%s means nothing in a mode, and is not refused there", f.Name)
			}
		})
	}
}

// TestArgsLeaveIdleFlagsOut: a manifest must not give its own agent what that refuses.
func TestArgsLeaveIdleFlagsOut(t *testing.T) {
	full := Default()
	full.Interface, full.LeaseName, full.LeaseDuration, full.HealthURL = "eth0", "a",
		2*DefaultLeaseDuration,
		"https://127.0.0.1:1/x"
	full.ServicesName, full.ClassOnly, full.ServicesInterface, full.KubeVIP, full.DaemonSet =
		"b", true,
		"eth1", true, "kvip"
	for name, change := range map[string]func(c *Config){
		"a VIP":    func(c *Config) { c.VIPs = []netip.Addr{netip.MustParseAddr("192.0.2.10")} },
		"Services": func(c *Config) { c.Services = true },
		"both": func(c *Config) {
			c.Services, c.VIPs = true, []netip.Addr{netip.MustParseAddr(
				"192.0.2.10")}
		},
	} {
		c := full
		change(&c)
		args := c.Args()
		again, fs := given(t, strings.Join(args, " "))
		if err := again.CheckUnusedFlags(fs); err != nil {
			t.Errorf("%s: %v refuses %q", name, err, args)
		}
		if name == "both" && len(args) != 11 {
			t.Errorf("%s: %q", name, args)
		}
	}
}
