package config

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func valid() Config {
	c := StaticPod()
	c.VIPs = addrs("192.0.2.10", "2001:db8::10")
	return c
}

func TestValidateRefuses(t *testing.T) {
	long := strings.Repeat("a", 254)
	for _, row := range []struct {
		name   string
		change func(*Config)
		flag   string
		reason string
	}{
		{"no VIP", func(c *Config) { c.VIPs = nil }, "vip", "no virtual IP"},
		{"zero VIP", func(c *Config) { c.VIPs = make([]netip.Addr, 1) }, "vip", "not an IP address"},
		{"two IPv4", func(c *Config) { c.VIPs = addrs("192.0.2.1", "192.0.2.2") }, "vip", "one family"},
		{"two IPv6", func(c *Config) { c.VIPs = addrs("2001:db8::1", "2001:db8::2") }, "vip",
			"one family"},
		{"twice the same", func(c *Config) { c.VIPs = addrs("192.0.2.1", "192.0.2.1") }, "vip",
			"one family"},
		{"this network", func(c *Config) { c.VIPs = addrs("0.1.2.3") }, "vip", "reserved address"},
		{"limited broadcast", func(c *Config) { c.VIPs = addrs("255.255.255.255") }, "vip", "broadcast"},
		{"loopback 4", func(c *Config) { c.VIPs = addrs("127.0.0.2") }, "vip", "loopback"},
		{"loopback 6", func(c *Config) { c.VIPs = addrs("::1") }, "vip", "loopback"},
		{"multicast 4", func(c *Config) { c.VIPs = addrs("224.0.0.18") }, "vip", "multicast"},
		{"multicast 6", func(c *Config) { c.VIPs = addrs("ff02::1") }, "vip", "multicast"},
		{"unspecified 4", func(c *Config) { c.VIPs = addrs("0.0.0.0") }, "vip", "unspecified"},
		{"unspecified 6", func(c *Config) { c.VIPs = addrs("::") }, "vip", "unspecified"},
		{"mapped", func(c *Config) { c.VIPs = addrs("::ffff:192.0.2.1") }, "vip",
			"IPv4 address in IPv6 form"},
		{"zone", func(c *Config) { c.VIPs = addrs("fe80::1%eth0") }, "vip", "zone"},
		{"link-local", func(c *Config) { c.VIPs = addrs("fe80::1") }, "vip", "link-local"},
		{"long interface", func(c *Config) { c.Interface = "sixteen-letters-" }, "interface",
			"no Linux interface"},
		{"trailing space", func(c *Config) { c.Interface = "eth0 " }, "interface", "no Linux interface"},
		{"slash", func(c *Config) { c.Interface = "a/b" }, "interface", "no Linux interface"},
		{"colon", func(c *Config) { c.Interface = "eth0:1" }, "interface", "no Linux interface"},
		{"dots", func(c *Config) { c.Interface = ".." }, "interface", "no Linux interface"},
		{"port 0", func(c *Config) { c.Port = 0 }, "port", "out of range"},
		{"port 65536", func(c *Config) { c.Port = 65536 }, "port", "out of range"},
		{"negative port", func(c *Config) { c.Port = -1 }, "port", "out of range"},
		{"URL without host", func(c *Config) { c.HealthURL = "https:///readyz" }, "health-url", "host"},
		{"URL of another scheme", func(c *Config) { c.HealthURL = "ftp://127.0.0.1/" },
			"health-url", "http"},
		{"no URL", func(c *Config) { c.HealthURL = "127.0.0.1:6443" }, "health-url", "URL"},
		{"lease of 2s", func(c *Config) { c.LeaseDuration = 2 * time.Second }, "lease-duration",
			"too short"},
		{"lease of 3.5s", func(c *Config) { c.LeaseDuration = 3500 * time.Millisecond },
			"lease-duration", "whole"},
		{"lease of a century", func(c *Config) { c.LeaseDuration = (1 << 31) * time.Second },
			"lease-duration", "too long"},
		{"lease above ten minutes", func(c *Config) { c.LeaseDuration = 601 * time.Second },
			"lease-duration", "at most 10m"},
		{"renewed after the address expired", func(c *Config) {
			c.LeaseDuration,
				c.RenewInterval = 3*time.Second, time.Second
		},
			"renew-interval", "expire"},
		{"renew below a request's spacing", func(c *Config) { c.RenewInterval = 199 * time.Millisecond },
			"renew-interval", "too short"},
		{"negative lease", func(c *Config) { c.LeaseDuration = -5 * time.Second }, "lease-duration",
			"too short"},
		{"renew above a third", func(c *Config) { c.RenewInterval = 1667 * time.Millisecond },
			"renew-interval", "third"},
		{"renew 0", func(c *Config) { c.RenewInterval = 0 }, "renew-interval", "too short"},
		{"no lease name", func(c *Config) { c.LeaseName = "" }, "lease-name", "cannot name"},
		{"long lease name", func(c *Config) { c.LeaseName = long }, "lease-name", "cannot name"},
		{"namespace with a dot", func(c *Config) { c.Namespace = "a.b" }, "namespace", "cannot name"},
		{"long namespace", func(c *Config) { c.Namespace = long[:64] }, "namespace", "cannot name"},
		{"upper-case node", func(c *Config) { c.NodeName = "Node1" }, "node-name", "cannot name"},
		{"empty kubeconfig", func(c *Config) { c.Kubeconfigs = []string{"/a", ""} }, "kubeconfig",
			"does not name a file"},
		{"root kubeconfig", func(c *Config) { c.Kubeconfigs = []string{"//"} }, "kubeconfig",
			"does not name a file"},
		{"relative state directory", func(c *Config) { c.StateDir = "kvip" }, "state-dir",
			"not an absolute path"},
		{"root as state directory", func(c *Config) { c.StateDir = "/." }, "state-dir",
			"not an absolute path"},
		{"no health address", func(c *Config) { c.HealthAddress = "" }, "health-address", "port"},
		{"public health address", func(c *Config) { c.HealthAddress = "0.0.0.0:2113" }, "health-address",
			"loopback"},
		{"health on all", func(c *Config) { c.HealthAddress = ":2113" }, "health-address", "loopback"},
		{"health port 0", func(c *Config) { c.HealthAddress = "127.0.0.1:0" }, "health-address", "port"},
		{"metrics by name", func(c *Config) { c.MetricsAddress = "node:2112" },
			"metrics-address", "port"},
		{"one port for both", func(c *Config) { c.MetricsAddress = ":2113" }, "metrics-address",
			"--health-address"},
		{"no image", func(c *Config) { c.Image = "" }, "image", "image reference"},
		{"log format", func(c *Config) { c.LogFormat = "xml" }, "log-format", "unknown"},
		{"negative verbosity", func(c *Config) { c.Verbosity = -1 }, "v", "negative"},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := valid()
			row.change(&c)
			var usage *UsageError
			if err := c.Validate(); !errors.As(err, &usage) {
				t.Fatalf("got %v, want a usage error", err)
			}
			if usage.Flag != row.flag || !strings.Contains(usage.Reason, row.reason) {
				t.Errorf("got %q, want --%s and %q", usage, row.flag, row.reason)
			}
			if usage.Hint == "" {
				t.Errorf("%q does not say what to do", usage)
			}
		})
	}
}

