package config

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/netaddr"
)

func TestValidateRefusesServices(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*Config)
		flag   string
		reason string
	}{
		{"no name", func(c *Config) { c.ServicesName = "" }, "services-name", "cannot name"},
		{"an upper-case name", func(c *Config) { c.ServicesName = "A" }, "services-name", "cannot name"},
		{"a DaemonSet with a slash", func(c *Config) { c.DaemonSet = "a/b" }, "daemonset", "cannot name"},
		{"no class", func(c *Config) { c.ServiceClass = "" }, "service-class",
			"is not a loadBalancerClass"},
		{"a class with a space", func(c *Config) { c.ServiceClass = "a b" }, "service-class",
			"loadBalancerClass"},
		{"a class with two slashes", func(c *Config) { c.ServiceClass = "a/b/c" }, "service-class",
			"loadBalancerClass"},
		{"a class with an upper-case prefix", func(c *Config) { c.ServiceClass = "A/b" },
			"service-class", "loadBalancerClass"},
		{"a long class", func(c *Config) { c.ServiceClass = strings.Repeat("a", 64) }, "service-class",
			"loadBalancerClass"},
		{"a broken pattern", func(c *Config) { c.ServicesInterface = "eth[" }, "services-interface",
			"pattern"},
		{"a pattern with a slash", func(c *Config) { c.ServicesInterface = "a/*" }, "services-interface",
			"pattern"},
		{"a pattern with a space", func(c *Config) { c.ServicesInterface = "a b" }, "services-interface",
			"pattern"},
		{"a long fallback", func(c *Config) { c.ServicesFallback = "sixteen-letters-" },
			"services-fallback", "no Linux interface"},
		{"interface and fallback", func(c *Config) { c.ServicesInterface, c.ServicesFallback = "a", "b" },
			"services-fallback", "--services-interface"},
	} {
		c := valid()
		c.Services = true
		row.change(&c)
		var usage *UsageError
		if err := c.Validate(); !errors.As(err, &usage) || usage.Flag != row.flag ||
			!strings.Contains(usage.Reason, row.reason) || usage.Hint == "" {
			t.Errorf("%s: got %v, want --%s, %q and a hint", row.name, err, row.flag, row.reason)
		}
	}
}

func TestValidateAcceptsServices(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"Services without a VIP":   func(c *Config) { c.VIPs = nil },
		"a class without a prefix": func(c *Config) { c.ServiceClass = "Internal_1.x" },
		"the longest class": func(c *Config) {
			c.ServiceClass = "a.b-c/" + strings.Repeat(
				"a", 63)
		},
		"a pattern":                      func(c *Config) { c.ServicesInterface = "eth[0-3]*" },
		"the default route":              func(c *Config) { c.ServicesFallback = DefaultRoute },
		"a fallback":                     func(c *Config) { c.ServicesFallback = "bond0.100" },
		"a DaemonSet":                    func(c *Config) { c.DaemonSet = "kvip-services.2" },
		"only Services of its own class": func(c *Config) { c.ClassOnly = true },
	} {
		c := valid()
		c.Services = true
		change(&c)
		if err := c.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestServiceClassIsCheckedAlone(t *testing.T) {
	c := Config{ServiceClass: "a b", ServicesInterface: "["}
	for _, group := range []Group{ServiceClass, Services} {
		if err := c.Validate(group); err == nil {
			t.Errorf("group %d accepts a class with a space", group)
		}
	}
	c.ServiceClass = DefaultServiceClass
	if err := c.Validate(ServiceClass); err != nil {
		t.Errorf("the class depends on the interface: %v", err)
	}
}

func TestKubeconfigIsCheckedAlone(t *testing.T) {
	c := Config{Kubeconfigs: []string{"/a"}, StateDir: "relative"}
	if err := c.Validate(Kubeconfig); err != nil {
		t.Errorf("the kubeconfig depends on the state directory: %v", err)
	}
	if err := c.Validate(Client); err == nil {
		t.Error("a relative state directory passed")
	}
	c.Kubeconfigs = []string{""}
	if err := c.Validate(Kubeconfig); err == nil {
		t.Error("an empty path passed")
	}
}

// TestUsableAddressesAreThoseOfNetaddr: the configuration has no rules of its own.
func TestUsableAddressesAreThoseOfNetaddr(t *testing.T) {
	for _, a := range addrs("192.0.2.1", "2001:db8::1", "fd00::1", "169.254.0.1", "fe80::1",
		"240.0.0.1", "0.0.0.0",
		"::1", "255.255.255.255", "224.0.0.1", "100.64.0.1", "10.0.0.1", "::ffff:192.0.2.1") {
		problem, err := netaddr.Problem(a), CheckVIPs(addrs(a.String()))
		var usage *UsageError
		switch {
		case problem == "" && err != nil:
			t.Errorf("%s: %v", a, err)
		case problem != "" && (!errors.As(err, &usage) || usage.Reason != a.String()+" is "+problem):
			t.Errorf("%s is %s, and CheckVIPs returns %v", a, problem, err)
		}
	}
	if err := CheckVIPs(nil); err != nil {
		t.Errorf("no address: %v", err)
	}
}

func TestMaxRenewInterval(t *testing.T) {
	for lease, want := range map[time.Duration]time.Duration{
		MinLeaseDuration:     700 * time.Millisecond,
		4 * time.Second:      4 * time.Second / 3,
		DefaultLeaseDuration: DefaultLeaseDuration / 3,
		MaxLeaseDuration:     200 * time.Second,
	} {
		got := MaxRenewInterval(lease)
		if got != want {
			t.Errorf("%s: %s, want %s", lease, got, want)
		}
		c := valid()
		c.LeaseDuration, c.RenewInterval = lease, got
		if err := c.Validate(Timing); err != nil {
			t.Errorf("the longest interval of %s is refused: %v", lease, err)
		}
		c.RenewInterval = got + time.Millisecond
		if err := c.Validate(Timing); err == nil {
			t.Errorf("%s is accepted for %s", c.RenewInterval, lease)
		}
	}
}

func TestInterfaceNames(t *testing.T) {
	for name, want := range map[string]bool{
		"eth0": true, "br-1a2b3c": true, "bond0.100": true, "wg+0": true, "ü": true,
		"fifteen-letters": true,
		"":                false, ".": false, "..": false, "a/b": false, "a:1": false, "a b": false,
		"a\tb":             false,
		"a\x00":            false,
		"sixteen-letters-": false,
	} {
		if got := validInterfaceName(name); got != want {
			t.Errorf("%q: %t, want %t", name, got, want)
		}
	}
}

func TestHostPort(t *testing.T) {
	for text, want := range map[string]string{
		":2112": "[::]:2112", "127.0.0.1:1": "127.0.0.1:1", "[::1]:65535": "[::1]:65535",
		"": "", ":0": "", ":65536": "", "localhost:1": "", "127.0.0.1": "", "::1:1": "", ":a": "",
	} {
		got, err := parseHostPort("metrics-address", text, DefaultMetricsAddress)
		if (err == nil) != (want != "") || err == nil && got.String() != want {
			t.Errorf("%q: %s, %v, want %q", text, got, err, want)
		}
	}
}
