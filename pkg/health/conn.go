package health

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
)

// persistentConn is one kept-alive HTTP/1.1 connection to one server at a time, for requests one
// after the other. An http.Transport needs four goroutines for that instead of one, and with ten
// polls a second 40 % more CPU (BenchmarkPoll). Its methods belong to one goroutine.
type persistentConn struct {
	dialer dialer
	// disconnected is called when the server ended the connection, idle or in use. aborted: without a
	// TLS alert (RFC 8446 6.1), as the kernel closes the sockets of a process that died.
	disconnected func(aborted bool)
	server       string // scheme and host of the connection
	auth         string // a client certificate belongs to its connection
	conn         *conn  // nil: not connected
}

// conn is one connection with its reader.
type conn struct {
	net.Conn
	raw     *countingConn // below TLS; nil: without TLS
	pending atomic.Bool   // a request waits for its response
	closing atomic.Bool   // this side ends the connection, not the server
	replies chan reply
	ended   chan struct{} // closed when the reader has returned
}

type reply struct {
	status int
	body   string
	err    error
	last   bool // the server closes the connection after it
}

// get requests target and returns status and body. It replaces a dead kept connection once: a
// closed socket only causes a redial (E7).
func (p *persistentConn) get(ctx context.Context, target, authorization string) (int, string,
	error) {
	u, err := url.Parse(target)
	if err != nil {
		return 0, "", fmt.Errorf("%w: %w", errCannotProbe, err)
	}
	kept := p.conn != nil && p.server == u.Scheme+u.Host && p.auth == authorization
	if !kept {
		p.auth = authorization
		if err := p.dial(ctx, u); err != nil {
			return 0, "", fmt.Errorf("get %s: %w", target, err)
		}
	}
	r := p.exchange(ctx, u, authorization)
	if r.err != nil && kept && ctx.Err() == nil {
		if err := p.dial(ctx, u); err != nil {
			return 0, "", fmt.Errorf("get %s: %w", target, err)
		}
		r = p.exchange(ctx, u, authorization)
	}
	if r.err != nil {
		return 0, "", fmt.Errorf("get %s: %w", target, r.err)
	}
	return r.status, r.body, nil
}

// dial replaces the connection by a new one.
func (p *persistentConn) dial(ctx context.Context, u *url.URL) error {
	p.close()
	dial := p.dialer.secure
	if u.Scheme == "http" {
		dial = p.dialer.plain
	}
	c, err := dial(ctx, "tcp", hostPort(u))
	if err != nil {
		return err
	}
	p.server = u.Scheme + u.Host
	p.conn = &conn{Conn: c, replies: make(chan reply, 1), ended: make(chan struct{})}
	if secure, ok := c.(*tls.Conn); ok {
		p.conn.raw = secure.NetConn().(*countingConn)
	}
	go p.conn.read(p.disconnected)
	return nil
}

// exchange sends one request and waits for its response. It closes the connection after an error.
func (p *persistentConn) exchange(ctx context.Context, u *url.URL, authorization string) reply {
	c := p.conn
	c.pending.Store(true)
	if _, err := io.WriteString(c, request(u, authorization)); err != nil {
		p.close()
		return reply{err: err}
	}
	var r reply
	select {
	case r = <-c.replies:
	case <-c.ended: // perhaps before the request was sent, without a reply
		select {
		case r = <-c.replies:
		default:
			r.err = io.ErrUnexpectedEOF
		}
	case <-ctx.Done():
		r.err = ctx.Err()
	}
	if r.err != nil || r.last {
		p.close()
	}
	return r
}

// countingConn counts the bytes that were received. They belong to the reader.
type countingConn struct {
	net.Conn
	received int64
}

func (c *countingConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.received += int64(n)
	return n, err
}

// request returns a GET request in its wire format (RFC 9112).
func request(u *url.URL, authorization string) string {
	var b strings.Builder
	b.WriteString("GET " + u.RequestURI() + " HTTP/1.1\r\nHost: " + u.Host +
		"\r\nUser-Agent: kvip\r\n")
	if authorization != "" {
		value := strings.NewReplacer("\r", "", "\n", "").Replace(authorization)
		b.WriteString("Authorization: " + value + "\r\n")
	}
	b.WriteString("\r\n")
	return b.String()
}

// close ends the connection and its reader.
func (p *persistentConn) close() {
	if p.conn != nil {
		p.conn.closing.Store(true)
		p.conn.Close()
		<-p.conn.ended
		p.conn = nil
	}
}

// read passes on responses until the connection ends. It also reads while the connection is idle,
// so the death of an API server is noticed when the kernel closes its sockets, not at the next
// poll.
func (c *conn) read(disconnected func(aborted bool)) {
	defer close(c.ended)
	r := bufio.NewReader(c)
	var before int64 // bytes that were received with the responses
	for {
		next := c.readResponse(r)
		if next.err != nil && !c.closing.Load() {
			disconnected(before > 0 && c.raw.received == before) // an alert has bytes
		}
		if c.raw != nil {
			before = c.raw.received
		}
		if c.pending.Swap(false) {
			c.replies <- next
		}
		if next.err != nil || next.last {
			return
		}
	}
}

var errUnsolicited = errors.New("the server sent a response without a request")

// readResponse reads one final response.
func (c *conn) readResponse(r *bufio.Reader) reply {
	for {
		if _, err := r.Peek(1); err != nil {
			return reply{err: err}
		}
		if !c.pending.Load() {
			return reply{err: errUnsolicited}
		}
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			return reply{err: err}
		}
		if resp.StatusCode < 200 { // RFC 9110 15.2: interim, the final one follows
			continue
		}
		body, err := io.ReadAll(io.LimitReader(resp.Body, bodyLimit))
		if err == nil && len(body) == bodyLimit {
			resp.Close = true // the rest is not worth reading
		}
		return reply{status: resp.StatusCode, body: string(body), err: err, last: resp.Close}
	}
}
