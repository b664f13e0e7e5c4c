package servicelab

import (
	"net/netip"

	"github.com/kvip/kvip/test/lab/netlab"
)

// The router's own addresses, and the networks behind it.
var (
	routerAddrs = []netip.Prefix{netip.MustParsePrefix("10.77.0.100/24"),
		netip.MustParsePrefix("fd6b:7669:7000::100/64")}
	behind = []netip.Prefix{netip.MustParsePrefix("10.78.0.0/24"),
		netip.MustParsePrefix("fd6b:7669:7001::/64")}
)

// AddRouter adds a router, and a client behind it, to the lab. RouteBehind sets the nodes' routes.
func (l *Lab) AddRouter() (err error) {
	if l.Router, err = l.Lab.AddHost(netlab.HostConfig{Name: "router",
		Addrs: routerAddrs}); err != nil {
		return err
	}
	l.Behind, err = netlab.AddBehind(l.Router, "behind", behind...)
	return err
}

// RouteBehind gives each node a route to the client behind the router. A node that was off has
// none.
func (l *Lab) RouteBehind() error {
	for _, n := range l.AllNodes() {
		for _, network := range behind {
			if err := n.Host.AddRoute(network, l.Router.Addr(network.Addr().Is4())); err != nil {
				return err
			}
		}
	}
	return nil
}
