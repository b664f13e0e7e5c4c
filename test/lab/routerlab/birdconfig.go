package routerlab

import (
	"fmt"
	"net/netip"
	"strings"
)

// birdConf is the name of the configuration below /etc.
const birdConf = "bird/bird.conf"

func (b *bird) files() map[string]string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return map[string]string{birdConf: b.config()}
}

// config returns the configuration. The waits are short, so that tests are.
func (b *bird) config() string {
	var t configText
	t.line("log stderr all;\nrouter id %s;", b.cfg.RouterID)
	// BIRD sleeps up to 3 s with routes to announce. The scan wakes it.
	t.line("attribute int origin_med;\nprotocol device { scan time 1; }")
	merge := "on limit 16"
	if b.cfg.SinglePath {
		merge = "off"
	}
	learn, imported := "off", "none"
	if b.hasMultihop() {
		// The next hops of multihop sessions are found by the routes that others installed.
		t.line("protocol direct { ipv4; ipv6; }")
		learn, imported = "on", "all"
	}
	for _, family := range []string{"ipv4", "ipv6"} {
		t.line("protocol kernel kernel_%s {\n  %s { import %s; export where source = RTS_BGP; };", family,
			family, imported)
		t.line("  learn %s;\n  merge paths %s;\n}", learn, merge)
	}
	t.lineIf(b.hasBFD(), "protocol bfd bfd1 {}")
	current := b.current()
	for _, is4 := range []bool{true, false} {
		b.static(&t, is4, current)
	}
	for i, n := range b.cfg.Neighbors {
		b.neighbor(&t, i, n)
	}
	return t.String()
}

// current returns what BIRD originates now: of two announcements of a prefix, the later one.
func (b *bird) current() (all []Announcement) {
	last := map[netip.Prefix]int{}
	announced := append(b.cfg.announcements(), b.announced...)
	for i, a := range announced {
		last[a.Prefix] = i
	}
	for i, a := range announced {
		if last[a.Prefix] == i && !b.withdrawn[a.Prefix] {
			all = append(all, a)
		}
	}
	return all
}

func birdFamily(is4 bool) string {
	if is4 {
		return "ipv4"
	}
	return "ipv6"
}

func (b *bird) static(t *configText, is4 bool, announcements []Announcement) {
	t.line("protocol static static_%s {\n  %s;", birdFamily(is4), birdFamily(is4))
	for _, a := range announcements {
		if a.Prefix.Addr().Is4() == is4 {
			t.line("  route %s blackhole%s;", a.Prefix, b.attributes(a))
		}
	}
	t.line("}")
}

// attributes returns the block of attributes of a route. BIRD removes the MED of routes that it
// exports to another AS, so the export filter sets it from the attribute origin_med.
func (b *bird) attributes(a Announcement) string {
	var t configText
	t.lineIf(a.MED != 0, "origin_med = %d;", a.MED)
	for range a.Prepend {
		t.line("bgp_path.prepend(%d);", b.cfg.AS)
	}
	for _, c := range a.Communities {
		t.line("bgp_community.add((%s));", strings.ReplaceAll(c, ":", ","))
	}
	for _, c := range a.LargeCommunities {
		t.line("bgp_large_community.add((%s));", strings.ReplaceAll(c, ":", ","))
	}
	if t.Len() == 0 {
		return ""
	}
	return " { " + strings.ReplaceAll(t.String(), "\n", " ") + "}"
}

// birdName is the name of a neighbor's protocol. That of each peer in a range begins with it.
func birdName(i int) string { return fmt.Sprintf("neighbor%d", i) }

func (b *bird) neighbor(t *configText, i int, n Neighbor) {
	local := ""
	if n.BFD != nil && n.Multihop > 0 && n.Addr.IsValid() { // BIRD requires it
		local = b.Host.Addr(n.Addr.Is4()).String() + " "
	}
	t.line("protocol bgp %s {\n  debug { states, events, packets };\n  local %sas %d;",
		birdName(i), local, b.cfg.AS)
	switch {
	case n.Addr.IsValid():
		t.line("  neighbor %s as %d;", n.Addr, n.AS)
	case n.Interface != "":
		t.line("  neighbor range fe80::/10 as %d;\n  interface \"%s\";", n.AS, n.Interface)
	default:
		t.line("  neighbor range %s as %d;", n.Listen, n.AS)
	}
	t.lineIf(!n.Addr.IsValid(), "  dynamic name \"%s_\";", birdName(i))
	if n.Multihop > 0 {
		t.line("  multihop %d;", n.Multihop)
	} else {
		t.line("  direct;")
	}
	t.line("  hold time %d;\n  keepalive time %d;", n.holdSeconds(), n.keepaliveSeconds())
	wait := int(b.cfg.ErrorWait.Seconds())
	t.line("  error wait time %d, %d;\n  error forget time %d;", wait, 5*wait, 5*wait)
	t.line("  connect delay time 1;\n  connect retry time 1;\n  startup hold time 10;")
	t.lineIf(n.Password != "", "  password \"%s\";", n.Password)
	t.lineIf(n.TTLSecurity, "  ttl security on;")
	t.lineIf(n.Passive, "  passive on;")
	if n.BFD != nil {
		t.line("  bfd { interval %d ms; multiplier %d; };", n.BFD.Interval.Milliseconds(),
			n.BFD.Multiplier)
	}
	helper := "off"
	if n.GracefulRestart {
		helper = "aware"
	}
	t.line("  graceful restart %s;\n  long lived graceful restart off;", helper)
	for _, is4 := range []bool{true, false} {
		if is4 && n.IPv4 || !is4 && n.IPv6 {
			birdChannel(t, is4, n)
		}
	}
	t.line("}")
}

func birdChannel(t *configText, is4 bool, n Neighbor) {
	t.line("  %s {\n    import all;", birdFamily(is4))
	t.line("    export filter {")
	t.line("      if source = RTS_BGP then accept;\n      if source != RTS_STATIC then reject;")
	t.line("      if defined(origin_med) then bgp_med = origin_med;\n      accept;\n    };")
	t.lineIf(n.MaximumPrefixes > 0, "    import limit %d action restart;", n.MaximumPrefixes)
	t.lineIf(is4 && n.ExtendedNextHop, "    extended next hop on;")
	t.line("  };")
}
