package interop

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/kvip/kvip/pkg/bgp"
	"github.com/kvip/kvip/test/lab/routerlab"
)

// The addresses of the node of TestPeers: of one session for each family, of one for both, and of
// one with an internal peer.
const (
	singleNumber = iota + 1
	dualNumber
	internalNumber
)

func ptr(n uint32) *uint32 { return &n }

// attributed is a route with each attribute.
func attributed(prefix netip.Prefix, med uint32) bgp.Route {
	return bgp.Route{Prefix: prefix, Attributes: bgp.Attributes{
		Prepend: 1, MED: ptr(med), LocalPref: ptr(med + 100),
		Communities:      []uint32{nodeAS<<16 | 7, nodeAS<<16 | 8},
		LargeCommunities: []bgp.LargeCommunity{{Admin: nodeAS, Data1: 1, Data2: 2}},
	}}
}

// worse makes a route the last resort (B5).
func worse(r bgp.Route) bgp.Route {
	r.Worse = true
	return r
}

// received is how a router reports a route of a session.
func received(r bgp.Route, neighbor, nextHop netip.Addr, internal bool) routerlab.Route {
	want := routerlab.Route{Prefix: r.Prefix, Neighbor: neighbor, NextHops: []netip.Addr{nextHop}}
	if r.MED != nil {
		want.MED = *r.MED
	}
	times := 1 + r.Prepend
	for _, c := range r.Communities {
		want.Communities = append(want.Communities, fmt.Sprintf("%d:%d", c>>16, c&0xffff))
	}
	if r.Worse {
		times += 3
		want.Communities = append(want.Communities, "65535:0")
	}
	for _, c := range r.LargeCommunities {
		want.LargeCommunities = append(want.LargeCommunities,
			fmt.Sprintf("%d:%d:%d", c.Admin, c.Data1, c.Data2))
	}
	if !internal {
		want.ASPath = slices.Repeat([]uint32{nodeAS}, times)
		return want
	}
	want.LocalPref = 100
	switch {
	case r.Worse:
		want.LocalPref = 0
	case r.LocalPref != nil:
		want.LocalPref = *r.LocalPref
	}
	return want
}

// equals returns a comparison with a path. The router itself decides on the LOCAL_PREF of external
// peers, and selects the best path.
func equals(want routerlab.Route, internal bool) func(routerlab.Route) error {
	return func(got routerlab.Route) error {
		if !internal {
			got.LocalPref = 0
		}
		got.Best = false
		slices.Sort(got.Communities)
		if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
			return fmt.Errorf("there is\n%+v, want\n%+v", got, want)
		}
		return nil
	}
}

// session is one of a router with a node.
type session struct {
	name     string
	local    netip.Addr
	internal bool
	hops     [2]netip.Addr // next hops of both families, invalid if it does not carry one
}

// sessionsOf returns the sessions of a router in TestPeers.
func sessionsOf(kind routerlab.Kind) []session {
	single4, single6 := own(singleNumber)
	dual, _ := own(dualNumber)
	internal, _ := own(internalNumber)
	return []session{
		{string(kind) + " IPv4", single4, false, [2]netip.Addr{single4}},
		{string(kind) + " IPv6", single6, false, [2]netip.Addr{bgp.IPv6: single6}},
		{string(kind) + " both", dual, false, [2]netip.Addr{dual, single6}},
		{string(kind) + " internal", internal, true, [2]netip.Addr{internal, single6}},
	}
}

// announce gives a session routes of the families that it carries.
func (s session) announce(t *testing.T, n *node, r *router, routeTo func(netip.Prefix) bgp.Route) {
	t.Helper()
	var routes []bgp.Route
	for f, prefix := range []netip.Prefix{vip4, vip6} {
		if s.hops[f].IsValid() {
			routes = append(routes, routeTo(prefix))
		}
	}
	n.setRoutes(t, s.name, routes...)
	for _, one := range routes {
		want := received(one, s.local, s.hops[bgp.FamilyOf(one.Prefix.Addr())], s.internal)
		r.has(t, one.Prefix, s.local, equals(want, s.internal))
	}
}

