// Package bgplab is a cluster whose nodes announce addresses by BGP to two routers, FRR and BIRD,
// with a host behind each of them that uses the addresses. The routers install the routes of all
// nodes and select one by the hash of addresses and ports.
//
// It starts an agent in a node and has no knowledge of what the agent does.
package bgplab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/kvip/kvip/test/lab/cluster"
	"github.com/kvip/kvip/test/lab/netlab"
	"github.com/kvip/kvip/test/lab/routerlab"
)

// AS numbers of the nodes, and of the routers.
const (
	NodeAS   = 65010
	RouterAS = 65000
)

// Config of a Lab. The zero value is usable.
type Config struct {
	Cluster cluster.Config
	// BFD are the timers that the routers use at first. Nil: 300 ms, 3 times.
	BFD *routerlab.BFD
	// HoldTime that the routers offer; 0: 9 s.
	HoldTime time.Duration
}

// Lab is the cluster with its routers.
type Lab struct {
	*cluster.Cluster
	Routers []*Router // FRR, BIRD
	cfg     Config
	echoes  []*echo
}

// Router is a router with a host behind it.
type Router struct {
	*routerlab.Router // Restart replaces it
	Host              *netlab.Host
	kind              routerlab.Kind
	Addr              netip.Addr   // of the nodes' network, IPv4
	Client            *netlab.Host // behind it

	own, behind []netip.Prefix // networks, of each family
}

// routeFrom adds a node's routes to the networks behind the router.
func (r *Router) routeFrom(n *cluster.Node) error {
	for f, network := range r.behind {
		if err := n.Host.AddRoute(network, r.own[f].Addr()); err != nil {
			return err
		}
	}
	return nil
}

// Reroute adds a node's routes again, which the kernel removes with a link that goes down.
func (l *Lab) Reroute(n *cluster.Node) error {
	var errs []error
	for _, r := range l.Routers {
		errs = append(errs, r.routeFrom(n))
	}
	return errors.Join(errs...)
}

// networks returns the address of the n-th router in the nodes' networks, and the networks behind
// it.
func networks(n int) (own, behind []netip.Prefix) {
	return []netip.Prefix{
			netip.MustParsePrefix(fmt.Sprintf("10.77.0.%d/24", 201+n)),
			netip.MustParsePrefix(fmt.Sprintf("fd6b:7669:7000::%d/64", 201+n)),
		}, []netip.Prefix{
			netip.MustParsePrefix(fmt.Sprintf("10.79.%d.0/24", n)),
			netip.MustParsePrefix(fmt.Sprintf("fd6b:7669:7079:%d::/64", n)),
		}
}

// Start starts cluster and routers. It needs root.
func Start(ctx context.Context, cfg Config) (*Lab, error) {
	if cfg.BFD == nil {
		cfg.BFD = &routerlab.BFD{Interval: 300 * time.Millisecond, Multiplier: 3}
	}
	cfg.Cluster.Forward = true // as nodes with pods do
	c, err := cluster.Start(ctx, cfg.Cluster)
	if err != nil {
		return nil, err
	}
	l := &Lab{Cluster: c, cfg: cfg}
	for i, kind := range []routerlab.Kind{routerlab.FRR, routerlab.BIRD} {
		if err := l.addRouter(i, kind); err != nil {
			return nil, errors.Join(err, l.Close())
		}
	}
	for _, n := range l.Nodes {
		e, err := startEcho(n.Host)
		if err != nil {
			return nil, errors.Join(err, l.Close())
		}
		l.echoes = append(l.echoes, e)
	}
	return l, nil
}

// addRouter adds a router, the host behind it, and the nodes' routes to that.
func (l *Lab) addRouter(i int, kind routerlab.Kind) error {
	own, behind := networks(i)
	name := strings.ToLower(string(kind))
	host, err := l.Lab.AddHost(netlab.HostConfig{Name: name, Addrs: own, Forward: true})
	if err != nil {
		return err
	}
	r := &Router{Host: host, kind: kind, Addr: own[0].Addr()}
	l.Routers = append(l.Routers, r)
	if r.Client, err = netlab.AddBehind(host, "client-"+name, behind...); err != nil {
		return err
	}
	r.own, r.behind = own, behind
	for _, n := range l.Nodes {
		if err := r.routeFrom(n); err != nil {
			return err
		}
	}
	r.Router, err = routerlab.Start(host, l.routerConfig(kind))
	return err
}

