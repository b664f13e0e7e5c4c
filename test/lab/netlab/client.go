package netlab

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// ClientConfig describes the requests of a Client. Host, Target and TLS are required.
type ClientConfig struct {
	Host   *Host          // sends the requests
	Target netip.AddrPort // of the requests
	// TLS verifies the server and may authenticate the client. A ClientSessionCache resumes sessions,
	// which saves the server a signature.
	TLS     *tls.Config
	Path    string        // empty: /readyz
	Every   time.Duration // between the starts of requests; 0: 10 ms
	Timeout time.Duration // of each request from its start; 0: 0.5 s
}

// Request is one GET on a new connection, and its result.
type Request struct {
	Start  time.Time
	Took   time.Duration // until the status line was read, or until it failed
	Result string        // "200", another status, or one of the Failed words
	Server string        // first DNS name of the server's certificate
}

// Results of requests without an HTTP status.
const (
	FailedTimeout = "timeout" // no answer in time
	FailedRefused = "refused" // no listener
	FailedReset   = "reset"   // the connection broke
	FailedRoute   = "no route"
	FailedTLS     = "tls"
	FailedOther   = "error"
)

// OK reports whether the request was answered with 200.
func (r Request) OK() bool { return r.Result == "200" }

// Client sends requests at a fixed rate, each on a new connection, whether or not earlier ones have
// been answered.
type Client struct {
	cfg    ClientConfig
	head   string
	cancel context.CancelFunc
	done   chan struct{}

	mu   sync.Mutex
	reqs []Request // in the order they ended
	open sync.WaitGroup
}

// StartClient starts a client. Stop ends it.
func StartClient(cfg ClientConfig) (*Client, error) {
	if cfg.Host == nil || !cfg.Target.IsValid() || cfg.TLS == nil {
		return nil, errors.New("start client: Host, Target and TLS are required")
	}
	if cfg.Path == "" {
		cfg.Path = "/readyz"
	}
	if cfg.Every == 0 {
		cfg.Every = 10 * time.Millisecond
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 500 * time.Millisecond
	}
	cfg.TLS = cfg.TLS.Clone()
	cfg.TLS.ServerName = cfg.Target.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	c := &Client{cfg: cfg, cancel: cancel, done: make(chan struct{})}
	c.head = fmt.Sprintf(
		"GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\nUser-Agent: netlab\r\n\r\n", cfg.Path,
		cfg.Target)
	started := make(chan error, 1)
	onThread(func() { c.run(ctx, started) })
	if err := <-started; err != nil {
		cancel()
		return nil, fmt.Errorf("start client in host %s: %w", cfg.Host.Name, err)
	}
	return c, nil
}

// run opens the sockets on a thread inside the host. Everything else can run on any thread.
func (c *Client) run(ctx context.Context, started chan<- error) {
	defer close(c.done)
	err := c.cfg.Host.ns.enter()
	started <- err
	if err != nil {
		return
	}
	_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), -10) // not essential
	tick := time.NewTicker(c.cfg.Every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		start := time.Now()
		sock, err := dial(c.cfg.Target)
		if err != nil {
			c.record(Request{Start: start, Took: time.Since(start), Result: classify(err)})
			continue
		}
		c.open.Add(1)
		go c.request(start, sock)
	}
}

// dial starts a connection and does not wait for it.
func dial(to netip.AddrPort) (*os.File, error) {
	family, sa := unix.AF_INET, unix.Sockaddr(&unix.SockaddrInet4{Port: int(to.Port())})
	if to.Addr().Is4() {
		sa.(*unix.SockaddrInet4).Addr = to.Addr().As4()
	} else {
		family, sa = unix.AF_INET6, &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	// As net.Dial does. Otherwise the request waits for the acknowledgement of the handshake.
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	if err := unix.Connect(fd, sa); err != nil && err != unix.EINPROGRESS {
		_ = unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), to.String()), nil
}

func (c *Client) request(start time.Time, sock *os.File) {
	defer c.open.Done()
	r := Request{Start: start}
	err := c.exchange(sock, start.Add(c.cfg.Timeout), &r)
	r.Took = time.Since(start)
	if err != nil {
		r.Result = classify(err)
	}
	c.record(r)
	_ = sock.Close()
}

