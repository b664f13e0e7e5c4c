package kubevip

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/ipam"
)

// control is the shortest environment of a control plane.
const control = "cp_enable=true vip_arp=true address=192.0.2.10 "

func TestDetectNeedsAValue(t *testing.T) {
	for env, want := range map[string]bool{
		"": false, "PATH=/bin HOME=/": false, "vip_arp=": false, "port=6443 address=192.0.2.10": false,
		"cp_enable=false": true, "svc_enable=true": true, "bgp_enable=true": true,
		"vip_interface=eth0": true,
	} {
		if got := Detect(strings.Fields(env)); got != want {
			t.Errorf("%q: %t, want %t", env, got, want)
		}
	}
}

func TestPrecedence(t *testing.T) {
	for _, row := range []struct{ name, flags, env, lease, metrics string }{
		{"defaults", "", control, LeaseName, ":2112"},
		{"a flag", "vip_leasename=a", control, "a", ":2112"},
		{"variable before flag", "vip_leasename=a", control + "vip_leasename=b", "b", ":2112"},
		{"the last variable", "", control + "vip_leasename=a vip_leasename=b", "b", ":2112"},
		{"an empty variable", "vip_leasename=a", control + "vip_leasename=", "a", ":2112"},
		{"an empty flag of the metrics", "prometheus_server=", control, LeaseName, ""},
		{"a variable before that", "prometheus_server=", control + "prometheus_server=:1", LeaseName,
			":1"},
	} {
		got, _, err := Parse(strings.Fields(row.flags), strings.Fields(row.env))
		if err != nil || got.LeaseName != row.lease || got.MetricsAddress != row.metrics {
			t.Errorf("%s: lease %q, metrics %q, %v", row.name, got.LeaseName, got.MetricsAddress, err)
		}
	}
}

func TestTimingIsLimited(t *testing.T) {
	for _, row := range []struct {
		env          string
		lease, renew time.Duration
		notes        int
	}{
		{"", 5 * time.Second, time.Second, 0},
		{"vip_leaseduration=15 vip_retryperiod=2", 15 * time.Second, 2 * time.Second, 0},
		{"vip_leaseduration=1", 3 * time.Second, 700 * time.Millisecond, 2},
		{"vip_leaseduration=3600", 10 * time.Minute, time.Second, 1},
		{"vip_retryperiod=4", 5 * time.Second, 1600 * time.Millisecond, 1},
		{"vip_leaseduration=6 vip_retryperiod=2", 6 * time.Second, 2 * time.Second, 0},
	} {
		got, notes, err := ParseEnvironment(strings.Fields(control + row.env))
		if err != nil || got.LeaseDuration != row.lease || got.RenewInterval != row.renew ||
			len(notes) != row.notes {
			t.Errorf("%q: %s and %s, notes %v, %v", row.env, got.LeaseDuration, got.RenewInterval, notes,
				err)
		}
	}
}

func TestWithoutValue(t *testing.T) {
	for _, row := range []struct {
		name, env string
		ok        bool
		note      string
	}{
		{"HOSTNAME", "", true, notRead},
		{"vip_of_the_future", "", true, unfamiliar},
		{"vip_leasename", "", false, ""},
		{"svc_leasename", "", true, ""},
		{"svc_leasename", "svc_enable=true", false, ""},
		{"vip_arpRate", "", true, "the rate of announcements is not configurable"},
		{"vip_skipdad", "", false, ""},
		{"lb_port", "", true, ""},
		{"lb_port", "cp_enable=true lb_enable=true", false, ""},
		{"bgp_routerid", "bgp_enable=true", false, ""},
		{"bgp_routerid", "bgp_enable=true vip_arp=true", true, ""},
		{"bgp_attach_ip_to_interface", "bgp_enable=true", false, ""},
		{"zebra_url", "bgp_enable=true zebra_enable=true", true, useLocalRouter},
	} {
		note, ok := WithoutValue(row.name, nil, strings.Fields(row.env))
		if ok != row.ok || note.Text != row.note || (note.Name != "") != (row.note != "") {
			t.Errorf("%s with %q: %v, %t, want %q, %t", row.name, row.env, note, ok, row.note, row.ok)
		}
	}
}

func TestIsKnown(t *testing.T) {
	for name, want := range map[string]bool{
		"address": true, "PACKET_AUTH_TOKEN": true, "bgp_new": true, "HOSTNAME": false,
		"NODE_NAME": false,
		"":          false,
	} {
		if got := IsKnown(name); got != want {
			t.Errorf("%q: %t, want %t", name, got, want)
		}
	}
}

