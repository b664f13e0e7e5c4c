package radv

import (
	"fmt"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// hopLimit is that of all messages of neighbor discovery: receivers drop those with less, which a
// router has forwarded (RFC 4861 section 6.1).
const hopLimit = 255

// conn is a raw socket on one link. It receives nothing.
type conn struct {
	fd, index int
	mac       net.HardwareAddr
}

// open opens a socket (ipv6(7), raw(7)). What it sends does not return to this node, which would
// take itself for a router on the link.
func open(name string) (*conn, error) {
	link, err := net.InterfaceByName(name)
	if err != nil {
		return nil, fmt.Errorf("find link %s: %w", name, err)
	}
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK,
		unix.IPPROTO_ICMPV6)
	if err != nil {
		return nil, fmt.Errorf("open ICMPv6 socket (needs CAP_NET_RAW): %w",
			os.NewSyscallError("socket", err))
	}
	c := &conn{fd, link.Index, link.HardwareAddr}
	if err := c.setOptions(name); err != nil {
		_ = c.close() // it is not used
		return nil, err
	}
	return c, nil
}

func (c *conn) setOptions(name string) error {
	for _, o := range []struct {
		name       string
		opt, value int
	}{
		{"hop limit", unix.IPV6_MULTICAST_HOPS, hopLimit},
		{"multicast interface", unix.IPV6_MULTICAST_IF, c.index},
		{"multicast loop", unix.IPV6_MULTICAST_LOOP, 0},
	} {
		if err := unix.SetsockoptInt(c.fd, unix.IPPROTO_IPV6, o.opt, o.value); err != nil {
			return fmt.Errorf("set %s: %w", o.name, os.NewSyscallError("setsockopt", err))
		}
	}
	var none unix.ICMPv6Filter // linux/icmpv6.h: a bit that is set blocks its type
	for i := range none.Data {
		none.Data[i] = ^uint32(0)
	}
	if err := unix.SetsockoptICMPv6Filter(c.fd, unix.IPPROTO_ICMPV6, unix.ICMPV6_FILTER,
		&none); err != nil {
		return fmt.Errorf("set filter: %w", os.NewSyscallError("setsockopt", err))
	}
	if err := unix.BindToDevice(c.fd, name); err != nil {
		return fmt.Errorf("bind to link %s: %w", name, os.NewSyscallError("setsockopt", err))
	}
	return nil
}

// write sends a message. The kernel selects the link-local address as its source, since the scope
// of the groups is the link (RFC 6724 section 5, rule 2).
func (c *conn) write(to netip.Addr, m []byte) error {
	address := &unix.SockaddrInet6{ZoneId: uint32(c.index), Addr: to.As16()}
	if err := unix.Sendto(c.fd, m, 0, address); err != nil {
		return fmt.Errorf("send to %s: %w", to, os.NewSyscallError("sendto", err))
	}
	return nil
}

func (c *conn) close() error { return os.NewSyscallError("close", unix.Close(c.fd)) }
