package bgp

import (
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	codec "github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

// received is what a peer knows of a prefix: its attributes as a text.
type received map[netip.Prefix]string

// apply decodes one UPDATE, applies it to the table, and returns how many prefixes it announces and
// withdraws.
func (r received) apply(data []byte, options ...*codec.MarshallingOption) (announced,
	withdrawn []netip.Prefix, err error) {
	m, err := codec.ParseBGPMessage(data, options...)
	if err != nil {
		return nil, nil, err
	}
	u, ok := m.Body.(*codec.BGPUpdate)
	if !ok {
		return nil, nil, fmt.Errorf("%T is no UPDATE", m.Body)
	}
	prefixes := func(list []codec.PathNLRI) (all []netip.Prefix) {
		for _, n := range list {
			all = append(all, n.NLRI.(*codec.IPAddrPrefix).Prefix)
		}
		return all
	}
	var text []string
	announced, withdrawn = prefixes(u.NLRI), prefixes(u.WithdrawnRoutes)
	for _, a := range u.PathAttributes {
		switch a := a.(type) {
		case *codec.PathAttributeMpReachNLRI:
			announced = append(announced, prefixes(a.Value)...)
			text = append(text, fmt.Sprintf("next hop %v", a.Nexthop))
			if a.LinkLocalNexthop.IsValid() {
				text = append(text, fmt.Sprintf("and %v", a.LinkLocalNexthop))
			}
		case *codec.PathAttributeMpUnreachNLRI:
			withdrawn = append(withdrawn, prefixes(a.Value)...)
		case *codec.PathAttributeNextHop:
			text = append(text, fmt.Sprintf("next hop %v", a.Value))
		case *codec.PathAttributeAsPath:
			path := make([]string, 0, len(a.Value))
			for _, p := range a.Value {
				path = append(path, fmt.Sprint(p.GetAS()))
			}
			text = append(text, "path"+strings.Join(path, ""))
		case *codec.PathAttributeOrigin:
			text = append(text, fmt.Sprintf("origin %d", a.Value))
		case *codec.PathAttributeMultiExitDisc:
			text = append(text, fmt.Sprintf("med %d", a.Value))
		case *codec.PathAttributeLocalPref:
			text = append(text, fmt.Sprintf("pref %d", a.Value))
		case *codec.PathAttributeCommunities:
			text = append(text, fmt.Sprintf("communities %x", a.Value))
		case *codec.PathAttributeLargeCommunities:
			text = append(text, fmt.Sprintf("large %v", a.Values))
		default:
			return nil, nil, fmt.Errorf("unexpected attribute %T", a)
		}
	}
	for _, p := range withdrawn {
		delete(r, p)
	}
	for _, p := range announced {
		r[p] = strings.Join(text, ", ")
	}
	return announced, withdrawn, nil
}

// applyAll applies UPDATEs.
func (r received) applyAll(t *testing.T, all [][]byte, options ...*codec.MarshallingOption) {
	t.Helper()
	for _, data := range all {
		if _, _, err := r.apply(data, options...); err != nil {
			t.Fatal(err)
		}
	}
}

// external is what an external session over IPv4 has agreed on.
func external() encoder {
	e := encoder{localAS: 65010}
	e.agreed.FourOctetAS = true
	e.agreed.Families = [families]bool{true, true}
	e.nextHops = [families]netip.Addr{netip.MustParseAddr("10.0.0.11"),
		netip.MustParseAddr("fd00::11")}
	return e
}

// serialize returns the bytes of messages.
func serialize(t *testing.T, messages []*codec.BGPMessage, err error) (all [][]byte) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range messages {
		data, err := encode(m)
		if err != nil {
			t.Fatal(err)
		}
		if len(data) > maxSize {
			t.Errorf("a message has %d bytes", len(data))
		}
		all = append(all, data)
	}
	return all
}

func route(prefix string) Route { return Route{Prefix: netip.MustParsePrefix(prefix)} }