// routerConfig returns the configuration of a router.
func (l *Lab) routerConfig(kind routerlab.Kind) routerlab.Config {
	cfg := routerlab.Config{Kind: kind, AS: RouterAS}
	for _, n := range l.Nodes {
		cfg.Neighbors = append(cfg.Neighbors, routerlab.Neighbor{
			Addr: n.Host.Addr(true), AS: NodeAS, IPv4: true, IPv6: true, BFD: l.cfg.BFD,
			HoldTime: l.cfg.HoldTime,
		})
	}
	return cfg
}

// Restart starts a router that was killed, with its first configuration.
func (l *Lab) Restart(r *Router) (err error) {
	r.Router, err = routerlab.Start(r.Host, l.routerConfig(r.kind))
	return err
}

// Repair ends all faults of nodes, routers and links, and starts agents and routers that have ended
// again. It returns when all API servers are ready.
func (l *Lab) Repair(ctx context.Context) error {
	var errs []error
	for _, r := range l.Routers {
		errs = append(errs, r.Thaw(), r.Host.Plug(), r.Host.LinkUp())
		if slices.ContainsFunc(r.Processes(), func(p *netlab.Process) bool { return !p.Running() }) {
			errs = append(errs, r.Kill(), l.Restart(r))
		}
	}
	errs = append(errs, l.Heal(ctx))
	for _, n := range l.Nodes {
		errs = append(errs, l.Reroute(n))
	}
	return errors.Join(errs...)
}

// SetBFD restarts the routers with other timers, or without BFD if it is nil.
func (l *Lab) SetBFD(timers *routerlab.BFD) error {
	l.cfg.BFD = timers
	var errs []error
	for _, r := range l.Routers {
		errs = append(errs, r.Stop(), l.Restart(r))
	}
	return errors.Join(errs...)
}

// Flags are those of `kvip manifest pod` for the lab's routers.
func (l *Lab) Flags(more ...string) []string {
	flags := []string{
		fmt.Sprintf("--vip=%s,%s", cluster.RoutedVIP4, cluster.RoutedVIP6), "--announce=bgp",
		fmt.Sprintf("--bgp-as=%d", NodeAS),
	}
	for _, r := range l.Routers {
		peer := fmt.Sprintf("--bgp-peer=%s,as=%d", r.Addr, RouterAS)
		if bfd := l.cfg.BFD; bfd != nil {
			peer += fmt.Sprintf(",bfd=%v/%d", bfd.Interval, bfd.Multiplier)
		}
		flags = append(flags, peer)
	}
	return append(flags, more...)
}

// Prefixes are those of the addresses that the nodes announce.
func Prefixes() []netip.Prefix {
	return []netip.Prefix{
		netip.PrefixFrom(cluster.RoutedVIP4, 32), netip.PrefixFrom(cluster.RoutedVIP6, 128),
	}
}

// Via returns the nodes over which a router sends packets to all of the prefixes, by name.
func (l *Lab) Via(r *Router) ([]string, error) {
	routes, err := r.KernelRoutes()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, n := range l.Nodes {
		count := 0
		for _, k := range routes {
			if slices.Contains(Prefixes(), k.Prefix) &&
				slices.Contains(k.NextHops, n.Host.Addr(k.Prefix.Addr().Is4())) {
				count++
			}
		}
		if count == len(Prefixes()) {
			names = append(names, n.Name)
		}
	}
	return names, nil
}

// ViaOf returns the nodes over which a router sends packets to one prefix, by name.
func (l *Lab) ViaOf(r *Router, prefix netip.Prefix) (names []string, err error) {
	routes, err := r.KernelRoutes()
	if err != nil {
		return nil, err
	}
	for _, n := range l.Nodes {
		if slices.ContainsFunc(routes, func(k routerlab.KernelRoute) bool {
			return k.Prefix == prefix &&
				slices.Contains(k.NextHops, n.Host.Addr(prefix.Addr().Is4()))
		}) {
			names = append(names, n.Name)
		}
	}
	return names, nil
}

// Close ends everything.
func (l *Lab) Close() error {
	var errs []error
	for _, e := range l.echoes {
		errs = append(errs, e.close())
	}
	for _, r := range l.Routers {
		if r.Router != nil {
			errs = append(errs, r.Stop())
		}
		if r.Client != nil {
			errs = append(errs, r.Client.Close())
		}
	}
	return errors.Join(append(errs, l.Cluster.Close())...)
}
