package link

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Sizes and offsets of linux/inet_diag.h: struct inet_diag_req_v2 is 8 bytes and a struct
// inet_diag_sockid. struct inet_diag_msg is 4 bytes, a struct inet_diag_sockid, and five
// numbers of 4 bytes: expires, rqueue, wqueue, uid, inode.
const (
	socketIDLen       = 48
	socketRequestHead = 8
	socketMessageHead = 4
	socketMessageLen  = socketMessageHead + socketIDLen + 5*4
)

// States of linux/tcp.h.
const (
	StateEstablished = 1
	StateTimeWait    = 6
	StateClose       = 7
	StateCloseWait   = 8
	StateListen      = 10
)

// SocketID is struct inet_diag_sockid. It ends with a cookie that no other socket has.
type SocketID [socketIDLen]byte

// Socket is a TCP socket of this network namespace (sock_diag(7)).
type Socket struct {
	Family        uint8
	State         uint8
	ID            SocketID
	Local, Remote netip.AddrPort // IPv4-mapped addresses are unmapped
	// Unread is the number of bytes that the process has not read or, of a listening socket, of
	// connections that it has not accepted.
	Unread uint32
	// Unsent is the number of written bytes that the peer has not acknowledged.
	Unsent uint32
	// Attached reports whether a process has the socket: it has not before it accepts the
	// connection, and after it closes it.
	Attached bool
}

// Sockets returns the TCP sockets of one family with a state in states, a mask of 1 << State, and
// with the local port; 0 means any port. IPv4 connections of dual-stack sockets are among those of
// AF_INET6. If every dump changes while it is read, the last one is returned.
func Sockets(family uint8, states uint32, port uint16) ([]Socket, error) {
	var id SocketID
	binary.BigEndian.PutUint16(id[0:], port)
	messages, err := consistent(func() ([][]byte, error) {
		request := nl.NewNetlinkRequest(nl.SOCK_DIAG_BY_FAMILY, unix.NLM_F_DUMP)
		request.AddRawData(SocketRequest(family, states, id))
		return request.Execute(unix.NETLINK_INET_DIAG, nl.SOCK_DIAG_BY_FAMILY)
	})
	if err != nil && !errors.Is(err, nl.ErrDumpInterrupted) {
		return nil, fmt.Errorf("list TCP sockets: %w", err)
	}
	var list []Socket
	for _, message := range messages {
		if s, ok := parseSocket(message); ok && states&(1<<s.State) != 0 {
			list = append(list, s)
		}
	}
	return list, nil
}

// SocketRequest is struct inet_diag_req_v2 for TCP: family, protocol, ext, pad, states, id.
func SocketRequest(family uint8, states uint32, id SocketID) []byte {
	b := make([]byte, socketRequestHead, socketRequestHead+socketIDLen)
	b[0], b[1] = family, unix.IPPROTO_TCP
	binary.NativeEndian.PutUint32(b[4:], states)
	return append(b, id[:]...)
}

// parseSocket decodes struct inet_diag_msg. The id has ports and addresses in network order, the
// addresses with 16 bytes each, of which IPv4 uses 4.
func parseSocket(b []byte) (Socket, bool) {
	if len(b) < socketMessageLen || b[0] != unix.AF_INET && b[0] != unix.AF_INET6 || b[1] > 31 {
		return Socket{}, false
	}
	s := Socket{Family: b[0], State: b[1]}
	copy(s.ID[:], b[socketMessageHead:])
	size := 16
	if s.Family == unix.AF_INET {
		size = 4
	}
	s.Local = addrPort(s.ID[4:4+size], s.ID[0:2])
	s.Remote = addrPort(s.ID[20:20+size], s.ID[2:4])
	numbers := b[socketMessageHead+socketIDLen:]
	s.Unread = binary.NativeEndian.Uint32(numbers[4:])
	s.Unsent = binary.NativeEndian.Uint32(numbers[8:])
	s.Attached = binary.NativeEndian.Uint32(numbers[16:]) != 0
	return s, true
}

func addrPort(addr, port []byte) netip.AddrPort {
	a, _ := netip.AddrFromSlice(addr)
	return netip.AddrPortFrom(a.Unmap(), binary.BigEndian.Uint16(port))
}
