package agent

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/link"
	"github.com/kvip/kvip/pkg/vip"
	"github.com/kvip/kvip/test/testutil"
)

// withPassword is a kubeconfig that will never work.
const withPassword = `{"apiVersion":"v1","kind":"Config","current-context":"x","contexts":[{"name":"x","context":{"cluster":"x","user":"x"}}],
	"clusters":[{"name":"x","cluster":{"server":"https://192.0.2.1:6443"}}],"users":[{"name":"x","user":{"username":"u","password":"p"}}]}`

// TestPreflight refuses what this host shows to be wrong, naming the flag and the reason,
// and touches nothing.
func TestPreflight(t *testing.T) {
	testutil.NewHost(t)
	dir := t.TempDir()
	broken := filepath.Join(dir, "broken.conf")
	if err := os.WriteFile(broken, []byte(withPassword), 0o600); err != nil {
		t.Fatal(err)
	}
	// The kernel adds link-local addresses and changes the state of new links by itself meanwhile.
	before := testutil.IP(t, "-oneline addr show scope global")
	for _, c := range []struct {
		name   string
		vips   string
		change func(cfg *config.Config)
		flag   string // "" for none
		reason string // part of the error
	}{
		{"Good", "10.0.0.100,fd00::100", nil, "", ""},
		{"GoodElsewhere", "192.0.2.7", nil, "", ""},
		{"OfThisHost", "10.0.0.1", nil, "vip", "10.0.0.1 is an address of this host, on eth0"},
		{"OfThisHost6", "10.0.0.100,fd00::1", nil, "vip", "fd00::1 is an address of this host, on eth0"},
		{"Network", "10.0.0.0", nil, "vip", "10.0.0.0 is the network address of 10.0.0.0/24"},
		{"Broadcast", "10.0.0.255", nil, "vip", "10.0.0.255 is the broadcast address of 10.0.0.0/24"},
		{"SubnetRouter", "fd00::", nil, "vip",
			"fd00:: is the subnet-router anycast address of fd00::/64"},
		{"NoInterface", "10.0.0.100", func(c *config.Config) {
			c.Interface, c.InterfaceWait = "eth9",
				0
		}, "interface", `"eth9"`},
		{"NoInterfaceYet", "10.0.0.100",
			func(c *config.Config) { c.Interface, c.InterfaceWait = "eth9", time.Second }, "", ""},
		{"NoInterfaceForIt", "192.0.2.7", func(c *config.Config) { c.InterfaceWait = 0 }, "interface",
			"192.0.2.7"},
		{"InterfaceIsThere", "10.0.0.100", func(c *config.Config) { c.InterfaceWait = 0 }, "", ""},
		{"Kubeconfig", "10.0.0.100", func(c *config.Config) { c.Kubeconfigs = []string{broken} },
			"kubeconfig", broken + ": its user must have a client certificate or a token; " +
				"give a kubeconfig whose user has a client certificate or a token"},
		{"KubeconfigDirectory", "10.0.0.100",
			func(c *config.Config) { c.Kubeconfigs = []string{"/none/such/admin.conf"} }, "kubeconfig",
			"/none/such: no such file or directory; give files in existing directories"},
		{"KubeconfigNotYet", "10.0.0.100",
			func(c *config.Config) { c.Kubeconfigs = []string{filepath.Join(dir, "admin.conf")} }, "", ""},
	} {
		cfg := config.Default()
		for text := range strings.SplitSeq(c.vips, ",") {
			cfg.VIPs = append(cfg.VIPs, netip.MustParseAddr(text))
		}
		if c.change != nil {
			c.change(&cfg)
		}
		err := Preflight(cfg)
		var usage *config.UsageError
		switch {
		case c.flag == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.flag != "" && (!errors.As(err, &usage) || usage.Flag != c.flag ||
			!strings.Contains(usage.Error(), c.reason) || usage.Hint == ""):
			t.Errorf("%s: %v, want --%s: %s", c.name, err, c.flag, c.reason)
		}
	}
	if after := testutil.IP(t, "-oneline addr show scope global"); after != before {
		t.Errorf("addresses were\n%sand are\n%s", before, after)
	}
}

// TestPreflightWaitsForKubeconfigs that are not there yet, or not as a whole.
func TestPreflightWaitsForKubeconfigs(t *testing.T) {
	testutil.NewHost(t)
	dir := t.TempDir()
	for name, text := range map[string]string{"empty": "", "cut": withPassword[:len(withPassword)/2],
		"garbage": "\x00\x01"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"empty", "cut", "garbage", "absent", "."} {
		cfg := config.Default()
		cfg.VIPs, cfg.Kubeconfigs = []netip.Addr{vip4}, []string{filepath.Join(dir, name)}
		if err := Preflight(cfg); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	cfg := config.Default()
	cfg.VIPs, cfg.Kubeconfigs, cfg.KubeVIP = []netip.Addr{vip4}, []string{"/none/such/admin.conf"},
		true
	if err := Preflight(cfg); err != nil {
		t.Errorf("in kube-vip's place: %v", err)
	}
}

// TestPreflightOwnAddress accepts the address that an earlier kvip left (E8), by its mark.
func TestPreflightOwnAddress(t *testing.T) {
	testutil.NewHost(t)
	cfg := config.Default()
	cfg.VIPs = []netip.Addr{vip4}
	earlier := vip.Change{
		Address: vip.Address{Addr: vip4, LinkIndex: 7, LinkName: "eth0"}, Valid: time.Minute,
		Proto: vip.ControlPlaneProto,
	}
	if err := vip.Netlink().Apply([]vip.Change{earlier})[0]; err != nil {
		t.Fatal(err)
	}
	if err := Preflight(cfg); err != nil {
		t.Errorf("an address with the mark: %v", err)
	}
	removed, err := Cleanup(nil)
	if err != nil || len(removed) != 1 || removed[0] != "10.0.0.100 from eth0" {
		t.Errorf("cleaned up %v: %v", removed, err)
	}
	testutil.IP(t, "addr add 10.0.0.100/32 dev eth0")
	if err := Preflight(cfg); err == nil {
		t.Error("an address without the mark is accepted")
	}
	if removed, err := Cleanup(nil); err != nil || len(removed) != 0 {
		t.Errorf("cleaned up %v, which is not kvip's: %v", removed, err)
	}
}

// TestCheckVIP needs no host: every prefix of it counts, not only the one it is in.
func TestCheckVIP(t *testing.T) {
	host := []link.HostAddr{
		{Prefix: netip.MustParsePrefix("127.0.0.1/8"), Link: "lo"},
		{Prefix: netip.MustParsePrefix("10.0.0.1/24"), Link: "eth0"},
		{Prefix: netip.MustParsePrefix("10.0.1.1/31"), Link: "eth1"},
		{Prefix: netip.MustParsePrefix("10.0.0.100/32"), Link: "eth0"},
		{Prefix: netip.MustParsePrefix("10.0.0.101/32"), Link: "eth0"},
	}
	marked := []vip.Marked{{Address: vip.Address{Addr: vip4}}}
	for text, good := range map[string]bool{
		"10.0.0.100": true, "10.0.0.101": false, "10.0.0.102": true, "10.0.0.1": false,
		"10.0.0.0": false, "10.0.0.255": false,
		"10.0.1.0": true, // a /31 has no network address (RFC 3021)
		"10.0.1.1": false, "10.0.2.0": true, "fd00::": true,
	} {
		if err := checkVIP(netip.MustParseAddr(text), host, marked); (err == nil) != good {
			t.Errorf("%s: %v", text, err)
		}
	}
}
