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

// ErrNoDiag says that this kernel does not list Unix sockets (CONFIG_UNIX_DIAG).
var ErrNoDiag = errors.New("the kernel lists no Unix sockets")

// AbstractSocket is a Unix socket with an abstract name (unix(7)), which everybody in the network
// namespace may take.
type AbstractSocket struct {
	Name string // without the leading NUL
	// UID is the user that made the socket, as this process's user namespace knows it. Kernels
	// before 5.3 do not tell: then it is 0.
	UID uint32
}

// AbstractSockets lists the sockets of this network namespace whose abstract name begins so.
func AbstractSockets(prefix string) ([]AbstractSocket, error) {
	var messages [][]byte
	var err error
	for range dumpTries {
		request := nl.NewNetlinkRequest(nl.SOCK_DIAG_BY_FAMILY, unix.NLM_F_DUMP)
		request.AddRawData(unixDiagRequest())
		messages, err = request.Execute(unix.NETLINK_INET_DIAG, nl.SOCK_DIAG_BY_FAMILY)
		if !errors.Is(err, nl.ErrDumpInterrupted) {
			break
		}
	}
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EPROTONOSUPPORT) {
		return nil, fmt.Errorf("list Unix sockets: %w: %w", ErrNoDiag, err)
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
