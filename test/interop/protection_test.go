package interop

import (
	"net/netip"
	"testing"

	"github.com/kvip/kvip/pkg/bgp"
	"github.com/kvip/kvip/test/lab/netlab"
	"github.com/kvip/kvip/test/lab/routerlab"
)

// access is a session that comes up, or does not.
type access struct {
	name     string
	number   int                // of the node's address
	neighbor routerlab.Neighbor // of the router
	peer     bgp.PeerConfig     // of the node
	up       bool
	only4    routerlab.Kind // which has it over IPv4 only
}

// unanswered are reasons of an attempt that the peer's kernel, or the own one, has dropped.
var unanswered = []string{"i/o timeout", "no connection within the connect timeout",
	"no route to host", "the peer sent nothing"}

// testAccess has sessions over both families, from the addresses that addr returns.
func testAccess(t *testing.T, all []access, addr func(number int) (ipv4, ipv6 netip.Addr),
	start func(*netlab.Lab) (*netlab.Host, map[routerlab.Kind]*netlab.Host)) {
	t.Parallel()
	lab := newLab(t)
	host, hosts := start(lab)
	routers := startRoutersIn(t, hosts, func(routerlab.Kind) (cfg routerlab.Config) {
		for _, a := range all {
			a.neighbor.AS = nodeAS
			for f, source := range pair(addr(a.number)) {
				one := a.neighbor
				one.Addr, one.IPv4, one.IPv6 = source, f == 0, f == 1
				cfg.Neighbors = append(cfg.Neighbors, one)
			}
		}
		return cfg
	})
	n := startNode(t, host, settings{})
	eachRouter(t, routers, func(t *testing.T, r *router) {
		type attempt struct {
			access
			name   string
			source netip.Addr
		}
		var attempts []attempt
		for f, address := range pair(own(routerNumber(r.kind))) {
			for _, a := range all {
				if a.only4 == r.kind && bgp.Family(f) == bgp.IPv6 {
					continue
				}
				cfg := a.peer
				base := peerOf(string(r.kind)+" "+a.name+" "+bgp.Family(f).String(), address)
				base.Source = pair(addr(a.number))[f]
				base.Password, base.TTLSecurity, base.Multihop = cfg.Password, cfg.TTLSecurity, cfg.Multihop
				if !a.up {
					base.HoldTime = bgp.MinHoldTime // the time until an attempt ends
				}
				n.setPeers(t, base)
				attempts = append(attempts, attempt{a, base.Name, base.Source})
			}
		}
		for _, a := range attempts {
			if a.up {
				n.established(t, a.name)
				r.inState(t, a.source, true)
				continue
			}
			n.refused(t, a.name, unanswered...)
			r.inState(t, a.source, false)
		}
	})
}

func pair(ipv4, ipv6 netip.Addr) [2]netip.Addr { return [2]netip.Addr{ipv4, ipv6} }

// near returns a lab with a node that has three pairs of addresses on the routers' network.
func near(t *testing.T) func(*netlab.Lab) (*netlab.Host, map[routerlab.Kind]*netlab.Host) {
	return func(lab *netlab.Lab) (*netlab.Host, map[routerlab.Kind]*netlab.Host) {
		node := addHost(t, lab, "node", false, 1)
		for number := 2; number <= 3; number++ {
			ipv4, ipv6 := own(number)
			addAddrs(t, node, ipv4, ipv6)
		}
		return node, routerHosts(t, lab)
	}
}

func routerHosts(t *testing.T, lab *netlab.Lab) map[routerlab.Kind]*netlab.Host {
	t.Helper()
	hosts := map[routerlab.Kind]*netlab.Host{}
	for _, kind := range routerlab.Kinds {
		hosts[kind] = addHost(t, lab, string(kind), true, routerNumber(kind))
	}
	return hosts
}

// far returns a lab whose node is one hop away from the routers' network.
func far(t *testing.T) func(*netlab.Lab) (*netlab.Host, map[routerlab.Kind]*netlab.Host) {
	return func(lab *netlab.Lab) (*netlab.Host, map[routerlab.Kind]*netlab.Host) {
		hop, hosts := addHost(t, lab, "hop", true, 1), routerHosts(t, lab)
		var list []*netlab.Host
		for _, h := range hosts {
			list = append(list, h)
		}
		node := behind(t, lab, hop, list...)
		for number := 3; number <= 4; number++ {
			ipv4, ipv6 := behindAddr(number)
			addAddrs(t, node, ipv4, ipv6)
		}
		return node, hosts
	}
}

// TestPassword has sessions with the router's password, with another one, and without (B12).
func TestPassword(t *testing.T) {
	neighbor := routerlab.Neighbor{Password: "secret"}
	testAccess(t, []access{
		{"right", 1, neighbor, bgp.PeerConfig{Password: "secret"}, true, ""},
		{"wrong", 2, neighbor, bgp.PeerConfig{Password: "guess"}, false, ""},
		{"none", 3, neighbor, bgp.PeerConfig{}, false, ""},
	}, own, near(t))
}

// TestTTLSecurity has sessions with GTSM on both sides (B12). TestMultihop shows what it refuses.
func TestTTLSecurity(t *testing.T) {
	neighbor := routerlab.Neighbor{TTLSecurity: true}
	testAccess(t, []access{
		{"both", 1, neighbor, bgp.PeerConfig{TTLSecurity: true}, true, routerlab.ExaBGP},
	}, own, near(t))
}

// TestMultihop has sessions over a hop: with a TTL for that, with that of a neighbor, and with GTSM
// on the own side only, whose packets the router accepts.
func TestMultihop(t *testing.T) {
	neighbor := routerlab.Neighbor{Multihop: 2}
	testAccess(t, []access{
		{"multihop", 2, neighbor, bgp.PeerConfig{Multihop: 2}, true, ""},
		{"neighbor", 3, neighbor, bgp.PeerConfig{}, false, ""},
		{"GTSM", 4, neighbor, bgp.PeerConfig{TTLSecurity: true}, false, ""},
	}, behindAddr, far(t))
}
