package routerlab

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/test/lab/netlab"
	"github.com/kvip/kvip/test/lab/wait"
)

// TestPasswordAndTTLSecurity peers with two nodes. One has the wrong password.
func TestPasswordAndTTLSecurity(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, kind Kind) {
		hosts := newHosts(t, "right", "wrong", "router")
		router := hosts[2]
		cfg := Config{Kind: kind, AS: routerAS}
		for _, h := range hosts[:2] {
			cfg.Neighbors = append(cfg.Neighbors, Neighbor{Addr: h.Addr(true), AS: nodeAS,
				Password: "secret", TTLSecurity: true, Passive: true})
		}
		r := start(t, router, cfg)
		n := Neighbor{Addr: router.Addr(true), Password: "secret", TTLSecurity: true}
		startNode(t, hosts[0], n, announced)
		n.Password = "guess"
		wrong := startNode(t, hosts[1], n, announced)
		inState(t, r, hosts[0].Addr(true), Established)
		learnt(t, r, vip4, hosts[0].Addr(true))
		s, err := r.Session(hosts[1].Addr(true))
		if err != nil || s.State == Established {
			t.Errorf("session with the wrong password: %+v, %v", s, err)
		}
		if _, ok := find(t, r, vip4, hosts[1].Addr(true)); ok {
			t.Error("learnt a route with the wrong password")
		}
		if s, err := wrong.Session(router.Addr(true)); err != nil || s.State == Established {
			t.Errorf("session of the node with the wrong password: %+v, %v", s, err)
		}
	})
}

// TestSessionOverIPv6 has both families in one session, with IPv6 next hops of IPv4 routes where
// the kind has them.
func TestSessionOverIPv6(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, kind Kind) {
		hosts := newHosts(t, "node", "router")
		peer := hosts[0].Addr(false)
		extended := kind.supports("ExtendedNextHop") == nil
		r := start(t, hosts[1], Config{Kind: kind, AS: routerAS, Neighbors: []Neighbor{{Addr: peer,
			AS: nodeAS, Passive: true, IPv4: extended, IPv6: true, ExtendedNextHop: extended, Multihop: 2}}})
		startNode(t, hosts[0], Neighbor{Addr: hosts[1].Addr(false), IPv4: extended, IPv6: true,
			ExtendedNextHop: extended, Multihop: 2}, announced, Announcement{Prefix: vip6})
		learnt(t, r, vip6, peer)
		if !extended {
			return
		}
		if got := learnt(t, r, vip4, peer); len(got.NextHops) == 0 || got.NextHops[0] != peer {
			t.Errorf("next hops of %s: %v", vip4, got.NextHops)
		}
		if kind == FRR || kind == BIRD {
			hops(t, r, vip4, peer)
		}
	})
}

// TestRangeAndMaximumPrefixes has a session with a node of a range, and one with a node that
// announces too much.
func TestRangeAndMaximumPrefixes(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, kind Kind) {
		hosts := newHosts(t, "ranged", "greedy", "router")
		router := hosts[2]
		ranged, greedy := hosts[0].Addr(true), hosts[1].Addr(true)
		cfg := Config{Kind: kind, AS: routerAS, Neighbors: []Neighbor{
			{Listen: netip.PrefixFrom(ranged, 32), AS: nodeAS, GracefulRestart: true},
			{Addr: greedy, AS: nodeAS, Passive: true, MaximumPrefixes: 5, GracefulRestart: true},
		}}
		if kind == ExaBGP {
			if _, err := Start(router, cfg); !errors.Is(err, errors.ErrUnsupported) {
				t.Errorf("Start: %v", err)
			}
			return
		}
		r := start(t, router, cfg)
		startNode(t, hosts[0], Neighbor{Addr: router.Addr(true)}, announced)
		node := start(t, hosts[1], Config{Kind: BIRD, AS: nodeAS, OriginateCount: 20,
			Neighbors: []Neighbor{{Addr: router.Addr(true), AS: routerAS}}})
		inState(t, r, ranged, Established)
		learnt(t, r, vip4, ranged)
		wait.Eventually(t, patience, "the end of the session with too many prefixes", func() bool {
			s, err := node.Session(router.Addr(true))
			return err == nil && s.LastError != ""
		})
		s, err := r.Session(greedy)
		t.Logf("%s reports %+v, %v", kind, s, err)
		ns, _ := node.Session(router.Addr(true))
		t.Logf("the node reports %q", ns.LastError)
	})
}