// exchange completes the connection, sends the request and reads the answer.
func (c *Client) exchange(sock *os.File, deadline time.Time, r *Request) error {
	if err := sock.SetDeadline(deadline); err != nil {
		return err
	}
	if err := connected(sock); err != nil {
		return err
	}
	conn := tls.Client(socket{sock}, c.cfg.TLS)
	if err := conn.Handshake(); err != nil {
		return err
	}
	if certs := conn.ConnectionState().PeerCertificates; len(certs) > 0 && len(certs[0].DNSNames) > 0 {
		r.Server = certs[0].DNSNames[0]
	}
	if _, err := io.WriteString(conn, c.head); err != nil {
		return err
	}
	resp, err := http.ReadResponse(bufio.NewReaderSize(conn, 512), nil)
	if err != nil {
		return err
	}
	r.Result = resp.Status[:min(3, len(resp.Status))]
	return nil
}

// connected waits for the end of the connection attempt and returns its error.
func connected(sock *os.File) error {
	raw, err := sock.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Write(func(fd uintptr) bool {
		if _, err := unix.Getpeername(int(fd)); err == nil {
			return true
		}
		code, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		switch {
		case err != nil:
			failed = err
		case code != 0:
			failed = unix.Errno(code)
		}
		return failed != nil
	})
	return errors.Join(err, failed)
}

func (c *Client) record(r Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reqs = append(c.reqs, r)
}

// Stop ends the client and waits for the open requests.
func (c *Client) Stop() {
	c.cancel()
	<-c.done
	c.open.Wait()
}

// Requests returns the completed requests that started at or after an instant, in the order of
// their starts.
func (c *Client) Requests(since time.Time) []Request {
	c.mu.Lock()
	var reqs []Request
	for _, r := range c.reqs {
		if !r.Start.Before(since) {
			reqs = append(reqs, r)
		}
	}
	c.mu.Unlock()
	slices.SortFunc(reqs, func(a, b Request) int { return a.Start.Compare(b.Start) })
	return reqs
}

// Outage returns the client's [Outage] in a window. Call it after the Timeout of the last request
// in the window.
func (c *Client) Outage(from, to time.Time) time.Duration {
	return Outage(c.Requests(from.Add(-time.Second)), from, to)
}

// classify returns the Failed result of an error.
func classify(err error) string {
	var alert tls.AlertError
	var cert *tls.CertificateVerificationError
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, unix.ETIMEDOUT):
		return FailedTimeout
	case errors.Is(err, unix.ECONNREFUSED):
		return FailedRefused
	case errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.ENETUNREACH):
		return FailedRoute
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, unix.ECONNRESET),
		errors.Is(err, unix.EPIPE):
		return FailedReset
	case errors.As(err, &alert), errors.As(err, &cert), strings.HasPrefix(err.Error(), "tls:"):
		return FailedTLS
	}
	return FailedOther
}

// Outage returns the longest gap between the starts of successful requests that overlaps the
// window. The requests must be in the order of their starts. The last success before the window and
// the first one after it bound the outer gaps, or else the window does. Without a failure the
// result is the interval of the requests, not zero.
func Outage(reqs []Request, from, to time.Time) time.Duration {
	var gap time.Duration
	last := from
	for _, r := range reqs {
		switch {
		case !r.OK():
			continue
		case r.Start.Before(from):
			last = r.Start
			continue
		}
		gap = max(gap, r.Start.Sub(last))
		last = r.Start
		if !r.Start.Before(to) {
			return gap
		}
	}
	return max(gap, to.Sub(last))
}

// Failures returns how many requests that started before an instant failed, and the sum of the
// times in which none succeeded: each from the first request that failed to the next one that
// succeeded. The requests must be in the order of their starts.
func Failures(reqs []Request, to time.Time) (failed int, sum time.Duration) {
	var since time.Time // the first failure of a run; zero: there is none
	for _, r := range reqs {
		late := !r.Start.Before(to)
		switch {
		case !r.OK() && !late:
			failed++
			if since.IsZero() {
				since = r.Start
			}
		case r.OK() && !since.IsZero():
			sum += r.Start.Sub(since)
			since = time.Time{}
		}
		if late && since.IsZero() {
			break
		}
	}
	if !since.IsZero() {
		sum += to.Sub(since)
	}
	return failed, sum
}

// socket is a net.Conn for crypto/tls on a connected, non-blocking socket in a file.
type socket struct{ *os.File }

func (socket) LocalAddr() net.Addr  { return &net.TCPAddr{} }
func (socket) RemoteAddr() net.Addr { return &net.TCPAddr{} }
