package interop

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/kvip/kvip/pkg/bgp"
	"github.com/kvip/kvip/test/lab/netlab"
	"github.com/kvip/kvip/test/lab/routerlab"
	"github.com/kvip/kvip/test/lab/wait"
	"github.com/kvip/kvip/test/testutil"
)

const (
	nodeAS   = 65010
	routerAS = 65000
	// patience bounds each wait. It is longer than any timer of a router here but longHold.
	patience = time.Minute
	// longHold is the hold time. It cannot be why a session has ended within patience, and is not
	// reached on a busy machine.
	longHold = 3 * time.Minute
	// queryPause is the pause between two questions to a router. Some start a program for each.
	queryPause = 100 * time.Millisecond
)

var (
	vip4 = netip.MustParsePrefix("198.51.100.1/32")
	vip6 = netip.MustParsePrefix("2001:db8::1/128")
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually waits until check returns nil.
func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	must(t, wait.Until(ctx, what, queryPause, check))
}

// newLab builds an empty lab, closed with the test.
func newLab(t *testing.T) *netlab.Lab {
	t.Helper()
	testutil.NeedRoot(t)
	for _, kind := range routerlab.Kinds {
		if err := routerlab.Installed(kind); err != nil {
			testutil.Unavailable(t, err.Error())
		}
	}
	lab, err := netlab.New(netlab.Config{Dir: t.TempDir()})
	must(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			dumpLogs(t, lab)
		}
		must(t, lab.Close())
	})
	return lab
}

// dumpLogs logs the end of each log.
func dumpLogs(t *testing.T, lab *netlab.Lab) {
	logs, _ := filepath.Glob(filepath.Join(lab.Dir, "*", "*.log"))
	for _, name := range logs {
		if text, err := os.ReadFile(name); err == nil && len(text) > 0 {
			t.Logf("%s:\n%s", strings.TrimPrefix(name, lab.Dir), text[max(0, len(text)-2500):])
		}
	}
}

// own returns the addresses of the number-th host of the switch.
func own(number int) (ipv4, ipv6 netip.Addr) {
	return netip.AddrFrom4([4]byte{10, 9, 0, byte(number)}),
		netip.MustParseAddr(fmt.Sprintf("fd09::%d", number))
}

// addHost adds a host with the addresses of a number.
func addHost(t *testing.T, lab *netlab.Lab, name string, forward bool, number int) *netlab.Host {
	t.Helper()
	ipv4, ipv6 := own(number)
	host, err := lab.AddHost(netlab.HostConfig{Name: name, Forward: forward,
		Addrs: []netip.Prefix{netip.PrefixFrom(ipv4, 24), netip.PrefixFrom(ipv6, 64)}})
	must(t, err)
	return host
}

// addAddrs adds further addresses to a host.
func addAddrs(t *testing.T, host *netlab.Host, list ...netip.Addr) {
	t.Helper()
	for _, a := range list {
		bits := 64
		if a.Is4() {
			bits = 24
		}
		must(t, host.AddAddr(netip.PrefixFrom(a, bits)))
	}
}

// router is a router of a lab.
type router struct {
	*routerlab.Router
	kind routerlab.Kind
}

// routerNumber is that of the router of a kind, see own.
func routerNumber(kind routerlab.Kind) int { return 200 + slices.Index(routerlab.Kinds, kind) }

// startRouters starts a router of each kind.
func startRouters(t *testing.T, lab *netlab.Lab, kinds []routerlab.Kind,
	config func(routerlab.Kind) routerlab.Config) map[routerlab.Kind]*router {
	t.Helper()
	hosts := map[routerlab.Kind]*netlab.Host{}
	for _, kind := range kinds {
		hosts[kind] = addHost(t, lab, strings.ToLower(string(kind)), true, routerNumber(kind))
	}
	return startRoutersIn(t, hosts, config)
}

// startRoutersIn starts routers in hosts.
func startRoutersIn(t *testing.T, hosts map[routerlab.Kind]*netlab.Host,
	config func(routerlab.Kind) routerlab.Config) map[routerlab.Kind]*router {
	t.Helper()
	all := map[routerlab.Kind]*router{}
	var group errgroup.Group
	for kind, host := range hosts {
		r := &router{kind: kind}
		all[kind] = r
		cfg := config(kind)
		cfg.Kind, cfg.AS = kind, routerAS
		for i := range cfg.Neighbors {
			cfg.Neighbors[i].Passive, cfg.Neighbors[i].HoldTime = true, longHold
		}
		group.Go(func() (err error) {
			r.Router, err = routerlab.Start(host, cfg)
			return err
		})
	}
	must(t, group.Wait())
	return all
}

// eachRouter runs a subtest for each router, all at once.
func eachRouter(t *testing.T, all map[routerlab.Kind]*router, test func(*testing.T, *router)) {
	for _, kind := range routerlab.Kinds {
		if r := all[kind]; r != nil {
			t.Run(string(kind), func(t *testing.T) {
				t.Parallel()
				test(t, r)
			})
		}
	}
}

