package httpapi

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// unixListener listens on an abstract socket.
func unixListener(t *testing.T, name string) *net.UnixListener {
	t.Helper()
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: "@" + name, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	return listener
}

// testName is a --health-address that no other test uses.
func testName(t *testing.T) string { return fmt.Sprintf("%s-%d", t.Name(), os.Getpid()) }

// serveSocket serves a page where `kvip healthz` looks for an agent.
func serveSocket(t *testing.T, address, suffix string, page http.HandlerFunc) {
	t.Helper()
	listener := unixListener(t, probeName(address)+suffix)
	server := &http.Server{Handler: page, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { server.Close() })
}

func TestIsRoot(t *testing.T) {
	own := uint32(os.Geteuid())
	for uid, want := range map[uint32]bool{0: true, own: true, own + 1: false} {
		if got := isRoot(uid); got != want {
			t.Errorf("user %d: %v", uid, got)
		}
	}
}

func TestCredentialsOfThisProcess(t *testing.T) {
	listener := unixListener(t, testName(t))
	client, err := net.DialUnix("unix", nil, listener.Addr().(*net.UnixAddr))
	if err != nil {
		t.Fatal(err)
	}
	peer, err := credentials(client)
	if err != nil || int(peer.Pid) != os.Getpid() || int(peer.Uid) != os.Geteuid() {
		t.Errorf("the peer is %+v, %v", peer, err)
	}
	client.Close()
	if _, err := credentials(client); err == nil {
		t.Error("a closed connection has a peer")
	}
}

// TestProbeConnectionsAreLimited: one more than the slots is closed, and served after another one
// is closed.
func TestProbeConnectionsAreLimited(t *testing.T) {
	slots := make(chan struct{}, 2)
	listener := &rootListener{unixListener(t, testName(t)), slots}
	accepted := make(chan net.Conn, 8)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				close(accepted)
				return
			}
			accepted <- conn
		}
	}()
	dial := func() net.Conn {
		conn, err := net.Dial("unix", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	var open []net.Conn
	for range cap(slots) {
		dial()
		open = append(open, <-accepted)
	}
	third := dial()
	if got := readStatus(t, third); got != "closed" || len(accepted) != 0 {
		t.Errorf("one more than %d: %s", cap(slots), got)
	}
	_ = open[0].Close()
	dial()
	select {
	case <-accepted:
	case <-time.After(20 * time.Second):
		t.Error("a closed connection still has its slot")
	}
	listener.Close()
	if _, more := <-accepted; more {
		t.Error("accepted after the end")
	}
}

// TestHealthzTriesEveryAgent: the socket of an agent that hangs must not hide the one that works,
// in either order of names.
func TestHealthzTriesEveryAgent(t *testing.T) {
	address := testName(t)
	for _, suffix := range []string{"a", "z"} {
		serveSocket(t, address, suffix, func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "loop hangs", http.StatusServiceUnavailable)
		})
	}
	if _, err := Healthz(t.Context(), address); err == nil ||
		!strings.Contains(err.Error(), "the agent is not healthy: loop hangs") {
		t.Errorf("two agents hang: %v", err)
	}
	serveSocket(t, address, "m", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "ok", r.URL.Path)
	})
	if text, err := Healthz(t.Context(), address); err != nil || text != "ok /healthz" {
		t.Errorf("one agent of three works: %q, %v", text, err)
	}
}

// TestHealthzEnds if the agent accepts and does not answer: the kubelet counts a failed probe.
func TestHealthzEnds(t *testing.T) {
	address := testName(t)
	release := make(chan struct{})
	serveSocket(t, address, "a", func(http.ResponseWriter, *http.Request) { <-release })
	defer close(release)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := Healthz(ctx, address)
	if err == nil || !strings.Contains(err.Error(), "request /healthz of the agent") {
		t.Errorf("an agent that does not answer: %v", err)
	}
}

// TestHealthzLimitsTheAnswer: an Event of the kubelet has the text.
func TestHealthzLimitsTheAnswer(t *testing.T) {
	address := testName(t)
	serveSocket(t, address, "a", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(make([]byte, 1<<20))
	})
	text, err := Healthz(t.Context(), address)
	if err != nil || len(text) > headerLimit {
		t.Errorf("%d bytes, %v", len(text), err)
	}
}

// TestHealthzNeedsTheWholeAddress: the agents of 127.0.0.1:211 and 127.0.0.1:2112 are two.
func TestHealthzNeedsTheWholeAddress(t *testing.T) {
	address := testName(t)
	serveSocket(t, address+"2", "a", fine)
	if _, err := Healthz(t.Context(), address); err == nil ||
		!strings.Contains(err.Error(), "no agent with --health-address") {
		t.Errorf("the agent of a longer address answered: %v", err)
	}
}
