package interop

import (
	"fmt"
	"net/netip"
	"runtime/debug"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/kvip/kvip/test/lab/netlab"
	"github.com/kvip/kvip/test/lab/routerlab"
)

// installers are the kinds that change the kernel's routes.
var installers = []routerlab.Kind{routerlab.FRR, routerlab.BIRD}

// installed waits until the kernel of a router has this many of its routes.
func (r *router) installed(t *testing.T, count int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d routes in the kernel of %s", count, r.kind), func() error {
		all, err := r.KernelRoutes()
		if err == nil && len(all) != count {
			err = fmt.Errorf("there are %d", len(all))
		}
		return err
	})
}

// Test5000Routes announces 5000 routes, changes an attribute of all, and withdraws them.
func Test5000Routes(t *testing.T) {
	t.Parallel()
	const count = 5000
	lab := newLab(t)
	single, _ := own(singleNumber)
	host := addHost(t, lab, "node", false, singleNumber)
	routers := startRouters(t, lab, installers, func(routerlab.Kind) routerlab.Config {
		return routerlab.Config{Neighbors: []routerlab.Neighbor{{Addr: single, AS: nodeAS, IPv4: true}}}
	})
	n := startNode(t, host, settings{})
	var peers []string
	for kind := range routers {
		address, _ := own(routerNumber(kind))
		cfg := peerOf(string(kind), address)
		cfg.MaximumPrefixes = count
		n.setPeers(t, cfg)
		n.established(t, cfg.Name)
		peers = append(peers, cfg.Name)
	}
	announce := func(count int, med uint32) {
		must(t, n.call("SetBulk", Bulk{peers, count, attributed(vip4, med).Attributes}, &struct{}{}))
		n.flushed(t)
	}
	announce(count, 50)
	for _, r := range routers {
		r.installed(t, count)
	}
	announce(count, 58)
	before := n.memory(t)
	announce(count, 59)
	announce(count, 60)
	for _, r := range routers {
		eventually(t, "the other attribute in "+string(r.kind), func() error {
			all, err := r.Routes()
			if err != nil {
				return err
			}
			changed := 0
			for _, p := range all {
				if p.MED == 60 {
					changed++
				}
			}
			if changed != count {
				return fmt.Errorf("%d routes have it", changed)
			}
			return nil
		})
		r.installed(t, count)
	}
	n.bounded(t, before)
	announce(0, 0)
	for _, r := range routers {
		r.installed(t, 0)
		n.goesOn(t, string(r.kind))
	}
}

// bounded reports an error if the agent needs 10 MB more than before, in kB. The race detector
// needs up to ten times the memory of the program (Go documentation, "Data Race Detector").
func (n *node) bounded(t *testing.T, before int) {
	t.Helper()
	limit := 10 << 10
	if info, ok := debug.ReadBuildInfo(); ok &&
		slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		limit *= 5
	}
	now := n.memory(t)
	t.Logf("%d kB resident, and %d kB before: at most %d kB more", now, before, limit)
	if now-before > limit {
		t.Errorf("the agent grew by %d kB: want at most %d kB", now-before, limit)
	}
}

// TestRouterLeaks has routers that announce 100000 routes each to the node (B2).
func TestRouterLeaks(t *testing.T) {
	t.Parallel()
	const count = 100_000
	lab := newLab(t)
	single, _ := own(singleNumber)
	host := addHost(t, lab, "node", false, singleNumber)
	routers := startRouters(t, lab, installers, func(routerlab.Kind) routerlab.Config {
		return routerlab.Config{OriginateCount: count,
			Neighbors: []routerlab.Neighbor{{Addr: single, AS: nodeAS, IPv4: true}}}
	})
	n := startNode(t, host, settings{})
	before, already := n.memory(t), receivedBytes(t, host)
	for kind := range routers {
		address, _ := own(routerNumber(kind))
		n.setPeers(t, peerOf(string(kind), address))
		n.setRoutes(t, string(kind), route(vip4))
	}
	const prefixSize = 5 // in an UPDATE
	want := uint64(len(routers) * count * prefixSize)
	eventually(t, "the routes of the routers", func() error {
		if got := receivedBytes(t, host) - already; got < want {
			return fmt.Errorf("the node received %d bytes: want %d", got, want)
		}
		return nil
	})
	for _, r := range routers {
		r.hops(t, vip4, single)
		if s := n.goesOn(t, string(r.kind)); s.UpdatesIgnored == 0 {
			t.Errorf("%s: no UPDATE was ignored", s.Name)
		}
	}
	n.bounded(t, before)
	if got := foreignRoutes(t, host); len(got) != 0 {
		t.Errorf("%d routes of others reached the kernel, such as %v", len(got), got[0])
	}
}

// receivedBytes returns what the host's link has received.
func receivedBytes(t *testing.T, host *netlab.Host) (n uint64) {
	t.Helper()
	must(t, host.Do(func() error {
		link, err := netlink.LinkByName(netlab.LinkName)
		if err == nil {
			n = link.Attrs().Statistics.RxBytes
		}
		return err
	}))
	return n
}

// foreignRoutes returns the routes of a host that the kernel has not added itself.
func foreignRoutes(t *testing.T, host *netlab.Host) (all []netip.Prefix) {
	t.Helper()
	must(t, host.Do(func() error {
		routes, err := netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{},
			netlink.RT_FILTER_TABLE)
		for _, r := range routes {
			if r.Protocol != unix.RTPROT_KERNEL && r.Dst != nil {
				ip, _ := netip.AddrFromSlice(r.Dst.IP)
				bits, _ := r.Dst.Mask.Size()
				all = append(all, netip.PrefixFrom(ip, bits))
			}
		}
		return err
	}))
	return all
}
