package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/test/testutil"
)

func parseManager(args []string) (config.Config, error) {
	cfg := config.Default()
	fs := pflag.NewFlagSet("manager", pflag.ContinueOnError)
	cfg.AddFlags(fs, config.ManagerGroups()...)
	return cfg, fs.Parse(args)
}

// badInput is one row: `kvip manager` with the arguments must name the flag and the reason.
type badInput struct {
	name   string
	args   []string
	flag   string
	reason string
}

// check runs the row and checks the contract of bad input: exit 2, flag and reason on stderr,
// nothing on stdout.
func (row badInput) check(t *testing.T) {
	t.Helper()
	got := kvip(t, append([]string{"manager"}, row.args...)...)
	if got.code != exitUsage {
		t.Errorf("%s: exit code %d, want %d", row.name, got.code, exitUsage)
	}
	if !strings.Contains(got.stderr, row.flag+": ") || !strings.Contains(got.stderr, row.reason) {
		t.Errorf("%s: stderr names not %s and %q: %s", row.name, row.flag, row.reason, got.stderr)
	}
	if got.stdout != "" {
		t.Errorf("%s: stdout: %s", row.name, got.stdout)
	}
}

func TestBadInput(t *testing.T) {
	const vip = "--vip=192.0.2.10"
	for _, row := range []badInput{
		{"no VIP", nil, "--vip", "no virtual IP"},
		{"empty VIP", []string{"--vip="}, "--vip", "no address"},
		{"VIP is no address", []string{"--vip=banana"}, "--vip", "not an IP address"},
		{"VIP with a prefix", []string{"--vip=192.0.2.10/24"}, "--vip", "prefix"},
		{"two IPv4", []string{"--vip=192.0.2.10,192.0.2.11"}, "--vip", "one family"},
		{"two IPv6 by two flags", []string{"--vip=2001:db8::1", "--vip=2001:db8::2"}, "--vip",
			"one family"},
		{"network", []string{"--vip=0.0.0.1"}, "--vip", "reserved address"},
		{"broadcast", []string{"--vip=255.255.255.255"}, "--vip", "broadcast"},
		{"loopback", []string{"--vip=127.0.0.1"}, "--vip", "loopback"},
		{"loopback 6", []string{"--vip=::1"}, "--vip", "loopback"},
		{"multicast", []string{"--vip=224.0.0.1"}, "--vip", "multicast"},
		{"multicast 6", []string{"--vip=ff02::1"}, "--vip", "multicast"},
		{"unspecified", []string{"--vip=0.0.0.0"}, "--vip", "unspecified"},
		{"unspecified 6", []string{"--vip=::"}, "--vip", "unspecified"},
		{"impossible interface", []string{vip, "--interface=sixteen-letters-"}, "--interface",
			"no Linux interface"},
		{"interface with a space", []string{vip, "--interface=eth0 "}, "--interface",
			"no Linux interface"},
		{"port 0", []string{vip, "--port=0"}, "--port", "out of range"},
		{"port 65536", []string{vip, "--port=65536"}, "--port", "out of range"},
		{"port of letters", []string{vip, "--port=https"}, "--port", "https"},
		{"renew above a third", []string{vip, "--renew-interval=2s"}, "--renew-interval", "third"},
		{"lease of half seconds", []string{vip, "--lease-duration=4500ms"}, "--lease-duration", "whole"},
		{"lease below 3s", []string{vip, "--lease-duration=2s"}, "--lease-duration", "too short"},
		{"public health address", []string{vip, "--health-address=:2113"}, "--health-address",
			"loopback"},
		{"Services' flag without Services", []string{vip, "--services-interface=eth1"},
			"--services-interface", "with --services only"},
		{"unknown flag", []string{vip, "--virtual-ip=192.0.2.10"}, "unknown flag", "--virtual-ip"},
	} {
		t.Run(row.name, row.check)
	}
}

// TestBadInputOfHost has a host of its own, with one link and one address, to be refused for what
// only the host can tell; afterwards that host must be untouched.
func TestBadInputOfHost(t *testing.T) {
	testutil.NeedRoot(t)
	testutil.NewNetns(t)
	for _, args := range []string{
		"link add lan0 type veth peer name lan1",
		"link set lan0 addrgenmode none up",
		"link set lan1 addrgenmode none up",
		"address add 192.0.2.7/24 dev lan0",
		"address add 2001:db8::7/64 dev lan0 nodad",
	} {
		testutil.IP(t, args)
	}
	before := testutil.IP(t, "-o address")

	dir := t.TempDir()
	password := filepath.Join(dir, "password.conf")
	if err := os.WriteFile(password, []byte(strings.Replace(kubeconfig, "token: none",
		"username: u, password: p", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	good := filepath.Join(dir, "good.conf")
	if err := os.WriteFile(good, []byte(kubeconfig), 0o600); err != nil {
		t.Fatal(err)
	}
	file := "--kubeconfig=" + good
	for _, row := range []badInput{
		{"VIP is the host's", []string{"--vip=192.0.2.7", file}, "--vip", "192.0.2.7"},
		{"VIP is the host's, IPv6", []string{"--vip=2001:db8::7", file}, "--vip", "2001:db8::7"},
		{"network of the link", []string{"--vip=192.0.2.0", file}, "--vip", "network"},
		{"broadcast of the link", []string{"--vip=192.0.2.255", file}, "--vip", "broadcast"},
		{"no such interface", []string{"--vip=192.0.2.10", file, "--interface=nosuch0",
			"--interface-wait=0"}, "--interface", "nosuch0"},
		// A file that is missing in an existing directory may be one that kubeadm has yet to write.
		{"kubeconfig nowhere", []string{"--vip=192.0.2.10", "--kubeconfig=" + filepath.Join(dir,
			"nosuch", "admin.conf")}, "--kubeconfig", "nosuch"},
		{"kubeconfig has a password", []string{"--vip=192.0.2.10", "--kubeconfig=" + password},
			"--kubeconfig", "password.conf"},
	} {
		row.check(t) // no t.Run: its goroutine would be on the real host
	}
	if after := testutil.IP(t, "-o address"); after != before {
		t.Errorf("a refused start changed the host's addresses from\n%s\nto\n%s", before, after)
	}
}

// kubeconfig is complete enough to be read; nothing listens there.
const kubeconfig = `apiVersion: v1
kind: Config
current-context: a
contexts:
- {name: a, context: {cluster: a, user: a}}
clusters:
- {name: a, cluster: {server: "https://127.0.0.1:1", insecure-skip-tls-verify: true}}
users:
- {name: a, user: {token: none}}
`
