package nftfilter

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/test/testutil"

	"github.com/kvip/kvip/pkg/assignment"
)

// S5: path-MTU discovery works: a router with a smaller MTU in front of a client further away
// reports to the VIP that packets are too big, and the answer arrives.
func TestS5PathMTU(t *testing.T) {
	far := testutil.NewNetns(t)
	l := newLab(t)
	connectFar(t, l, far)
	l.serve("service", 8080)
	apply(t, newFilter(t, time.Minute), both(assignment.Port{Protocol: "TCP", Port: 8080}))
	sent := bytes.Repeat([]byte("kvip"), 1<<16)
	for vip, client := range map[netip.Addr]string{vip4: "10.8.0.2", vip6: "2001:db8:8::2"} {
		on(t, far, func() error {
			c, err := dial("tcp", vip, 8080)
			if err != nil {
				return err
			}
			defer c.Close()
			go func() { _, _ = c.Write(sent) }() // what fails here is missing below
			return receive(c, append([]byte("service"), sent...))
		})
		if route := testutil.IP(t, "route get "+client+" from "+vip.String()); !strings.Contains(route,
			"mtu 1300") {
			t.Errorf("%s: the node did not hear of the small MTU: %s", vip, route)
		}
	}
}

func receive(c net.Conn, want []byte) error {
	got := make([]byte, len(want))
	n, err := io.ReadFull(c, got)
	if err != nil || !bytes.Equal(got, want) {
		return fmt.Errorf("got %d of %d bytes: %w", n, len(want), err)
	}
	return nil
}

// connectFar makes the lab's client a router that sends no more than 1300 bytes at once to its
// other side, and connects a host there that does not know: its own link says 1500.
func connectFar(t *testing.T, l *lab, far *testutil.Netns) {
	t.Helper()
	node(t, "route add 10.8.0.0/24 via 10.9.0.2", "route add 2001:db8:8::/64 via 2001:db8:9::2")
	host := &lab{t, far}
	l.onClient("link add eth1 type veth peer name eth0 netns "+far.Path(), "link set eth1 up")
	host.onClient("link set eth0 up")
	on(t, l.client, func() error {
		return errors.Join(sysctl("net.ipv4.ip_forward", "1"),
			sysctl("net.ipv6.conf.all.forwarding", "1"))
	})
	l.onClient("addr add 10.8.0.1/32 dev eth1", "addr add 2001:db8:8::1/128 dev eth1 nodad",
		"route add 10.8.0.0/24 dev eth1 mtu lock 1300",
		"route add 2001:db8:8::/64 dev eth1 mtu lock 1300")
	host.onClient("addr add 10.8.0.2/24 dev eth0", "addr add 2001:db8:8::2/64 dev eth0 nodad",
		"route add default via 10.8.0.1", "route add default via 2001:db8:8::1")
	testutil.Eventually(t, "the router's link-local addresses, which it needs to solicit neighbours",
		func() bool { return l.onClient("-6 addr show tentative") == "" })
}

// on runs fn in a namespace.
func on(t *testing.T, ns *testutil.Netns, fn func() error) {
	t.Helper()
	if err := ns.Do(fn); err != nil {
		t.Error(err)
	}
}
