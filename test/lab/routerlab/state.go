package routerlab

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/kvip/kvip/test/lab/netlab"
)

// Established is the state of a session that carries routes.
const Established = "Established"

// SessionInfo is what a router reports about a session.
type SessionInfo struct {
	Neighbor netip.Addr // invalid before an unnumbered peer is known
	// State is that of RFC 4271: Idle, Connect, Active, OpenSent, OpenConfirm or Established.
	State string
	// LastError is the router's own text for the end of the last session. It is empty if the router
	// does not report it.
	LastError string
	Uptime    time.Duration // since State is Established, else zero
	Prefixes  int           // accepted routes of both families
	// BFD is Up, Down, Init or AdminDown, or empty without BFD.
	BFD string

	id string // by which the router names the neighbor in its commands
}

// Route is a path in the BGP table of a router.
type Route struct {
	Prefix   netip.Prefix
	Neighbor netip.Addr // invalid if the router originates the route
	// NextHops are the next hop and, of some IPv6 routes, its link-local address.
	NextHops         []netip.Addr
	ASPath           []uint32
	LocalPref        uint32 // zero means none
	MED              uint32 // zero means none
	Communities      []string
	LargeCommunities []string
	// Stale is a route that graceful restart keeps. BIRD reports it by neighbor.
	Stale bool
	// Best is the path that the router selected first.
	Best bool
}

// KernelRoute is a route that a router installed in the kernel of its host.
type KernelRoute struct {
	Prefix   netip.Prefix
	NextHops []netip.Addr // in ascending order
}

// installers are the values of rtm_protocol of FRR's bgpd and of BIRD.
var installers = []netlink.RouteProtocol{unix.RTPROT_BGP, unix.RTPROT_BIRD}

// KernelRoutes returns the routes that the router installed in the main table of its host.
func (r *Router) KernelRoutes() (all []KernelRoute, err error) {
	if err := r.cfg.Kind.supports("KernelRoutes"); err != nil {
		return nil, err
	}
	var routes []netlink.Route
	err = r.Host.Do(func() (err error) {
		routes, err = netlink.RouteList(nil, netlink.FAMILY_ALL)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read routes of host %s: %w", r.Host.Name, err)
	}
	return fromRouter(routes), nil
}

// KernelTable reads the same routes often, and also while the host has no router. Make it with
// OpenKernelTable. It is safe for concurrent use.
type KernelTable struct {
	host *netlab.Host
	nl   *netlink.Handle
}

// OpenKernelTable opens the main table of a host. Close it.
func OpenKernelTable(h *netlab.Host) (*KernelTable, error) {
	t := &KernelTable{host: h}
	err := h.Do(func() (err error) {
		t.nl, err = netlink.NewHandle(unix.NETLINK_ROUTE)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open routes of host %s: %w", h.Name, err)
	}
	return t, nil
}

// Routes returns the routes that a router installed.
func (t *KernelTable) Routes() ([]KernelRoute, error) {
	routes, err := t.nl.RouteList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("read routes of host %s: %w", t.host.Name, err)
	}
	return fromRouter(routes), nil
}

// Close closes the table.
func (t *KernelTable) Close() { t.nl.Close() }

// fromRouter selects the routes that a router installed.
func fromRouter(routes []netlink.Route) (all []KernelRoute) {
	for _, route := range routes {
		if slices.Contains(installers, route.Protocol) {
			all = append(all, kernelRoute(route))
		}
	}
	return all
}

func kernelRoute(route netlink.Route) KernelRoute {
	k := KernelRoute{}
	if route.Dst != nil {
		ip, _ := netip.AddrFromSlice(route.Dst.IP)
		bits, _ := route.Dst.Mask.Size()
		k.Prefix = netip.PrefixFrom(ip, bits)
	}
	add := func(gw []byte, via netlink.Destination) {
		if v, ok := via.(*netlink.Via); ok {
			gw = v.Addr
		}
		if ip, ok := netip.AddrFromSlice(gw); ok {
			k.NextHops = append(k.NextHops, ip)
		}
	}
	add(route.Gw, route.Via)
	for _, hop := range route.MultiPath {
		add(hop.Gw, hop.Via)
	}
	slices.SortFunc(k.NextHops, netip.Addr.Compare)
	return k
}

// wellKnown are the names of communities (RFC 1997, RFC 8326, RFC 9494), without separators and in
// lower case.
var wellKnown = map[string]string{
	"gracefulshutdown": "65535:0", "llgrstale": "65535:6", "nollgr": "65535:7",
	"noexport": "65535:65281", "noadvertise": "65535:65282", "localas": "65535:65283",
	"noexportsubconfed": "65535:65283", "nopeer": "65535:65284", "blackhole": "65535:666",
}

// community returns the numbers of a community that may be given by name.
func community(text string) string {
	name := strings.ToLower(strings.NewReplacer("-", "", "_", "").Replace(text))
	if numbers, ok := wellKnown[name]; ok {
		return numbers
	}
	return text
}

func communities(texts []string) (all []string) {
	for _, text := range texts {
		all = append(all, community(text))
	}
	return all
}

// asPath parses numbers separated by spaces. Other words, such as braces, are ignored.
func asPath(text string) (path []uint32) {
	for _, field := range strings.Fields(text) {
		if n, err := strconv.ParseUint(field, 10, 32); err == nil {
			path = append(path, uint32(n))
		}
	}
	return path
}

// addr parses an address without its zone. A text that is none returns the invalid address.
func addr(text string) netip.Addr {
	a, _ := netip.ParseAddr(text)
	return a.WithZone("")
}
