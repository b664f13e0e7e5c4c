package interop

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/kvip/kvip/pkg/bgp"
	"github.com/kvip/kvip/test/lab/netlab"
	"github.com/kvip/kvip/test/lab/routerlab"
)

// linkLocal is a host's address by its MAC (RFC 4291 appendix A).
func linkLocal(h *netlab.Host) netip.Addr {
	m := h.MAC
	return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 8: m[0] ^ 2, 9: m[1], 10: m[2], 11: 0xff,
		12: 0xfe, 13: m[3], 14: m[4], 15: m[5]})
}

// TestUnnumbered has a session over link-local addresses, which both sides learn from router
// advertisements. FRR does not know the node before it has sent one. The node has no other address.
func TestUnnumbered(t *testing.T) {
	t.Parallel()
	lab := newLab(t)
	host, err := lab.AddHost(netlab.HostConfig{Name: "node"})
	must(t, err)
	r := startRouters(t, lab, []routerlab.Kind{routerlab.FRR},
		func(routerlab.Kind) routerlab.Config {
			return routerlab.Config{Neighbors: []routerlab.Neighbor{
				{Interface: netlab.LinkName, AS: nodeAS, ExtendedNextHop: true},
			}}
		})[routerlab.FRR]
	n := startNode(t, host, settings{Advertiser: true})
	cfg := peerOf("unnumbered", netip.Addr{})
	cfg.Discover, cfg.Families = bgp.Discovery{Interface: netlab.LinkName}, both
	n.setPeers(t, cfg)
	n.setRoutes(t, cfg.Name, route(vip4), route(vip6))
	s := n.established(t, cfg.Name)
	if want := linkLocal(r.Host).WithZone(netlab.LinkName); s.Address != want {
		t.Errorf("peer %v: want %v", s.Address, want)
	}
	local := linkLocal(host)
	r.inState(t, local, true)
	for _, prefix := range []netip.Prefix{vip4, vip6} {
		r.has(t, prefix, local, anyPath)
		r.hops(t, prefix, local)
	}
	// The session of a router that starts again comes back.
	must(t, r.Reset(local))
	n.waitFor(t, cfg.Name, "another session", func(s bgp.Status) bool { return s.Sessions > 1 })
	r.hops(t, vip4, local)
	n.stop(t)
	r.hops(t, vip4)
}

// TestGateway has sessions with the gateways of both default routes, and then with that of another
// one. FRR is the first gateway, and BIRD the second.
func TestGateway(t *testing.T) {
	t.Parallel()
	lab := newLab(t)
	host := addHost(t, lab, "node", false, singleNumber)
	single4, single6 := own(singleNumber)
	sources := pair(single4, single6)
	defaults := [2]netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
	routers := startRouters(t, lab, installers, func(routerlab.Kind) routerlab.Config {
		return routerlab.Config{Neighbors: []routerlab.Neighbor{
			{Addr: single4, AS: nodeAS, IPv4: true}, {Addr: single6, AS: nodeAS, IPv6: true},
		}}
	})
	n := startNode(t, host, settings{Advertiser: true})
	for f := range defaults {
		family := bgp.Family(f)
		cfg := peerOf(family.String(), netip.Addr{})
		cfg.Discover = bgp.Discovery{Gateway: true, Family: family}
		n.setPeers(t, cfg)
	}
	n.setRoutes(t, bgp.IPv4.String(), route(vip4), route(vip6))
	n.waitFor(t, bgp.IPv4.String(), "the reason", func(s bgp.Status) bool {
		return strings.Contains(s.Reason, "the default route of IPv4 has none")
	})
	for _, kind := range installers {
		r := routers[kind]
		gateways := pair(own(routerNumber(kind)))
		for f, to := range defaults {
			must(t, host.AddRoute(to, gateways[f]))
		}
		if kind == routerlab.BIRD { // the sessions with the first gateway end, and find the second one
			for _, source := range sources {
				must(t, routers[routerlab.FRR].Reset(source))
			}
		}
		for f, prefix := range []netip.Prefix{vip4, vip6} {
			r.has(t, prefix, sources[f], anyPath)
			r.hops(t, prefix, sources[f])
			s := n.established(t, bgp.Family(f).String())
			if s.Address != gateways[f] {
				t.Errorf("%s: the peer is %v: want %v", s.Name, s.Address, gateways[f])
			}
		}
	}
}
