package bgplab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/kvip/kvip/test/lab/cluster"
)

const loopback = "lo"

// openLoopback opens a socket to the addresses of a node. Close it.
func openLoopback(n *cluster.Node) (handle *netlink.Handle, err error) {
	err = n.Host.Do(func() (err error) {
		handle, err = netlink.NewHandle(unix.NETLINK_ROUTE)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open addresses of node %s: %w", n.Name, err)
	}
	return handle, nil
}

// loopbackIndex is the index of the loopback interface in every network namespace
// (include/net/net_namespace.h, LOOPBACK_IFINDEX).
const loopbackIndex = 1

// loopbackAddresses returns the addresses of a node's loopback interface.
func loopbackAddresses(handle *netlink.Handle) (list []netip.Addr, err error) {
	lo := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: loopback, Index: loopbackIndex}}
	found, err := handle.AddrList(lo, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range found {
		if addr, ok := netip.AddrFromSlice(a.IP); ok {
			list = append(list, addr.Unmap())
		}
	}
	return list, nil
}

// HasAddresses reports whether a node has all routed addresses now.
func HasAddresses(n *cluster.Node) (bool, error) {
	handle, err := openLoopback(n)
	if err != nil {
		return false, err
	}
	defer handle.Close()
	list, err := loopbackAddresses(handle)
	if err != nil {
		return false, err
	}
	for _, p := range Prefixes() {
		if !slices.Contains(list, p.Addr()) {
			return false, nil
		}
	}
	return true, nil
}

// AddAddresses adds the routed addresses to a node for a program that does not. It is idempotent.
func AddAddresses(n *cluster.Node) error {
	return changeAddresses(n, (*netlink.Handle).AddrReplace)
}

// RemoveAddresses removes them. It is idempotent.
func RemoveAddresses(n *cluster.Node) error {
	return changeAddresses(n, func(h *netlink.Handle, l netlink.Link, a *netlink.Addr) error {
		if err := h.AddrDel(l, a); !errors.Is(err, unix.EADDRNOTAVAIL) {
			return err
		}
		return nil
	})
}

func changeAddresses(n *cluster.Node,
	change func(*netlink.Handle, netlink.Link, *netlink.Addr) error) error {
	handle, err := openLoopback(n)
	if err != nil {
		return err
	}
	defer handle.Close()
	lo := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: loopback, Index: loopbackIndex}}
	for _, p := range Prefixes() {
		addr := p.Addr()
		if err := change(handle, lo, &netlink.Addr{IPNet: &net.IPNet{
			IP: addr.AsSlice(), Mask: net.CIDRMask(p.Bits(), addr.BitLen()),
		}}); err != nil {
			return fmt.Errorf("change address %s of node %s: %w", addr, n.Name, err)
		}
	}
	return nil
}
