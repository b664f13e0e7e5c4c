package config

import (
	"errors"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

// allGroups lists every group.
func allGroups() (groups []Group) {
	for _, r := range registrations {
		groups = append(groups, r.group)
	}
	return groups
}

// names returns the flags of a set in their order.
func names(fs *pflag.FlagSet) (all []string) {
	fs.VisitAll(func(f *pflag.Flag) { all = append(all, f.Name) })
	return all
}

func TestGroupsHaveTheirFlags(t *testing.T) {
	class := []string{"service-class", "service-class-only", "kube-vip"}
	for group, want := range map[Group][]string{
		Address:      {"vip"},
		Interface:    {"interface", "interface-wait"},
		APIServer:    {"port"},
		Lease:        {"lease-name", "namespace"},
		Timing:       {"lease-duration", "renew-interval"},
		Client:       {"kubeconfig", "state-dir"},
		Kubeconfig:   {"kubeconfig"},
		Node:         {"node-name"},
		Metrics:      {"metrics-address"},
		Health:       {"health-url", "health-address"},
		ServiceClass: class,
		Services: slices.Concat([]string{"services", "services-name"}, class,
			[]string{"services-interface", "services-fallback", "daemonset"}),
		Image:   {"image"},
		Logging: {"log-format", "v"},
	} {
		c := Default()
		fs := pflag.NewFlagSet("", pflag.ContinueOnError)
		c.AddFlags(fs, group)
		if got := names(fs); !slices.Equal(got, want) {
			t.Errorf("group %d has %q, want %q", group, got, want)
		}
	}
	if got := allGroups(); len(got) != int(Logging)+1 || !slices.IsSorted(got) {
		t.Errorf("the table has the groups %v", got)
	}
}

// TestGroupsCombine registers pairs of groups on one set: a flag of both is registered once.
func TestGroupsCombine(t *testing.T) {
	for _, one := range allGroups() {
		for _, other := range allGroups() {
			c := Default()
			fs := pflag.NewFlagSet("", pflag.ContinueOnError)
			c.AddFlags(fs, one, other)
			if !fs.HasFlags() {
				t.Errorf("groups %d and %d have no flags", one, other)
			}
		}
	}
}

func TestEveryFlagHasASection(t *testing.T) {
	c := Default()
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	c.AddFlags(fs)
	used := map[string]bool{}
	fs.VisitAll(func(f *pflag.Flag) {
		section := Section(f)
		if !slices.Contains(Sections(), section) {
			t.Errorf("--%s is in section %q", f.Name, section)
		}
		used[section] = true
	})
	if len(used) != len(Sections()) {
		t.Errorf("flags are in %d sections of %d", len(used), len(Sections()))
	}
	if len(sectionOf) != len(names(fs)) {
		t.Errorf("%d flags have sections, %d exist", len(sectionOf), len(names(fs)))
	}
}

func TestSetSection(t *testing.T) {
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	fs.Bool("own", false, "")
	f := fs.Lookup("own")
	if got := Section(f); got != "" {
		t.Errorf("a command's own flag is in section %q", got)
	}
	SetSection(f, ManifestSection)
	SetSection(f, APISection)
	if got := Section(f); got != APISection {
		t.Errorf("section %q, want %q", got, APISection)
	}
}

// TestUsageNamesAreShort keeps the first column of the help narrow.
func TestUsageNamesAreShort(t *testing.T) {
	c := Default()
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	c.AddFlags(fs)
	fs.VisitAll(func(f *pflag.Flag) {
		value, usage := pflag.UnquoteUsage(f)
		if len(value) > 12 || strings.ContainsAny(value, " ") {
			t.Errorf("--%s takes a %q", f.Name, value)
		}
		if strings.HasSuffix(usage, ".") || strings.Contains(usage, "  ") ||
			usage != strings.TrimSpace(usage) {
			t.Errorf("--%s: usage %q", f.Name, usage)
		}
	})
}

func TestAddressList(t *testing.T) {
	for _, row := range []struct {
		sets []string
		want string
		fail string
	}{
		{[]string{"192.0.2.1"}, "192.0.2.1", ""},
		{[]string{"192.0.2.1,2001:db8::1"}, "192.0.2.1,2001:db8::1", ""},
		{[]string{"192.0.2.1", "2001:db8::1"}, "192.0.2.1,2001:db8::1", ""},
		{[]string{"2001:DB8:0::1"}, "2001:db8::1", ""},
		{[]string{"::ffff:192.0.2.1"}, "::ffff:192.0.2.1", ""},
		{[]string{"fe80::1%eth0"}, "fe80::1%eth0", ""},
		{[]string{""}, "", "no address given"},
		{[]string{"192.0.2.1,"}, "", "no address given"},
		{[]string{"192.0.2.0/24"}, "", "give the address alone: 192.0.2.0"},
		{[]string{"2001:db8::1/64"}, "", "give the address alone: 2001:db8::1"},
		{[]string{"host"}, "", `"host" is not an IP address`},
		{[]string{"192.0.2.1", "192.0.2.2 "}, "192.0.2.1", `"192.0.2.2 " is not an IP address`},
	} {
		var list []netip.Addr
		value := &addrList{list: &list}
		var err error
		for _, text := range row.sets {
			err = errors.Join(err, value.Set(text))
		}
		if (err == nil) != (row.fail == "") || err != nil && !strings.Contains(err.Error(), row.fail) {
			t.Errorf("%q: error %v, want %q", row.sets, err, row.fail)
		}
		if got := value.String(); got != row.want {
			t.Errorf("%q: %q, want %q", row.sets, got, row.want)
		}
	}
	if got := (&addrList{}).String(); got != "" {
		t.Errorf("the zero value prints %q", got)
	}
}

// FuzzVIPFlag: what the flag accepts it prints in a form that gives the same addresses.
func FuzzVIPFlag(f *testing.F) {
	for _, text := range []string{"192.0.2.10", "192.0.2.10,2001:db8::10", "::", "a,b", "1.2.3.4/5",
		",", "fe80::1%a"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var first, second []netip.Addr
		value := &addrList{list: &first}
		if value.Set(text) != nil {
			return
		}
		again := &addrList{list: &second}
		if err := again.Set(value.String()); err != nil || !slices.Equal(first, second) {
			t.Errorf("%q becomes %q, which gives %v (%v)", text, value.String(), second, err)
		}
		c := Default()
		c.VIPs = first
		if err := c.Validate(Address); err == nil && len(first) > 2 {
			t.Errorf("%q is valid", text)
		}
	})
}

