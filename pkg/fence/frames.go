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

	"golang.org/x/net/bpf"
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
	// maxUnread limits how many older frames are read, of tickets that took longer.
	maxUnread = 512
)

// maxFrame is more than the length of a frame: an address, a code and a number.
const maxFrame = 64

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
	if err := s.receiveOwn(); err != nil {
		unix.Close(fd)
		return nil, err
	}
	from := s.to // Bind writes to it
	if err := unix.Bind(fd, &from); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("receive frames of the fence: %w", err)
	}
	return s, nil
}

// receiveOwn makes the kernel drop the frames of other addresses, which another kvip on this host
// may have: nothing else would read them. A socket that is not bound receives nothing, so the
// filter comes first.
func (s *frameSender) receiveOwn() error {
	var program []bpf.Instruction
	const width = 4
	for i := 0; i < len(s.address); i += width {
		program = append(program, bpf.LoadAbsolute{Off: uint32(i), Size: width},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: binary.BigEndian.Uint32(s.address[i:]), SkipTrue: 1},
			bpf.RetConstant{Val: 0})
	}
	raw, err := bpf.Assemble(append(program, bpf.RetConstant{Val: maxFrame}))
	if err != nil {
		return fmt.Errorf("assemble the filter of frames of the fence: %w", err)
	}
	filter := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		filter[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	err = unix.SetsockoptSockFprog(s.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
	if err != nil {
		return fmt.Errorf("filter frames of the fence: %w", err)
	}
	return nil
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

// ticket sends a ticket and waits until the kernel has handled it: the table lets it pass, and it
// comes back. The lifetime of a ticket counts from there, so that only a clock that is read
// afterwards limits what it is for. It returns ErrDeferred if that takes longer than ticketWithin.
// The caller holds ticketing.
func (s *frameSender) ticket() error {
	s.tickets++
	frame := binary.BigEndian.AppendUint16(s.address, codeTicket)
	frame = binary.BigEndian.AppendUint64(frame, s.tickets)
	if err := s.sendFrame(frame); err != nil {
		return err
	}
	var b [maxFrame]byte
	for waited, unread := false, 0; unread < maxUnread; unread++ {
		n, err := unix.Read(s.fd, b[:])
		switch {
		case errors.Is(err, unix.EAGAIN) && !waited:
			waited = true
			fds := []unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}}
			_, _ = unix.Poll(fds, int(ticketWithin.Milliseconds()))
		case errors.Is(err, unix.EAGAIN):
			return ErrDeferred
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return fmt.Errorf("receive frame of the fence on lo: %w", err)
		case bytes.Equal(b[:n], frame):
			return nil
		}
	}
	return ErrDeferred
}

func (s *frameSender) close() { _ = unix.Close(s.fd) }
