package health

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/election"
	"github.com/kvip/kvip/pkg/link"
)

// serverEnv makes the test binary a server at that address, for tests that stop its process.
const serverEnv = "KVIP_TEST_SERVER"

func TestMain(m *testing.M) {
	if address := os.Getenv(serverEnv); address != "" {
		if err := serveReady(address); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// serveReady answers every request that it reads with 200.
func serveReady(address string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			buffer := make([]byte, 1024)
			for {
				if _, err := conn.Read(buffer); err != nil {
					return
				}
				if _,
					err := conn.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")); err != nil {
					return
				}
			}
		}()
	}
}

// server starts a server process and returns it with its base URL.
func server(t *testing.T, address string) (*os.Process, string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env, cmd.Stderr = append(os.Environ(), serverEnv+"="+address), os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return cmd.Process, "http://" + strings.TrimSpace(line)
}

// TestStoppedProcess: a stopped process is Dead, and alive again when it continues. With sockets of
// IPv4, of IPv6 and of both, and without privileges. E7.
func TestStoppedProcess(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"127.0.0.1:0", "[::1]:0", "[::]:0"} {
		t.Run(address, func(t *testing.T) {
			t.Parallel()
			process, url := server(t, address)
			url = strings.Replace(url, "[::]", "127.0.0.1", 1)
			w := start(t, Config{URLs: urls(url)})
			w.until(election.Healthy, CodeOK)
			if err := process.Signal(syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			// NotReady before, if this machine is so busy that the server was slow
			w.until(election.Dead, CodeHung)
			if err := process.Signal(syscall.SIGCONT); err != nil {
				t.Fatal(err)
			}
			w.until(election.Healthy, CodeOK)
		})
	}
}

// TestAcceptsAndIsSilent: a process that still accepts is not Dead, however silent. E7.
func TestAcceptsAndIsSilent(t *testing.T) {
	t.Parallel()
	w := start(t, Config{URLs: urls(listener(t, holdOpen(t)))})
	s, before := w.until(election.NotReady, CodeSilent)
	if hasVerdict(before, election.Dead) || !s.Slow() || s.Latency < time.Second {
		t.Errorf("%+v after %+v", s, before)
	}
}

// TestFullQueue: the queue of a process that stopped long ago has no room for a connection.
func TestFullQueue(t *testing.T) {
	t.Parallel()
	l := unaccepting(t)
	for range 10_000 {
		conn, err := net.DialTimeout("tcp", l.Addr().String(), 200*time.Millisecond)
		if err != nil {
			break
		}
		defer conn.Close()
	}
	w := start(t, Config{URLs: urls("https://" + l.Addr().String())})
	w.until(election.Dead, CodeHung)
}

// TestSocketProbeKeepsOneConnection, and closes it when the server answers again.
func TestSocketProbeKeepsOneConnection(t *testing.T) {
	t.Parallel()
	a := newAPIServer(t)
	p := &socketProbe{dialer: dialer{&Config{}}, server: func() string { return a.URL }}
	s := p.probe(context.Background())
	if s.err != nil || s.sockets == nil || p.conn == nil {
		t.Fatalf("%+v, connection %v", s, p.conn)
	}
	kept := p.conn
	if p.probe(context.Background()); p.conn != kept {
		t.Error("a second connection for the second list")
	}
	p.close()
	if _, err := kept.Write([]byte("x")); err == nil {
		t.Error("the connection is open after close")
	}
}

// TestHiddenSockets: of a server on another host, and one whose name needs a resolver.
func TestHiddenSockets(t *testing.T) {
	for _, base := range []string{"", "https://192.0.2.1:6443", "https://name.invalid",
		"https://127.0.0.1:1", "::"} {
		p := &socketProbe{dialer: dialer{&Config{}}, server: func() string { return base }}
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		fails := base == "" || base == "::"
		if s := p.probe(ctx); s.sockets != nil || fails && s.err == nil {
			t.Errorf("%q: %+v", base, s)
		}
		cancel()
	}
}

var (
	loopback = netip.MustParseAddrPort("127.0.0.1:6443")
	finWait  = uint8(4)
)