// FuzzArgs: valid settings survive the way through arguments.
func FuzzArgs(f *testing.F) {
	f.Add("kvip", "eth0", uint16(6443), int64(5), "127.0.0.1:2113", ":2112", true)
	f.Add("a.b", "", uint16(1), int64(600), "[::1]:1", "", false)
	f.Fuzz(
		func(t *testing.T, lease, link string, port uint16, seconds int64, health, metrics string,
			services bool) {
			want := Default()
			want.VIPs = addrs("192.0.2.10")
			want.LeaseName, want.Interface, want.Port = lease, link, int(port)
			want.LeaseDuration = time.Duration(seconds%1000) * time.Second
			want.HealthAddress, want.MetricsAddress, want.Services = health, metrics, services
			if want.Validate() != nil {
				return
			}
			got := Default()
			fs := managerFlags(&got)
			if err := fs.Parse(want.Args()); err != nil {
				t.Fatalf("parse %q: %v", want.Args(), err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%q gives\n%+v, want\n%+v", want.Args(), got, want)
			}
			if err := got.CheckUnusedFlags(fs); err != nil {
				t.Errorf("%q: %v", want.Args(), err)
			}
		},
	)
}

func TestArgsAreInTheOrderOfTheHelp(t *testing.T) {
	c := Default()
	c.VIPs, c.Port, c.Verbosity, c.MetricsAddress = addrs("192.0.2.10"), 1, 1, ""
	c.LogFormat, c.Kubeconfigs = "json", []string{"/a", "/b"}
	want := []string{
		"--vip=192.0.2.10", "--port=1", "--kubeconfig=/a,/b", "--metrics-address=",
		"--log-format=json", "-v=1",
	}
	if got := c.Args(); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestArgsOfManifestsAlone(t *testing.T) {
	c := Default()
	c.Image = "registry.example/kvip:1"
	if got := c.Args(); len(got) != 0 {
		t.Errorf("the image and no VIP give %q", got)
	}
}

func TestSetNodeName(t *testing.T) {
	host, err := os.Hostname()
	if err != nil {
		t.Skip(err)
	}
	for _, row := range []struct{ name, before, env, want string }{
		{"a name that is set stays", "cp1", "cp2", "cp1"},
		{"the environment", "", "cp2", "cp2"},
		{"the host name", "", "", strings.ToLower(host)},
	} {
		t.Setenv(NodeNameEnv, row.env)
		c := Config{NodeName: row.before}
		if err := c.SetNodeName(); err != nil || c.NodeName != row.want {
			t.Errorf("%s: %q, %v, want %q", row.name, c.NodeName, err, row.want)
		}
	}
}

// TestPortsOfOneNode: a static pod and both DaemonSets can run on one node.
func TestPortsOfOneNode(t *testing.T) {
	seen := map[string]string{}
	for name, c := range map[string]Config{
		"static pod": StaticPod(), "DaemonSet": DaemonSet(),
		"DaemonSet for Services": ServicesDaemonSet(),
	} {
		for _, address := range []string{c.HealthAddress, c.MetricsAddress} {
			_, port, _ := strings.Cut(address, ":")
			if other, taken := seen[port]; taken {
				t.Errorf("port %s is that of %s and of %s", port, name, other)
			}
			seen[port] = name
		}
	}
}

func TestServicesDaemonSetNeedsNoVIP(t *testing.T) {
	c := ServicesDaemonSet()
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	want := []string{
		"--metrics-address=" + ServicesMetricsAddress, "--health-address=" + ServicesHealthAddress,
		"--services=true", "--daemonset=" + DefaultServicesName,
	}
	if got := c.Args(); !slices.Equal(got, want) {
		t.Errorf("arguments %q, want %q", got, want)
	}
}
