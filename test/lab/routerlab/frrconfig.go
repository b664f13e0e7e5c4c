package routerlab

import (
	"fmt"
	"strings"
)

// configText collects the lines of a configuration.
type configText struct{ strings.Builder }

func (t *configText) line(format string, args ...any) { fmt.Fprintf(t, format+"\n", args...) }

// lineIf adds a line if a condition is true.
func (t *configText) lineIf(condition bool, format string, args ...any) {
	if condition {
		t.line(format, args...)
	}
}

func (f frr) files() map[string]string {
	return map[string]string{
		// vty sockets belong to frrvty, and a daemon's user must be a member of the group.
		"group":          etcFiles["group"] + "frrvty:x:110:root\n",
		"frr/zebra.conf": f.zebra(), "frr/bfdd.conf": f.bfdd(), "frr/bgpd.conf": f.bgpd(),
	}
}

// zebra sends router advertisements each second where a neighbor has no address: the neighbors
// find each other by them.
func (f frr) zebra() string {
	var t configText
	t.line("hostname %s", f.Host.Name)
	for _, n := range f.cfg.Neighbors {
		if n.Interface != "" {
			t.line("interface %s\n no ipv6 nd suppress-ra\n ipv6 nd ra-interval 1\nexit", n.Interface)
		}
	}
	return t.String()
}

// frrProfile is the BFD profile of a neighbor. Each has one, to be turned off by itself.
func frrProfile(i int) string { return fmt.Sprintf("p%d", i) }

func (f frr) bfdd() string {
	var t configText
	t.line("hostname %s\nbfd", f.Host.Name)
	for i, n := range f.cfg.Neighbors {
		if n.BFD == nil {
			continue
		}
		ms := n.BFD.Interval.Milliseconds()
		t.line(" profile %s", frrProfile(i))
		t.line("  detect-multiplier %d\n  receive-interval %d\n  transmit-interval %d",
			n.BFD.Multiplier, ms, ms)
		t.line(" exit")
	}
	t.line("exit")
	return t.String()
}

// frrName is how FRR names a neighbor: by address, interface or, of a range, peer group.
func frrName(i int, n Neighbor) string {
	switch {
	case n.Addr.IsValid():
		return n.Addr.WithZone("").String()
	case n.Interface != "":
		return n.Interface
	default:
		return fmt.Sprintf("range%d", i)
	}
}

func (f frr) bgpd() string {
	var t configText
	t.line("hostname %s", f.Host.Name)
	for _, a := range f.cfg.Originate {
		t.line("%s", strings.Join(f.routeMap(a), "\n"))
	}
	t.line("router bgp %d", f.cfg.AS)
	t.line(" bgp router-id %s", f.cfg.RouterID)
	for _, option := range []string{"no bgp ebgp-requires-policy", "no bgp network import-check",
		"no bgp default ipv4-unicast", "bgp bestpath as-path multipath-relax"} {
		t.line(" %s", option)
	}
	for i, n := range f.cfg.Neighbors {
		f.neighbor(&t, i, n)
	}
	f.addressFamily(&t, true)
	f.addressFamily(&t, false)
	t.line("exit")
	return t.String()
}

func (f frr) neighbor(t *configText, i int, n Neighbor) {
	name := frrName(i, n)
	set := func(condition bool, format string, args ...any) {
		t.lineIf(condition, " neighbor %s %s", name, fmt.Sprintf(format, args...))
	}
	set(n.Listen.IsValid(), "peer-group")
	set(n.Interface != "", "interface")
	set(true, "remote-as %d", n.AS)
	t.lineIf(n.Listen.IsValid(), " bgp listen range %s peer-group %s", n.Listen, name)
	set(true, "timers connect 1")
	set(true, "timers %d %d", n.keepaliveSeconds(), n.holdSeconds())
	set(n.Password != "", "password %s", n.Password)
	set(n.TTLSecurity, "ttl-security hops 1")
	set(n.Multihop > 0, "ebgp-multihop %d", n.Multihop)
	set(n.Passive, "passive")
	set(n.BFD != nil, "bfd")
	set(n.BFD != nil, "bfd profile %s", frrProfile(i))
	set(n.ExtendedNextHop, "capability extended-nexthop")
	set(n.GracefulRestart, "graceful-restart-helper")
	set(!n.GracefulRestart, "graceful-restart-disable")
}

func (f frr) addressFamily(t *configText, is4 bool) {
	t.line(" address-family %s", frrFamily(is4))
	for i, n := range f.cfg.Neighbors {
		if is4 && !n.IPv4 || !is4 && !n.IPv6 {
			continue
		}
		name := frrName(i, n)
		t.line("  neighbor %s activate", name)
		t.lineIf(n.MaximumPrefixes > 0, "  neighbor %s maximum-prefix %d", name, n.MaximumPrefixes)
	}
	paths := 16
	if f.cfg.SinglePath {
		paths = 1
	}
	t.line("  maximum-paths %d\n  maximum-paths ibgp %d", paths, paths)
	for _, a := range f.cfg.Originate {
		t.lineIf(a.Prefix.Addr().Is4() == is4, "  %s", frrNetwork(a))
	}
	if is4 {
		for _, p := range Originated(f.cfg.OriginateCount) {
			t.line("  network %s", p)
		}
	}
	t.line(" exit-address-family")
}
