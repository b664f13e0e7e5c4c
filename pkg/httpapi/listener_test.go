package httpapi

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// startServer serves handler within the limits and returns the address.
func startServer(t *testing.T, limit limits, handler http.HandlerFunc) string {
	t.Helper()
	if limit.request == 0 {
		limit.request, limit.answer = time.Minute, time.Minute
	}
	listener, err := listen(t.Context(), "127.0.0.1:0", limit)
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Config{Log: slog.New(slog.DiscardHandler)}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.serve(ctx, listener, handler, limit) }()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return listener.Addr().String()
}

// dialFrom connects from a loopback address and sends the text. It returns nil if the connection is
// reset at once.
func dialFrom(t *testing.T, from, to, text string) net.Conn {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 5 * time.Second}
	conn, err := dialer.Dial("tcp", to)
	if errors.Is(err, syscall.ECONNRESET) { // closed before Dial returned
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, text); err != nil && !errors.Is(err, syscall.EPIPE) &&
		!errors.Is(err, syscall.ECONNRESET) {
		t.Fatal(err)
	}
	return conn
}

// readStatus returns the status line of an answer, or "closed".
func readStatus(t *testing.T, conn net.Conn) string {
	t.Helper()
	if conn == nil {
		return "closed"
	}
	if err := conn.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		t.Fatalf("%s: neither closed nor answered", conn.LocalAddr())
	}
	if err != nil {
		return "closed"
	}
	return strings.TrimSpace(line)
}

const (
	half  = "GET / HTTP/1.1\r\nHost: x\r\n"
	whole = half + "\r\n"
)

func fine(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "fine") }

// TestConnectionsOfOneSourceAreLimited keeps connections of one source open without a request. More
// are closed at once, another source is served, and closed connections do not count any more.
func TestConnectionsOfOneSourceAreLimited(t *testing.T) {
	to := startServer(t, limits{connections: 8, perSource: 3}, fine)
	var kept []net.Conn
	for range 3 {
		kept = append(kept, dialFrom(t, "127.0.0.2", to, half))
	}
	// The server accepts in order: when it answers this one, it has accepted the others.
	if got := readStatus(t, dialFrom(t, "127.0.0.3", to, whole)); got != "HTTP/1.1 200 OK" {
		t.Errorf("another source: %s", got)
	}
	for range 10 {
		if got := readStatus(t, dialFrom(t, "127.0.0.2", to, whole)); got != "closed" {
			t.Errorf("one more of the same source: %s", got)
		}
	}
	for _, c := range kept {
		c.Close()
	}
	for end := time.Now().Add(10 * time.Second); readStatus(t,
		dialFrom(t, "127.0.0.2", to, whole)) != "HTTP/1.1 200 OK"; {
		if time.Now().After(end) {
			t.Fatal("closed connections still count")
		}
	}
}

// TestTotalConnectionsAreLimited: each connection is from a source of its own.
func TestTotalConnectionsAreLimited(t *testing.T) {
	to := startServer(t, limits{connections: 4, perSource: 2}, fine)
	for i := range 4 {
		dialFrom(t, fmt.Sprintf("127.0.1.%d", i+1), to, half)
	}
	for i := range 20 {
		if got := readStatus(t, dialFrom(t, fmt.Sprintf("127.0.2.%d", i+1), to, whole)); got != "closed" {
			t.Errorf("one more: %s", got)
		}
	}
}

func TestLargeHeadersAreRejected(t *testing.T) {
	to := startServer(t, limits{connections: 4}, fine)
	conn := dialFrom(t, "127.0.0.1", to, half+"X: "+strings.Repeat("x", 64<<10)+"\r\n\r\n")
	if got := readStatus(t, conn); !strings.HasPrefix(got, "HTTP/1.1 431") && got != "closed" {
		t.Errorf("64 KiB of headers: %s", got)
	}
}

// TestSlowClientsAreClosed: one does not end its request, one does not read the answer.
func TestSlowClientsAreClosed(t *testing.T) {
	release := make(chan struct{}, 1)
	limit := limits{connections: 4, request: 200 * time.Millisecond, answer: 400 * time.Millisecond}
	to := startServer(t, limit, func(w http.ResponseWriter, r *http.Request) {
		defer func() { release <- struct{}{} }()
		for {
			if _, err := w.Write(make([]byte, 64<<10)); err != nil {
				return
			}
		}
	})
	slow := dialFrom(t, "127.0.0.1", to, half)
	dialFrom(t, "127.0.0.1", to, whole)
	if got := readStatus(t, slow); got != "closed" {
		t.Errorf("a request that does not end: %s", got)
	}
	select {
	case <-release:
	case <-time.After(20 * time.Second):
		t.Error("a client that does not read stays connected")
	}
}

// TestRequestsAreLimited serves one at a time and loses none.
func TestRequestsAreLimited(t *testing.T) {
	running := make(chan struct{}, 1)
	to := startServer(t, limits{connections: 16, requests: 1},
		func(w http.ResponseWriter, r *http.Request) {
			select {
			case running <- struct{}{}:
				fine(w, r)
				<-running
			default:
				http.Error(w, "two at one time", http.StatusTeapot)
			}
		})
	var all []net.Conn
	for range 12 {
		all = append(all, dialFrom(t, "127.0.0.1", to, whole))
	}
	for _, c := range all {
		if got := readStatus(t, c); got != "HTTP/1.1 200 OK" {
			t.Error(got)
		}
	}
}

func TestSource(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.7:1": "192.0.2.7/32", "[::ffff:192.0.2.7]:1": "192.0.2.7/32",
		"[2001:db8::1:2:3]:1": "2001:db8::/64", "[fe80::1%eth0]:1": "fe80::/64",
	} {
		tcp, err := net.ResolveTCPAddr("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		if got := source(tcp).String(); got != want {
			t.Errorf("%s: %s, want %s", address, got, want)
		}
	}
}