// TestMultipathAndBFD has two nodes with BFD that announce the same routes.
func TestMultipathAndBFD(t *testing.T) {
	t.Parallel()
	for _, kind := range []Kind{FRR, BIRD} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			hosts := newHosts(t, "a", "b", "router")
			router, bfd := hosts[2], &BFD{Interval: 300 * time.Millisecond, Multiplier: 3}
			cfg := Config{Kind: kind, AS: routerAS}
			for _, h := range hosts[:2] {
				cfg.Neighbors = append(cfg.Neighbors, Neighbor{Addr: h.Addr(true), AS: nodeAS, BFD: bfd,
					Passive: true})
			}
			r := start(t, router, cfg)
			var nodes []*Router
			for _, h := range hosts[:2] {
				nodes = append(nodes, startNode(t, h, Neighbor{Addr: router.Addr(true), BFD: bfd}, announced,
					Announcement{Prefix: vip6}))
			}
			a, b := hosts[0], hosts[1]
			hops(t, r, vip4, a.Addr(true), b.Addr(true))
			if kind == FRR { // which takes the link-local next hop of the two that an IPv6 route has
				hops(t, r, vip6, linkLocal(a), linkLocal(b))
			} else {
				hops(t, r, vip6, a.Addr(false), b.Addr(false))
			}
			for _, h := range hosts[:2] {
				wait.Eventually(t, patience, "BFD", func() bool {
					s, err := r.Session(h.Addr(true))
					return err == nil && s.BFD == "Up"
				})
			}
			if err := nodes[0].Freeze(); err != nil {
				t.Fatal(err)
			}
			hops(t, r, vip4, b.Addr(true))
			if err := nodes[0].Thaw(); err != nil {
				t.Fatal(err)
			}
			hops(t, r, vip4, a.Addr(true), b.Addr(true))
			testBFDOff(t, r, nodes[0])
		})
	}
}

// testBFDOff turns BFD off and on again.
func testBFDOff(t *testing.T, r, node *Router) {
	t.Helper()
	peer := node.Host.Addr(true)
	if err := r.SetBFD(peer, false); err != nil {
		t.Fatal(err)
	}
	wait.Eventually(t, patience, "the end of BFD", func() bool {
		s, err := node.Session(r.Host.Addr(true))
		return err == nil && s.BFD != "Up"
	})
	s, err := node.Session(r.Host.Addr(true))
	t.Logf("the node reports %+v, %v", s, err)
	s, err = r.Session(peer)
	t.Logf("the router reports %+v, %v", s, err)
	if err := r.SetBFD(peer, true); err != nil {
		t.Fatal(err)
	}
	wait.Eventually(t, patience, "BFD again", func() bool {
		s, err := node.Session(r.Host.Addr(true))
		return err == nil && s.BFD == "Up" && s.State == Established
	})
}

// TestUnnumbered has FRR on both sides, which find each other, and then BIRD, which is given the
// address.
func TestUnnumbered(t *testing.T) {
	t.Parallel()
	for _, kind := range []Kind{FRR, BIRD} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			hosts := newHosts(t, "node", "router")
			n := Neighbor{Interface: netlab.LinkName, AS: nodeAS, ExtendedNextHop: true}
			r := start(t, hosts[1], Config{Kind: kind, AS: routerAS, Neighbors: []Neighbor{n}})
			n.AS = routerAS
			if kind == BIRD {
				n.Interface = ""
				n.Addr = linkLocal(hosts[1]).WithZone(netlab.LinkName)
			}
			start(t, hosts[0], Config{Kind: kind, AS: nodeAS, Neighbors: []Neighbor{n},
				Originate: []Announcement{announced}})
			inState(t, r, linkLocal(hosts[0]), Established)
			learnt(t, r, vip4, linkLocal(hosts[0]))
			hops(t, r, vip4, linkLocal(hosts[0]))
		})
	}
}