// TestExamplesOfAddresses: who follows the hint does not get the next error.
func TestExamplesOfAddresses(t *testing.T) {
	for flag, set := range map[string]func(*Config, string){
		"health-address":  func(c *Config, text string) { c.HealthAddress = text },
		"metrics-address": func(c *Config, text string) { c.MetricsAddress = text },
	} {
		c := valid()
		set(&c, "2112")
		var usage *UsageError
		if err := c.Validate(); !errors.As(err, &usage) || usage.Flag != flag {
			t.Fatalf("--%s 2112: %v", flag, err)
		}
		example, found := strings.CutPrefix(usage.Hint, "give one like ")
		set(&c, example)
		if err := c.Validate(); err != nil || !found {
			t.Errorf("--%s %s: %v", flag, example, err)
		}
	}
}

func TestValidateAccepts(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"both families": func(*Config) {},
		"shortest lease": func(c *Config) {
			c.LeaseDuration, c.RenewInterval = 3*time.Second,
				700*time.Millisecond
		},
		"longest lease": func(c *Config) {
			c.LeaseDuration, c.RenewInterval = 10*time.Minute,
				200*time.Second
		},
		"renew exactly a third": func(c *Config) {
			c.LeaseDuration, c.RenewInterval = 6*time.Second,
				2*time.Second
		},
		"longest interface":   func(c *Config) { c.Interface = "fifteen-letters" },
		"port 65535":          func(c *Config) { c.Port = 65535 },
		"http health URL":     func(c *Config) { c.HealthURL = "http://[::1]:8080/readyz" },
		"loopback 6":          func(c *Config) { c.HealthAddress = "[::1]:2113" },
		"same port elsewhere": func(c *Config) { c.MetricsAddress = "192.0.2.1:2113" },
		"no metrics":          func(c *Config) { c.MetricsAddress = "" },
		"private IPv6":        func(c *Config) { c.VIPs = addrs("fd00::10") },
		"node with dots":      func(c *Config) { c.NodeName = "node-1.example.org" },
	} {
		c := valid()
		change(&c)
		if err := c.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestValidateOfSomeGroupsLooksAtNothingElse(t *testing.T) {
	c := Config{LeaseName: "kvip", Namespace: "kube-system"}
	if err := c.Validate(Lease); err != nil {
		t.Errorf("valid lease settings refused: %v", err)
	}
	if err := c.Validate(Lease, Logging); err == nil {
		t.Error("an empty log format passed")
	}
}

func TestCheckInSubnet(t *testing.T) {
	for _, row := range []struct{ vip, prefix, reason string }{
		{"192.0.2.0", "192.0.2.7/24", "network address of 192.0.2.0/24"},
		{"192.0.2.255", "192.0.2.7/24", "broadcast address of 192.0.2.0/24"},
		{"10.1.63.255", "10.1.0.1/18", "broadcast address of 10.1.0.0/18"},
		{"2001:db8::", "2001:db8::7/64", "subnet-router anycast address of 2001:db8::/64"},
		{"192.0.2.10", "192.0.2.7/24", ""},
		{"10.1.1.255", "10.1.0.1/18", ""},
		{"192.0.2.0", "192.0.2.0/31", ""},
		{"192.0.2.0", "192.0.2.0/32", ""},
		{"2001:db8::", "2001:db8::/127", ""},
		{"2001:db8::ffff:ffff:ffff:ffff", "2001:db8::7/64", ""},
		{"198.51.100.0", "192.0.2.7/24", ""},
		{"2001:db8::", "192.0.2.7/24", ""},
	} {
		err := CheckInSubnet(netip.MustParseAddr(row.vip), netip.MustParsePrefix(row.prefix))
		switch {
		case row.reason == "" && err != nil:
			t.Errorf("%s in %s: %v", row.vip, row.prefix, err)
		case row.reason != "" && (err == nil || !strings.Contains(err.Error(), row.reason)):
			t.Errorf("%s in %s: got %v, want %q", row.vip, row.prefix, err, row.reason)
		}
	}
}

func TestUsageErrorNamesFlagReasonAndWayOut(t *testing.T) {
	for want, e := range map[string]UsageError{
		"--port: 0 is out of range; give a port": {Flag: "port", Reason: "0 is out of range",
			Hint: "give a port"},
		"-v: -1 is negative": {Flag: "v", Reason: "-1 is negative"},
	} {
		if got := e.Error(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
