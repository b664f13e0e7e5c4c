package kubevip

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/kvip/kvip/pkg/config"
)

// byBGP is the least that kube-vip announces an address with by BGP.
var byBGP = []string{"cp_enable=true", "bgp_enable=true", "address=198.51.100.10",
	"vip_leaderelection=false", "vip_interface=lo"}

// argsOf returns the arguments of kvip about BGP.
func argsOf(s Settings) string {
	c := config.Default()
	s.Apply(&c)
	return strings.Join(slices.DeleteFunc(c.Args(), func(arg string) bool {
		return !strings.HasPrefix(arg, "--bgp-") && !strings.HasPrefix(arg, "--health-url")
	}), " ")
}

// TestEveryVariableOfBGP has the rows of the table of BGP, with the notes of each.
func TestEveryVariableOfBGP(t *testing.T) {
	const one = "--bgp-as=65000 --bgp-peer=192.0.2.1,as=65001"
	const peer = "bgp_peers=192.0.2.1:65001 "
	for _, row := range []struct{ env, args, notes string }{
		{peer, one, ""},
		{peer + "bgp_as=65010", "--bgp-as=65010 --bgp-peer=192.0.2.1,as=65001", ""},
		{peer + "bgp_routerid=192.0.2.11",
			"--bgp-as=65000 --bgp-router-id=192.0.2.11 --bgp-peer=192.0.2.1,as=65001", ""},
		{peer + "bgp_routerinterface=eth0", one, "bgp_routerinterface"},
		{"bgp_peers=192.0.2.1:65001::false,192.0.2.2:65001::true",
			one + " --bgp-peer=192.0.2.2,as=65001,multihop=50", ""},
		{"bgp_peers=192.0.2.1:65001:s3cret",
			one + ",password-file=/etc/kvip/bgp/192.0.2.1.password", "bgp_peers"},
		{"bgp_peers=[2001:db8::1]:65001:s3cret:false",
			"--bgp-as=65000 --bgp-peer=2001:db8::1,as=65001," +
				"password-file=/etc/kvip/bgp/2001-db8--1.password", "bgp_peers"},
		{"bgp_peers=192.0.2.1:65001::false:1179",
			"--bgp-as=65000 --bgp-peer=192.0.2.1:1179,as=65001", "bgp_peers"},
		{"bgp_peers=192.0.2.1:65001::false:179:", one, ""},
		{"bgp_peers=192.0.2.1:65001::false:179::true;;;", one + ",bfd=300ms/3", "bgp_peers"},
		{"bgp_peers=192.0.2.1:65001::false:179::true;100;200;5", one + ",bfd=200ms/5",
			"bgp_peers bgp_peers"},
		{"bgp_peers=192.0.2.1:65001:::::false;300;300;3", one, ""},
		{"bgp_peers=unnumbered:eth1:65001", "--bgp-as=65000 --bgp-peer=interface=eth1,as=65001", ""},
		{"bgp_peers=unnumbered:eth1", "--bgp-as=65000 --bgp-peer=interface=eth1,as=external",
			"bgp_peers"},
		{"bgp_peers=192.0.2.1:65001::false/mpbgp_nexthop=auto_sourceif", one, ""},
		{"bgp_peers=192.0.2.1:65001::false:179:mpbgp_nexthop=auto_sourceip", one, ""},
		{"bgp_peeraddress=192.0.2.1 bgp_peeras=65001", one, ""},
		{"bgp_peeraddress=192.0.2.1", "--bgp-as=65000 --bgp-peer=192.0.2.1,as=65000", ""},
		{peer + "bgp_peeraddress=192.0.2.2 bgp_peeras=65002 bgp_peerpass=s3cret bgp_multihop=true",
			one + " --bgp-peer=192.0.2.2,as=65002," +
				"password-file=/etc/kvip/bgp/192.0.2.2.password,multihop=50", "bgp_peers"},
		{peer + "bgp_sourceip=192.0.2.11", one + ",source=192.0.2.11", ""},
		{peer + "bgp_sourceip=2001:db8::11", one, "bgp_sourceip"},
		{peer + "bgp_sourceif=eth1", one + ",source=eth1", ""},
		{"bgp_sourceif=eth1 bgp_peers=unnumbered:eth2:65001",
			"--bgp-as=65000 --bgp-peer=interface=eth2,as=65001", ""},
		{peer + "bgp_hold_time=30 bgp_keepalive_interval=10", one + " --bgp-hold-time=30s", ""},
		{peer + "bgp_keepalive_interval=10", one, ""},
		{peer + "bgp_hold_time=30 bgp_keepalive_interval=5", one + " --bgp-hold-time=30s",
			"bgp_keepalive_interval"},
		{peer + "bgp_hold_time=240", one + " --bgp-hold-time=3m0s", "bgp_hold_time"},
		{peer + "bgp_hold_time=1", one + " --bgp-hold-time=3s", "bgp_hold_time"},
		{peer + "bgp_hold_time=0", one, ""},
		{peer + "bgp_attach_ip_to_interface=true", one, ""},
		{peer + "bgp_attach_ip_to_interface=false", one, "bgp_attach_ip_to_interface"},
		{peer + "vip_interface=eth0", one, "vip_interface"},
		{peer + "mpbgp_nexthop=auto_sourceif bgp_sourceif=eth1", one + ",source=eth1", ""},
		{peer + "zebra_enable=true zebra_url=unix:/run/zserv.api", one, "zebra_enable zebra_url"},
		{peer + "control_plane_health_check_address=https://localhost:6443/livez", one, ""},
		{peer + "control_plane_health_check_address=https://localhost:7443/ok",
			"--health-url=https://localhost:7443/ok " + one, ""},
		{peer + "control_plane_health_check_failure_threshold=5", one,
			"control_plane_health_check_failure_threshold"},
	} {
		s, notes, err := ParseManifest(nil, append(slices.Clone(byBGP), strings.Fields(row.env)...))
		if err != nil {
			t.Errorf("%s: %v", row.env, err)
			continue
		}
		got, want := strings.Fields(argsOf(s)), strings.Fields(row.args)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) || strings.Join(names(notes), " ") != row.notes {
			t.Errorf("%s:\ngot  %s\nwant %s\nnotes %v", row.env, got, want, notes)
		}
	}
}