// TestPeers has sessions of each kind over IPv4 and over IPv6, with one family and with both, with
// an external and with an internal peer, whose routes change while the sessions go on (B11).
func TestPeers(t *testing.T) {
	t.Parallel()
	lab := newLab(t)
	host := addHost(t, lab, "node", false, singleNumber)
	single4, single6 := own(singleNumber)
	dual, _ := own(dualNumber)
	internal, _ := own(internalNumber)
	addAddrs(t, host, dual, internal)
	routers := startRouters(t, lab, routerlab.Kinds, func(routerlab.Kind) routerlab.Config {
		return routerlab.Config{Neighbors: []routerlab.Neighbor{
			{Addr: single4, AS: nodeAS, IPv4: true}, {Addr: single6, AS: nodeAS, IPv6: true},
			{Addr: dual, AS: nodeAS}, {Addr: internal, AS: routerAS},
		}}
	})
	n := startNode(t, host, settings{})
	for kind := range routers {
		ipv4, ipv6 := own(routerNumber(kind))
		sessions := sessionsOf(kind)
		external := peerOf(sessions[0].name, ipv4)
		external.Type, external.PeerAS = bgp.External, 0
		carriesBoth := from(dual, peerOf(sessions[2].name, ipv4))
		carriesBoth.Families = both
		inside := from(internal, peerOf(sessions[3].name, ipv4))
		inside.Families, inside.LocalAS, inside.Type, inside.PeerAS = both, routerAS, bgp.Internal, 0
		n.setPeers(t, from(single4, external), peerOf(sessions[1].name, ipv6), carriesBoth, inside)
	}
	eachRouter(t, routers, func(t *testing.T, r *router) { testPeer(t, n, r) })
}

// testPeer takes the sessions with one router through changes of their routes.
func testPeer(t *testing.T, n *node, r *router) {
	sessions := sessionsOf(r.kind)
	uptimes := map[string]routerlab.SessionInfo{}
	for _, s := range sessions {
		n.established(t, s.name)
		uptimes[s.name] = r.inState(t, s.local, true)
	}
	for _, s := range sessions {
		s.announce(t, n, r, route)
		s.announce(t, n, r, func(p netip.Prefix) bgp.Route { return attributed(p, 50) })
	}
	testRefresh(t, n, r, sessions[2])
	for _, s := range sessions[2:] {
		s.announce(t, n, r, func(p netip.Prefix) bgp.Route { return worse(attributed(p, 50)) })
		s.announce(t, n, r, func(p netip.Prefix) bgp.Route { return worse(route(p)) })
		s.announce(t, n, r, func(p netip.Prefix) bgp.Route { return attributed(p, 60) })
	}
	for _, s := range sessions {
		s.announce(t, n, r, route)
	}
	for _, s := range sessions {
		n.setRoutes(t, s.name)
		r.hasNot(t, vip4, s.local)
		r.hasNot(t, vip6, s.local)
	}
	for _, s := range sessions {
		if status := n.goesOn(t, s.name); status.Routes != [2]int{} {
			t.Errorf("%s: %s", s.name, describe(status))
		}
		now := r.inState(t, s.local, true)
		if before := uptimes[s.name]; now.Uptime < before.Uptime || now.LastError != before.LastError {
			t.Errorf("%s: the router reports %+v, and before %+v", s.name, now, before)
		}
	}
}

// testRefresh has the router ask for all routes again.
func testRefresh(t *testing.T, n *node, r *router, s session) {
	t.Helper()
	if r.kind == routerlab.GoBGP {
		return
	}
	before, err := n.status(s.name)
	must(t, err)
	must(t, r.RequestRefresh(s.local))
	n.waitFor(t, s.name, "routes sent again", func(now bgp.Status) bool {
		return now.UpdatesSent >= before.UpdatesSent+2 // one for each family
	})
}

// TestRFC8950 has sessions over IPv6 from a host without an address of IPv4. OpenBGPD, which does
// not know the RFC, receives routes of IPv6 only.
func TestRFC8950(t *testing.T) {
	t.Parallel()
	lab := newLab(t)
	host := addHost(t, lab, "node", false, singleNumber)
	single4, single6 := own(singleNumber)
	must(t, host.DelAddr(netip.PrefixFrom(single4, 24)))
	routers := startRouters(t, lab, routerlab.Kinds, func(kind routerlab.Kind) routerlab.Config {
		return routerlab.Config{Neighbors: []routerlab.Neighbor{
			{Addr: single6, AS: nodeAS, ExtendedNextHop: kind != routerlab.OpenBGPD},
		}}
	})
	n := startNode(t, host, settings{})
	for kind := range routers {
		_, ipv6 := own(routerNumber(kind))
		cfg := peerOf(string(kind), ipv6)
		cfg.Families = both
		n.setPeers(t, cfg)
	}
	eachRouter(t, routers, func(t *testing.T, r *router) {
		peer := string(r.kind)
		n.setRoutes(t, peer, attributed(vip4, 50), attributed(vip6, 50))
		r.has(t, vip6, single6, equals(received(attributed(vip6, 50), single6, single6, false), false))
		if r.kind == routerlab.OpenBGPD {
			s := n.established(t, peer)
			if s.Unreachable != 1 || s.NextHops[bgp.IPv4].IsValid() {
				t.Errorf("routes of IPv4: %s", describe(s))
			}
			return
		}
		r.has(t, vip4, single6, equals(received(attributed(vip4, 50), single6, single6, false), false))
		r.hops(t, vip4, single6)
		n.setRoutes(t, peer, route(vip6))
		r.hasNot(t, vip4, single6)
		r.hops(t, vip4)
		n.goesOn(t, peer)
	})
}
