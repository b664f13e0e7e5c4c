package config

import (
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

func addrs(texts ...string) []netip.Addr {
	var list []netip.Addr
	for _, text := range texts {
		list = append(list, netip.MustParseAddr(text))
	}
	return list
}

func parse(t *testing.T, c *Config, args ...string) error {
	t.Helper()
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	c.AddFlags(fs)
	return fs.Parse(args)
}

func TestDefaultsAreValidOnceThereIsAVIP(t *testing.T) {
	for name, c := range map[string]Config{"default": Default(), "static pod": StaticPod(),
		"daemonset": DaemonSet()} {
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), "--vip: ") {
			t.Errorf("%s without a VIP: %v", name, err)
		}
		c.VIPs = addrs("192.0.2.10")
		if err := c.Validate(); err != nil {
			t.Errorf("%s with a VIP: %v", name, err)
		}
	}
}

func TestStaticPodAndDaemonSetShareNoPort(t *testing.T) {
	if StaticPod().HealthAddress == DaemonSet().HealthAddress {
		t.Error("a static pod and a DaemonSet on one node would want the same health port")
	}
}

func TestFlagsFillEveryField(t *testing.T) {
	c := Default()
	err := parse(
		t,
		&c,
		"--vip",
		"192.0.2.10,2001:db8::10",
		"--interface=eth0",
		"--interface-wait=3s",
		"--port=8443",
		"--lease-duration=9s",
		"--renew-interval=2s",
		"--lease-name=l",
		"--namespace=n",
		"--node-name=a",
		"--kubeconfig=/x,/y",
		"--state-dir=/z",
		"--health-url=https://127.0.0.1:1/readyz",
		"--announce=bgp",
		"--bgp-as=65010",
		"--bgp-router-id=192.0.2.1",
		"--bgp-peer=192.0.2.2,as=65000",
		"--bgp-config=/etc/kvip/bgp.yaml",
		"--bgp-hold-time=9s",
		"--metrics-address=:1",
		"--health-address=127.0.0.1:2",
		"--services",
		"--services-name=s",
		"--service-class=c",
		"--service-class-only",
		"--services-interface=eth*",
		"--services-fallback=eth0",
		"--daemonset=d",
		"--kube-vip",
		"--image=i",
		"--log-format=json",
		"-v",
		"2",
	)
	if err != nil {
		t.Fatal(err)
	}
	fields := reflect.ValueOf(c)
	for i := range fields.NumField() {
		if fields.Field(i).IsZero() {
			t.Errorf("no flag filled %s", fields.Type().Field(i).Name)
		}
	}
	if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), "--services-fallback: ") {
		t.Errorf("two flags of which one means nothing: %v", err)
	}
	c.ServicesInterface = ""
	if err := c.Validate(); err != nil {
		t.Errorf("a full set of flags is refused: %v", err)
	}
}

func TestEveryFlagIsDocumented(t *testing.T) {
	c := Default()
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	c.AddFlags(fs)
	fs.VisitAll(func(f *pflag.Flag) {
		if len(f.Usage) < 15 {
			t.Errorf("--%s: usage %q explains nothing", f.Name, f.Usage)
		}
	})
}

func TestVIPFlagReplacesDefaultAndAccumulates(t *testing.T) {
	c := Default()
	c.VIPs = addrs("198.51.100.1")
	if err := parse(t, &c, "--vip=192.0.2.10", "--vip=2001:db8::10"); err != nil {
		t.Fatal(err)
	}
	if want := addrs("192.0.2.10", "2001:db8::10"); !slices.Equal(c.VIPs, want) {
		t.Errorf("got %v, want %v", c.VIPs, want)
	}
}

func TestVIPFlagRefusesWhatIsNoAddress(t *testing.T) {
	for _, text := range []string{"", "banana", "192.0.2.256", "192.0.2.10,", "192.0.2.10/24",
		" 192.0.2.10", "192.0.2.010"} {
		c := Default()
		err := parse(t, &c, "--vip", text)
		if err == nil || !strings.Contains(err.Error(), "--vip") {
			t.Errorf("--vip %q: %v", text, err)
		}
	}
}

func TestArgsReproduceTheConfiguration(t *testing.T) {
	full := Default()
	if err := parse(t, &full, "--vip=192.0.2.10,2001:db8::10", "--interface=eth0",
		"--interface-wait=0", "--port=8443",
		"--lease-duration=10s", "--renew-interval=500ms", "--lease-name=l", "--namespace=n",
		"--node-name=a",
		"--kubeconfig=/x,/y", "--state-dir=/z", "--health-url=https://127.0.0.1:1/readyz",
		"--metrics-address=", "--health-address=[::1]:2",
		"--services", "--services-name=s", "--service-class=example.com/c", "--service-class-only",
		"--services-interface=eth*",
		"--services-fallback=default-route", "--daemonset=d",
		"--kube-vip", "--log-format=json", "-v=2"); err != nil {
		t.Fatal(err)
	}
	pod, ds := StaticPod(), DaemonSet()
	pod.VIPs, ds.VIPs = addrs("192.0.2.10"), addrs("2001:db8::10")
	for name, want := range map[string]Config{"full": full, "static pod": pod, "daemonset": ds} {
		got := Default()
		if err := parse(t, &got, want.Args()...); err != nil {
			t.Fatalf("%s: parse %q: %v", name, want.Args(), err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: args %q give\n%+v, want\n%+v", name, want.Args(), got, want)
		}
	}
}

func TestArgsAreShortWhenNothingWasChosen(t *testing.T) {
	c := Default()
	c.VIPs = addrs("192.0.2.10")
	if got, want := c.Args(), []string{"--vip=192.0.2.10"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	c.Kubeconfigs, c.StateDir = AdminKubeconfigs(), DefaultStateDir
	want := []string{
		"--vip=192.0.2.10",
		"--kubeconfig=/etc/kubernetes/super-admin.conf,/etc/kubernetes/admin.conf",
		"--state-dir=/var/lib/kvip",
	}
	if got := c.Args(); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestArgsCarryNoImage(t *testing.T) {
	c := Default()
	c.VIPs, c.Image = addrs("192.0.2.10"), "example/kvip:1"
	if got := strings.Join(c.Args(), " "); strings.Contains(got, "image") {
		t.Errorf("the manager has no --image, got %q", got)
	}
}

func TestCompleteNamesTheNode(t *testing.T) {
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct{ name, flag, env, want string }{
		{"the flag wins", "flagged", "from-env", "flagged"},
		{"then the downward API", "", "from-env", "from-env"},
		{"then the host name", "", "", strings.ToLower(host)},
	} {
		t.Setenv(NodeNameEnv, row.env)
		c := Default()
		c.NodeName = row.flag
		if err := c.SetNodeName(); err != nil || c.NodeName != row.want {
			t.Errorf("%s: got %q, %v, want %q", row.name, c.NodeName, err, row.want)
		}
	}
}

func TestServicesNeedNoVIP(t *testing.T) {
	c := ServicesDaemonSet()
	if err := c.Validate(); err != nil {
		t.Errorf("services without a VIP are refused: %v", err)
	}
	if got := strings.Join(c.Args(), " "); strings.Contains(got, "--vip") {
		t.Errorf("arguments name no VIP where there is none, got %q", got)
	}
	for _, other := range []Config{StaticPod(), DaemonSet()} {
		if c.HealthAddress == other.HealthAddress || c.MetricsAddress == other.MetricsAddress {
			t.Error("a DaemonSet for Services and one for the control plane would want the same port")
		}
	}
}