// TestFixedNextHops are not among the flags.
func TestFixedNextHops(t *testing.T) {
	for _, env := range []string{
		"bgp_peers=192.0.2.1:65001 mpbgp_nexthop=fixed mpbgp_ipv4=192.0.2.11 mpbgp_ipv6=2001:db8::11",
		"bgp_peers=192.0.2.1:65001::::mpbgp_nexthop=fixed;mpbgp_ipv4=192.0.2.11 " +
			"mpbgp_ipv6=2001:db8::11", // the list has no place for the colons of an IPv6 address
		"bgp_peers=192.0.2.1:65001::false/mpbgp_nexthop=fixed;mpbgp_ipv6=2001:db8::11 " +
			"mpbgp_nexthop=auto_sourceif mpbgp_ipv4=192.0.2.11",
	} {
		all := append(slices.Clone(byBGP), strings.Fields(env)...)
		s, _, err := ParseManifest(nil, all)
		if err != nil {
			t.Errorf("%s: %v", env, err)
			continue
		}
		want := [2]netip.Addr{netip.MustParseAddr("192.0.2.11"), netip.MustParseAddr("2001:db8::11")}
		if p := s.BGP.Peers[0]; !p.HasNextHops() || p.NextHops != want || !s.BGP.DualStack {
			t.Errorf("%s: %+v", env, s.BGP)
		}
		if _, _, err := ParseEnvironment(all); err == nil ||
			!strings.Contains(err.Error(), "mpbgp_nexthop: kvip reads fixed next hops") {
			t.Errorf("%s: kvip manager: %v", env, err)
		}
	}
}

