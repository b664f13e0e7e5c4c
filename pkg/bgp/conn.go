package bgp

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// internetControl is the type of service of routing protocols (RFC 4271 appendix E).
	internetControl = 0xc0
	maxTTL          = 255
	// minHopCount is IPV6_MINHOPCOUNT of linux/in6.h.
	minHopCount = 73
)

// conn is a connection to a peer. One goroutine reads and then drains, another one writes.
type conn struct {
	tcp           *net.TCPConn
	local, remote netip.AddrPort
	broken        bool // a write failed

	mu       sync.Mutex
	draining bool
}

// dial connects to a peer with everything that its configuration requires of the socket. It fails
// rather than connect without a password or a TTL (B12).
func dial(ctx context.Context, cfg PeerConfig, peer netip.Addr) (*conn, error) {
	dialer := net.Dialer{
		KeepAlive: -1, // BGP has its own
		Control: func(_, _ string, raw syscall.RawConn) error {
			var failed error
			if err := raw.Control(func(fd uintptr) {
				failed = setOptions(int(fd), cfg, peer)
			}); err != nil {
				return err
			}
			return failed
		},
	}
	if cfg.Source.IsValid() {
		dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(cfg.Source, 0))
	}
	to := netip.AddrPortFrom(peer, cfg.Port).String()
	c, err := dialer.DialContext(ctx, "tcp", to)
	if err != nil {
		return nil, fmt.Errorf("connect to BGP peer: %w", err)
	}
	tcp := c.(*net.TCPConn)
	address := func(a net.Addr) netip.AddrPort {
		from := a.(*net.TCPAddr).AddrPort()
		return netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
	}
	return &conn{tcp: tcp, local: address(tcp.LocalAddr()), remote: address(tcp.RemoteAddr())}, nil
}

// setOptions sets what must be set before a socket connects.
func setOptions(fd int, cfg PeerConfig, peer netip.Addr) error {
	type option struct {
		name              string
		level, opt, value int
	}
	ttl := cfg.ttl()
	options := []option{
		{"type of service", unix.IPPROTO_IP, unix.IP_TOS, internetControl},
		{"TTL", unix.IPPROTO_IP, unix.IP_TTL, ttl},
	}
	least := option{"least TTL", unix.IPPROTO_IP, unix.IP_MINTTL, maxTTL}
	if peer.Is6() {
		options = []option{
			{"traffic class", unix.IPPROTO_IPV6, unix.IPV6_TCLASS, internetControl},
			{"hop limit", unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, ttl},
		}
		least = option{"least hop limit", unix.IPPROTO_IPV6, minHopCount, maxTTL}
	}
	if cfg.TTLSecurity {
		options = append(options, least)
	}
	for _, o := range options {
		if err := unix.SetsockoptInt(fd, o.level, o.opt, o.value); err != nil {
			return fmt.Errorf("set %s: %w", o.name, os.NewSyscallError("setsockopt", err))
		}
	}
	if cfg.SourceInterface != "" {
		if err := unix.BindToDevice(fd, cfg.SourceInterface); err != nil {
			return fmt.Errorf("bind to interface %s: %w", cfg.SourceInterface, err)
		}
	}
	if cfg.Password != "" {
		return setPassword(fd, cfg.Password, peer)
	}
	return nil
}

// ttl returns the TTL of packets: an external peer is one hop away, if nothing else is configured.
func (c PeerConfig) ttl() int {
	switch {
	case c.TTLSecurity:
		return maxTTL
	case c.Multihop > 0:
		return int(c.Multihop)
	case c.Type == Internal, c.Type == ByNumber && c.internal(c.PeerAS):
		return 64 // the default of Linux
	}
	return 1
}