// linkLocal is a host's address by its MAC (RFC 4291 appendix A).
func linkLocal(h *netlab.Host) netip.Addr {
	m := h.MAC
	return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 8: m[0] ^ 2, 9: m[1], 10: m[2], 11: 0xff,
		12: 0xfe, 13: m[3], 14: m[4], 15: m[5]})
}

// TestEachKindAnnounces has each kind as a node.
func TestEachKindAnnounces(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, kind Kind) {
		hosts := newHosts(t, "node", "router")
		peer := hosts[0].Addr(true)
		r := start(t, hosts[1], Config{Kind: BIRD, AS: routerAS,
			Neighbors: []Neighbor{{Addr: peer, AS: nodeAS}}})
		node := start(t, hosts[0], Config{Kind: kind, AS: nodeAS, Originate: []Announcement{announced},
			Neighbors: []Neighbor{{Addr: hosts[1].Addr(true), AS: routerAS}}})
		got := learnt(t, r, vip4, peer)
		if got.MED != 50 || len(got.ASPath) != 3 ||
			strings.Join(got.Communities, " ") != strings.Join(announced.Communities, " ") ||
			strings.Join(got.LargeCommunities, " ") != "65010:1:2" {
			t.Errorf("got %+v", got)
		}
		if err := node.Withdraw(vip4); err != nil {
			t.Fatal(err)
		}
		wait.Eventually(t, patience, "the withdrawal", func() bool {
			_, ok := find(t, r, vip4, peer)
			return !ok
		})
		second := vip6
		if kind == OpenBGPD {
			second = netip.MustParsePrefix("198.51.100.2/32")
		}
		if err := node.Announce(Announcement{Prefix: second, MED: 7}); err != nil {
			t.Fatal(err)
		}
		if got := learnt(t, r, second, peer); got.MED != 7 {
			t.Errorf("got %+v", got)
		}
	})
}

// TestLeak has routers that announce many routes.
func TestLeak(t *testing.T) {
	t.Parallel()
	for kind, count := range map[Kind]int{BIRD: 100_000, FRR: 5000} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			hosts := newHosts(t, "receiver", "router")
			start(t, hosts[1], Config{Kind: kind, AS: routerAS, OriginateCount: count,
				Neighbors: []Neighbor{{Addr: hosts[0].Addr(true), AS: nodeAS, Passive: true}}})
			r := start(t, hosts[0], Config{Kind: OpenBGPD, AS: nodeAS,
				Neighbors: []Neighbor{{Addr: hosts[1].Addr(true), AS: routerAS}}})
			wait.Eventually(t, patience, "all routes", func() bool {
				s, err := r.Session(hosts[1].Addr(true))
				return err == nil && s.Prefixes == count
			})
			if count > 10_000 { // the table is some 30 MB of JSON
				return
			}
			if all, err := r.Routes(); err != nil || len(all) != count {
				t.Errorf("%d routes in the table, %v", len(all), err)
			}
		})
	}
}

// TestGracefulRestart kills a node that can restart gracefully.
func TestGracefulRestart(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, kind Kind) {
		if kind.supports("GracefulRestart") != nil {
			return
		}
		hosts := newHosts(t, "node", "router")
		peer := hosts[0].Addr(true)
		node := startNode(t, hosts[0], Neighbor{Addr: hosts[1].Addr(true), GracefulRestart: true},
			announced)
		b := node.speaker.(*bird)
		if err := node.writeEtc(birdConf, strings.Replace(b.config(), "graceful restart aware",
			"graceful restart on", 1)); err != nil {
			t.Fatal(err)
		}
		if err := b.command("configure"); err != nil {
			t.Fatal(err)
		}
		r := start(t, hosts[1], Config{Kind: kind, AS: routerAS,
			Neighbors: []Neighbor{{Addr: peer, AS: nodeAS, GracefulRestart: true, Passive: true}}})
		if got := learnt(t, r, vip4, peer); got.Stale {
			t.Errorf("stale before the end of the session: %+v", got)
		}
		// OpenBGPD drops the routes where it reads an End-of-RIB after the end of the session.
		time.Sleep(time.Second)
		if err := node.Kill(); err != nil {
			t.Fatal(err)
		}
		wait.Eventually(t, patience, "a stale route", func() bool {
			route, ok := find(t, r, vip4, peer)
			return ok && route.Stale
		})
	})
}
