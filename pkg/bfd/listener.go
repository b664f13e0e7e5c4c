package bfd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kvip/kvip/pkg/backoff"
)

const (
	// receiveBuffer limits what waits in a socket. The kernel doubles it and counts at least 512 bytes
	// for a datagram, so that drainLimit empties it.
	receiveBuffer = 128 << 10
	drainLimit    = 2 * receiveBuffer / 512
	// readLength is more than any packet of this package. What is longer is cut off.
	readLength    = 128
	controlLength = 128
)

// listenKey identifies a listening socket.
type listenKey struct{ is6, multihop bool }

// port returns the UDP port of a kind of sessions.
func (k listenKey) port() int {
	if k.multihop {
		return portMultihop
	}
	return portSingleHop
}

// listener is the socket that receives the packets of all sessions of a family and kind. It is
// bound to all addresses. It does not share its port, so that another BFD program on the node is
// noticed and keeps its packets. The loop reads it; a goroutine waits until it is readable.
type listener struct {
	key    listenKey
	retry  retry
	file   *os.File // nil: closed
	fd     int      // of file
	resume backoff.Signal
	closed chan struct{}
	ended  chan struct{} // of the goroutine
}

// datagram is one that was received.
type datagram struct {
	key      listenKey
	from, to netip.Addr
	index    int // of the link
	ttl      int
	payload  []byte
}

func (l *listener) reopenAt() time.Duration {
	if l.file != nil {
		return Never
	}
	return l.retry.at
}

// open opens the socket. wake is notified when it becomes readable.
func (l *listener) open(wake backoff.Signal) error {
	options := []option{
		{unix.IPPROTO_IP, unix.IP_PKTINFO, 1}, {unix.IPPROTO_IP, unix.IP_RECVTTL, 1},
	}
	all := netip.IPv4Unspecified()
	if l.key.is6 {
		all = netip.IPv6Unspecified()
		options = []option{
			{unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1},
			{unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT, 1},
		}
	}
	options = append(options, option{unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer})
	fd, err := openSocket(l.key.is6, options...)
	if err != nil {
		return err
	}
	if err := unix.Bind(fd, sockaddr(all, l.key.port(), 0)); err != nil {
		_ = unix.Close(fd)
		if errors.Is(err, unix.EADDRINUSE) {
			return fmt.Errorf("UDP port %d is taken by another program, such as FRR's bfdd or BIRD: "+
				"stop its BFD or peer with it: %w", l.key.port(), err)
		}
		return fmt.Errorf("bind UDP socket to port %d: %w", l.key.port(), err)
	}
	l.file, l.fd = os.NewFile(uintptr(fd), "bfd"), fd
	l.retry.problem = ""
	l.resume, l.closed, l.ended = backoff.NewSignal(), make(chan struct{}), make(chan struct{})
	go l.wait(wake)
	return nil
}

// wait notifies wake each time the socket becomes readable, and then waits until it was read.
func (l *listener) wait(wake backoff.Signal) {
	defer close(l.ended)
	raw, err := l.file.SyscallConn()
	if err != nil {
		return
	}
	for {
		err := raw.Read(func(fd uintptr) bool {
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
			return n > 0 || err != nil
		})
		if err != nil { // closed
			return
		}
		wake.Notify()
		select {
		case <-l.resume:
		case <-l.closed:
			return
		}
	}
}

// close closes the socket, and has freed the port when it returns.
func (l *listener) close() {
	if l.file != nil {
		close(l.closed)
		_ = l.file.Close()
		<-l.ended
		l.file = nil
	}
}

// read reads a datagram into b. It reports whether there was one.
func (l *listener) read(b []byte) (d datagram, ok bool, err error) {
	var control [controlLength]byte
	for {
		n, controls, _, from, err := unix.Recvmsg(l.fd, b, control[:], 0)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			return datagram{}, false, nil
		case err != nil:
			return datagram{}, false, fmt.Errorf("receive BFD packet: %w", err)
		}
		d = datagram{key: l.key, from: addrOf(from), payload: b[:n]}
		d.readControl(control[:controls])
		return d, true, nil
	}
}

// readControl reads the TTL, the receiving address and the link (ip(7), ipv6(7)). What is missing
// stays 0 and matches no session.
func (d *datagram) readControl(b []byte) {
	messages, err := unix.ParseSocketControlMessage(b)
	if err != nil {
		return
	}
	for _, m := range messages {
		kind := [2]int32{m.Header.Level, m.Header.Type}
		switch {
		case kind == [2]int32{unix.IPPROTO_IP, unix.IP_TTL} && len(m.Data) >= 4,
			kind == [2]int32{unix.IPPROTO_IPV6, unix.IPV6_HOPLIMIT} && len(m.Data) >= 4:
			d.ttl = int(int32(binary.NativeEndian.Uint32(m.Data)))
		case kind == [2]int32{unix.IPPROTO_IP, unix.IP_PKTINFO} && len(m.Data) >= 12:
			d.index = int(int32(binary.NativeEndian.Uint32(m.Data)))
			d.to = netip.AddrFrom4([4]byte(m.Data[8:]))
		case kind == [2]int32{unix.IPPROTO_IPV6, unix.IPV6_PKTINFO} && len(m.Data) >= 20:
			d.to = netip.AddrFrom16([16]byte(m.Data))
			d.index = int(binary.NativeEndian.Uint32(m.Data[16:]))
		}
	}
}
