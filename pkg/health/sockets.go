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

const (
	// acceptTimeout limits how long the kernel may take to accept a connection. It does not accept
	// one while its queue is full.
	acceptTimeout = 100 * time.Millisecond
	// maxSocketGap is the largest gap between two lists of sockets that prove a stall together.
	maxSocketGap = time.Second
	// minSocketLists is how many lists prove a stall.
	minSocketLists = 5
)

// socketStates are the states of sockets that a list has: listening, or a connection that one end
// has not closed for good.
const socketStates = ^uint32(1<<link.StateTimeWait | 1<<link.StateClose)

// socketProbe lists the sockets of the API server in the kernel. It keeps a connection of its own
// on which it sends nothing, so that there is always one to accept: a process that does not even
// do that is stopped. It works for servers in this network namespace, and needs no capability.
type socketProbe struct {
	dialer dialer
	server func() string // base URL

	mu   sync.Mutex
	conn net.Conn
	base string // server of conn
}

// socketSnapshot has the sockets of a server, nil if the kernel shows none.
type socketSnapshot struct {
	at      time.Time
	sockets []link.Socket
	err     error
}

// probe lists the sockets of the server that was probed last.
func (p *socketProbe) probe(ctx context.Context) socketSnapshot {
	server, err := p.connect(ctx)
	at := time.Now()
	if err != nil {
		return socketSnapshot{at: at, err: err}
	}
	families := []uint8{unix.AF_INET6} // a dual-stack socket's connections from IPv4 too
	if server.Addr().Unmap().Is4() {
		families = append(families, unix.AF_INET)
	}
	var all []link.Socket
	for _, family := range families {
		list, err := link.Sockets(family, socketStates, server.Port())
		if err != nil {
			return socketSnapshot{at: at, err: err}
		}
		all = append(all, list...)
	}
	return socketSnapshot{at: at, sockets: socketsOf(all, server)}
}

// connect makes the connection that waits to be accepted, if there is none, and returns the
// server's address.
func (p *socketProbe) connect(ctx context.Context) (netip.AddrPort, error) {
	base := p.server()
	u, err := url.Parse(base)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("list sockets of %q: %w", base, err)
	}
	address := hostPort(u)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conn != nil && p.base == base {
		return netip.ParseAddrPort(p.conn.RemoteAddr().String())
	}
	p.closeLocked()
	ctx, cancel := context.WithTimeout(ctx, acceptTimeout)
	defer cancel()
	c, err := p.dialer.plain(ctx, "tcp", address)
	if err != nil { // perhaps the queue is full: the address is enough then
		server, parseErr := netip.ParseAddrPort(address)
		if parseErr != nil {
			return netip.AddrPort{}, fmt.Errorf("list sockets of %q: %w", base, err)
		}
		return server, nil
	}
	p.conn, p.base = c, base
	return netip.ParseAddrPort(c.RemoteAddr().String())
}

// close closes the probe's connection.
func (p *socketProbe) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closeLocked()
}

func (p *socketProbe) closeLocked() {
	if p.conn != nil {
		p.conn.Close()
		p.conn = nil
	}
}

// socketsOf returns the sockets of the server that answers at an address: its listening sockets and
// the connections that came in through them. It returns nil if none listens.
func socketsOf(list []link.Socket, server netip.AddrPort) (own []link.Socket) {
	var listening []netip.Addr
	for _, s := range list {
		if s.State == link.StateListen && s.Local.Port() == server.Port() {
			listening = append(listening, s.Local.Addr())
		}
	}
	at, ok := listenerFor(server.Addr(), listening)
	if !ok {
		return nil
	}
	for _, s := range list {
		if s.Local.Port() != server.Port() {
			continue
		}
		through := s.Local.Addr()
		if s.State != link.StateListen {
			through, _ = listenerFor(through, listening)
		}
		if through == at {
			own = append(own, s)
		}
	}
	return own
}

// listenerFor returns the address of the listening socket that gets the connections to an address:
// the one bound to it, else one bound to any address, of its family first.
func listenerFor(to netip.Addr, listening []netip.Addr) (best netip.Addr, ok bool) {
	rank := 0
	for _, at := range listening {
		fits := 0
		switch {
		case at == to.Unmap():
			fits = 3
		case at.IsUnspecified() && at.Is4() == to.Unmap().Is4():
			fits = 2
		case at == netip.IPv6Unspecified():
			fits = 1
		}
		if fits > rank {
			best, rank = at, fits
		}
	}
	return best, rank > 0
}

// stallDetector distinguishes a stopped process from a slow one by the sockets of its server. A
// stopped process takes nothing: the kernel accepts connections and data, and both queue up. A
// process that gets a little of the CPU takes something now and then. It is pure; the zero value is
// ready for use.
type stallDetector struct {
	first, last time.Time // of the lists in a row without a sign of life
	lists       int
	sockets     map[link.SocketID]link.Socket
}

// add takes the server's sockets at now. It reports whether the process has done anything since
// the last list. A nil list proves nothing.
func (d *stallDetector) add(now time.Time, list []link.Socket) (alive bool) {
	before := d.sockets
	d.sockets = make(map[link.SocketID]link.Socket, len(list))
	waiting := false
	for _, socket := range list {
		d.sockets[socket.ID] = socket
		waiting = waiting || socket.State == link.StateListen && socket.Unread > 0
		if before != nil {
			old, known := before[socket.ID]
			alive = alive || used(old, known, socket)
		}
	}
	switch {
	case !waiting:
		*d = stallDetector{}
	case alive || d.lists == 0 || now.Sub(d.last) > maxSocketGap:
		d.first, d.last, d.lists = now, now, 1
	default:
		d.last = now
		d.lists++
	}
	return alive
}

// duration returns for how long the process has been stopped for certain, 0 if it is not.
func (d *stallDetector) duration() time.Duration {
	if d.lists < minSocketLists {
		return 0
	}
	return d.last.Sub(d.first)
}

// used reports whether the process used a socket since it was seen as old, if it is known: accepted
// it, read from it, wrote to it or closed it.
func used(old link.Socket, known bool, now link.Socket) bool {
	if !known {
		return now.State == link.StateListen || now.Attached && isOpen(now)
	}
	return now.Unread < old.Unread || now.Unsent > old.Unsent || now.Attached && !old.Attached ||
		isOpen(old) && !isOpen(now)
}

// isOpen reports whether the process has not closed its end of a connection.
func isOpen(s link.Socket) bool {
	return s.State == link.StateEstablished || s.State == link.StateCloseWait
}
