package fence

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// frameSender sends marked frames on the loopback link of this network namespace.
type frameSender struct {
	fd      int
	to      unix.SockaddrLinklayer
	address []byte // without room for more: each frame is a copy
}

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
	return s, nil
}

// send may be called from several goroutines.
func (s *frameSender) send(code uint16) error {
	frame, to := binary.BigEndian.AppendUint16(s.address, code), s.to // Sendto writes to it
	if err := unix.Sendto(s.fd, frame, unix.MSG_DONTWAIT, &to); err != nil {
		return fmt.Errorf("send frame to the fence on lo: %w", err)
	}
	return nil
}

func (s *frameSender) close() { _ = unix.Close(s.fd) }
