package netlab

import (
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
)

const bridgeName = "switch"

// networkSwitch is a bridge in a namespace of its own, with one port per host, and a table of the
// frames that it drops.
type networkSwitch struct {
	ns    netns
	nl    *netlink.Handle
	drops *dropTable
}

// newNetworkSwitch creates the bridge, without spanning tree and multicast snooping, which add
// delays that a plain switch does not have.
func newNetworkSwitch() (*networkSwitch, error) {
	ns, err := newNetns()
	if err != nil {
		return nil, err
	}
	f := &networkSwitch{ns: ns, drops: newDropTable()}
	if err := f.setup(); err != nil {
		_ = f.close()
		return nil, fmt.Errorf("create switch: %w", err)
	}
	return f, nil
}

func (f *networkSwitch) setup() error {
	nl, err := handle(f.ns)
	if err != nil {
		return err
	}
	f.nl = nl
	// Ports must not send router solicitations or multicast reports.
	if err := f.ns.sysctl("net/ipv6/conf/default/disable_ipv6", "1"); err != nil {
		return err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = bridgeName
	snooping := false
	br := &netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &snooping}
	if err := nl.LinkAdd(br); err != nil {
		return err
	}
	return nl.LinkSetUp(br)
}

// plug connects a new port with the name of the host to a link eth0 in the host's namespace.
func (f *networkSwitch) plug(name string, mac net.HardwareAddr, host netns) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	port := &netlink.Veth{
		LinkAttrs: attrs, PeerName: LinkName, PeerHardwareAddr: mac,
		PeerNamespace: netlink.NsFd(int(host.file.Fd())),
	}
	if err := f.nl.LinkAdd(port); err != nil {
		return fmt.Errorf("create link: %w", err)
	}
	link, err := f.nl.LinkByName(name)
	if err != nil {
		return err
	}
	br, err := f.nl.LinkByName(bridgeName)
	if err != nil {
		return err
	}
	if err := f.nl.LinkSetMaster(link, br); err != nil {
		return fmt.Errorf("plug port: %w", err)
	}
	if err := f.nl.LinkSetUp(link); err != nil {
		return err
	}
	return f.prepareFilter(link.Attrs().Index)
}

// setPort sets a port down, which the host sees as an unplugged cable, or up.
func (f *networkSwitch) setPort(name string, up bool) error {
	link, err := f.nl.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find port %s: %w", name, err)
	}
	if up {
		return f.nl.LinkSetUp(link)
	}
	return f.nl.LinkSetDown(link)
}

func (f *networkSwitch) close() error {
	if f.nl != nil {
		f.nl.Close()
	}
	return f.ns.file.Close()
}

// handle opens a netlink socket inside the namespace. It then works from any thread.
func handle(ns netns) (*netlink.Handle, error) {
	var h *netlink.Handle
	err := ns.do(func() (err error) {
		h, err = netlink.NewHandle()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	return h, nil
}