// setPassword makes the kernel sign and verify segments (RFC 2385).
func setPassword(fd int, password string, peer netip.Addr) error {
	signature := unix.TCPMD5Sig{Keylen: uint16(len(password))}
	copy(signature.Key[:], password)
	storage := make([]byte, 0, 32) // the begin of struct sockaddr_in or sockaddr_in6
	if peer.Is4() {
		a := peer.As4()
		storage = append(storage, 0, 0) // the port is not compared
		storage = append(storage, a[:]...)
		signature.Addr.Family = unix.AF_INET
	} else {
		a := peer.As16()
		storage = append(storage, 0, 0, 0, 0, 0, 0) // port and flow label
		storage = append(storage, a[:]...)
		signature.Addr.Family = unix.AF_INET6
	}
	copy(signature.Addr.Data[:], storage)
	if err := unix.SetsockoptTCPMD5Sig(fd, unix.IPPROTO_TCP, unix.TCP_MD5SIG,
		&signature); err != nil {
		return fmt.Errorf("set the TCP MD5 password: %w", os.NewSyscallError("setsockopt", err))
	}
	return nil
}

// read reads messages until the connection ends or pass reports false, and passes on each of them.
// It needs the memory of one message, whatever the peer sends (B2).
func (c *conn) read(pass func(Message) bool) error {
	buffer := make([]byte, maxSize)
	for {
		if _, err := io.ReadFull(c.tcp, buffer[:headerSize]); err != nil {
			return closedReason(err)
		}
		if wrong := checkHeader(buffer[:headerSize]); wrong != nil {
			pass(*wrong)
			return errMalformed
		}
		size := int(binary.BigEndian.Uint16(buffer[16:18]))
		if _, err := io.ReadFull(c.tcp, buffer[headerSize:size]); err != nil {
			return closedReason(err)
		}
		if !pass(decode(buffer[:size])) {
			return errClosed
		}
	}
}

// drain reads what is still arriving after the own side has ended the session, so that the kernel
// does not answer it with a reset, which would discard a notification. It closes the connection.
func (c *conn) drain() {
	c.mu.Lock()
	c.draining = true
	_ = c.tcp.SetReadDeadline(time.Now().Add(drainTime))
	c.mu.Unlock()
	_, _ = io.Copy(io.Discard, c.tcp)
	_ = c.tcp.Close()
}

const (
	drainTime = time.Second
	// writeInterval is how long a write to a peer that does not read goes on without a question
	// whether it may.
	writeInterval = 250 * time.Millisecond
)

var (
	errMalformed    = errors.New("the peer sent what is not BGP")
	errClosed       = errors.New("the session has ended")
	errNoConnection = errors.New("there is no connection")
	errNotPermitted = errors.New("the agent may not send")
	errLeaving      = errors.New("the session was to end while the peer did not read")
	errBroken       = errors.New("an earlier message was not sent completely")
	errPeerClosed   = errors.New("the peer closed the connection")
	errNotReading   = errors.New("the peer read nothing")
)

// closedReason puts the end of a connection into words.
func closedReason(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errPeerClosed
	}
	return err
}

// write sends bytes within a time. While the peer does not read, it asks allowed four times a
// second, and returns its error. Nothing can be sent after an error.
func (c *conn) write(data []byte, timeout time.Duration, allowed func() error) error {
	if c.broken {
		return errBroken
	}
	end := time.Now().Add(timeout)
	for {
		next := time.Now().Add(writeInterval)
		if next.After(end) {
			next = end
		}
		_ = c.tcp.SetWriteDeadline(next) // it fails if Write does
		n, err := c.tcp.Write(data)
		data = data[n:]
		if errors.Is(err, os.ErrDeadlineExceeded) {
			if err = allowed(); err == nil && time.Now().Before(end) {
				continue
			}
			err = cmp.Or(err, fmt.Errorf("%w for %v", errNotReading, timeout))
		}
		c.broken = err != nil
		return err
	}
}

// unacknowledged returns how many bytes the peer's kernel has not acknowledged (tcp(7), SIOCOUTQ).
func (c *conn) unacknowledged() (int, error) {
	raw, err := c.tcp.SyscallConn()
	if err != nil {
		return 0, err
	}
	n, failed := 0, error(nil)
	if err := raw.Control(func(fd uintptr) {
		n, failed = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ)
	}); err != nil {
		return 0, err
	}
	return n, failed
}

// close ends the own side of the connection, and read. What was written is still sent. It is
// idempotent and safe for concurrent use.
func (c *conn) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.tcp.CloseWrite()
	if !c.draining {
		_ = c.tcp.SetReadDeadline(time.Now())
	}
}
