package httpapi

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestLimitsAreConsistent for each of the three servers.
func TestLimitsAreConsistent(t *testing.T) {
	for name, l := range map[string]limits{
		"public": publicLimits, "local": localLimits, "probes": probeLimits,
	} {
		if l.connections <= 0 || l.request <= 0 || l.answer < l.request {
			t.Errorf("%s: %+v limits nothing, or reading takes longer than answering", name, l)
		}
		if l.requests > l.connections || l.perSource >= l.connections {
			t.Errorf("%s: %+v has limits that do nothing", name, l)
		}
		if l.answer/2 >= l.answer-time.Second {
			t.Errorf("%s: a request that waits for its turn ends before it is answered", name)
		}
	}
	if publicLimits.perSource == 0 || publicLimits.requests == 0 {
		t.Error("one client of the network can use up all connections or the memory")
	}
	if localLimits.perSource != 0 {
		t.Error("all clients on loopback have one address, and share the limit of one source")
	}
	if probeTimeout >= requestTimeout {
		t.Errorf("`kvip healthz` waits %v, longer than the server reads", probeTimeout)
	}
}

// TestRequestWithoutATurnIsRejected after half of the time to answer, so that 503 is still written.
func TestRequestWithoutATurnIsRejected(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	pages := limitRequests(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		entered <- struct{}{}
		<-release
	}), limits{requests: 1, answer: 40 * time.Millisecond})
	request := func(ctx context.Context) *http.Request {
		return httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
	}
	first := make(chan struct{})
	go func() {
		defer close(first)
		pages.ServeHTTP(httptest.NewRecorder(), request(t.Context()))
	}()
	<-entered
	w := httptest.NewRecorder()
	pages.ServeHTTP(w, request(t.Context()))
	if w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "too many") {
		t.Errorf("a second request: %d %q", w.Code, w.Body)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	w = httptest.NewRecorder()
	pages.ServeHTTP(w, request(gone))
	if w.Body.Len() != 0 && w.Code != http.StatusServiceUnavailable {
		t.Errorf("a client that left: %d %q", w.Code, w.Body)
	}
	close(release)
	<-first
	go func() { <-entered }()
	w = httptest.NewRecorder()
	pages.ServeHTTP(w, request(t.Context()))
	if w.Code != http.StatusOK {
		t.Errorf("after the first one ended: %d", w.Code)
	}
}

// TestPanicReleasesItsTurn: net/http recovers from the panic, so the process goes on.
func TestPanicReleasesItsTurn(t *testing.T) {
	calls := 0
	pages := limitRequests(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		calls++
		panic(http.ErrAbortHandler)
	}), limits{requests: 1, answer: time.Minute})
	for range 3 {
		func() {
			defer func() { _ = recover() }()
			pages.ServeHTTP(httptest.NewRecorder(),
				httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
		}()
	}
	if calls != 3 {
		t.Errorf("%d of 3 requests had a turn", calls)
	}
}

// TestAdmissionKeepsItsLimits in any order of connections that open and close, and keeps nothing
// of sources without a connection.
func TestAdmissionKeepsItsLimits(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, limit := range []limits{
		{connections: 8, perSource: 3}, {connections: 3, perSource: 8}, {connections: 5}, {},
	} {
		l := &limitedListener{limit: limit, open: map[netip.Prefix]int{}}
		var open []netip.Prefix
		count := func(from netip.Prefix) (n int) {
			for _, each := range open {
				if each == from {
					n++
				}
			}
			return n
		}
		for range 2000 {
			if len(open) > 0 && random.IntN(2) == 0 {
				i := random.IntN(len(open))
				l.release(open[i])
				open = append(open[:i], open[i+1:]...)
				continue
			}
			from := netip.MustParsePrefix(fmt.Sprintf("192.0.2.%d/32", random.IntN(4)))
			want := len(open) < limit.connections &&
				(limit.perSource == 0 || count(from) < limit.perSource)
			if got := l.admit(from); got != want {
				t.Fatalf("%+v with %d open, %d of %v: admitted %v", limit, len(open), count(from),
					from, got)
			}
			if want {
				open = append(open, from)
			}
		}
		for _, from := range open {
			l.release(from)
		}
		if l.all != 0 || len(l.open) != 0 {
			t.Errorf("%+v: %d connections of %v remain", limit, l.all, l.open)
		}
	}
}

// TestConnectionIsReleasedOnce: net/http closes a connection more than once.
func TestConnectionIsReleasedOnce(t *testing.T) {
	released := 0
	client, server := net.Pipe()
	defer client.Close()
	conn := &limitedConn{Conn: server, done: func() { released++ }}
	for range 3 {
		_ = conn.Close()
	}
	if released != 1 {
		t.Errorf("released %d times", released)
	}
}

// TestBuffersOfConnectionsAreSmall: a connection inherits them from its listener (socket(7)).
func TestBuffersOfConnectionsAreSmall(t *testing.T) {
	listener, err := listen(t.Context(), "127.0.0.1:0", limits{connections: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	dialFrom(t, "127.0.0.1", listener.Addr().String(), "")
	conn, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	raw, err := conn.(*limitedConn).Conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	for name, option := range map[string]int{"receive": unix.SO_RCVBUF, "send": unix.SO_SNDBUF} {
		var size int
		err := control(raw, func(fd int) (err error) {
			size, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, option)
			return err
		})
		if err != nil || size > 2*socketBuffer {
			t.Errorf("%s buffer of %d bytes, %v", name, size, err)
		}
	}
}

func TestListenFails(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, address := range []string{
		taken.Addr().String(), "127.0.0.1", "127.0.0.1:70000", "192.0.2.1:0",
	} {
		if listener, err := listen(t.Context(), address, limits{connections: 1}); err == nil {
			t.Errorf("listens on %s", address)
			_ = listener.Close()
		}
	}
}

func TestControlOfAClosedSocketFails(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := listener.(*net.TCPListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	if err := setBuffers("tcp", "", raw); err == nil {
		t.Error("buffers of a closed socket are set")
	}
	if err := control(raw, func(int) error { return nil }); err == nil {
		t.Error("a closed socket has a descriptor")
	}
}

// TestSourceOfAnotherNetwork: connections without an IP address count as one source.
func TestSourceOfAnotherNetwork(t *testing.T) {
	for _, address := range []net.Addr{&net.UnixAddr{Name: "@kvip", Net: "unix"}, &net.TCPAddr{}} {
		if got := source(address); got.IsValid() {
			t.Errorf("%v: source %v", address, got)
		}
	}
}
