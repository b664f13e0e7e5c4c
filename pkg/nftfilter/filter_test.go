package nftfilter

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"github.com/kvip/kvip/pkg/assignment"
	"github.com/kvip/kvip/test/testutil"
)

// S5: at a VIP only the Service's ports answer, and the node's own addresses are as they were.
func TestS5OnlyAllowedPortsAnswer(t *testing.T) {
	l := newLab(t)
	l.serve("sshd", 22)
	l.serve("service", 8080)
	f := newFilter(t, time.Minute)
	w := both(assignment.Port{Protocol: "TCP", Port: 8080}, assignment.Port{Protocol: "UDP", Port: 22})
	for _, vip := range bothVIPs {
		l.expect("without kvip's table", expected{"tcp", vip, 22, "sshd"},
			expected{"udp", vip, 8080, "service"})
	}
	for range 2 {
		apply(t, f, w)
		for vip, own := range map[netip.Addr]netip.Addr{vip4: node4, vip6: node6} {
			l.expect("protected",
				expected{"tcp", vip, 8080, "service"}, expected{"udp", vip, 22, "sshd"},
				expected{"tcp", vip, 22, "refused"}, expected{"udp", vip, 8080, "refused"},
				expected{"tcp", vip, 23, "refused"}, expected{"udp", vip, 23, "refused"},
				expected{"tcp", own, 22, "sshd"}, expected{"udp", own, 8080, "service"})
			if got := ask("tcp", vip, 22); got != "sshd" {
				t.Errorf("from the node itself, port 22 of %s: %q; want sshd", vip, got)
			}
		}
	}
	apply(t, f, []assignment.Assignment{{Addr: vip6}})
	l.expect("changed", expected{"tcp", vip4, 22, "sshd"}, expected{"tcp", vip6, 8080, "refused"})
}

// S5: SCTP has ports too. A kernel without SCTP answers an allowed packet with protocol
// unreachable, one with SCTP does not answer. The table answers a rejected packet.
func TestS5AllowsSCTP(t *testing.T) {
	l := newLab(t)
	apply(t, newFilter(t, time.Minute), both(assignment.Port{Protocol: "SCTP", Port: 3868}))
	send := func(port byte) (err error) {
		_ = l.client.Do(func() error {
			var c net.Conn
			if c, err = net.Dial("ip4:132", vip4.String()); err != nil {
				return nil
			}
			defer c.Close()
			_, _ = c.Write([]byte{0x30, 0, 0x0f, port, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 4})
			_ = c.SetReadDeadline(time.Now().Add(time.Second))
			_, err = c.Read(make([]byte, 64))
			return nil
		})
		return err
	}
	if err := send(0x1c); err == nil || errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("port 3868: %v; want it to reach the kernel's SCTP", err)
	}
	if err := send(0x1d); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("port 3869: %v; want it refused", err)
	}
}

// S5: established connections go on when every port is withdrawn.
func TestS5EstablishedConnectionsGoOn(t *testing.T) {
	l := newLab(t)
	l.serve("service", 8080)
	f := newFilter(t, time.Minute)
	apply(t, f, both(assignment.Port{Protocol: "TCP", Port: 8080}))
	open := l.connect(8080, "service")
	apply(t, f, both())
	for _, vip := range bothVIPs {
		l.expect("withdrawn", expected{"tcp", vip, 8080, "refused"})
		if _, err := io.WriteString(open[vip], "goes on"); err != nil {
			t.Fatal(err)
		}
		if got := readFull(open[vip], len("goes on")); got != "goes on" {
			t.Errorf("%s: read %q", vip, got)
		}
	}
}

