package kubevip

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/kvip/kvip/pkg/config"
)

// Texts of several rows.
const (
	nextHopsMeaning = "the node's own addresses are the next hops, as with `auto_sourceip` and " +
		"`auto_sourceif`; `fixed` ones are `nextHops` of a BGPPeer in the file of `--bgp-config`"
	passwordMeaning = "`password-file=` of `--bgp-peer`; write the password to the file that the " +
		"note names"
	useLocalRouter = "kvip writes no routes to Zebra; let kvip peer with FRR on the node, at 127.0.0.1"
)

// bgpVariables are those of BGP.
var bgpVariables = slices.Concat([]Variable{
	{Name: "bgp_enable", Flag: "bgp", Boolean: true,
		Meaning: "`--announce=bgp`. With `vip_arp` too, kube-vip announces by ARP only, and so does " +
			"kvip",
		RefusedIf: "`vip_leaderelection` or `svc_election` is on with it: there is no leader",
		set:       checkBGP},
	{Name: "bgp_as", Flag: "localAS", Requires: "bgp_enable",
		Meaning: fmt.Sprintf("`--bgp-as`, %d if not set", DefaultAS),
		set:     asValue(func(b *BGP) *uint32 { return &b.AS })},
	{Name: "bgp_routerid", Flag: "bgpRouterID", Requires: "bgp_enable",
		Meaning: "`--bgp-router-id`; in a DaemonSet each node has its own: its IPv4 address",
		set: addrOf(func(b *BGP, a netip.Addr) error {
			if !a.Is4() {
				return errors.New("it is not an IPv4 address")
			}
			b.RouterID = a
			return nil
		})},
	{Name: "bgp_peers", Flag: "bgppeers", Requires: "bgp_enable",
		Meaning: "a `--bgp-peer` for each: the address or `unnumbered:INTERFACE`, AS number, " +
			"password, multihop (`multihop=50`), port, next hops and BFD, separated by colons. A " +
			"password becomes a `password-file=`, whose name a note has. kube-vip ignores the port, and " +
			"passes the milliseconds of BFD as microseconds; kvip uses both as they are written",
		RefusedIf: "there is no peer", set: setPeers},
	{Name: "bgp_peeraddress", Flag: "peerAddress", Requires: "bgp_enable",
		Meaning: "one more `--bgp-peer`, after those of `bgp_peers`",
		set: addrOf(func(b *BGP, a netip.Addr) error {
			b.single.Address = a
			return nil
		})},
	{Name: "bgp_peeras", Flag: "peerAS", Requires: "bgp_enable",
		Meaning: fmt.Sprintf("its AS number, %d if not set", DefaultAS),
		set:     asValue(func(b *BGP) *uint32 { return &b.single.AS })},
	{Name: "bgp_peerpass", Flag: "peerPass", Requires: "bgp_enable",
		Meaning: passwordMeaning, set: inBGP(func(_ *parser, b *BGP, _ string) error {
			b.hasPassword = true
			return nil
		})},
	{Name: "bgp_multihop", Flag: "multihop", Boolean: true, Requires: "bgp_enable",
		Meaning: fmt.Sprintf("`multihop=%d` of that `--bgp-peer`", multihopTTL),
		set: inBGP(func(_ *parser, b *BGP, value string) error {
			return b.single.setMultihop(value)
		})},
	{Name: "bgp_sourceip", Flag: "sourceIP", Requires: "bgp_enable",
		Meaning: "`source=` of each `--bgp-peer` with its address family",
		set: addrOf(func(b *BGP, a netip.Addr) error {
			b.source = a
			return nil
		})},
	{Name: "bgp_sourceif", Flag: "sourceIF", Requires: "bgp_enable",
		Meaning: "`source=` of each `--bgp-peer`", RefusedIf: "`bgp_sourceip` is set, too",
		set: inBGP(func(_ *parser, b *BGP, value string) error {
			if b.sourceInterface = value; !isInterface(value) {
				return fmt.Errorf("%q does not name an interface", value)
			}
			return nil
		})},
	{Name: "bgp_hold_time", Flag: "bgpHoldTimer", Requires: "bgp_enable",
		Meaning: fmt.Sprintf("`--bgp-hold-time`, %s to %s; %s if not set, where kube-vip has %s",
			config.MinBGPHoldTime, config.MaxBGPHoldTime, config.DefaultBGPHoldTime, bgpHoldTime),
		set: inBGP(setHoldTime)},
	{Name: "bgp_keepalive_interval", Flag: "bgpKeepAliveInterval", Requires: "bgp_enable",
		Meaning: "kvip sends a keepalive each third of the hold time",
		set: inBGP(func(_ *parser, b *BGP, value string) error {
			seconds, err := strconv.ParseUint(value, 10, 32)
			b.keepalive = time.Duration(seconds) * time.Second
			if err != nil {
				return errors.New("it is not a number of seconds")
			}
			return nil
		})},
	{Name: "mpbgp_nexthop", Requires: "bgp_enable", Meaning: nextHopsMeaning,
		RefusedIf: "it is `fixed` and a peer has a password: a file for `--bgp-config` has none",
		set:       hopText(func(b *BGP) *string { return &b.mode })},
	{Name: "mpbgp_ipv4", Requires: "bgp_enable", Meaning: nextHopsMeaning,
		set: hopText(func(b *BGP) *string { return &b.hops[0] })},
	{Name: "mpbgp_ipv6", Requires: "bgp_enable", Meaning: nextHopsMeaning,
		set: hopText(func(b *BGP) *string { return &b.hops[1] })},
}, rows(Variable{Meaning: "a node that announces an address has it on its loopback link",
	Requires: "bgp_enable", satisfied: []string{"true"}},
	"bgp_attach_ip_to_interface --bgpAttachIPToInterface bool"),
	rows(Variable{Meaning: "the BGP identifier is the node's IPv4 address, whatever its interface; " +
		"`--bgp-router-id` sets another", Requires: "bgp_enable"},
		"bgp_routerinterface"),
	rows(Variable{Support: Refused, Meaning: "kvip does not read BGP settings from annotations of " +
		"the node (PREFIX/node-asn, peer-asn, peer-ip, src-ip, bgp-pass); write them as bgp_as, " +
		"bgp_peers and bgp_sourceip", Requires: "bgp_enable"},
		"annotation --annotations"),
	rows(Variable{Meaning: useLocalRouter, Requires: "bgp_enable"},
		"zebra_enable --zebra bool"),
	rows(Variable{Meaning: useLocalRouter, Requires: "zebra_enable"},
		"zebra_url --zebraUrl", "zebra_version --zebraVersion",
		"zebra_software_name --zebraSoftwareName"),
)