func TestAttributes(t *testing.T) {
	five := uint32(5)
	plain := Attributes{}
	rich := Attributes{Prepend: 2, LocalPref: &five, MED: &five, Communities: []uint32{0x10002},
		LargeCommunities: []LargeCommunity{{1, 2, 3}}}
	worse := rich
	worse.Worse = true
	known := Attributes{Worse: true, Communities: []uint32{GracefulShutdown}}
	internal, old, v6 := external(), external(), external()
	internal.agreed.Internal = true
	old.agreed.FourOctetAS = false
	v6.nextHops[IPv4] = netip.MustParseAddr("fe80::1%eth0")
	for name, c := range map[string]struct {
		encoder encoder
		a       Attributes
		prefix  string
		want    string
	}{
		"external": {external(), plain, "198.51.100.1/32",
			"origin 0, path[65010], next hop 10.0.0.11"},
		"IPv6": {external(), plain, "2001:db8::1/128", "origin 0, path[65010], next hop fd00::11"},
		"attributes": {external(), rich, "198.51.100.1/32", "origin 0, path[65010 65010 65010], " +
			"next hop 10.0.0.11, med 5, communities [10002], large [1:2:3]"},
		"worse": {external(), worse, "198.51.100.1/32", "origin 0, path[65010 65010 65010 65010 65010 " +
			"65010], next hop 10.0.0.11, med 5, communities [10002 ffff0000], large [1:2:3]"},
		"worse already": {external(), known, "198.51.100.1/32",
			"origin 0, path[65010 65010 65010 65010], next hop 10.0.0.11, communities [ffff0000]"},
		"internal": {internal, plain, "198.51.100.1/32", "origin 0, path, next hop 10.0.0.11, pref 100"},
		"internal, attributes": {internal, rich, "198.51.100.1/32",
			"origin 0, path, next hop 10.0.0.11, med 5, pref 5, communities [10002], large [1:2:3]"},
		"internal, worse": {internal, worse, "198.51.100.1/32", "origin 0, path, next hop 10.0.0.11, " +
			"med 5, pref 0, communities [10002 ffff0000], large [1:2:3]"},
		"two octets": {old, rich, "198.51.100.1/32", "origin 0, path[65010 65010 65010], " +
			"next hop 10.0.0.11, med 5, communities [10002], large [1:2:3]"},
		"RFC 8950": {v6, plain, "198.51.100.1/32",
			"origin 0, path[65010], next hop fe80::1, and fe80::1"},
	} {
		t.Run(name, func(t *testing.T) {
			r := Route{Prefix: netip.MustParsePrefix(c.prefix), Attributes: c.a}
			got := received{}
			option := &codec.MarshallingOption{Use2ByteAS: !c.encoder.agreed.FourOctetAS}
			messages, err := c.encoder.announce([]Route{r})
			got.applyAll(t, serialize(t, messages, err), option)
			parts := strings.Split(got[r.Prefix], ", ")
			want := strings.Split(c.want, ", ")
			slices.Sort(parts)
			slices.Sort(want)
			if !slices.Equal(parts, want) {
				t.Errorf("%v\nwant %v", parts, want)
			}
			messages, err = c.encoder.withdraw([]netip.Prefix{r.Prefix})
			got.applyAll(t, serialize(t, messages, err))
			if len(got) != 0 {
				t.Errorf("%v is left after the withdrawal", got)
			}
		})
	}
}

// packedRoutes returns routes of both families with some sets of attributes, large ones among them.
func packedRoutes(count int) []Route {
	med := []uint32{1, 2}
	routes := make([]Route, count)
	for i := range routes {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 32)
		if i%3 == 0 {
			a := netip.MustParseAddr("2001:db8::").As16()
			a[14], a[15] = byte(i>>8), byte(i)
			p = netip.PrefixFrom(netip.AddrFrom16(a), 128)
		}
		routes[i] = Route{Prefix: p, Attributes: Attributes{MED: &med[i%2]}}
		if i%7 == 0 {
			routes[i].Communities = make([]uint32, MaxCommunities)
			routes[i].LargeCommunities = make([]LargeCommunity, MaxCommunities)
			routes[i].Prepend, routes[i].Worse = MaxPrepend, true
		}
	}
	return routes
}

// TestB14Packing: many routes are in few messages, each with one set of attributes, none larger
// than RFC 4271 allows, and the peer has exactly the routes.
func TestB14Packing(t *testing.T) {
	routes := packedRoutes(5000)
	want := map[netip.Prefix]bool{}
	for _, r := range routes {
		want[r.Prefix] = true
	}
	for name, e := range map[string]encoder{"external": external(), "RFC 8950": func() encoder {
		e := external()
		e.nextHops = [families]netip.Addr{netip.MustParseAddr("fe80::1"),
			netip.MustParseAddr("fe80::1")}
		return e
	}()} {
		t.Run(name, func(t *testing.T) {
			messages, err := e.announce(routes)
			got := received{}
			all := serialize(t, messages, err)
			for _, data := range all {
				announced, _, err := got.apply(data)
				if err != nil {
					t.Fatal(err)
				}
				sets := map[string]bool{}
				for _, p := range announced {
					i := slices.IndexFunc(routes, func(r Route) bool { return r.Prefix == p })
					sets[routes[i].key()] = true
				}
				if len(sets) != 1 {
					t.Errorf("a message has %d sets of attributes", len(sets))
				}
			}
			// About 2860 prefixes of 5 bytes and 1430 of 17: 5000 of them fit into 10 messages or so,
			// and each of the 8 sets has one that is not full.
			if len(all) > 25 {
				t.Errorf("%d messages", len(all))
			}
			if len(got) != len(want) {
				t.Errorf("the peer has %d routes of %d", len(got), len(want))
			}
			prefixes := slices.Collect(maps.Keys(want))
			messages, err = e.withdraw(prefixes)
			got.applyAll(t, serialize(t, messages, err))
			if len(got) != 0 {
				t.Errorf("%d routes are left", len(got))
			}
		})
	}
}

