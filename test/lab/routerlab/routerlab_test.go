package routerlab

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/test/lab/netlab"
	"github.com/kvip/kvip/test/lab/wait"
	"github.com/kvip/kvip/test/testutil"
)

const patience = time.Minute

const (
	nodeAS   = 65010
	routerAS = 65000
)

var (
	vip4 = netip.MustParsePrefix("198.51.100.1/32")
	vip6 = netip.MustParsePrefix("2001:db8::1/128")
	// announced has one of each attribute.
	announced = Announcement{Prefix: vip4, MED: 50, Prepend: 2,
		Communities: []string{"65010:7", "65535:0"}, LargeCommunities: []string{"65010:1:2"}}
)

// newHosts builds a lab with hosts of these names, closed with the test. The n-th one has the
// addresses 10.9.0.n and fd09::n.
func newHosts(t *testing.T, names ...string) []*netlab.Host {
	t.Helper()
	testutil.NeedRoot(t)
	for _, kind := range Kinds {
		if err := Installed(kind); err != nil {
			testutil.Unavailable(t, err.Error())
		}
	}
	lab, err := netlab.New(netlab.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			dumpLogs(t, lab)
		}
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	})
	for i, name := range names {
		if _, err := lab.AddHost(netlab.HostConfig{Name: name, Addrs: []netip.Prefix{
			netip.MustParsePrefix(fmt.Sprintf("10.9.0.%d/24", i+1)),
			netip.MustParsePrefix(fmt.Sprintf("fd09::%d/64", i+1)),
		}}); err != nil {
			t.Fatal(err)
		}
	}
	return lab.Hosts()
}

func dumpLogs(t *testing.T, lab *netlab.Lab) {
	for _, h := range lab.Hosts() {
		for _, p := range h.Processes() {
			if text, err := os.ReadFile(p.Log); err == nil {
				t.Logf("%s of %s:\n%s", p.Name, h.Name, text[max(0, len(text)-3000):])
			}
		}
	}
}

// start starts a router, killed with the test.
func start(t *testing.T, host *netlab.Host, cfg Config) *Router {
	t.Helper()
	began := time.Now()
	r, err := Start(host, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s in %s started in %d ms", cfg.Kind, host.Name, time.Since(began).Milliseconds())
	return r
}

// startNode starts BIRD as a node of one router.
func startNode(t *testing.T, host *netlab.Host, n Neighbor, originate ...Announcement) *Router {
	t.Helper()
	n.AS = routerAS
	return start(t, host, Config{Kind: BIRD, AS: nodeAS, Neighbors: []Neighbor{n},
		Originate: originate})
}

// inState waits until a router reports a state of the session with a host.
func inState(t *testing.T, r *Router, peer netip.Addr, want string) SessionInfo {
	t.Helper()
	var s SessionInfo
	wait.Eventually(t, patience, fmt.Sprintf("state %s of %s in %s (%s)", want, peer, r.Host.Name,
		r.cfg.Kind), func() (ok bool) {
		var err error
		s, err = r.Session(peer)
		return err == nil && s.State == want
	})
	return s
}

// find returns the path of a prefix from a neighbor.
func find(t *testing.T, r *Router, prefix netip.Prefix, neighbor netip.Addr) (Route, bool) {
	t.Helper()
	all, err := r.Routes()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(all, func(r Route) bool {
		return r.Prefix == prefix && r.Neighbor == neighbor
	})
	if i < 0 {
		return Route{}, false
	}
	return all[i], true
}

// learnt waits until a path is the best one.
func learnt(t *testing.T, r *Router, prefix netip.Prefix, neighbor netip.Addr) (route Route) {
	t.Helper()
	wait.Eventually(t, patience, fmt.Sprintf("%s in %s", prefix, r.cfg.Kind), func() (ok bool) {
		route, ok = find(t, r, prefix, neighbor)
		return ok && route.Best
	})
	return route
}

// installed returns the next hops of a prefix in the kernel.
func installed(t *testing.T, r *Router, prefix netip.Prefix) []netip.Addr {
	t.Helper()
	all, err := r.KernelRoutes()
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range all {
		if k.Prefix == prefix {
			return k.NextHops
		}
	}
	return nil
}

// hops waits until the kernel has these next hops of a prefix.
func hops(t *testing.T, r *Router, prefix netip.Prefix, want ...netip.Addr) {
	t.Helper()
	wait.Eventually(t, patience, fmt.Sprintf("next hops %v of %s in the kernel of %s", want, prefix,
		r.Host.Name), func() bool { return slices.Equal(installed(t, r, prefix), want) })
}

// eachKind runs a test for each kind in parallel.
func eachKind(t *testing.T, test func(t *testing.T, kind Kind)) {
	for _, kind := range Kinds {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			test(t, kind)
		})
	}
}