func TestApplyMovesTheHealthAddress(t *testing.T) {
	for _, row := range []struct{ name, env, metrics, health string }{
		{"defaults", "", ":2112", config.DefaultHealthAddress},
		{"the port of kvip's page", "prometheus_server=:2113", ":2113", config.DaemonSetHealthAddress},
		{"a port that is asked for", "health_check_port=8080", ":2112", "127.0.0.1:8080"},
	} {
		settings, _, err := ParseEnvironment(strings.Fields(control + row.env))
		if err != nil {
			t.Errorf("%s: %v", row.name, err)
			continue
		}
		c := config.Default()
		settings.Apply(&c)
		if c.MetricsAddress != row.metrics || c.HealthAddress != row.health || !c.KubeVIP {
			t.Errorf("%s: metrics %s, health %s", row.name, c.MetricsAddress, c.HealthAddress)
		}
	}
}

func TestApplyKeepsWhatKubeVIPLacks(t *testing.T) {
	settings, _, err := ParseEnvironment(strings.Fields(control))
	if err != nil {
		t.Fatal(err)
	}
	c := config.StaticPod()
	c.NodeName, c.Image, c.LogFormat = "cp1", "registry.example/kvip:1", "json"
	settings.Apply(&c)
	if c.NodeName != "cp1" || c.Image != "registry.example/kvip:1" || c.LogFormat != "json" ||
		len(c.Kubeconfigs) != 2 ||
		c.StateDir != config.DefaultStateDir ||
		c.Services ||
		c.ServicesName != config.DefaultServicesName {
		t.Errorf("%+v", c)
	}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
}

