package fence

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kvip/kvip/pkg/boottime"
	"github.com/kvip/kvip/test/testutil"
)

// served reports whether each VIP accepts a connection, and requires that both do or neither does.
// The client knows the node's hardware address.
func (l *lab) served(when string, want bool) {
	l.t.Helper()
	for _, vip := range bothVIPs {
		conn, err := l.dialKnown(vip)
		if err == nil {
			conn.Close()
		}
		if (err == nil) != want {
			l.t.Errorf("%s: served %t, want %t: %v", when, err == nil, want, err)
		}
	}
}

// clientMAC returns the hardware address of the client, and makes it know that of the node.
func (l *lab) clientMAC() (mac net.HardwareAddr) {
	l.t.Helper()
	node, err := net.InterfaceByName("eth0")
	l.must(err)
	l.must(l.client.Do(func() error {
		for _, vip := range bothVIPs {
			testutil.IP(l.t, "neigh replace "+vip.String()+" lladdr "+node.HardwareAddr.String()+
				" dev eth0 nud permanent")
		}
		link, err := net.InterfaceByName("eth0")
		if err == nil {
			mac = link.HardwareAddr
		}
		return err
	}))
	return mac
}

// TestF11Drain: a holder that leaves answers no more, serves all packets for half a second, and
// then those of relays until it is stopped.
func TestF11Drain(t *testing.T) {
	l := newLab(t)
	f := l.fence()
	l.open(f, in(5*time.Second))
	l.expect("open", true)
	mac := l.clientMAC()
	l.served("open", true)

	l.must(f.Silence(in(time.Second)))
	l.must(f.VerifyShut())
	l.served("silent", true)
	l.must(f.Announced())
	l.served("after the announcement of the next holder", false)

	l.must(f.SetRelays([]net.HardwareAddr{mac}, nil))
	l.must(f.Serve())
	l.served("relayed", true)
	other, err := net.ParseMAC("02:00:00:00:00:01")
	l.must(err)
	l.must(f.SetRelays([]net.HardwareAddr{other}, nil))
	l.served("by another relay", false)
	l.must(f.SetRelays([]net.HardwareAddr{other, mac}, nil))
	l.served("by two", true)
	l.must(f.Shut())
	l.served("stopped", false)

	l.open(f, in(5*time.Second))
	l.must(f.Silence(boottime.Now()))
	l.served("silent after the right", true) // from a relay
	l.must(f.SetRelays(nil, nil))
	l.served("silent after the right, without relays", false)
	l.open(f, in(5*time.Second))
	l.must(f.Silence(in(time.Second)))
	l.must(f.SetRelays(nil, nil))
	testutil.Eventually(t, "the end of the linger element", func() bool {
		left, err := f.members[0].table.Remaining(setLinger, vip4)
		return err == nil && left == 0
	})
	l.served("silent for long", false)
	l.open(f, in(5*time.Second))
	l.served("open again", true)
}

// TestF11OwnName: a host that only serves the address asks for neighbours by its own address.
func TestF11OwnName(t *testing.T) {
	l := newLab(t)
	f := l.fence()
	l.open(f, in(5*time.Second))
	l.expect("open", true)
	mac := l.clientMAC()
	own := []netip.Addr{netip.MustParseAddr("10.9.0.1"), netip.MustParseAddr("2001:db8:9::1")}
	l.must(f.SetRelays([]net.HardwareAddr{mac}, own))
	l.open(f, in(5*time.Second))
	l.must(f.Silence(in(time.Second)))
	l.must(f.Announced())
	asked := l.questions()
	for i, vip := range bothVIPs {
		testutil.IP(t, "neigh flush dev eth0")
		testutil.Eventually(t, "a connection to "+vip.String(), func() bool { // new links are slow
			l.must(f.Serve())
			conn, err := l.dialKnown(vip)
			if err == nil {
				conn.Close()
			}
			return err == nil
		})
		testutil.Eventually(t, "a question by "+own[i].String(), func() bool {
			select {
			case by := <-asked:
				if by == vip {
					t.Errorf("the node asked by %s", by)
				}
				return by == own[i]
			default:
				return false
			}
		})
	}
}

// TestF11NoOwnName: a host that only serves the address, and has no own one, does not ask by it.
func TestF11NoOwnName(t *testing.T) {
	l := newLab(t)
	f := l.fence()
	l.open(f, in(5*time.Second))
	l.expect("open", true)
	mac := l.clientMAC()
	l.must(f.SetRelays([]net.HardwareAddr{mac}, nil))
	l.served("open", true)
	l.must(f.Silence(in(time.Second)))
	asked := l.questions()
	testutil.IP(t, "neigh flush dev eth0")
	l.served("silent, and the client is not known", false)
	for {
		select {
		case by := <-asked:
			if slices.Contains(bothVIPs, by) {
				t.Fatalf("the node asked by %s", by)
			}
			continue
		default:
		}
		return
	}
}

// TestF11VerifyShutOfAll: a frame that was late opens each address again, and all are shut.
func TestF11VerifyShutOfAll(t *testing.T) {
	l := newLab(t)
	f := l.fence()
	l.open(f, in(5*time.Second))
	l.must(f.Silence(in(time.Second)))
	l.must(f.Extend(in(time.Second)))
	if open, err := f.openAfter(0); err != nil || open == nil {
		t.Fatalf("nothing is open: %v", err)
	}
	l.must(f.VerifyShut())
	if open, err := f.openAfter(0); err != nil || open != nil {
		t.Errorf("%v is open, %v", open, err)
	}
	l.expect("shut", false)
}

// questions returns the senders of ARP requests and neighbour solicitations that the client
// receives.
func (l *lab) questions() <-chan netip.Addr {
	l.t.Helper()
	fd := -1
	all := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_ALL))
	l.must(l.client.Do(func() (err error) {
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, int(all))
		return err
	}))
	l.must(unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100_000}))
	asked, stop, done := make(chan netip.Addr, 1000), make(chan struct{}), make(chan struct{})
	l.t.Cleanup(func() { close(stop); <-done; unix.Close(fd) })
	go func() {
		defer close(done)
		b := make([]byte, 2048)
		for {
			select {
			case <-stop:
				return
			default:
			}
			n, from, err := unix.Recvfrom(fd, b, 0)
			if err != nil {
				continue
			}
			link, ok := from.(*unix.SockaddrLinklayer)
			outgoing := ok && link.Pkttype == unix.PACKET_OUTGOING
			switch {
			case !ok || outgoing:
			case n >= 28 && b[0] == 0 && b[1] == 1 && b[7] == 1: // an ARP request
				asked <- netip.AddrFrom4([4]byte(b[14:18]))
			case n >= 64 && b[0]>>4 == 6 && b[6] == unix.IPPROTO_ICMPV6 && b[40] == 135:
				asked <- netip.AddrFrom16([16]byte(b[8:24]))
			}
		}
	}()
	return asked
}
