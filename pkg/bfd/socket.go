package bfd

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

const (
	portSingleHop = 3784 // RFC 5881 section 4
	portMultihop  = 4784 // RFC 5883 section 5

	// Ports to send from (RFC 5881 section 4).
	minSource = 49152
	maxSource = 65535

	maxTTL = 255
	// networkControl is the traffic class of routing protocols: CS6 (RFC 4594 section 3.2).
	networkControl = 0xc0
)

// option is a socket option with a number as its value.
type option struct{ level, name, value int }

// openSocket opens a UDP socket that does not block.
func openSocket(is6 bool, options ...option) (int, error) {
	family := unix.AF_INET
	if is6 {
		family = unix.AF_INET6
		options = append(options, option{unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1})
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open UDP socket: %w", err)
	}
	for _, o := range options {
		if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			_ = unix.Close(fd)
			return -1, fmt.Errorf("set option %d of UDP socket: %w", o.name, err)
		}
	}
	return fd, nil
}

// sockaddr returns an address, with the index of its link if it is a link-local one.
func sockaddr(a netip.Addr, port, index int) unix.Sockaddr {
	if a.Is4() {
		return &unix.SockaddrInet4{Port: port, Addr: a.As4()}
	}
	to := &unix.SockaddrInet6{Port: port, Addr: a.As16()}
	if a.IsLinkLocalUnicast() {
		to.ZoneId = uint32(index)
	}
	return to
}

// sender is the socket that the packets of one session are sent from. It is connected, so that all
// packets have one source address, and keeps its port when it is opened again (RFC 5881 section 4).
// The zero value is closed.
type sender struct {
	fd    int // 0: closed
	port  int // 0: not yet chosen
	local netip.Addr
	index int // of the link of a session that is bound to one
}

func (s *sender) isOpen() bool { return s.fd > 0 }

func (s *sender) open(cfg SessionConfig) error {
	index := 0
	if cfg.Interface != "" {
		link, err := net.InterfaceByName(cfg.Interface)
		if err != nil {
			return fmt.Errorf("find interface %s: %w", cfg.Interface, err)
		}
		index = link.Index
	}
	hops := []option{
		{unix.IPPROTO_IP, unix.IP_TTL, maxTTL}, {unix.IPPROTO_IP, unix.IP_TOS, networkControl},
	}
	if cfg.Peer.Is6() {
		hops = []option{
			{unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, maxTTL},
			{unix.IPPROTO_IPV6, unix.IPV6_TCLASS, networkControl},
		}
	}
	fd, err := openSocket(cfg.Peer.Is6(), hops...)
	if err != nil {
		return err
	}
	if err := s.connect(fd, cfg, index); err != nil {
		_ = unix.Close(fd)
		return err
	}
	s.fd, s.index = fd, index
	return nil
}

// connect binds and connects a socket, and reads the address that the kernel chose.
func (s *sender) connect(fd int, cfg SessionConfig, index int) error {
	if cfg.Interface != "" {
		if err := unix.BindToDevice(fd, cfg.Interface); err != nil {
			return fmt.Errorf("bind UDP socket to interface %s: %w", cfg.Interface, err)
		}
	}
	local := cfg.Local
	if !local.IsValid() {
		local = netip.IPv4Unspecified()
		if cfg.Peer.Is6() {
			local = netip.IPv6Unspecified()
		}
	}
	if err := s.bind(fd, local, index); err != nil {
		return fmt.Errorf("bind UDP socket to %v: %w", local, err)
	}
	if err := unix.Connect(fd, sockaddr(cfg.Peer, cfg.key().port(), index)); err != nil {
		return fmt.Errorf("connect UDP socket to %v: %w", cfg.Peer, err)
	}
	chosen, err := unix.Getsockname(fd)
	if err != nil {
		return fmt.Errorf("read address of UDP socket: %w", err)
	}
	s.local = addrOf(chosen)
	return nil
}

// bind binds the socket to the port of the session, or to a new one if it has none that is free.
func (s *sender) bind(fd int, local netip.Addr, index int) error {
	const attempts = 64
	var err error
	for range attempts {
		if s.port == 0 {
			s.port = minSource + rand.IntN(maxSource-minSource+1)
		}
		err = unix.Bind(fd, sockaddr(local, s.port, index))
		if !errors.Is(err, unix.EADDRINUSE) {
			return err
		}
		s.port = 0
	}
	return err
}

// write sends a packet and reports whether it did. It returns an error if the socket is of no use
// any more. A full queue loses the packet, and so does a host or a filter that refuses it.
func (s *sender) write(b []byte) (sent bool, err error) {
	_, err = unix.Write(s.fd, b)
	if errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.EHOSTUNREACH) {
		_, err = unix.Write(s.fd, b) // the error was about an earlier packet (udp(7))
	}
	for _, lost := range []error{
		unix.ECONNREFUSED, unix.EHOSTUNREACH, unix.EAGAIN, unix.ENOBUFS, unix.EPERM,
	} {
		if errors.Is(err, lost) {
			return false, nil
		}
	}
	if err != nil {
		return false, fmt.Errorf("send BFD packet: %w", err)
	}
	return true, nil
}

func (s *sender) close() {
	if s.isOpen() {
		_ = unix.Close(s.fd)
	}
	*s = sender{port: s.port}
}

// addrOf returns the address of a socket address without zone, or the zero Addr.
func addrOf(sa unix.Sockaddr) netip.Addr {
	switch a := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrFrom4(a.Addr)
	case *unix.SockaddrInet6:
		return netip.AddrFrom16(a.Addr)
	}
	return netip.Addr{}
}
