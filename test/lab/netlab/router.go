package netlab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// behindLink is the name of a router's link to the host behind it.
const behindLink = "behind"

// reachableTime is how long a router uses the entry of a neighbour without a request: longer than
// any test, as with routers that keep ARP entries for 20 minutes. Only an announcement changes its
// table until then.
const reachableTime = "3600000" // ms

// AddBehind creates a host in networks that are reached only through the router, which may be an
// adopted host. In each network the router has the first address and the host the second. The
// router forwards from now on, and does not request neighbours that it knows. Close the host at the
// end.
func AddBehind(router *Host, name string, networks ...netip.Prefix) (*Host, error) {
	h := &Host{Name: name, Dir: router.Dir, procs: map[*Process]struct{}{}}
	gateways := make([]netip.Prefix, len(networks))
	for i, network := range networks {
		first := network.Masked().Addr().Next()
		gateways[i] = netip.PrefixFrom(first, network.Bits())
		h.Addrs = append(h.Addrs, netip.PrefixFrom(first.Next(), network.Bits()))
	}
	if err := h.connectBehind(router, gateways); err != nil {
		return nil, errors.Join(fmt.Errorf("put host %s behind router %s: %w", name, router.Name, err),
			h.close())
	}
	return h, nil
}

// connectBehind connects the host to its router.
func (h *Host) connectBehind(router *Host, gateways []netip.Prefix) (err error) {
	if h.ns, err = newNetns(); err != nil {
		return err
	}
	if h.nl, err = handle(h.ns); err != nil {
		return err
	}
	if err := h.setSysctls(false); err != nil {
		return err
	}
	if err := router.becomeRouter(); err != nil {
		return err
	}
	err = router.Do(func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = behindLink
		veth := &netlink.Veth{LinkAttrs: attrs, PeerName: LinkName,
			PeerNamespace: netlink.NsFd(int(h.ns.file.Fd()))}
		if err := netlink.LinkAdd(veth); err != nil {
			return fmt.Errorf("create link: %w", err)
		}
		for _, p := range gateways {
			if err := netlink.AddrAdd(veth, addr(p)); err != nil {
				return fmt.Errorf("add address %s: %w", p, err)
			}
		}
		return netlink.LinkSetUp(veth)
	})
	if err != nil {
		return err
	}
	if err := errors.Join(h.setLink("lo", true), h.setLink(LinkName, true),
		h.RestoreAddrs()); err != nil {
		return err
	}
	for _, p := range gateways {
		if err := h.AddRoute(unspecified(p), p.Addr()); err != nil {
			return err
		}
	}
	return nil
}

// becomeRouter turns on forwarding, and the reachableTime of neighbours.
func (h *Host) becomeRouter() error {
	return h.ns.do(func() error {
		for key, value := range map[string]string{
			"net/ipv4/ip_forward": "1", "net/ipv6/conf/all/forwarding": "1",
			"net/ipv4/neigh/" + LinkName + "/base_reachable_time_ms": reachableTime,
			"net/ipv6/neigh/" + LinkName + "/base_reachable_time_ms": reachableTime,
			// A neighbour that is only known from its announcement is verified at once.
			"net/ipv4/neigh/" + LinkName + "/delay_first_probe_time": "0",
			"net/ipv6/neigh/" + LinkName + "/delay_first_probe_time": "0",
		} {
			err := os.WriteFile("/proc/sys/"+key, []byte(value), 0o644)
			// no IPv6 in this network
			if err != nil && !(strings.HasPrefix(key, "net/ipv6") && os.IsNotExist(err)) {
				return fmt.Errorf("set sysctl %s: %w", key, err)
			}
		}
		return nil
	})
}

func unspecified(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4() {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
}

// AddRoute adds a route through a neighbour on the host's link, or replaces the route's neighbour.
func (h *Host) AddRoute(to netip.Prefix, via netip.Addr) error {
	return h.changeRoute(netlink.RouteReplace, to, via)
}

// DelRoute removes a route. It is idempotent.
func (h *Host) DelRoute(to netip.Prefix, via netip.Addr) error {
	return h.changeRoute(func(r *netlink.Route) error {
		if err := netlink.RouteDel(r); !errors.Is(err, unix.ESRCH) {
			return err
		}
		return nil
	}, to, via)
}

func (h *Host) changeRoute(change func(*netlink.Route) error, to netip.Prefix,
	via netip.Addr) error {
	return h.ns.do(func() error {
		link, err := netlink.LinkByName(LinkName)
		if err != nil {
			return err
		}
		to = to.Masked()
		dst := &net.IPNet{IP: to.Addr().AsSlice(), Mask: net.CIDRMask(to.Bits(), to.Addr().BitLen())}
		if err := change(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: dst,
			Gw: via.AsSlice()}); err != nil {
			return fmt.Errorf("change route %s via %s in host %s: %w", to, via, h.Name, err)
		}
		return nil
	})
}

// Neighbour returns the MAC in the host's neighbour table for an address on its link, nil if there
// is none, and whether the entry is reachable.
func (h *Host) Neighbour(of netip.Addr) (mac net.HardwareAddr, reachable bool, err error) {
	family := unix.AF_INET
	if of.Is6() {
		family = unix.AF_INET6
	}
	err = h.ns.do(func() error {
		link, err := netlink.LinkByName(LinkName)
		if err != nil {
			return err
		}
		entries, err := netlink.NeighList(link.Attrs().Index, family)
		if err != nil {
			return fmt.Errorf("read neighbours of host %s: %w", h.Name, err)
		}
		for _, e := range entries {
			if ip, ok := netip.AddrFromSlice(e.IP); ok && ip.Unmap() == of {
				mac, reachable = e.HardwareAddr, e.State == netlink.NUD_REACHABLE
			}
		}
		return nil
	})
	return mac, reachable, err
}