// S7: a connection that this node did not see begin is reset, also at an allowed port: here because
// nothing followed connections before the table came, as on a node that an address has just come
// to.
func TestS7UnknownConnectionsAreReset(t *testing.T) {
	l := newLab(t)
	l.serve("service", 8080)
	open := l.connect(8080, "service")
	apply(t, newFilter(t, time.Minute), both(assignment.Port{Protocol: "TCP", Port: 8080}))
	for _, vip := range bothVIPs {
		if _, err := io.WriteString(open[vip], "still there?"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(open[vip]); !errors.Is(err, unix.ECONNRESET) {
			t.Errorf("%s: %v, want a reset", vip, err)
		}
		l.expect("a new one", expected{"tcp", vip, 8080, "service"})
	}
}

func readFull(r io.Reader, size int) string {
	b := make([]byte, size)
	if n, err := io.ReadFull(r, b); err != nil {
		return fmt.Sprintf("%s: %v", b[:n], err)
	}
	return string(b)
}

// S5: ICMP and ICMPv6 pass: ping, and neighbour discovery from nothing.
func TestS5PassesICMPAndNeighbourDiscovery(t *testing.T) {
	l := newLab(t)
	apply(t, newFilter(t, time.Minute), both())
	for vip, request := range map[netip.Addr]struct {
		network, listen string
		protocol        int
		ask, reply      icmp.Type
	}{
		vip4: {"ip4:icmp", "0.0.0.0", 1, ipv4.ICMPTypeEcho, ipv4.ICMPTypeEchoReply},
		vip6: {"ip6:ipv6-icmp", "::", 58, ipv6.ICMPTypeEchoRequest, ipv6.ICMPTypeEchoReply},
	} {
		l.onClient("neigh flush dev eth0")
		err := l.client.Do(func() error {
			c, err := icmp.ListenPacket(request.network, request.listen)
			if err != nil {
				return err
			}
			defer c.Close()
			return ping(c, vip, request.protocol, request.ask, request.reply)
		})
		if err != nil {
			t.Errorf("ping %s: %v", vip, err)
		}
	}
}

func ping(c *icmp.PacketConn, vip netip.Addr, protocol int, ask, reply icmp.Type) error {
	m := icmp.Message{Type: ask, Body: &icmp.Echo{ID: 77, Seq: 1, Data: []byte("kvip")}}
	b, err := m.Marshal(nil)
	if err != nil {
		return err
	}
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := c.WriteTo(b, &net.IPAddr{IP: vip.AsSlice()}); err != nil {
		return err
	}
	for b = make([]byte, 1500); ; {
		n, from, err := c.ReadFrom(b)
		if err != nil {
			return err
		}
		if got, err := icmp.ParseMessage(protocol, b[:n]); err == nil && got.Type == reply &&
			from.String() == vip.String() {
			return nil
		}
	}
}

// S5: the elements of a killed kvip time out, and the table that is left does nothing: until
// then the allowed port answers all the time, from then on so does every other.
func TestS5TimesOut(t *testing.T) {
	l := newLab(t)
	l.serve("service", 8080)
	l.serve("sshd", 22)
	apply(t, newFilter(t, time.Second), both(assignment.Port{Protocol: "TCP", Port: 8080}))
	for _, vip := range bothVIPs {
		testutil.Eventually(t, "inert for "+vip.String(), func() bool {
			l.expect("while it times out", expected{"tcp", vip, 8080, "service"})
			return l.ask("tcp", vip, 22) == "sshd"
		})
	}
	if there, err := Installed(); err != nil || !there {
		t.Errorf("Installed = %v, %v; want the table to be there still", there, err)
	}
}

// S5: an Apply of the same assignments restarts the timeouts.
func TestS5ApplyRefreshes(t *testing.T) {
	l := newLab(t)
	l.serve("sshd", 22)
	f := newFilter(t, 2*time.Second)
	for end := time.Now().Add(4 * time.Second); time.Now().Before(end); time.Sleep(
		200 * time.Millisecond) {
		apply(t, f, both())
		l.expect("refreshed", expected{"tcp", vip4, 22, "refused"}, expected{"tcp", vip6, 22, "refused"})
	}
}

// S5: an update is atomic. While the table is written again and again, with and without other
// entries, no connection to the allowed port is refused and none to another is let through.
func TestS5UpdatesAreAtomic(t *testing.T) {
	const connections = 1000
	l := newLab(t)
	l.serve("service", 8080)
	l.serve("sshd", 22)
	f := newFilter(t, time.Minute)
	small := both(assignment.Port{Protocol: "TCP", Port: 8080})
	large := both(assignment.Port{Protocol: "TCP", Port: 8080})
	for i := range 200 {
		a := netip.AddrFrom4([4]byte{10, 10, byte(i >> 8), byte(i)})
		large = append(large, assignment.Assignment{
			Addr: a, Ports: []assignment.Port{{Protocol: "TCP", Port: 80}},
		})
	}
	apply(t, f, small)
	done := make(chan error, 1)
	go func() {
		done <- l.client.Do(func() error {
			for i := range connections {
				for _, vip := range bothVIPs {
					if a, b := ask("tcp", vip, 8080), ask("tcp", vip, 22); a != "service" || b != "refused" {
						return fmt.Errorf("connection %d to %s: %q and %q; want service and refused", i, vip, a, b)
					}
				}
			}
			return nil
		})
	}()
	for writes := 0; ; writes++ {
		select {
		case err := <-done:
			if err != nil {
				t.Fatalf("after %d updates: %v", writes, err)
			}
			t.Logf("%d connections during %d updates", 4*connections, writes)
			return
		default:
			apply(t, f, [][]assignment.Assignment{small, large}[writes%2])
		}
	}
}
