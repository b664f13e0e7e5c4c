package health

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
)

// line is one kept-alive HTTP/1.1 connection to one server at a time. It does what an
// http.Transport does for requests one after the other, with one goroutine instead of
// four: at ten polls a second the goroutines that wake are most of the cost. Its methods
// belong to one goroutine.
type line struct {
	dialer dialer
	lost   func() // the server ended the connection, idle or in use
	server string // scheme and host of the connection
	auth   string // who asks on it: a client certificate stays with its connection
	call   *call  // nil: not connected
}

// call is one connection with its reader.
type call struct {
	conn    net.Conn
	pending atomic.Bool // a request waits for its answer
	closing atomic.Bool // we end the connection, not the server
	answers chan reply
	ended   chan struct{} // closed when the reader has returned
}

type reply struct {
	status int
	body   string
	err    error
	last   bool // the server closes the connection after it
}

// get asks for target and returns status and body. A kept connection that turns out to
// be dead is replaced once: a closed socket only causes a redial (E7).
func (l *line) get(ctx context.Context, target, authorization string) (int, string, error) {
	u, err := url.Parse(target)
	if err != nil {
		return 0, "", fmt.Errorf("%w: %w", errBlind, err)
	}
	kept := l.call != nil && l.server == u.Scheme+u.Host && l.auth == authorization
	if !kept {
		l.auth = authorization
		if err := l.dial(ctx, u); err != nil {
			return 0, "", fmt.Errorf("get %s: %w", target, err)
		}
	}
	r := l.exchange(ctx, u, authorization)
	if r.err != nil && kept && ctx.Err() == nil {
		if err := l.dial(ctx, u); err != nil {
			return 0, "", fmt.Errorf("get %s: %w", target, err)
		}
		r = l.exchange(ctx, u, authorization)
	}
	if r.err != nil {
		return 0, "", fmt.Errorf("get %s: %w", target, r.err)
	}
	return r.status, r.body, nil
}

// dial replaces the connection by a new one.
func (l *line) dial(ctx context.Context, u *url.URL) error {
	l.close()
	dial := l.dialer.secure
	if u.Scheme == "http" {
		dial = l.dialer.plain
	}
	conn, err := dial(ctx, "tcp", hostPort(u))
	if err != nil {
		return err
	}
	l.server = u.Scheme + u.Host
	l.call = &call{conn: conn, answers: make(chan reply, 1), ended: make(chan struct{})}
	go l.call.read(l.lost)
	return nil
}

// hostPort returns the address to dial for a URL.
func hostPort(u *url.URL) string {
	port := u.Port()
	switch {
	case port != "":
	case u.Scheme == "http":
		port = "80"
	default:
		port = "443"
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// exchange sends one request and waits for its answer. After an error the connection
// is closed.
func (l *line) exchange(ctx context.Context, u *url.URL, authorization string) reply {
	c := l.call
	c.pending.Store(true)
	if _, err := io.WriteString(c.conn, request(u, authorization)); err != nil {
		l.close()
		return reply{err: err}
	}
	var r reply
	select {
	case r = <-c.answers:
	case <-c.ended: // perhaps before we asked: then nobody answers
		r = c.leftover()
	case <-ctx.Done():
		r.err = ctx.Err()
	}
	if r.err != nil || r.last {
		l.close()
	}
	return r
}

// request is a GET request as it goes over the wire (RFC 9112).
func request(u *url.URL, authorization string) string {
	var b strings.Builder
	b.WriteString("GET " + u.RequestURI() + " HTTP/1.1\r\nHost: " + u.Host + "\r\nUser-Agent: kvip\r\n")
	if authorization != "" {
		b.WriteString("Authorization: " + strings.NewReplacer("\r", "", "\n", "").Replace(authorization) + "\r\n")
	}
	b.WriteString("\r\n")
	return b.String()
}

// close ends the connection and its reader.
func (l *line) close() {
	if l.call != nil {
		l.call.closing.Store(true)
		l.call.conn.Close()
		<-l.call.ended
		l.call = nil
	}
}

// read hands over answers until the connection ends. It reads while the connection is
// idle too, so the death of an API server is noticed when the kernel closes its sockets,
// not at the next poll.
func (c *call) read(lost func()) {
	defer close(c.ended)
	r := bufio.NewReader(c.conn)
	for {
		answer := c.next(r)
		if answer.err != nil && !c.closing.Load() {
			lost()
		}
		if c.pending.Swap(false) {
			c.answers <- answer
		}
		if answer.err != nil || answer.last {
			return
		}
	}
}

// leftover returns the answer that the reader left when it ended, or an error.
func (c *call) leftover() reply {
	select {
	case r := <-c.answers:
		return r
	default:
		return reply{err: io.ErrUnexpectedEOF}
	}
}

var errUnasked = errors.New("the server answered without being asked")

// next reads one final answer.
func (c *call) next(r *bufio.Reader) reply {
	for {
		if _, err := r.Peek(1); err != nil {
			return reply{err: err}
		}
		if !c.pending.Load() {
			return reply{err: errUnasked}
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
