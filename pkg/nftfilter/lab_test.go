package nftfilter

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kvip/kvip/test/testutil"

	"github.com/kvip/kvip/pkg/assignment"
)

// patience ends a test that would hang; no assertion depends on it.
const patience = 20 * time.Second

var (
	vip4, node4 = netip.MustParseAddr("10.9.0.100"), netip.MustParseAddr("10.9.0.1")
	vip6, node6 = netip.MustParseAddr("2001:db8:9::100"), netip.MustParseAddr("2001:db8:9::1")
	bothVIPs    = []netip.Addr{vip4, vip6}
)

// lab is two hosts: the test runs in the node, which has both VIPs as kvip puts them there.
type lab struct {
	t      testing.TB
	client *testutil.Netns
}

func newLab(t testing.TB) *lab {
	t.Helper()
	l := &lab{t, testutil.NewNetns(t)}
	testutil.NewNetns(t)
	testutil.IP(t, "link add eth0 type veth peer name eth0 netns "+l.client.Path())
	node(t, "addr add 10.9.0.1/24 dev eth0", "addr add 2001:db8:9::1/64 dev eth0 nodad",
		"link set eth0 up",
		"addr add 10.9.0.100/32 dev eth0 scope host valid_lft 600 preferred_lft 0 noprefixroute",
		"addr add 2001:db8:9::100/128 dev eth0 nodad valid_lft 600 preferred_lft 0 noprefixroute")
	l.onClient("addr add 10.9.0.2/24 dev eth0", "addr add 2001:db8:9::2/64 dev eth0 nodad",
		"link set eth0 up")
	return l
}

// node runs iproute2 on the node.
func node(t testing.TB, commands ...string) {
	t.Helper()
	for _, c := range commands {
		testutil.IP(t, c)
	}
}

// onClient runs iproute2 on the client and returns what the last command printed.
func (l *lab) onClient(commands ...string) string {
	l.t.Helper()
	var out []byte
	for _, c := range commands {
		err := l.client.Do(func() (err error) {
			out, err = exec.Command("ip", strings.Fields(c)...).CombinedOutput()
			return err
		})
		if err != nil {
			l.t.Fatalf("client: ip %s: %v: %s", c, err, out)
		}
	}
	return string(out)
}

// serve makes the node answer on a port of all its addresses, TCP and UDP, with a name. A TCP
// connection is then echoed until its end.
func (l *lab) serve(name string, port uint16) {
	l.t.Helper()
	at := net.JoinHostPort("", fmt.Sprint(port))
	tcp, err := net.Listen("tcp", at)
	if err != nil {
		l.t.Fatal(err)
	}
	udp, err := net.ListenPacket("udp", at)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { tcp.Close(); udp.Close() })
	go func() {
		for {
			c, err := tcp.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				if _, err := io.WriteString(c, name); err == nil {
					_, _ = io.Copy(c, c) // until the client goes
				}
			}()
		}
	}()
	go answer(udp, name)
}

// connect opens a TCP connection from the client to a port of each VIP, at which name answers.
func (l *lab) connect(port uint16, name string) map[netip.Addr]net.Conn {
	l.t.Helper()
	open := map[netip.Addr]net.Conn{}
	for _, vip := range bothVIPs {
		if err := l.client.Do(func() (err error) {
			open[vip], err = dial("tcp", vip, port)
			return err
		}); err != nil {
			l.t.Fatal(err)
		}
		l.t.Cleanup(func() { open[vip].Close() })
		if got := readFull(open[vip], len(name)); got != name {
			l.t.Fatalf("%s: read %q", vip, got)
		}
	}
	return open
}

// answer sends the name back from the address that was asked: a socket on all addresses would
// otherwise choose the node's.
func answer(conn net.PacketConn, name string) {
	udp := conn.(*net.UDPConn)
	raw, err := udp.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) {
			// Without them, the client would not recognise the answer and the test would fail.
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
		})
	}
	for b, oob := make([]byte, 64), make([]byte, 128); err == nil; {
		var n int
		var from netip.AddrPort
		if _, n, _, from, err = udp.ReadMsgUDPAddrPort(b, oob); err == nil {
			_, _, _ = udp.WriteMsgUDPAddrPort([]byte(name), oob[:n], from)
		}
	}
}

// ask returns what the client gets at an address: the name of who answers, "refused" or
// another error.
func (l *lab) ask(network string, a netip.Addr, port uint16) string {
	l.t.Helper()
	var got string
	if err := l.client.Do(func() error { got = ask(network, a, port); return nil }); err != nil {
		l.t.Fatal(err)
	}
	return got
}

func ask(network string, a netip.Addr, port uint16) string {
	c, err := dial(network, a, port)
	if err == nil {
		defer c.Close()
		b := make([]byte, 64)
		var n int
		if _, err = c.Write([]byte("?")); err == nil {
			n, err = c.Read(b)
		}
		if err == nil {
			return strings.TrimSuffix(string(b[:n]), "?")
		}
	}
	if errors.Is(err, unix.ECONNREFUSED) {
		return "refused"
	}
	return err.Error()
}

// dial connects the calling thread's namespace and bounds the waiting on the connection.
func dial(network string, a netip.Addr, port uint16) (net.Conn, error) {
	c, err := net.DialTimeout(network, netip.AddrPortFrom(a, port).String(), patience)
	if err == nil {
		err = c.SetDeadline(time.Now().Add(patience))
	}
	return c, err
}

// expect asks and compares.
func (l *lab) expect(desc string, want ...expected) {
	l.t.Helper()
	for _, w := range want {
		if got := l.ask(w.network, w.at, w.port); got != w.answer {
			l.t.Errorf("%s: %s port %d of %s: %q; want %q", desc, w.network, w.port, w.at, got, w.answer)
		}
	}
}

type expected struct {
	network string
	at      netip.Addr
	port    uint16
	answer  string
}

// both assigns both VIPs, with these ports.
func both(ports ...assignment.Port) []assignment.Assignment {
	return []assignment.Assignment{{Addr: vip4, Ports: ports}, {Addr: vip6, Ports: ports}}
}

func newFilter(t testing.TB, timeout time.Duration) *Filter {
	t.Helper()
	f, err := New(Config{Timeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func apply(t testing.TB, f *Filter, w []assignment.Assignment) {
	t.Helper()
	if err := f.Apply(w); err != nil {
		t.Fatal(err)
	}
}

// sysctl sets a value in the calling thread's namespace.
func sysctl(name, value string) error {
	return os.WriteFile("/proc/sys/"+strings.ReplaceAll(name, ".", "/"), []byte(value), 0o644)
}
