package link

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Attributes and flags of linux/unix_diag.h.
const (
	unixDiagName    = 0
	unixDiagUID     = 7 // kernel 5.3
	unixShowName    = 1 << 0
	unixShowUID     = 1 << 6
	unixRequestLen  = 24 // struct unix_diag_req
	unixMessageLen  = 16 // struct unix_diag_msg
	unixStatesAnyOf = ^uint32(0)
)

// ErrNoDiag: this kernel does not list Unix sockets (CONFIG_UNIX_DIAG).
var ErrNoDiag = errors.New("the kernel lists no Unix sockets")

// AbstractSocket is a Unix socket with an abstract name (unix(7)), which every user of the network
// namespace may bind.
type AbstractSocket struct {
	Name string // without the leading NUL
	// UID is the user that created the socket, in this process's user namespace. It is 0 on
	// kernels before 5.3, which do not report it.
	UID uint32
}

// AbstractSockets returns the sockets of this network namespace with that prefix of their name.
func AbstractSockets(prefix string) ([]AbstractSocket, error) {
	messages, err := consistent(func() ([][]byte, error) {
		request := nl.NewNetlinkRequest(nl.SOCK_DIAG_BY_FAMILY, unix.NLM_F_DUMP)
		request.AddRawData(unixDiagRequest())
		return request.Execute(unix.NETLINK_INET_DIAG, nl.SOCK_DIAG_BY_FAMILY)
	})
	for _, missing := range []error{
		unix.ENOENT, unix.EOPNOTSUPP, unix.EINVAL, unix.EPROTONOSUPPORT,
	} {
		if errors.Is(err, missing) {
			return nil, fmt.Errorf("list Unix sockets: %w: %w", ErrNoDiag, err)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("list Unix sockets: %w", err)
	}
	var all []AbstractSocket
	for _, message := range messages {
		if s, ok := parseUnixSocket(message); ok && strings.HasPrefix(s.Name, prefix) {
			all = append(all, s)
		}
	}
	return all, nil
}

// unixDiagRequest is struct unix_diag_req: family, protocol, pad, states, inode, show, cookie.
func unixDiagRequest() []byte {
	b := make([]byte, unixRequestLen)
	b[0] = unix.AF_UNIX
	binary.NativeEndian.PutUint32(b[4:], unixStatesAnyOf)
	binary.NativeEndian.PutUint32(b[12:], unixShowName|unixShowUID)
	return b
}

func parseUnixSocket(b []byte) (s AbstractSocket, ok bool) {
	if len(b) < unixMessageLen {
		return s, false
	}
	eachAttr(b[unixMessageLen:], func(kind uint16, value []byte) {
		switch {
		case kind == unixDiagName && len(value) > 1 && value[0] == 0:
			s.Name, ok = string(value[1:]), true
		case kind == unixDiagUID && len(value) >= 4:
			s.UID = binary.NativeEndian.Uint32(value)
		}
	})
	return s, ok
}