// sock is a socket of the server at loopback, with a cookie.
func sock(cookie byte, state uint8, unread, unsent uint32, attached bool) link.Socket {
	return link.Socket{State: state, ID: link.SocketID{47: cookie}, Local: loopback,
		Unread: unread, Unsent: unsent, Attached: attached}
}

// queue is the listening socket with n connections to accept.
func queue(n uint32) link.Socket { return sock(0, link.StateListen, n, 0, true) }

// waiting is a connection that is not accepted yet. open is one of the process.
func waiting(cookie byte, unread uint32) link.Socket {
	return sock(cookie, link.StateEstablished, unread, 0, false)
}
func open(cookie byte, unread, unsent uint32) link.Socket {
	return sock(cookie, link.StateEstablished, unread, unsent, true)
}

// TestSignsOfLife: changes of sockets that need the process, and those that kernel and clients make
// without it.
func TestSignsOfLife(t *testing.T) {
	for name, c := range map[string]struct {
		before, after []link.Socket
		alive         bool
	}{
		"nothing": {[]link.Socket{queue(1), waiting(1, 0)},
			[]link.Socket{queue(1), waiting(1, 0)}, false},
		"connections pile up": {[]link.Socket{queue(1), waiting(1, 0)},
			[]link.Socket{queue(3), waiting(1, 0), waiting(2, 250), waiting(3, 0)}, false},
		"data piles up": {[]link.Socket{queue(1), open(1, 0, 0)},
			[]link.Socket{queue(1), open(1, 90, 0)}, false},
		"a peer acknowledges": {[]link.Socket{queue(1), open(1, 0, 90)},
			[]link.Socket{queue(1), open(1, 0, 0)}, false},
		"a peer closes": {[]link.Socket{queue(1), open(1, 0, 0)},
			[]link.Socket{queue(1), sock(1, link.StateCloseWait, 1, 0, true)}, false},
		"a peer resets": {[]link.Socket{queue(1), open(1, 0, 0)},
			[]link.Socket{queue(1)}, false},
		"accepted": {[]link.Socket{queue(2), waiting(1, 0), waiting(2, 0)},
			[]link.Socket{queue(2), open(1, 0, 0), waiting(2, 0), waiting(3, 0)}, true},
		"accepted between two lists": {[]link.Socket{queue(1)},
			[]link.Socket{queue(1), open(1, 0, 0)}, true},
		"accepted and reset": {[]link.Socket{queue(5)}, []link.Socket{queue(4)}, true},
		"read": {[]link.Socket{queue(1), open(1, 90, 0)},
			[]link.Socket{queue(1), open(1, 0, 0)}, true},
		"wrote": {[]link.Socket{queue(1), open(1, 0, 0)},
			[]link.Socket{queue(1), open(1, 0, 90)}, true},
		"closed": {[]link.Socket{queue(1), open(1, 0, 0)},
			[]link.Socket{queue(1), sock(1, finWait, 0, 0, false)}, true},
		"listens again": {[]link.Socket{queue(1)},
			[]link.Socket{queue(1), sock(9, link.StateListen, 0, 0, true)}, true},
		"one of many, under a load": {[]link.Socket{queue(1), open(1, 90, 0), open(2, 90, 0)},
			[]link.Socket{queue(9), open(1, 90, 0), open(2, 80, 0), waiting(3, 9)}, true},
		"an orphan that is not read": {[]link.Socket{queue(1), sock(1, finWait, 0, 9, false)},
			[]link.Socket{queue(1), sock(1, finWait, 0, 0, false)}, false},
	} {
		t.Run(name, func(t *testing.T) {
			var d stallDetector
			begin := time.Unix(1000, 0)
			d.add(begin, c.before)
			if alive := d.add(begin.Add(socketPeriod), c.after); alive != c.alive {
				t.Errorf("alive %v, want %v", alive, c.alive)
			}
		})
	}
}

