package vip

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/boottime"
	"github.com/kvip/kvip/pkg/link"
	"github.com/kvip/kvip/test/testutil"
	"golang.org/x/sys/unix"
)

// aborted reports whether a Read of the connection ends with the error of a destroyed socket
// (ECONNABORTED), or ECONNRESET when the other end was destroyed first; an idle one ends
// by the time limit.
func aborted(t *testing.T, conn net.Conn, limit time.Duration) bool {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	_, err := conn.Read(make([]byte, 1))
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	if !errors.Is(err, unix.ECONNABORTED) && !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("the connection ended with %v; want ECONNABORTED", err)
	}
	return true
}

// listen opens a listener and closes it with the test. With [::] it is dual-stack, as the
// API server's is, and IPv4 connections are AF_INET6 sockets with mapped addresses.
func listen(t *testing.T, address string) (net.Listener, string) {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	return listener, port
}

// connect makes a connection on this host.
func connect(t *testing.T, listener net.Listener, local, to string) pair {
	t.Helper()
	dialer := net.Dialer{Timeout: patience}
	if local != "" {
		dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(local)}
	}
	client, err := dialer.Dial("tcp", to)
	if err != nil {
		t.Fatal(err)
	}
	server, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	return pair{client, server}
}

// A process on the old holder that dialled the VIP learns at once that it is gone, as
// does the server's end; everything else lives on. Both families, mapped ones included.
func TestDeleteDestroysConnections(t *testing.T) {
	l := newLab(t)
	o, err := New(Config{VIPs: bothVIPs})
	if err != nil {
		t.Fatal(err)
	}
	if err := o.Update(l.eth0, boottime.Now()+time.Minute); err != nil {
		t.Fatal(err)
	}
	dual, port := listen(t, "[::]:0")
	var dying, living []pair
	for _, vip := range bothVIPs {
		at := net.JoinHostPort(vip.String(), port)
		own, _ := listen(t, netip.AddrPortFrom(vip, 0).String())
		dying = append(dying, connect(t, dual, "", at), connect(t, own, "", own.Addr().String()))
	}
	dying = append(dying, connect(t, dual, "10.9.0.1", net.JoinHostPort(vip4.String(), port)),
		connect(t, dual, "2001:db8:9::1", net.JoinHostPort(vip6.String(), port)))
	for _, host := range []string{"127.0.0.1", "::1", "10.9.0.1", "2001:db8:9::1"} {
		living = append(living, connect(t, dual, "", net.JoinHostPort(host, port)))
	}
	if n, err := destroySockets([]netip.Addr{vip4}); n != 0 || err != nil {
		t.Fatalf("destroyed %d with the VIP still here: %v", n, err)
	}
	if err := o.Delete(); err != nil {
		t.Fatal(err)
	}
	o.DestroySockets()
	for i, p := range dying {
		if !aborted(t, p.client, patience) || !aborted(t, p.server, patience) {
			t.Errorf("connection %d, %s to %s, lives on", i, p.client.LocalAddr(), p.client.RemoteAddr())
		}
	}
	for _, p := range living {
		if aborted(t, p.client, time.Millisecond) || aborted(t, p.server, time.Millisecond) {
			t.Errorf("%s to %s was destroyed", p.client.LocalAddr(), p.client.RemoteAddr())
		}
	}
	// The listener is left alone.
	connect(t, dual, "", "127.0.0.1:"+port)
}

// A server here loses the connections that other hosts made to the VIP.
func TestDestroyConnectionsFromOutside(t *testing.T) {
	l := newLab(t)
	for _, vip := range bothVIPs {
		if err := replace(Netlink(), at(l.eth0, vip), time.Minute); err != nil {
			t.Fatal(err)
		}
		p := l.dial(t, vip)
		defer p.client.Close()
		defer p.server.Close()
		if err := remove(Netlink(), at(l.eth0, vip)); err != nil {
			t.Fatal(err)
		}
		if n, err := destroySockets([]netip.Addr{vip}); n != 1 || err != nil {
			t.Errorf("destroyed %d, %v; want the server's end", n, err)
		}
		if !aborted(t, p.server, patience) {
			t.Errorf("%s: the server's end lives on", vip)
		}
	}
}