// TestBGPRefuses names the variable, and quotes nothing that may be a password.
func TestBGPRefuses(t *testing.T) {
	for _, row := range []struct{ env, name, says string }{
		{"", "bgp_peers", "there is no router"},
		{"bgp_peers=192.0.2.1", "bgp_peers", "AS number is missing"},
		{"bgp_peers=192.0.2.1:0", "bgp_peers", "AS number is not a number from 1"},
		{"bgp_peers=192.0.2.1:65001,s3cret:1", "bgp_peers", "peer 2: its first field"},
		{"bgp_peers=192.0.2.1:65001:pass:s3cret", "bgp_peers", "multihop is neither"},
		{"bgp_peers=192.0.2.1:65001:::s3cret", "bgp_peers", "port is not"},
		{"bgp_peers=192.0.2.1:65001::::s3cret", "bgp_peers", "next hops have a name without"},
		{"bgp_peers=192.0.2.1:65001::::s3cret=1", "bgp_peers", "next hops are not"},
		{"bgp_peers=192.0.2.1:65001:::::s3cret", "bgp_peers", "BFD does not have four parts"},
		{"bgp_peers=192.0.2.1:65001:::::s3cret;;;", "bgp_peers", "BFD is neither"},
		{"bgp_peers=192.0.2.1:65001:::::true;s3cret;;", "bgp_peers", "BFD has a part"},
		{"bgp_peers=192.0.2.1:65001:::::true;1;1;3", "bgp_peers", "BFD is out of range"},
		{"bgp_peers=192.0.2.1:65001:::::true;300;300;1", "bgp_peers", "BFD is out of range"},
		{"bgp_peers=192.0.2.1:65001::::::s3cret", "bgp_peers", "more than 7 fields"},
		{"bgp_peers=[2001:db8::1:65001", "bgp_peers", "no ] at its end"},
		{"bgp_peers=[fe80::1]:65001", "bgp_peers", "link-local"},
		{"bgp_peers=router.example:65001", "bgp_peers", "not an IP address"},
		{"bgp_peers=unnumbered:s3cret/1:65001", "bgp_peers", "does not name an interface"},
		{"bgp_peers=192.0.2.1:65001,192.0.2.1:65002", "bgp_peers", "given twice"},
		{"bgp_as=0", "bgp_as", "from 1"},
		{"bgp_routerid=2001:db8::1", "bgp_routerid", "not an IPv4"},
		{"bgp_routerid=0.0.0.0 bgp_peers=192.0.2.1:65001", "bgp_routerid", "not an IPv4"},
		{"bgp_peeraddress=router", "bgp_peeraddress", "not an IP address"},
		{"bgp_sourceip=a", "bgp_sourceip", "not an IP address"},
		{"bgp_sourceif=a/b", "bgp_sourceif", "not name an interface"},
		{"bgp_peers=192.0.2.1:1 bgp_sourceif=eth0 bgp_sourceip=192.0.2.9", "bgp_sourceip", "remove one"},
		{"bgp_hold_time=x", "bgp_hold_time", "seconds"},
		{"bgp_keepalive_interval=x", "bgp_keepalive_interval", "seconds"},
		{"bgp_peers=192.0.2.1:1 mpbgp_nexthop=self", "mpbgp_nexthop", "mode is unknown"},
		{"bgp_peers=192.0.2.1:1 mpbgp_nexthop=fixed", "mpbgp_nexthop", "neither mpbgp_ipv4"},
		{"bgp_peers=192.0.2.1:1 mpbgp_nexthop=fixed mpbgp_ipv4=2001:db8::1", "mpbgp_ipv4", "family"},
		{"bgp_peers=192.0.2.1:1:s3cret mpbgp_nexthop=fixed mpbgp_ipv4=192.0.2.9", "mpbgp_nexthop",
			"no passwords"},
		{"bgp_peers=192.0.2.1:1 annotation=metal.equinix.com", "annotation", "annotations of the node"},
		{"bgp_peers=192.0.2.1:1 vip_leaderelection=true", "vip_leaderelection", "no leader"},
		{"bgp_peers=192.0.2.1:1 svc_enable=true svc_election=true", "svc_election", "no leader"},
		{"bgp_peers=192.0.2.1:1 control_plane_health_check_address=ftp://x",
			"control_plane_health_check_address", "ftp://x"},
	} {
		_, _, err := ParseManifest(nil, append(slices.Clone(byBGP), strings.Fields(row.env)...))
		var refused *Error
		if !errors.As(err, &refused) || refused.Name != row.name ||
			!strings.Contains(refused.Problem, row.says) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v, want one of %s that has %q", row.env, err, row.name, row.says)
		}
	}
}

// TestTheAgentHasNoFilesAndObjects: what needs them is translated, and refused in the place of
// kube-vip.
func TestTheAgentHasNoFilesAndObjects(t *testing.T) {
	for env, name := range map[string]string{
		"bgp_peers=192.0.2.1:65001:s3cret":              "bgp_peers",
		"bgp_peeraddress=192.0.2.1 bgp_peerpass=s3cret": "bgp_peers",
		"bgp_peers=192.0.2.1:65001 svc_enable=true":     "svc_enable",
	} {
		all := append(slices.Clone(byBGP), strings.Fields(env)...)
		_, _, err := ParseEnvironment(all)
		var refused *Error
		if !errors.As(err, &refused) || refused.Name != name || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", env, err)
		}
		if _, _, err := ParseManifest(nil, all); err != nil {
			t.Errorf("%s: kvip migrate: %v", env, err)
		}
	}
}

// TestFlagsOfBGP mean their variables.
func TestFlagsOfBGP(t *testing.T) {
	flags, err := Arguments([]string{"--bgp", "--controlplane", "--address=198.51.100.10",
		"--localAS=65010", "--bgpRouterID=192.0.2.11", "--bgppeers=192.0.2.1:65001::false",
		"--sourceIF", "eth1", "--peerAddress=192.0.2.2", "--peerAS=65001", "--multihop"})
	if err != nil {
		t.Fatal(err)
	}
	s, notes, err := Parse(flags, nil)
	const want = "--bgp-as=65010 --bgp-router-id=192.0.2.11 " +
		"--bgp-peer=192.0.2.1,as=65001,source=eth1 " +
		"--bgp-peer=192.0.2.2,as=65001,multihop=50,source=eth1"
	if err != nil || len(notes) > 0 || argsOf(s) != want {
		t.Errorf("got %s, notes %v, %v", argsOf(s), notes, err)
	}
}

func FuzzParsePeers(f *testing.F) {
	for _, text := range []string{
		"192.0.2.1:65001:p:true:1179:mpbgp_nexthop=fixed;mpbgp_ipv4=1.2.3.4:true;300;300;3",
		"[2001:db8::1]:1", "unnumbered:eth0", ",,", "[", "unnumbered:", "a/mpbgp_"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		peers, err := parsePeers(text)
		if err != nil && peers != nil {
			t.Fatalf("%v with %v", err, peers)
		}
		for _, p := range peers {
			if p.Target() == "" || p.AS == 0 && p.ASType == "" {
				t.Fatalf("%+v", p)
			}
		}
	})
}
