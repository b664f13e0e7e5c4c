package vip

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/kvip/kvip/pkg/link"
)

// destroyBatch is how many connections one message to the kernel names. The answers to all of them,
// at most 100 bytes each, fit into the smallest receive buffer.
const destroyBatch = 64

// destroy returns how many it destroyed; one that was closed meanwhile is no error. All go over one
// socket, many in one message: to open one for each costs more than the rest.
func destroy(list []link.Socket) (int, error) {
	if len(list) == 0 {
		return 0, nil
	}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_INET_DIAG)
	if err != nil {
		return 0, fmt.Errorf("open netlink socket: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 1}); err != nil {
		return 0, fmt.Errorf("set up netlink socket: %w", err)
	}
	count := 0
	for len(list) > 0 {
		batch := list[:min(len(list), destroyBatch)]
		list = list[len(batch):]
		destroyed, err := destroyOnce(fd, batch)
		count += destroyed
		if err != nil {
			return count, err
		}
	}
	return count, nil
}

// destroyOnce sends one message and reads the kernel's answer to each part of it.
func destroyOnce(fd int, batch []link.Socket) (int, error) {
	var message []byte
	for i, c := range batch {
		message = append(message, destroyRequest(c, uint32(i))...)
	}
	if err := unix.Sendto(fd, message, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return 0, fmt.Errorf("destroy connections: %w", err)
	}
	count := 0
	var errs []error
	buffer := make([]byte, os.Getpagesize())
	for answered := 0; answered < len(batch); {
		n, _, err := unix.Recvfrom(fd, buffer, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return count, fmt.Errorf("destroy connections: %w", err)
		}
		answers, err := syscall.ParseNetlinkMessage(buffer[:n])
		if err != nil {
			return count, fmt.Errorf("destroy connections: %w", err)
		}
		for _, a := range answers {
			answered++
			failed := errno(a)
			switch {
			case failed == 0:
				count++
			case failed == unix.EOPNOTSUPP:
				return count, fmt.Errorf("destroy connections: %w (the kernel lacks CONFIG_INET_DIAG_DESTROY)", failed)
			case failed != unix.ENOENT && int(a.Header.Seq) < len(batch):
				c := batch[a.Header.Seq]
				errs = append(errs, fmt.Errorf("destroy connection %s to %s: %w", c.Local, c.Remote, failed))
			}
		}
	}
	return count, errors.Join(errs...)
}

// destroyRequest is one part of a message: a header (netlink(7)) and struct inet_diag_req_v2.
func destroyRequest(c link.Socket, seq uint32) []byte {
	body := link.SocketRequest(c.Family, 0, c.ID)
	b := make([]byte, unix.NLMSG_HDRLEN, unix.NLMSG_HDRLEN+len(body))
	binary.NativeEndian.PutUint32(b, uint32(unix.NLMSG_HDRLEN+len(body)))
	binary.NativeEndian.PutUint16(b[4:], nl.SOCK_DESTROY)
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	binary.NativeEndian.PutUint32(b[8:], seq)
	return append(b, body...)
}

// errno returns what an acknowledgement says, 0 for success.
func errno(m syscall.NetlinkMessage) unix.Errno {
	if m.Header.Type != unix.NLMSG_ERROR || len(m.Data) < 4 {
		return unix.EBADMSG
	}
	return unix.Errno(-int32(binary.NativeEndian.Uint32(m.Data)))
}
