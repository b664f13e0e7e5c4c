package netlab

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/kvip/kvip/test/lab/wait"
)

// TestHostBehindRouter: a host behind a router reaches a host on the switch with its own address,
// in both families, and not without a route back. The router keeps the entry of a neighbour until
// an announcement changes it.
func TestHostBehindRouter(t *testing.T) {
	_, h := newLab(t)
	a, b, router := h["a"], h["b"], h["c"]
	networks := []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24"),
		netip.MustParsePrefix("2001:db8:1::/64")}
	behind, err := AddBehind(router, "behind", networks...)
	must(t, err)
	defer func() { must(t, behind.Close()) }()
	for i, vip := range []netip.Addr{vip4, vip6} {
		must(t, a.AddAddr(netip.PrefixFrom(vip, vip.BitLen())))
		listener := listenAt(t, a, vip)
		if conn, err := dialShortly(behind, listener.Addr()); err == nil {
			_ = conn.Close()
			t.Errorf("%s answers %s without a route back", vip, behind.Addrs[i].Addr())
		}
		must(t, a.AddRoute(networks[i], router.Addr(vip.Is4())))
		wait.Eventually(t, patience, "an answer", func() bool {
			conn, err := dialShortly(behind, listener.Addr())
			return err == nil && conn.Close() == nil
		})
		wait.Eventually(t, patience, "the router to believe in a", func() bool {
			mac, reachable, err := router.Neighbour(vip)
			return err == nil && reachable && bytes.Equal(mac, a.MAC)
		})
		if got := sourceOf(t, listener); got != behind.Addrs[i].Addr() {
			t.Errorf("%s sees %s as the client, want %s", vip, got, behind.Addrs[i].Addr())
		}
		must(t, a.DelAddr(netip.PrefixFrom(vip, vip.BitLen())))
		must(t, b.AddAddr(netip.PrefixFrom(vip, vip.BitLen())))
		for range 3 {
			if conn, err := dialShortly(behind, listener.Addr()); err == nil {
				_ = conn.Close()
			}
		}
		if mac, reachable, err := router.Neighbour(vip); err != nil || !reachable ||
			!bytes.Equal(mac, a.MAC) {
			t.Errorf("%s was not announced: the router has %s, reachable %v, %v; want %s", vip, mac,
				reachable, err, a.MAC)
		}
	}
}

func listenAt(t *testing.T, h *Host, addr netip.Addr) (l net.Listener) {
	t.Helper()
	must(t, h.Do(func() (err error) {
		l, err = net.Listen("tcp", netip.AddrPortFrom(addr, 80).String())
		return err
	}))
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func dialShortly(h *Host, to net.Addr) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	return h.Dial(ctx, "tcp", to.String())
}

// sourceOf accepts a connection and returns its source address.
func sourceOf(t *testing.T, l net.Listener) netip.Addr {
	t.Helper()
	conn, err := l.Accept()
	must(t, err)
	defer conn.Close()
	return netip.MustParseAddrPort(conn.RemoteAddr().String()).Addr().Unmap()
}
