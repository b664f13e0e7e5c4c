package servicelab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/kvip/kvip/test/lab/netlab"
)

// askTimeout bounds one question to a Backend.
const askTimeout = 500 * time.Millisecond

// Backend listens in a host on every address and answers each connection with the host's name and
// the client's address. Without kube-proxy a connection to a Service's address ends at the node
// that has it: there a Backend stands for the Service's endpoints, wherever they are.
type Backend struct {
	listener net.Listener
	name     string
	done     chan struct{}
}

// StartBackends starts a Backend on each port of a host. They end with the lab.
func (l *Lab) StartBackends(h *netlab.Host, ports ...int) error {
	for _, port := range ports {
		b, err := StartBackend(h, port)
		if err != nil {
			return err
		}
		l.backends = append(l.backends, b)
	}
	return nil
}

// StartBackend starts a Backend in a host.
func StartBackend(h *netlab.Host, port int) (*Backend, error) {
	b := &Backend{name: h.Name, done: make(chan struct{})}
	err := h.Do(func() (err error) {
		b.listener, err = net.Listen("tcp", net.JoinHostPort("::", strconv.Itoa(port)))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("serve port %d of %s: %w", port, h.Name, err)
	}
	go b.run()
	return b, nil
}

func (b *Backend) run() {
	defer close(b.done)
	for {
		conn, err := b.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		_ = conn.SetDeadline(time.Now().Add(askTimeout)) // a client that goes away is no trouble of ours
		_, _ = fmt.Fprint(conn, b.name, " ", conn.RemoteAddr())
		_ = conn.Close()
	}
}

// Close ends the Backend.
func (b *Backend) Close() error {
	err := b.listener.Close()
	<-b.done
	return err
}

// Request connects from the client and returns which node answers.
func (l *Lab) Request(addr netip.Addr, port int) (string, error) {
	return RequestFrom(l.Client, addr, port)
}

// RequestFrom connects from a host and returns which node answers.
func RequestFrom(h *netlab.Host, addr netip.Addr, port int) (string, error) {
	node, _, err := RequestSource(h, addr, port)
	return node, err
}

// RequestSource connects from a host and returns which node answers, and whom that sees as the
// client.
func RequestSource(h *netlab.Host, addr netip.Addr, port int) (node string, source netip.Addr,
	err error) {
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	conn, err := h.Dial(ctx, "tcp", netip.AddrPortFrom(addr, uint16(port)).String())
	if err != nil {
		return "", source, err
	}
	_ = conn.SetDeadline(time.Now().Add(askTimeout)) // cannot fail on a fresh connection
	answer, err := io.ReadAll(conn)
	node, client, _ := strings.Cut(string(answer), " ")
	if ends, e := netip.ParseAddrPort(client); e == nil {
		source = ends.Addr().Unmap()
	}
	return node, source, errors.Join(err, conn.Close())
}
