package agent

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// limits bounds what the clients of one server can make this process keep.
type limits struct {
	connections int // in all
	perSource   int // of one IPv4 address or IPv6 /64 network; 0: no limit of its own
	requests    int // that are answered at one time; 0: as many as there are connections
	// request bounds the reading of a request, answer its answer as well.
	request, answer time.Duration
}

const (
	// backlog is how many connections the kernel keeps that are not accepted yet.
	backlog = 64
	// socketBuffer bounds what the kernel keeps of one connection in each direction. It doubles the number.
	socketBuffer = 32 << 10
)

// listen opens a listener that admits no more connections than max allows. It closes all others at
// once: in the kernel's queue they would take memory, and the place of other clients.
func listen(ctx context.Context, address string, max limits) (net.Listener, error) {
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error { return smallBuffers(raw) }}
	listener, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	raw, err := listener.(*net.TCPListener).SyscallConn()
	if err == nil {
		err = control(raw, func(fd int) error { return unix.Listen(fd, backlog) })
	}
	if err != nil {
		_ = listener.Close()
		return nil, fmt.Errorf("limit the queue of %s: %w", address, err)
	}
	return &limitedListener{Listener: listener, max: max, open: map[netip.Prefix]int{}}, nil
}

// smallBuffers is for a listener: its connections inherit the sizes.
func smallBuffers(raw syscall.RawConn) error {
	return control(raw, func(fd int) error {
		for _, option := range []int{unix.SO_RCVBUF, unix.SO_SNDBUF} {
			if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, socketBuffer); err != nil {
				return fmt.Errorf("set the size of a socket's buffer: %w", err)
			}
		}
		return nil
	})
}

func control(raw syscall.RawConn, do func(fd int) error) (err error) {
	if failed := raw.Control(func(fd uintptr) { err = do(int(fd)) }); failed != nil {
		return failed
	}
	return err
}

// limitedListener counts the connections that are open.
type limitedListener struct {
	net.Listener
	max limits

	mu   sync.Mutex
	open map[netip.Prefix]int // by source
	all  int
}

// Accept returns the next connection that the limits admit.
func (l *limitedListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from := source(conn.RemoteAddr())
		if l.admit(from) {
			return &limitedConn{Conn: conn, done: func() { l.closed(from) }}, nil
		}
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // a reset leaves nothing behind, not even TIME_WAIT
		}
		_ = conn.Close()
	}
}

func (l *limitedListener) admit(from netip.Prefix) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all >= l.max.connections || l.max.perSource > 0 && l.open[from] >= l.max.perSource {
		return false
	}
	l.all++
	l.open[from]++
	return true
}

func (l *limitedListener) closed(from netip.Prefix) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all--
	if l.open[from]--; l.open[from] == 0 {
		delete(l.open, from)
	}
}

// source is what counts as one client: an IPv4 address, or the IPv6 network that one host may have.
func source(of net.Addr) netip.Prefix {
	tcp, ok := of.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	addr := tcp.AddrPort().Addr().Unmap().WithZone("")
	bits := 32
	if addr.Is6() {
		bits = 64
	}
	prefix, _ := addr.Prefix(bits)
	return prefix
}

// limitedConn gives its place back when it is closed.
type limitedConn struct {
	net.Conn
	once sync.Once
	done func()
}

// Close closes the connection.
func (c *limitedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(c.done)
	return err
}
