package fence

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// frameSender sends marked frames on the loopback link of this network namespace.
type frameSender struct {
	fd      int
	to      unix.SockaddrLinklayer
	address []byte // without room for more: each frame is a copy

	// ticketing is held from a ticket to the frame that it is for: a frame that is late must find
	// no other ticket.
	ticketing sync.Mutex
	tickets   uint64 // that were sent
}

const (
	// ticketWithin is how long a ticket may take: the kernel defers frames on lo while it handles
	// more network traffic than it may at once.
	ticketWithin = time.Millisecond
	// maxUnread limits how many older frames are read: of tickets that took longer, and of those of
	// other addresses.
	maxUnread = 512
)

// loopbackIndex is the index of lo in every network namespace (LOOPBACK_IFINDEX in the kernel).
const loopbackIndex = 1

func newFrameSender(vip netip.Addr) (*frameSender, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open packet socket for the fence: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, frameMark); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("mark frames of the fence: %w", err)
	}
	s := &frameSender{fd: fd, address: slices.Clip(vip.AsSlice())}
	s.to = unix.SockaddrLinklayer{
		Protocol: binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, frameEtherType)),
		Ifindex:  loopbackIndex, Halen: 6,
	}
	from := s.to // Bind writes to it
	if err := unix.Bind(fd, &from); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("receive frames of the fence: %w", err)
	}
	return s, nil
}

// send may be called from several goroutines.
func (s *frameSender) send(code uint16) error {
	return s.sendFrame(binary.BigEndian.AppendUint16(s.address, code))
}

func (s *frameSender) sendFrame(frame []byte) error {
	to := s.to // Sendto writes to it
	if err := unix.Sendto(s.fd, frame, unix.MSG_DONTWAIT, &to); err != nil {
		return fmt.Errorf("send frame to the fence on lo: %w", err)
	}
	return nil
}

// ticket sends a ticket, and reports whether the kernel has handled it: the table lets it pass, and
// it comes back. The lifetime of a ticket counts from there, so that only a clock that is read
// afterwards limits what it is for. The caller holds ticketing.
func (s *frameSender) ticket() (handled bool, err error) {
	s.tickets++
	frame := binary.BigEndian.AppendUint16(s.address, codeTicket)
	frame = binary.BigEndian.AppendUint64(frame, s.tickets)
	if err := s.sendFrame(frame); err != nil {
		return false, err
	}
	var b [64]byte
	for waited, unread := false, 0; unread < maxUnread; unread++ {
		n, err := unix.Read(s.fd, b[:])
		switch {
		case errors.Is(err, unix.EAGAIN) && !waited:
			waited = true
			fds := []unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}}
			_, _ = unix.Poll(fds, int(ticketWithin.Milliseconds()))
		case errors.Is(err, unix.EAGAIN):
			return false, nil
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return false, fmt.Errorf("receive frame of the fence on lo: %w", err)
		case bytes.Equal(b[:n], frame):
			return true, nil
		}
	}
	return false, nil
}

func (s *frameSender) close() { _ = unix.Close(s.fd) }
