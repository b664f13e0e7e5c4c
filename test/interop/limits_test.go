package interop

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/bgp"
	"github.com/kvip/kvip/test/lab/routerlab"
)

// prefixes returns the first /32 of 100.72.0.0/13.
func prefixes(count int) []netip.Prefix {
	all := make([]netip.Prefix, count)
	for i := range all {
		all[i] = netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 72, byte(i >> 8), byte(i)}), 32)
	}
	return all
}

// distinct returns routes that share no UPDATE: FRR does not count the routes within one.
func distinct(count int) (all []bgp.Route) {
	for i, p := range prefixes(count) {
		all = append(all, bgp.Route{Prefix: p, Attributes: bgp.Attributes{MED: ptr(uint32(i) + 1)}})
	}
	return all
}

// limit is the maximum of the routers.
const limit = 10

// TestMaximumPrefixes has two sessions with each router: one with an own limit below that of the
// router (B10), and one without, whose routes exceed that of the router.
func TestMaximumPrefixes(t *testing.T) {
	t.Parallel()
	kinds := []routerlab.Kind{routerlab.FRR, routerlab.BIRD, routerlab.GoBGP, routerlab.OpenBGPD}
	lab := newLab(t)
	careful, _ := own(singleNumber)
	greedy, _ := own(dualNumber)
	host := addHost(t, lab, "node", false, singleNumber)
	addAddrs(t, host, greedy)
	routers := startRouters(t, lab, kinds, func(routerlab.Kind) routerlab.Config {
		return routerlab.Config{Neighbors: []routerlab.Neighbor{
			{Addr: careful, AS: nodeAS, IPv4: true, MaximumPrefixes: limit},
			{Addr: greedy, AS: nodeAS, IPv4: true, MaximumPrefixes: limit},
		}}
	})
	n := startNode(t, host, settings{})
	eachRouter(t, routers, func(t *testing.T, r *router) {
		address, _ := own(routerNumber(r.kind))
		limited := from(careful, peerOf(string(r.kind)+" careful", address))
		limited.MaximumPrefixes = limit - 1
		t.Run("own", func(t *testing.T) {
			t.Parallel()
			testOwnLimit(t, n, r, limited)
		})
		t.Run("router", func(t *testing.T) {
			t.Parallel()
			testRouterLimit(t, n, r, from(greedy, peerOf(string(r.kind)+" greedy", address)))
		})
	})
}

// testOwnLimit keeps the number of routes below the limit of the router.
func testOwnLimit(t *testing.T, n *node, r *router, cfg bgp.PeerConfig) {
	n.setPeers(t, cfg)
	last := bgp.Route{Prefix: vip4, ControlPlane: true}
	n.setRoutes(t, cfg.Name, append(distinct(2*limit), last)...)
	r.has(t, vip4, cfg.Source, anyPath)
	n.waitFor(t, cfg.Name, "refused routes", func(s bgp.Status) bool {
		return s.Established() && s.Refused == limit+2 && s.Routes == [2]int{limit - 1, 0}
	})
	n.setRoutes(t, cfg.Name, append(distinct(limit-2), last)...)
	n.waitFor(t, cfg.Name, "all routes", func(s bgp.Status) bool { return s.Refused == 0 })
	eventually(t, "all routes in the router", func() error {
		info, err := r.Session(cfg.Source)
		if err == nil && info.Prefixes != limit-1 {
			err = fmt.Errorf("it has %d", info.Prefixes)
		}
		return err
	})
	n.goesOn(t, cfg.Name)
}

// testRouterLimit exceeds the limit of the router, which ends the session.
func testRouterLimit(t *testing.T, n *node, r *router, cfg bgp.PeerConfig) {
	began := time.Now()
	n.setPeers(t, cfg)
	n.setRoutes(t, cfg.Name, distinct(2*limit)...)
	reasons := []string{"maximum number of prefixes reached"}
	if r.kind == routerlab.GoBGP { // which may close the socket before it has read everything
		reasons = append(reasons, "connection reset by peer")
	}
	n.ended(t, cfg.Name, reasons...)
	first := n.history(t, cfg.Name).Attempts
	eventually(t, "two more attempts", func() error {
		if got := n.history(t, cfg.Name).Attempts; got < first+2 {
			return fmt.Errorf("%d, and %d before", got, first)
		}
		return nil
	})
	// The pauses are 1 s and more, less the jitter of a quarter.
	got, most := n.history(t, cfg.Name).Attempts, 2+int(time.Since(began)/(700*time.Millisecond))
	if got > most {
		t.Errorf("%d attempts within %v: want at most %d", got, time.Since(began), most)
	}
	if r.kind == routerlab.GoBGP {
		return // it has no session with the peer until an operator enables it
	}
	n.setRoutes(t, cfg.Name, distinct(limit-1)...)
	if r.kind == routerlab.FRR || r.kind == routerlab.OpenBGPD { // an operator must clear it
		must(t, r.Reset(cfg.Source))
	}
	last := distinct(limit - 1)[limit-2].Prefix
	r.has(t, last, cfg.Source, anyPath)
	n.established(t, cfg.Name)
}