// peerOf returns the configuration of a session of external peers. It tries again soon, and its
// hold time is longHold.
func peerOf(name string, address netip.Addr) bgp.PeerConfig {
	return bgp.PeerConfig{
		Name: name, LocalAS: nodeAS, PeerAS: routerAS, RouterID: nodeID, Address: address,
		HoldTime: longHold, ConnectTimeout: 2 * time.Second, MaxRetry: 2 * time.Second,
	}
}

// from returns a configuration with a source.
func from(source netip.Addr, cfg bgp.PeerConfig) bgp.PeerConfig {
	cfg.Source = source
	return cfg
}

// both are the families of a session that carries both.
var both = []bgp.Family{bgp.IPv4, bgp.IPv6}

// path returns the path of a prefix from a neighbor in a router.
func (r *router) path(prefix netip.Prefix, neighbor netip.Addr) (routerlab.Route, bool, error) {
	all, err := r.Routes()
	if err != nil {
		return routerlab.Route{}, false, err
	}
	i := slices.IndexFunc(all, func(p routerlab.Route) bool {
		return p.Prefix == prefix && p.Neighbor == neighbor
	})
	if i < 0 {
		return routerlab.Route{}, false, nil
	}
	return all[i], true, nil
}

// has waits until the router has a path that matches.
func (r *router) has(t *testing.T, prefix netip.Prefix, neighbor netip.Addr,
	match func(routerlab.Route) error) (path routerlab.Route) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s of %s in %s", prefix, neighbor, r.kind), func() (err error) {
		found := false
		switch path, found, err = r.path(prefix, neighbor); {
		case err != nil:
			return err
		case !found:
			return errors.New("there is none")
		}
		return match(path)
	})
	return path
}

// anyPath matches every path.
func anyPath(routerlab.Route) error { return nil }

// hasNot waits until the router has no path of a prefix from a neighbor.
func (r *router) hasNot(t *testing.T, prefix netip.Prefix, neighbor netip.Addr) {
	t.Helper()
	eventually(t, fmt.Sprintf("withdrawal of %s of %s in %s", prefix, neighbor, r.kind), func() error {
		path, found, err := r.path(prefix, neighbor)
		if err == nil && found {
			err = fmt.Errorf("there is %+v", path)
		}
		return err
	})
}

// installs reports whether the router changes the kernel's routes.
func (r *router) installs() bool { return r.kind == routerlab.FRR || r.kind == routerlab.BIRD }

// hops waits until the kernel of a router has these next hops of a prefix. Other kinds have none.
func (r *router) hops(t *testing.T, prefix netip.Prefix, want ...netip.Addr) {
	t.Helper()
	if !r.installs() {
		return
	}
	eventually(t, fmt.Sprintf("next hops %v of %s in the kernel of %s", want, prefix, r.kind),
		func() error {
			all, err := r.KernelRoutes()
			if err != nil {
				return err
			}
			var got []netip.Addr
			for _, k := range all {
				if k.Prefix == prefix {
					got = k.NextHops
				}
			}
			if !slices.Equal(got, want) {
				return fmt.Errorf("there are %v", got)
			}
			return nil
		})
}

// inState waits until the router reports a session, or none.
func (r *router) inState(t *testing.T, peer netip.Addr, up bool) (s routerlab.SessionInfo) {
	t.Helper()
	eventually(t, fmt.Sprintf("session of %s with %s (%t)", r.kind, peer, up), func() (err error) {
		s, err = r.Session(peer)
		if err == nil && (s.State == routerlab.Established) != up {
			err = fmt.Errorf("it is %+v", s)
		}
		return err
	})
	return s
}

// route returns a plain route.
func route(prefix netip.Prefix) bgp.Route { return bgp.Route{Prefix: prefix} }

// behind adds a host that reaches the hosts of the switch through another one, which forwards, and
// is reached by routers through that. Its addresses are those of behindAddr.
func behind(t *testing.T, lab *netlab.Lab, hop *netlab.Host, routers ...*netlab.Host) *netlab.Host {
	t.Helper()
	networks := []netip.Prefix{
		netip.MustParsePrefix("10.8.0.0/24"), netip.MustParsePrefix("fd08::/64"),
	}
	far, err := netlab.AddBehind(hop, "far", networks...)
	must(t, err)
	t.Cleanup(func() {
		far.KillAll()
		must(t, far.Close())
	})
	far.Dir = filepath.Join(lab.Dir, "far")
	far.Etc = filepath.Join(far.Dir, "etc")
	must(t, os.MkdirAll(far.Etc, 0o755))
	for _, host := range routers {
		for i, network := range networks {
			must(t, host.AddRoute(network, hop.Addrs[i].Addr()))
		}
	}
	return far
}

// behindAddr returns the number-th address of the host behind another one, from 2 on.
func behindAddr(number int) (ipv4, ipv6 netip.Addr) {
	return netip.AddrFrom4([4]byte{10, 8, 0, byte(number)}),
		netip.MustParseAddr(fmt.Sprintf("fd08::%d", number))
}