// inBGP returns a setter that has the settings of BGP.
func inBGP(set func(*parser, *BGP, string) error) func(*parser, string) error {
	return func(p *parser, value string) error { return set(p, p.BGP, value) }
}

// isInterface reports whether a link can have a name.
func isInterface(name string) bool {
	return name != "" && (config.Config{Interface: name}).Validate(config.Interface) == nil
}

// hopText returns a setter for a text about next hops.
func hopText(field func(*BGP) *string) func(*parser, string) error {
	return inBGP(func(_ *parser, b *BGP, value string) error {
		*field(b) = value
		return nil
	})
}

// asValue returns a setter for an AS number.
func asValue(field func(*BGP) *uint32) func(*parser, string) error {
	return inBGP(func(_ *parser, b *BGP, value string) error {
		as, err := parseAS(value)
		if err != nil {
			return fmt.Errorf("%q %w", value, err)
		}
		*field(b) = as
		return nil
	})
}

// addrOf returns a setter for an IP address.
func addrOf(set func(*BGP, netip.Addr) error) func(*parser, string) error {
	return inBGP(func(_ *parser, b *BGP, value string) error {
		addr, err := netip.ParseAddr(value)
		if err != nil {
			return fmt.Errorf("%q is not an IP address", value)
		}
		return set(b, addr)
	})
}

func setPeers(p *parser, value string) error {
	peers, err := parsePeers(value)
	p.BGP.Peers = peers
	return err
}

// setHoldTime moves the hold time into kvip's bounds. 0 is kube-vip's default.
func setHoldTime(p *parser, b *BGP, value string) error {
	seconds, err := strconv.ParseUint(value, 10, 32)
	if err != nil {
		return fmt.Errorf("%q is not a number of seconds", value)
	}
	if seconds == 0 {
		return nil
	}
	given := time.Duration(seconds) * time.Second
	b.HoldTime = min(max(given, config.MinBGPHoldTime), config.MaxBGPHoldTime)
	if b.HoldTime != given {
		p.note("bgp_hold_time", "%s is out of range, kvip uses %s", given, b.HoldTime)
	}
	return nil
}
