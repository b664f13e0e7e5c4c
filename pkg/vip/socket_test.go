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

	"github.com/kvip/kvip/pkg/clock"
	"github.com/kvip/kvip/test/testutil"
	"golang.org/x/sys/unix"
)

// aborted says whether a Read of the connection ends with the error of a destroyed socket
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
	if err := o.Update(l.eth0, clock.Boottime()+time.Minute); err != nil {
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
	if n, err := DestroySockets(vip4); n != 0 || err != nil {
		t.Fatalf("destroyed %d with the VIP still here: %v", n, err)
	}
	if err := o.Delete(); err != nil {
		t.Fatal(err)
	}
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
		if err := Netlink(bothVIPs).Replace(l.eth0.at(vip), time.Minute); err != nil {
			t.Fatal(err)
		}
		p := l.dial(t, vip)
		defer p.client.Close()
		defer p.server.Close()
		if err := Netlink(bothVIPs).Delete(l.eth0.at(vip)); err != nil {
			t.Fatal(err)
		}
		if n, err := DestroySockets(vip); n != 1 || err != nil {
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
		l.run(t, "ip", "addr", "add", netip.PrefixFrom(vip, vip.BitLen()).String(), "dev", "eth0", "nodad")
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
		if n, err := DestroySockets(vip); n != 0 || err != nil {
			t.Errorf("destroyed %d, %v; want none", n, err)
		}
		go io.WriteString(p.server, "x")
		if _, err := io.ReadFull(p.client, make([]byte, 1)); err != nil {
			t.Errorf("%s: the connection died: %v", vip, err)
		}
	}
}

// message is struct inet_diag_msg of a connection in the given state.
func message(family, state byte, local, remote netip.AddrPort) []byte {
	b := make([]byte, 72)
	b[0], b[1] = family, state
	b[4], b[5] = byte(local.Port()>>8), byte(local.Port())
	b[6], b[7] = byte(remote.Port()>>8), byte(remote.Port())
	copy(b[8:24], wire(family, local.Addr()))
	copy(b[24:40], wire(family, remote.Addr()))
	return b
}

func wire(family byte, a netip.Addr) []byte {
	if family == unix.AF_INET6 {
		full := a.As16() // mapped when it is IPv4
		return full[:]
	}
	return a.AsSlice()
}

func TestParseConnection(t *testing.T) {
	local, remote := netip.MustParseAddrPort("10.9.0.100:6443"), netip.MustParseAddrPort("10.9.0.2:40000")
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		c, ok := parseConnection(message(family, 1, local, remote))
		if !ok || c.family != family || c.local != local || c.remote != remote || !slices.Equal(c.id[:], message(family, 1, local, remote)[4:52]) {
			t.Errorf("family %d: %+v, %v", family, c, ok)
		}
	}
	for desc, b := range map[string][]byte{
		"empty": nil, "short": message(unix.AF_INET, 1, local, remote)[:51],
		"listening": message(unix.AF_INET, 10, local, remote), "other family": message(1, 1, local, remote),
	} {
		if c, ok := parseConnection(b); ok {
			t.Errorf("%s: accepted as %+v", desc, c)
		}
	}
}

func TestDead(t *testing.T) {
	conn := func(local, remote string) connection {
		return connection{local: netip.MustParseAddrPort(local), remote: netip.MustParseAddrPort(remote)}
	}
	atVIP := conn("10.9.0.100:6443", "10.9.0.1:40000")
	otherEnd := conn("10.9.0.1:40000", "10.9.0.100:6443")
	fromOutside := conn("10.9.0.100:6443", "10.9.0.2:40000")
	toAnotherHolder := conn("10.9.0.1:40001", "10.9.0.100:6443")
	unrelated := conn("10.9.0.1:6443", "10.9.0.2:40000")
	got := dead([]connection{atVIP, otherEnd, fromOutside, toAnotherHolder, unrelated}, vip4)
	if !slices.Equal(got, []connection{atVIP, otherEnd, fromOutside}) {
		t.Errorf("dead: %+v", got)
	}
}

func FuzzParseConnection(f *testing.F) {
	f.Add(message(unix.AF_INET, 1, netip.MustParseAddrPort("10.9.0.100:6443"), netip.MustParseAddrPort("10.9.0.2:1")))
	f.Add(message(unix.AF_INET6, 1, netip.MustParseAddrPort("[::1]:6443"), netip.MustParseAddrPort("10.9.0.2:1")))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, ok := parseConnection(b); ok && (c.local.Addr().Is4In6() || !c.local.IsValid() || !c.remote.IsValid()) {
			t.Errorf("accepted %+v", c)
		}
	})
}
