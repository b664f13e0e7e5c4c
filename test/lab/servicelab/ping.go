package servicelab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"

	"github.com/kvip/kvip/test/lab/netlab"
)

// Ping sends one echo request from a host and returns when it is answered.
func Ping(h *netlab.Host, addr netip.Addr) error {
	network, local := "ip4:icmp", "0.0.0.0"
	request, reply := icmp.Type(ipv4.ICMPTypeEcho), icmp.Type(ipv4.ICMPTypeEchoReply)
	if addr.Is6() {
		network, local, request, reply = "ip6:ipv6-icmp", "::", ipv6.ICMPTypeEchoRequest,
			ipv6.ICMPTypeEchoReply
	}
	message, err := (&icmp.Message{Type: request, Body: &icmp.Echo{ID: 1, Seq: 1}}).Marshal(nil)
	if err != nil {
		return fmt.Errorf("encode echo request: %w", err)
	}
	var conn *icmp.PacketConn
	err = h.Do(func() (err error) {
		conn, err = icmp.ListenPacket(network, local)
		return err
	})
	if err != nil {
		return fmt.Errorf("open ICMP socket in %s: %w", h.Name, err)
	}
	err = echo(conn, addr, message, reply)
	return errors.Join(err, conn.Close())
}

func echo(conn *icmp.PacketConn, addr netip.Addr, message []byte, want icmp.Type) error {
	if err := conn.SetDeadline(time.Now().Add(askTimeout)); err != nil {
		return err
	}
	if _, err := conn.WriteTo(message, &net.IPAddr{IP: addr.AsSlice()}); err != nil {
		return fmt.Errorf("send echo request to %s: %w", addr, err)
	}
	protocol := 1 // of ICMP, as icmp.ParseMessage wants it
	if addr.Is6() {
		protocol = 58
	}
	for buffer := make([]byte, 1500); ; {
		n, from, err := conn.ReadFrom(buffer)
		if err != nil {
			return fmt.Errorf("await echo reply of %s: %w", addr, err)
		}
		answer, err := icmp.ParseMessage(protocol, buffer[:n])
		if err == nil && answer.Type == want && from.String() == addr.String() {
			return nil
		}
	}
}
