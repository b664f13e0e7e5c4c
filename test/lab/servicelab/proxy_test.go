package servicelab

import (
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/kvip/kvip/test/lab/netlab"
)

// localHost is this program's own network namespace, which needs no rights.
func localHost(t *testing.T) *netlab.Host {
	t.Helper()
	h, err := netlab.Adopt("here", os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// startEchoServer answers what it gets.
func startEchoServer(t *testing.T) netip.AddrPort {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(conn, conn); _ = conn.Close() }()
		}
	}()
	return netip.MustParseAddrPort(listener.Addr().String())
}

// receives sends a letter and returns whether it comes back.
func receives(conn net.Conn, wait time.Duration) bool {
	_ = conn.SetDeadline(time.Now().Add(wait))
	b := []byte{'x'}
	if _, err := conn.Write(b); err != nil {
		return false
	}
	_, err := io.ReadFull(conn, b)
	return err == nil
}

func TestProxyPassesOnAndFails(t *testing.T) {
	p, err := StartProxy(localHost(t), netip.MustParseAddrPort("127.0.0.1:0"), startEchoServer(t))
	if err != nil {
		t.Fatal(err)
	}
	dial := func() net.Conn {
		t.Helper()
		conn, err := net.Dial("tcp", p.listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	const long, short = 20 * time.Second, 100 * time.Millisecond
	first, second := dial(), dial()
	if !receives(first, long) || !receives(second, long) || p.Accepted() != 2 {
		t.Fatalf("%d connections are passed on", p.Accepted())
	}
	p.Swallow(true)
	if receives(first, short) {
		t.Error("what is swallowed came back")
	}
	p.Swallow(false)
	if !receives(second, long) {
		t.Error("a connection does not go on")
	}
	p.Delay(50 * time.Millisecond)
	if began := time.Now(); !receives(second, long) || time.Since(began) < 50*time.Millisecond {
		t.Error("nothing is delayed")
	}
	p.Delay(0)
	if cut := p.Cut(); cut != 2 || receives(second, long) {
		t.Errorf("%d connections are cut", cut)
	}
	p.Refuse(true)
	if receives(dial(), long) {
		t.Error("a connection is not refused")
	}
	p.Refuse(false)
	last := dial()
	if !receives(last, long) {
		t.Error("nothing is passed on any more")
	}
	if err := p.Close(); err != nil || receives(last, long) {
		t.Errorf("closed, it goes on: %v", err)
	}
}