// TestStallDuration: for how long a process has been stopped for certain.
func TestStallDuration(t *testing.T) {
	type list struct {
		at      time.Duration
		sockets []link.Socket
		want    time.Duration
	}
	idle, full := []link.Socket{queue(0)}, []link.Socket{queue(1)}
	for name, lists := range map[string][]list{
		"five lists at least": {{0, full, 0}, {300 * ms, full, 0}, {600 * ms, full, 0},
			{900 * ms, full, 0}, {1200 * ms, full, 1200 * ms}, {1300 * ms, full, 1300 * ms}},
		"nothing to do": {{0, idle, 0}, {100 * ms, idle, 0}, {200 * ms, idle, 0},
			{300 * ms, idle, 0}, {400 * ms, idle, 0}, {500 * ms, idle, 0}},
		"nothing visible": {{0, nil, 0}, {100 * ms, nil, 0}, {200 * ms, nil, 0},
			{300 * ms, nil, 0}, {400 * ms, nil, 0}, {500 * ms, nil, 0}},
		"counted from when there was something to do": {{0, idle, 0}, {100 * ms, full, 0},
			{200 * ms, full, 0}, {300 * ms, full, 0}, {400 * ms, full, 0},
			{500 * ms, full, 400 * ms}},
		"a sign of life restarts it": {{0, full, 0}, {100 * ms, full, 0}, {200 * ms, full, 0},
			{300 * ms, full, 0}, {400 * ms, []link.Socket{queue(3)}, 400 * ms},
			{500 * ms, []link.Socket{queue(2)}, 0}, {600 * ms, []link.Socket{queue(2)}, 0},
			{700 * ms, []link.Socket{queue(2)}, 0}, {800 * ms, []link.Socket{queue(2)}, 0},
			{900 * ms, []link.Socket{queue(2)}, 400 * ms}},
		"so does a gap": {{0, full, 0}, {100 * ms, full, 0}, {200 * ms, full, 0},
			{300 * ms, full, 0}, {1301 * ms, full, 0}, {1400 * ms, full, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			var d stallDetector
			for i, l := range lists {
				d.add(time.Unix(1000, 0).Add(l.at), l.sockets)
				if got := d.duration(); got != l.want {
					t.Fatalf("list %d: stopped for %v, want %v", i, got, l.want)
				}
			}
		})
	}
}

// TestSocketsOf: of several servers on one port, only the sockets of the one that answers at the
// address count.
func TestSocketsOf(t *testing.T) {
	at := func(address string, state uint8) link.Socket {
		return link.Socket{State: state, Local: netip.MustParseAddrPort(address)}
	}
	proxy, any4, any6 := at("10.0.0.100:6443", link.StateListen),
		at("0.0.0.0:6443", link.StateListen), at("[::]:6443", link.StateListen)
	toProxy, toHost, to6 := at("10.0.0.100:6443", link.StateEstablished),
		at("10.0.0.1:6443", link.StateEstablished), at("[2001:db8::1]:6443", link.StateEstablished)
	other := at("127.0.0.1:2379", link.StateListen)
	for name, c := range map[string]struct {
		list   []link.Socket
		server string
		want   []link.Socket
	}{
		"bound to any address": {[]link.Socket{any4, toHost, toProxy, other}, "127.0.0.1:6443",
			[]link.Socket{any4, toHost, toProxy}},
		"dual-stack": {[]link.Socket{any6, toHost, to6}, "127.0.0.1:6443",
			[]link.Socket{any6, toHost, to6}},
		"another server at an address of its own": {[]link.Socket{any6, proxy, toHost, toProxy},
			"127.0.0.1:6443", []link.Socket{any6, toHost}},
		"that one": {[]link.Socket{any6, proxy, toHost, toProxy},
			"10.0.0.100:6443", []link.Socket{proxy, toProxy}},
		"one for each family": {[]link.Socket{any4, any6, toHost, to6}, "10.0.0.1:6443",
			[]link.Socket{any4, toHost}},
		"elsewhere":                {[]link.Socket{proxy, toProxy, other}, "127.0.0.1:6443", nil},
		"IPv4 does not serve IPv6": {[]link.Socket{any4, toHost}, "[::1]:6443", nil},
	} {
		got := socketsOf(c.list, netip.MustParseAddrPort(c.server))
		if !slices.Equal(got, c.want) || (got == nil) != (c.want == nil) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
