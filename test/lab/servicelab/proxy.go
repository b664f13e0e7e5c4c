package servicelab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/kvip/kvip/test/lab/netlab"
)

// Proxy passes TCP connections on, and can do so badly: it stands for a load balancer before the
// API.
type Proxy struct {
	host     *netlab.Host
	listener net.Listener
	targets  []netip.AddrPort
	work     sync.WaitGroup

	mu       sync.Mutex
	next     int
	conns    map[net.Conn]struct{}
	delay    time.Duration
	swallow  bool
	refuse   bool
	closed   bool
	accepted int
}

// StartProxy listens in a host on one of its addresses, and passes connections on to the targets in
// turn. Close ends it.
func StartProxy(h *netlab.Host, listen netip.AddrPort, targets ...netip.AddrPort) (*Proxy, error) {
	p := &Proxy{host: h, targets: targets, conns: map[net.Conn]struct{}{}}
	err := h.Do(func() (err error) {
		p.listener, err = net.Listen("tcp", listen.String())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("start proxy in %s: %w", h.Name, err)
	}
	p.work.Go(p.run)
	return p, nil
}

// Delay makes every piece of data wait that long before it is passed on.
func (p *Proxy) Delay(d time.Duration) { p.set(func() { p.delay = d }) }

// Swallow makes data disappear, in both directions, on connections that stay open.
func (p *Proxy) Swallow(on bool) { p.set(func() { p.swallow = on }) }

// Refuse makes it close each new connection at once.
func (p *Proxy) Refuse(on bool) { p.set(func() { p.refuse = on }) }

// Accepted counts the connections that were passed on.
func (p *Proxy) Accepted() (n int) {
	p.set(func() { n = p.accepted })
	return n
}

func (p *Proxy) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
}

// Cut ends all connections that are open, and returns how many there were.
func (p *Proxy) Cut() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn := range p.conns {
		_ = conn.Close() // its other end does what it wants
	}
	return len(p.conns) / 2
}

// Close ends the proxy with all connections.
func (p *Proxy) Close() error {
	err := p.listener.Close()
	p.set(func() { p.closed = true })
	p.Cut()
	p.work.Wait()
	return err
}

// register remembers a connection's ends, unless the proxy is closed.
func (p *Proxy) register(client, server net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.conns[client], p.conns[server] = struct{}{}, struct{}{}
	}
	return !p.closed
}

func (p *Proxy) run() {
	for {
		conn, err := p.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			p.work.Go(func() { p.serve(conn) })
		}
	}
}

// serve serves one connection until either side ends it.
func (p *Proxy) serve(client net.Conn) {
	defer client.Close()
	server := p.dial()
	if server == nil {
		return
	}
	defer server.Close()
	if !p.register(client, server) {
		return
	}
	defer p.set(func() { delete(p.conns, client); delete(p.conns, server) })
	var both sync.WaitGroup
	for _, pair := range [][2]net.Conn{{client, server}, {server, client}} {
		both.Go(func() {
			defer client.Close()
			defer server.Close()
			p.copy(pair[1], pair[0])
		})
	}
	both.Wait()
}

// dial connects with the next target; nil where that fails or nothing is to be passed on.
func (p *Proxy) dial() net.Conn {
	p.mu.Lock()
	refuse, target := p.refuse, p.targets[p.next%len(p.targets)]
	p.next++
	p.mu.Unlock()
	if refuse {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	conn, err := p.host.Dial(ctx, "tcp", target.String())
	if err != nil {
		return nil
	}
	p.set(func() { p.accepted++ })
	return conn
}

func (p *Proxy) copy(to, from net.Conn) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		var delay time.Duration
		var swallow bool
		p.set(func() { delay, swallow = p.delay, p.swallow })
		time.Sleep(delay)
		if n > 0 && !swallow {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
