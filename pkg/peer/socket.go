package peer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// socket is a UDP socket that is connected to one agent and receives only datagrams with a cookie.
type socket struct{ fd int }

// openSocket opens a socket from an address of this host to an agent. Several sockets share the
// address and port: the kernel chooses the one that is connected to the sender.
func openSocket(local, remote netip.AddrPort, cookie [cookieLength]byte) (*socket, error) {
	family, from, to := unix.AF_INET, sockaddr(local), sockaddr(remote)
	if local.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open UDP socket: %w", err)
	}
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"share the port", func() error {
			return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
		}},
		{"filter", func() error { return filter(fd, cookie) }},
		{"bind", func() error { return unix.Bind(fd, from) }},
		{"connect", func() error { return unix.Connect(fd, to) }},
	} {
		if err := step.do(); err != nil {
			_ = unix.Close(fd)
			return nil, fmt.Errorf("UDP socket from %v to %v: %s: %w", local, remote, step.what, err)
		}
	}
	// Without the right to it a list of thousands of connections loses some, until the next one.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer)
	return &socket{fd}, nil
}

// receiveBuffer is for the lists of connections of several agents.
const receiveBuffer = 1 << 20

// sockaddr converts an address without a zone.
func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

// filter makes the kernel drop datagrams without the cookie. It sees the UDP header of 8 bytes
// before the payload (socket(7), SO_ATTACH_FILTER).
func filter(fd int, cookie [cookieLength]byte) error {
	const udpHeader = 8
	high, low := binary.BigEndian.Uint32(cookie[:]), binary.BigEndian.Uint32(cookie[4:])
	ops, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: udpHeader, Size: 4},
		bpf.JumpIf{Val: high, SkipFalse: 3},
		bpf.LoadAbsolute{Off: udpHeader + 4, Size: 4},
		bpf.JumpIf{Val: low, SkipFalse: 1},
		bpf.RetConstant{Val: udpHeader + maxLength + 1},
		bpf.RetConstant{Val: 0},
	})
	if err != nil {
		return err
	}
	program := make([]unix.SockFilter, len(ops))
	for i, op := range ops {
		program[i] = unix.SockFilter{Code: op.Op, Jt: op.Jt, Jf: op.Jf, K: op.K}
	}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
}

// send sends a datagram. A full queue loses it.
func (s *socket) send(b []byte) error {
	_, err := unix.Write(s.fd, b)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.ENOBUFS) {
		return nil
	}
	return err
}

// receive reads one datagram into b. It reports whether there was one; an error belongs to an
// earlier datagram that was sent, such as ECONNREFUSED.
func (s *socket) receive(b []byte) (n int, ok bool, err error) {
	for {
		n, err := unix.Read(s.fd, b)
		switch err {
		case nil:
			return n, true, nil
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return 0, false, nil
		}
		return 0, true, err
	}
}

func (s *socket) close() { _ = unix.Close(s.fd) }