// A node that does not hold the VIP keeps its connections to the node that does.
func TestConnectionsToAnotherHolderLive(t *testing.T) {
	l := newLab(t)
	for _, vip := range bothVIPs {
		l.run(t, "ip", "addr", "add", netip.PrefixFrom(vip, vip.BitLen()).String(), "dev", "eth0",
			"nodad")
		var listener net.Listener
		if err := l.client.Do(func() (err error) {
			listener, err = net.Listen("tcp", netip.AddrPortFrom(vip, 0).String())
			return err
		}); err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		if vip.Is4() {
			testutil.IP(t, "route replace 10.9.0.100/32 dev eth0")
		}
		p := connect(t, listener, "", listener.Addr().String())
		if n, err := destroySockets([]netip.Addr{vip}); n != 0 || err != nil {
			t.Errorf("destroyed %d, %v; want none", n, err)
		}
		go io.WriteString(p.server, "x")
		if _, err := io.ReadFull(p.client, make([]byte, 1)); err != nil {
			t.Errorf("%s: the connection died: %v", vip, err)
		}
	}
}

func TestDead(t *testing.T) {
	conn := func(local, remote string) link.Socket {
		return link.Socket{Local: netip.MustParseAddrPort(local), Remote: netip.MustParseAddrPort(remote)}
	}
	atVIP := conn("10.9.0.100:6443", "10.9.0.1:40000")
	otherEnd := conn("10.9.0.1:40000", "10.9.0.100:6443")
	fromOutside := conn("10.9.0.100:6443", "10.9.0.2:40000")
	toAnotherHolder := conn("10.9.0.1:40001", "10.9.0.100:6443")
	unrelated := conn("10.9.0.1:6443", "10.9.0.2:40000")
	got := brokenBy(map[netip.Addr]bool{vip4: true},
		[]link.Socket{atVIP, otherEnd, fromOutside, toAnotherHolder, unrelated})
	if !slices.Equal(got, []link.Socket{atVIP, otherEnd, fromOutside}) {
		t.Errorf("dead: %+v", got)
	}
}

// TestDestroyMany has more connections than one message to the kernel names, some of which are
// gone.
func TestDestroyMany(t *testing.T) {
	testutil.NewNetns(t)
	testutil.IP(t, "addr add 10.9.0.100/32 dev lo")
	conns, closeAll := crowd(t, 3*batch/2)
	defer closeAll()
	all, err := link.Sockets(unix.AF_INET, connectionStates, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range conns[:10] {
		c.Close() // destroyed by hand before, so that the kernel finds no such connection
	}
	// The reset of one end may have ended the other already.
	if n, err := destroyAll(brokenBy(map[netip.Addr]bool{vip4: true}, all)); err != nil ||
		n < len(conns)-10 || n > 2*len(conns) {
		t.Errorf("destroyed %d: %v", n, err)
	}
	for _, c := range conns[10:] {
		if !aborted(t, c, patience) {
			t.Fatalf("%s lives on", c.LocalAddr())
		}
	}
}

// crowd makes connections to the VIP, both ends here, and returns the dialled ones and a function
// that closes all.
func crowd(t testing.TB, count int) (conns []net.Conn, closeAll func()) {
	t.Helper()
	listener, err := net.Listen("tcp", "10.9.0.100:0")
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan net.Conn, count)
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	for range count {
		c, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	return conns, func() {
		listener.Close()
		for range count {
			(<-accepted).Close()
		}
		for _, c := range conns {
			c.Close()
		}
	}
}

// BenchmarkDestroySockets has 9000 connections to the VIP with both ends here, so 18000 sockets.
func BenchmarkDestroySockets(b *testing.B) {
	testutil.NewNetns(b)
	for b.Loop() {
		b.StopTimer()
		testutil.IP(b, "addr add 10.9.0.100/32 dev lo")
		_, closeAll := crowd(b, 9000)
		testutil.IP(b, "addr del 10.9.0.100/32 dev lo")
		b.StartTimer()
		if n, err := destroySockets([]netip.Addr{vip4}); n < 9000 || err != nil {
			b.Fatalf("destroyed %d: %v", n, err)
		}
		b.StopTimer()
		closeAll()
		b.StartTimer()
	}
}
