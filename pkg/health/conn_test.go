package health

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// scripted is a server without TLS that answers the n-th request of each connection with the n-th
// text, and closes the connection after the last one.
func scripted(t *testing.T, answers ...string) (base string, requests chan string) {
	requests = make(chan string, 100)
	url := listener(t, func(c net.Conn) {
		go func() {
			defer c.Close()
			r := bufio.NewReader(c)
			for _, answer := range answers {
				req, err := http.ReadRequest(r)
				if err != nil {
					return
				}
				requests <- req.Method + " " + req.URL.String() + " " + req.Host + " " +
					req.Header.Get("Authorization")
				c.Write([]byte(answer))
			}
		}()
	})
	return strings.Replace(url, "https", "http", 1), requests
}

// newConn returns a persistentConn and how often the server ended its connection.
func newConn(t *testing.T) (*persistentConn, *atomic.Int64) {
	var disconnects atomic.Int64
	c := &persistentConn{
		dialer: dialer{&Config{}}, disconnected: func(bool) { disconnects.Add(1) },
	}
	t.Cleanup(c.close)
	return c, &disconnects
}

func TestResponses(t *testing.T) {
	const chunked = "HTTP/1.1 500 x\r\nTransfer-Encoding: chunked\r\n\r\n"
	const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	for name, row := range map[string]struct {
		answer string
		status int
		body   string
		fails  bool
	}{
		"length":     {ok, 200, "ok", false},
		"chunked":    {chunked + "3\r\n[-]\r\n0\r\n\r\n", 500, "[-]", false},
		"to the end": {"HTTP/1.0 200 OK\r\n\r\nold", 200, "old", false},
		"no body":    {"HTTP/1.1 204 No Content\r\n\r\n", 204, "", false},
		"interim":    {"HTTP/1.1 103 Early Hints\r\n\r\n" + ok, 200, "ok", false},
		"not HTTP":   {"SSH-2.0-x\r\n", 0, "", true},
		"cut off":    {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", 0, "", true},
		"nothing":    {"", 0, "", true},
		"much too big": {"HTTP/1.1 500 x\r\nContent-Length: 90000\r\n\r\n" +
			strings.Repeat("x", 90000), 500, strings.Repeat("x", bodyLimit), false},
	} {
		t.Run(name, func(t *testing.T) {
			base, requests := scripted(t, row.answer)
			c, _ := newConn(t)
			status, body, err := c.get(context.Background(), base+"/readyz?verbose",
				"Bearer a\r\nb")
			if status != row.status || body != row.body || (err != nil) != row.fails {
				t.Errorf("got %d %.20q %v", status, body, err)
			}
			want := "GET /readyz?verbose " + strings.TrimPrefix(base, "http://") + " Bearer ab"
			if got := <-requests; got != want {
				t.Errorf("request %q, want %q", got, want)
			}
		})
	}
}

// TestConnectionIsKept: a connection is used as long as it lasts. Its end is reported while it is
// idle, and the next request replaces it without an error.
func TestConnectionIsKept(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	base, _ := scripted(t, ok, ok, ok)
	c, disconnects := newConn(t)
	var conns []*conn
	for range 6 {
		if _, _, err := c.get(context.Background(), base, ""); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c.conn)
	}
	if conns[0] != conns[2] || conns[2] == conns[3] || conns[3] != conns[5] {
		t.Error("six requests were not two connections of three")
	}
	<-c.conn.ended
	if n := disconnects.Load(); n != 2 {
		t.Errorf("%d disconnects reported, want 2", n)
	}
}

// TestConnectionClose: an end announced by "Connection: close" does not cause a redial.
func TestConnectionClose(t *testing.T) {
	base, _ := scripted(t, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
	c, disconnects := newConn(t)
	for range 3 {
		if _, _, err := c.get(context.Background(), base, ""); err != nil {
			t.Fatal(err)
		}
		if c.conn != nil {
			t.Fatal("kept")
		}
	}
	if n := disconnects.Load(); n != 0 {
		t.Errorf("%d disconnects reported", n)
	}
}

// TestUnsolicitedResponse: it must not count as the response to the next request.
func TestUnsolicitedResponse(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	base, _ := scripted(t, ok+ok, ok)
	c, disconnects := newConn(t)
	if _, _, err := c.get(context.Background(), base, ""); err != nil {
		t.Fatal(err)
	}
	<-c.conn.ended
	if disconnects.Load() != 1 {
		t.Error("the disconnect was not reported")
	}
}

func TestRequestEndsWithItsContext(t *testing.T) {
	a := newAPIServer(t)
	a.ready.Store(a.silence())
	c := &persistentConn{
		dialer:       dialer{&Config{TLS: a.trust()}},
		disconnected: func(bool) { t.Error("the end by this side was reported") },
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		for a.polls.Load() == 0 {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	if _, _, err := c.get(ctx, a.URL+"/readyz", ""); !errors.Is(err, context.Canceled) ||
		c.conn != nil {
		t.Errorf("got %v, connection %v", err, c.conn)
	}
	if _, _, err := c.get(context.Background(), "http://%zz", ""); !errors.Is(err, errCannotProbe) {
		t.Errorf("bad URL: %v", err)
	}
}
