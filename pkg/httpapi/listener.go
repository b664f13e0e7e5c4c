package httpapi

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

// limits are what the clients of one server can make this process keep.
type limits struct {
	connections int // in total
	perSource   int // of one IPv4 address or IPv6 /64 network; 0: no such limit
	requests    int // served at one time; 0: as many as there are connections
	// request limits the time to read a request, answer the time to read and answer it.
	request, answer time.Duration
}

const (
	// backlog is how many connections the kernel queues that are not accepted yet.
	backlog = 64
	// socketBuffer limits what the kernel keeps of one connection in each direction. The kernel
	// doubles the number.
	socketBuffer = 32 << 10
)

// listen opens a listener that admits at most the connections that limit allows. It closes all
// others at once: in the kernel's queue they would take memory, and space from other clients.
func listen(ctx context.Context, address string, limit limits) (net.Listener, error) {
	config := net.ListenConfig{Control: setBuffers}
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
		return nil, fmt.Errorf("limit the backlog of %s: %w", address, err)
	}
	return &limitedListener{Listener: listener, limit: limit, open: map[netip.Prefix]int{}}, nil
}

// setBuffers sets the buffer sizes of a listener, which its connections inherit.
func setBuffers(_, _ string, raw syscall.RawConn) error {
	return control(raw, func(fd int) error {
		for _, option := range []int{unix.SO_RCVBUF, unix.SO_SNDBUF} {
			if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, socketBuffer); err != nil {
				return fmt.Errorf("set the buffer size of a socket: %w", err)
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
	limit limits

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
			return &limitedConn{Conn: conn, done: func() { l.release(from) }}, nil
		}
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // a reset leaves no socket in TIME_WAIT
		}
		_ = conn.Close()
	}
}

func (l *limitedListener) admit(from netip.Prefix) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all >= l.limit.connections || l.limit.perSource > 0 && l.open[from] >= l.limit.perSource {
		return false
	}
	l.all++
	l.open[from]++
	return true
}

func (l *limitedListener) release(from netip.Prefix) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all--
	if l.open[from]--; l.open[from] == 0 {
		delete(l.open, from)
	}
}

// source returns what counts as one client: an IPv4 address, or the IPv6 network that one host may
// have.
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

// limitedConn calls done when it is closed.
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
