package interop

import (
	"fmt"
	"net/netip"
	"sync"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/kvip/kvip/pkg/bgp"
	"github.com/kvip/kvip/test/lab/netlab"
	"github.com/kvip/kvip/test/lab/routerlab"
)

// removals counts how often the kernel of a host removed a route, by prefix.
type removals struct {
	mu    sync.Mutex
	count map[string]int
}

// watchRemovals counts until the test ends.
func watchRemovals(t *testing.T, host *netlab.Host) *removals {
	t.Helper()
	r := &removals{count: map[string]int{}}
	updates, done := make(chan netlink.RouteUpdate, 64), make(chan struct{})
	must(t, host.Do(func() error { return netlink.RouteSubscribe(updates, done) }))
	t.Cleanup(func() { close(done) })
	go func() {
		for u := range updates {
			if u.Type == unix.RTM_DELROUTE && u.Dst != nil {
				r.mu.Lock()
				r.count[u.Dst.String()]++
				r.mu.Unlock()
			}
		}
	}()
	return r
}

func (r *removals) of(prefix netip.Prefix) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count[prefix.String()]
}

// stale matches a path that is kept without a session, or one that is not.
func stale(want bool) func(routerlab.Route) error {
	return func(got routerlab.Route) error {
		if got.Stale != want {
			return fmt.Errorf("there is %+v", got)
		}
		return nil
	}
}

// TestGracefulRestart has two sessions with each router, of which one has graceful restart (B9).
// The hold time is too long to be why a route goes.
func TestGracefulRestart(t *testing.T) {
	t.Parallel()
	kinds := []routerlab.Kind{routerlab.FRR, routerlab.BIRD, routerlab.GoBGP, routerlab.OpenBGPD}
	lab := newLab(t)
	graceful, _ := own(singleNumber)
	plain, _ := own(dualNumber)
	host := addHost(t, lab, "node", false, singleNumber)
	addAddrs(t, host, plain)
	routers := startRouters(t, lab, kinds, func(routerlab.Kind) routerlab.Config {
		return routerlab.Config{Neighbors: []routerlab.Neighbor{
			{Addr: graceful, AS: nodeAS, GracefulRestart: true},
			{Addr: plain, AS: nodeAS, GracefulRestart: true},
		}}
	})
	eachRouter(t, routers, func(t *testing.T, r *router) {
		address, _ := own(routerNumber(r.kind))
		kept, dropped := peerOf("graceful", address), peerOf("plain", address)
		kept.GracefulRestart, kept.Families = bgp.MaxGracefulRestart, both
		n := startNode(t, host, settings{})
		n.setPeers(t, from(graceful, kept), from(plain, dropped))
		n.setRoutes(t, kept.Name, route(vip4), route(vip6))
		n.setRoutes(t, dropped.Name, route(other))
		testGraceful(t, n, r, graceful, plain)
	})
}

// other is the prefix of the session without graceful restart.
var other = netip.MustParsePrefix("198.51.100.2/32")

// testGraceful ends the agent in two ways, starts it again, and has it withdraw its routes.
func testGraceful(t *testing.T, n *node, r *router, graceful, plain netip.Addr) {
	watch := watchRemovals(t, r.Host)
	keeps := func(without bool) { // a session
		r.has(t, vip4, graceful, stale(without))
		r.has(t, vip6, graceful, stale(without))
		r.hops(t, vip4, graceful)
	}
	complete := func() {
		n.established(t, "graceful")
		keeps(false)
		r.has(t, other, plain, anyPath)
		r.hops(t, other, plain)
	}
	complete()
	for _, leave := range []func(){func() { must(t, n.process.Kill()) }, func() { n.stop(t) }} {
		leave()
		keeps(true)
		n.restart(t, settings{Restarted: true})
		n.established(t, "graceful")
		keeps(true) // until the agent knows its routes
		n.announceAgain(t)
		complete()
	}
	if got := watch.of(vip4); got != 0 {
		t.Errorf("the kernel removed the route %d times", got)
	}
	if got := watch.of(other); r.installs() && got != 2 {
		t.Errorf("the kernel removed the route without graceful restart %d times: want 2", got)
	}
	n.setRoutes(t, "graceful")
	n.flushed(t)
	n.stop(t)
	r.hasNot(t, vip4, graceful)
	r.hasNot(t, vip6, graceful)
	r.hops(t, vip4)
	r.hasNot(t, other, plain)
}