// FuzzParse: settings that Parse accepts are valid, and the notes name variables that were set.
func FuzzParse(f *testing.F) {
	for _, env := range []string{
		control, control + "svc_enable=true svc_election=true",
		"vip_arp=1 svc_enable=t vip_servicesinterface=auto",
		control + "vip_leaseduration=1 vip_retryperiod=9",
		control + "prometheus_server=:2113 health_check_port=1024",
		control + "lb_enable=true lb_port=6443 bgp_enable=true",
		"cp_enable=true vip_arp=true vip_address=::1",
	} {
		f.Add(env)
	}
	f.Fuzz(func(t *testing.T, text string) {
		env := strings.Fields(text)
		settings, notes, err := ParseEnvironment(env)
		if err != nil {
			var refused *Error
			if !errors.As(err, &refused) || refused.Name == "" {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		values := valuesOf(env)
		for _, note := range notes {
			derived := note.Name == "vip_servicesinterface" || note.Name == "vip_retryperiod"
			if values[note.Name] == "" && !derived || note.Text == "" {
				t.Errorf("%q: note %q", text, note)
			}
		}
		c := config.Default()
		if settings.Apply(&c); c.Validate() != nil {
			t.Errorf("%q gives invalid settings: %v", text, c.Validate())
		}
	})
}

// FuzzServiceSettings: addresses are usable, and there are at most two of them.
func FuzzServiceSettings(f *testing.F) {
	f.Add("192.0.2.10", "eth0", "true")
	f.Add("192.0.2.10,2001:db8::10", "auto", "")
	f.Add("0.0.0.0", "a/b", "x")
	f.Fuzz(func(t *testing.T, addresses, link, ignore string) {
		got, _, err := ParseAnnotations(map[string]string{
			AnnotationAddresses: addresses, annotationPrefix + "serviceInterface": link, annotationPrefix +
				"ignore": ignore,
		})
		if err != nil {
			return
		}
		if got.Ignore && (len(got.Addresses) > 0 || got.Interface != "") {
			t.Errorf("an ignored Service requests %+v", got)
		}
		if err := config.CheckVIPs(got.Addresses); err != nil || len(got.Addresses) > 2 {
			t.Errorf("%q gives %v: %v", addresses, got.Addresses, err)
		}
		if (got.ShareKey != "") != (len(got.Addresses) > 0) {
			t.Errorf("%v with the key %q", got.Addresses, got.ShareKey)
		}
	})
}

// FuzzPoolRanges: the ranges of a pool are in order and do not overlap.
func FuzzPoolRanges(f *testing.F) {
	f.Add("192.0.2.0/28,192.0.2.8/29", "true", "desc")
	f.Add("2001:db8::/64", "", "")
	f.Add("192.0.2.9-192.0.2.3", "x", "asc")
	f.Fuzz(func(t *testing.T, list, skip, order string) {
		pools, _ := ParsePools(
			map[string]string{keyCIDR + global: list, keySkipEnds: skip, keyOrder: order},
		)
		for _, pool := range pools {
			var last netip.Addr
			for _, r := range pool.Ranges {
				if r.Last.Less(r.First) ||
					last.IsValid() && last.Is4() == r.First.Is4() && !last.Less(r.First) {
					t.Errorf("%q gives %v", list, pool.Ranges)
				}
				last = r.Last
			}
		}
	})
}

func TestPoolsOfNamespaces(t *testing.T) {
	pools, problems := ParsePools(map[string]string{
		"cidr-a": "192.0.2.0/30", "range-b": "192.0.2.8-192.0.2.9",
		"range-global":  "198.51.100.1-198.51.100.2",
		"allow-share-a": "true", "allow-share-global": "false", "search-order": "desc",
		"skip-end-ips-in-cidr": "true",
	})
	if len(problems) > 0 {
		t.Errorf("problems %v", problems)
	}
	var got []string
	for _, p := range pools {
		got = append(got, p.Name+" "+strings.Join(p.Namespaces, ",")+" "+rangeTexts(p.Ranges))
		if !p.Descending || p.Shared != (p.Name == "kubevip/cidr-a") {
			t.Errorf("%+v", p)
		}
	}
	want := "kubevip/cidr-a a 192.0.2.1-192.0.2.2; kubevip/range-b b 192.0.2.8-192.0.2.9; " +
		"kubevip/range-global  198.51.100.1-198.51.100.2"
	if text := strings.Join(got, "; "); text != want {
		t.Errorf("got %s, want %s", text, want)
	}
}

func rangeTexts(ranges []ipam.Range) string {
	var all []string
	for _, r := range ranges {
		all = append(all, r.First.String()+"-"+r.Last.String())
	}
	return strings.Join(all, ",")
}

func TestProblemsOfTheConfigMap(t *testing.T) {
	for _, row := range []struct{ key, value, want string }{
		{"cidr-global", "0.0.0.0/32", "requests addresses from a DHCP server"},
		{"cidr-global", "x", "x"},
		{"cidr-", "192.0.2.0/24", "is unknown"},
		{"color", "blue", "is unknown"},
		{"search-order", "up", `"up" is neither asc nor desc; kvip uses asc`},
		{"skip-end-ips-in-cidr", "perhaps", "neither true nor false; kvip uses false"},
		{"allow-share-a", "true", "has no pool of its own"},
		{"allow-share-global", "2", "neither true nor false"},
	} {
		pools, problems := ParsePools(map[string]string{row.key: row.value})
		if len(pools) != 0 || len(problems) != 1 || problems[0].Key != row.key ||
			!strings.Contains(problems[0].Text, row.want) {
			t.Errorf("%s: %s: %v, %v, want %q", row.key, row.value, pools, problems, row.want)
		}
	}
}

func TestRangesYieldToPrefixes(t *testing.T) {
	for name, data := range map[string]map[string]string{
		"of the namespace": {"range-a": "192.0.2.1-192.0.2.2", "cidr-a": "192.0.2.8/30"},
		"of all":           {"range-a": "192.0.2.1-192.0.2.2", "cidr-global": "192.0.2.8/30"},
	} {
		pools, problems := ParsePools(data)
		if len(pools) != 1 || len(problems) != 1 || problems[0].Key != "range-a" ||
			!strings.Contains(problems[0].Text, "is ignored because of cidr-") {
			t.Errorf("%s: %v, %v", name, pools, problems)
		}
	}
}

func TestInterfacesOfNamespaces(t *testing.T) {
	got, problems := ParseInterfaces(map[string]string{
		"interface-global": "eth0", "interface-a": " eth1 ", "interface-b": "a/b",
		"cidr-a": "192.0.2.0/24", "other": "",
	})
	if len(got) != 2 || got[""] != "eth0" || got["a"] != "eth1" {
		t.Errorf("got %v", got)
	}
	if len(problems) != 1 || problems[0].Key != "interface-b" ||
		!strings.Contains(problems[0].Text, "cannot name an interface") {
		t.Errorf("problems %v", problems)
	}
}

func TestHasPoolKeys(t *testing.T) {
	for key, want := range map[string]bool{
		"cidr-global": true, "range-a": true, "cidr-": false, "interface-a": false,
		"allow-share-a": false,
		"a":             false,
	} {
		if got := HasPoolKeys(map[string]string{"x": "", key: ""}); got != want {
			t.Errorf("%s: %t, want %t", key, got, want)
		}
	}
}
