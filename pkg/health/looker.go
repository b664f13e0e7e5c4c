package health

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kvip/kvip/pkg/link"
)

// knockTimeout is how long the kernel may take to accept a connection: it does not if as
// many as it keeps wait already.
const knockTimeout = 100 * time.Millisecond

// lookStates are the states of the sockets that a look is about: listening, or a
// connection that either end has not closed for good.
const lookStates = ^uint32(1<<link.StateTimeWait | 1<<link.StateClose)

// looker looks at the sockets of the API server in the kernel. It keeps a connection of its
// own on which it sends nothing, so that there is always one to accept: a process that
// does not even do that stands still. It works for servers in this network namespace, and
// needs no capability.
type looker struct {
	dialer dialer
	server func() string // base URL

	mu   sync.Mutex
	conn net.Conn
	base string // where conn goes
}

// glance is what one look showed, nil if the kernel shows nothing.
type glance struct {
	at      time.Time
	sockets []link.Socket
	err     error
}

// look lists the sockets of the server that was asked last.
func (l *looker) look(ctx context.Context) glance {
	server, err := l.knock(ctx)
	at := time.Now()
	if err != nil {
		return glance{at: at, err: err}
	}
	families := []uint8{unix.AF_INET6} // also those that a dual-stack socket has from IPv4
	if server.Addr().Unmap().Is4() {
		families = append(families, unix.AF_INET)
	}
	var all []link.Socket
	for _, family := range families {
		list, err := link.Sockets(family, lookStates, server.Port())
		if err != nil {
			return glance{at: at, err: err}
		}
		all = append(all, list...)
	}
	return glance{at: at, sockets: ofServer(all, server)}
}

// knock makes the connection that waits to be accepted, unless there is one, and returns
// the server's address.
func (l *looker) knock(ctx context.Context) (netip.AddrPort, error) {
	base := l.server()
	u, err := url.Parse(base)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("look at the sockets of %q: %w", base, err)
	}
	address := hostPort(u)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn != nil && l.base == base {
		return remote(l.conn)
	}
	l.close()
	ctx, cancel := context.WithTimeout(ctx, knockTimeout)
	defer cancel()
	conn, err := l.dialer.plain(ctx, "tcp", address)
	if err != nil { // perhaps too many wait already: the address is enough then
		server, parseErr := netip.ParseAddrPort(address)
		if parseErr != nil {
			return netip.AddrPort{}, fmt.Errorf("look at the sockets of %q: %w", base, err)
		}
		return server, nil
	}
	l.conn, l.base = conn, base
	return remote(conn)
}

func remote(conn net.Conn) (netip.AddrPort, error) {
	return netip.ParseAddrPort(conn.RemoteAddr().String())
}

// rest closes the connection of the looks.
func (l *looker) rest() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.close()
}

func (l *looker) close() {
	if l.conn != nil {
		l.conn.Close()
		l.conn = nil
	}
}
