package radv

import (
	"bytes"
	"context"
	"encoding/hex"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"

	"github.com/kvip/kvip/test/lab/wait"
	"github.com/kvip/kvip/test/testutil"
)

// frames collects the ICMPv6 messages that arrive at the other end of eth0.
func frames(t *testing.T) <-chan []byte {
	t.Helper()
	link, err := net.InterfaceByName("peer0")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := packet.Listen(link, packet.Raw, unix.ETH_P_IPV6, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	out := make(chan []byte, 1024)
	go func() {
		for {
			b := make([]byte, 2048)
			n, _, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			const nextHeader, header = 14 + 6, 14 + 40
			if n > header && b[nextHeader] == unix.IPPROTO_ICMPV6 {
				select {
				case out <- b[14:n]:
				default:
				}
			}
		}
	}()
	return out
}

// next returns the next message of a type.
func next(t *testing.T, from <-chan []byte, kind byte) []byte {
	t.Helper()
	timeout := time.After(time.Minute)
	for {
		select {
		case m := <-from:
			if m[40] == kind && m[8] == 0xfe && bytes.Contains(m, hardware(t)) {
				return m
			}
		case <-timeout:
			t.Fatalf("no message of type %d", kind)
		}
	}
}

func hardware(t *testing.T) net.HardwareAddr {
	t.Helper()
	link, err := net.InterfaceByName("eth0")
	if err != nil {
		t.Fatal(err)
	}
	return link.HardwareAddr
}

// run runs a Sender in the network namespace of the test.
func run(t *testing.T, ns *testutil.Netns, s *Sender) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := ns.Do(func() error { return s.Run(ctx) }); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() { cancel(); <-ended })
}

// TestMessages compares both messages with RFC 4861 sections 4.1 and 4.2.
func TestMessages(t *testing.T) {
	ns := testutil.NewHost(t)
	from := frames(t)
	s := New(Config{})
	s.SetLinks([]string{"eth0"})
	run(t, ns, s)
	for _, c := range []struct {
		kind        byte
		group, want string
	}{
		{typeAdvertisement, "ff020000000000000000000000000001", "86000000" + // type, code, checksum
			"0000" + "0000" + // hop limit, flags; router lifetime
			"00000000" + "00000000" + "0101"}, // reachable time, retransmit timer, the option
		{typeSolicitation, "ff020000000000000000000000000002", "85000000" + "00000000" + "0101"},
	} {
		m := next(t, from, c.kind)
		if m[7] != hopLimit || hex.EncodeToString(m[24:40]) != c.group {
			t.Errorf("type %d: hop limit %d, to %x", c.kind, m[7], m[24:40])
		}
		body := bytes.Clone(m[40:])
		body[2], body[3] = 0, 0 // the kernel's checksum
		if want := c.want + hex.EncodeToString(hardware(t)); hex.EncodeToString(body) != want {
			t.Errorf("type %d: %x, want %s", c.kind, body, want)
		}
	}
}

// TestPermit sends nothing without permission.
func TestPermit(t *testing.T) {
	testutil.NeedRoot(t)
	asked := make(chan struct{}, 16)
	s := New(Config{Permit: func() bool { asked <- struct{}{}; return false }})
	s.SetLinks([]string{"no-such-link"})
	pause := s.turn(0)
	if pause != retryInterval || len(asked) != 1 || s.links["no-such-link"].sent != 0 {
		t.Errorf("next turn in %v, asked %d times", pause, len(asked))
	}
}

// TestErrorIsLoggedOnce until it changes or ends, and the next attempt comes soon.
func TestErrorIsLoggedOnce(t *testing.T) {
	ns := testutil.NewHost(t)
	var log testutil.Log
	now := time.Duration(0)
	s := New(Config{Log: slog.New(slog.NewTextHandler(&log, nil)), Clock: func() time.Duration {
		return now
	}})
	s.SetLinks([]string{"eth1"})
	turn := func() (pause time.Duration) {
		if err := ns.Do(func() error { pause = s.turn(now); return nil }); err != nil {
			t.Fatal(err)
		}
		now += pause
		return pause
	}
	for range 3 {
		if pause := turn(); pause != retryInterval {
			t.Errorf("next attempt in %v", pause)
		}
	}
	if got := log.Count("cannot send a router advertisement"); got != 1 {
		t.Errorf("logged %d times: %s", got, log.String())
	}
	testutil.IP(t, "link add eth1 type veth peer name peer1")
	testutil.IP(t, "link set eth1 up")
	testutil.IP(t, "link set peer1 up")
	wait.Eventually(t, time.Minute, "a link-local address", func() bool {
		text := testutil.IP(t, "-6 addr show dev eth1 scope link -tentative")
		return strings.Contains(text, "fe80")
	})
	for i, want := range []time.Duration{initialInterval, initialInterval, initialInterval, interval} {
		if pause := turn(); pause != want {
			t.Errorf("turn %d: next in %v, want %v", i, pause, want)
		}
	}
	if log.Count("sent again") != 1 {
		t.Error(log.String())
	}
	s.SetLinks(nil)
	if pause := turn(); pause != interval || len(s.links) != 0 {
		t.Errorf("without links: next in %v", pause)
	}
}