// TestB10ControlPlaneComesFirst: no route of a Service is before one of the control plane, even if
// these have two sets of attributes.
func TestB10ControlPlaneComesFirst(t *testing.T) {
	first4, first6 := route("198.51.100.1/32"), route("2001:db8::1/128")
	first4.ControlPlane, first6.ControlPlane = true, true
	routes := []Route{route("10.0.0.1/32"), route("2001:db8::2/128"), first4, route("10.0.0.2/32"),
		first6}
	table := table{map[netip.Prefix]string{}}
	c := table.diff(routes, 4, func(Family) bool { return true })
	messages, err := external().encode(c, true)
	var order []netip.Prefix
	var empty int
	for _, data := range serialize(t, messages, err) {
		announced, _, err := received{}.apply(data)
		if err != nil {
			t.Fatal(err)
		}
		if len(announced) == 0 {
			empty++
		}
		order = append(order, announced...)
	}
	want := []netip.Prefix{first4.Prefix, first6.Prefix, routes[0].Prefix, routes[1].Prefix}
	if !slices.Equal(order, want) || c.refused != 1 {
		t.Errorf("%v and %d refused, want %v and 1", order, c.refused, want)
	}
	if empty != 2 {
		t.Errorf("%d ends of RIB, want one of each family", empty)
	}
}

func TestNextHops(t *testing.T) {
	type hops = [families]netip.Addr
	none, v4, v6 := netip.Addr{}, netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")
	local, fixed4, fixed6 := netip.MustParseAddr("fe80::1%eth0"), v4.Next(), v6.Next()
	link4, link6 := fixed4.Next(), fixed6.Next()
	both := agreed{}
	both.Families = [families]bool{true, true}
	rfc8950, only4 := both, both
	rfc8950.IPv4OverIPv6, only4.Families = true, [families]bool{IPv4: true}
	link := hops{link4, link6}
	for name, c := range map[string]struct {
		local       netip.Addr
		agreed      agreed
		link, fixed hops
		want        hops
	}{
		"over IPv4":           {v4, both, hops{}, hops{}, hops{v4, none}},
		"over IPv6":           {v6, both, hops{}, hops{}, hops{none, v6}},
		"the link's":          {v4, both, link, hops{}, hops{v4, link6}},
		"the link's, IPv6":    {v6, both, link, hops{}, hops{link4, v6}},
		"one family":          {v4, only4, link, hops{}, hops{v4, none}},
		"RFC 8950":            {local, rfc8950, hops{}, hops{}, hops{local, local}},
		"RFC 8950, not used":  {v6, rfc8950, link, hops{}, hops{link4, v6}},
		"fixed":               {v4, both, link, hops{fixed4, fixed6}, hops{fixed4, fixed6}},
		"fixed, not agreed":   {v4, both, link, hops{fixed6, none}, hops{none, link6}},
		"fixed, RFC 8950":     {v4, rfc8950, link, hops{fixed6, none}, hops{fixed6, link6}},
		"fixed, not a family": {v4, only4, link, hops{none, fixed6}, hops{v4, none}},
	} {
		cfg := validPeer(nil)
		cfg.NextHops = c.fixed
		got := nextHops(cfg, c.local, c.agreed, func(f Family) netip.Addr { return c.link[f] })
		if got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// TestOpen decodes the own OPEN as a peer would.
func TestOpen(t *testing.T) {
	both := []Family{IPv4, IPv6}
	for name, c := range map[string]struct {
		change     func(*PeerConfig)
		families   []Family
		restarting bool
		as         uint16
		want       Open
	}{
		"IPv4": {nil, []Family{IPv4}, false, 65010, Open{AS: 65010, HoldTime: 9,
			Capabilities: Capabilities{Families: [families]bool{IPv4: true}, IPv4OverIPv6: true}}},
		"IPv6": {nil, []Family{IPv6}, false, 65010, Open{AS: 65010, HoldTime: 9,
			Capabilities: Capabilities{Families: [families]bool{IPv6: true}}}},
		"AS_TRANS": {func(c *PeerConfig) { c.LocalAS, c.HoldTime = 4200000000, MaxHoldTime }, both, false,
			transAS, Open{AS: 4200000000, HoldTime: 65535, Capabilities: Capabilities{
				Families: [families]bool{true, true}, IPv4OverIPv6: true}}},
		"restart": {func(c *PeerConfig) { c.GracefulRestart = MaxGracefulRestart }, both, true, 65010,
			Open{AS: 65010, HoldTime: 9, Capabilities: Capabilities{
				Families: [families]bool{true, true}, IPv4OverIPv6: true, HardReset: true}}},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := validPeer(c.change).open(c.families, c.restarting)
			data := serialize(t, []*codec.BGPMessage{m}, err)[0]
			c.want.Version, c.want.ID = 4, [4]byte{10, 0, 0, 11}
			c.want.FourOctetAS, c.want.Refresh = true, true
			if got := decode(data); !reflect.DeepEqual(got, c.want) {
				t.Errorf("%+v, want %+v", got, c.want)
			}
			if got := m.Body.(*codec.BGPOpen).MyAS; got != c.as {
				t.Errorf("AS %d, want %d", got, c.as)
			}
		})
	}
}