func TestEachKindReportsWhatANodeAnnounces(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, kind Kind) {
		hosts := newHosts(t, "node", "router")
		peer, self := hosts[0].Addr(true), hosts[1].Addr(true)
		r := start(t, hosts[1], Config{Kind: kind, AS: routerAS,
			Neighbors: []Neighbor{{Addr: peer, AS: nodeAS, Passive: true}}})
		node := startNode(t, hosts[0], Neighbor{Addr: self}, announced, Announcement{Prefix: vip6})
		inState(t, r, peer, Established)
		inState(t, node, self, Established)
		got := learnt(t, r, vip4, peer)
		want := Route{Prefix: vip4, Neighbor: peer, NextHops: []netip.Addr{peer}, MED: 50, Best: true,
			ASPath: []uint32{nodeAS, nodeAS, nodeAS}, LocalPref: got.LocalPref,
			Communities: announced.Communities, LargeCommunities: announced.LargeCommunities}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
		if got := learnt(t, r, vip6, peer); len(got.NextHops) == 0 || got.NextHops[0].Is4() {
			t.Errorf("next hops of %s: %v", vip6, got.NextHops)
		}
		testKernel(t, r, peer)
		testRefresh(t, r, node, peer)
		if err := node.Withdraw(vip4); err != nil {
			t.Fatal(err)
		}
		wait.Eventually(t, patience, "the withdrawal", func() bool {
			_, ok := find(t, r, vip4, peer)
			return !ok
		})
		testReset(t, r, node, peer)
		testStop(t, r)
	})
}

// testKernel checks the kernel's route, of the kinds that install it.
func testKernel(t *testing.T, r *Router, peer netip.Addr) {
	t.Helper()
	if r.cfg.Kind == FRR || r.cfg.Kind == BIRD {
		hops(t, r, vip4, peer)
	} else if _, err := r.KernelRoutes(); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("KernelRoutes of %s: %v", r.cfg.Kind, err)
	}
}

// testRefresh checks that the node receives ROUTE-REFRESH.
func testRefresh(t *testing.T, r, node *Router, peer netip.Addr) {
	t.Helper()
	err := r.RequestRefresh(peer)
	if r.cfg.Kind == GoBGP {
		if !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("RequestRefresh of GoBGP: %v", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	wait.Eventually(t, patience, "ROUTE-REFRESH", func() bool {
		text, err := os.ReadFile(node.Processes()[0].Log)
		return err == nil && strings.Contains(string(text), "Got ROUTE-REFRESH")
	})
}

// testReset checks that the node is informed of a reset.
func testReset(t *testing.T, r, node *Router, peer netip.Addr) {
	t.Helper()
	if err := r.Reset(peer); err != nil {
		t.Fatal(err)
	}
	wait.Eventually(t, patience, "the NOTIFICATION", func() bool {
		s, err := node.Session(r.Host.Addr(true))
		return err == nil && s.LastError != ""
	})
	s, err := node.Session(r.Host.Addr(true))
	t.Logf("the node reports %q, %v", s.LastError, err)
}

// testStop checks that nothing is left.
func testStop(t *testing.T, r *Router) {
	t.Helper()
	if err := r.Stop(); err != nil {
		t.Error(err)
	}
	if left := r.Host.Processes(); len(left) != 0 {
		t.Errorf("processes are left: %v", left)
	}
	if r.cfg.Kind != FRR && r.cfg.Kind != BIRD {
		return
	}
	if all, err := r.KernelRoutes(); err != nil || len(all) != 0 {
		t.Errorf("routes are left: %v, %v", all, err)
	}
}
