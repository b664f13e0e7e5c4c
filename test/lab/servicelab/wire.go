package servicelab

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kvip/kvip/test/lab/netlab"
)

// answerTime is how long answers to one question on the wire are awaited. Everybody is on one
// bridge.
const answerTime = 60 * time.Millisecond

// Responders asks the wire from the client who has an address, by ARP or neighbour solicitation,
// and returns the names of all hosts that answer, sorted; "?" stands for a MAC of no host.
func (l *Lab) Responders(addr netip.Addr) (names []string, err error) {
	err = l.Client.Do(func() error {
		wire, err := openRawSocket()
		if err != nil {
			return err
		}
		defer wire.close()
		if err := wire.send(addressRequest(l.Client, addr)); err != nil {
			return err
		}
		for _, mac := range wire.answers(addr) {
			names = append(names, l.hostOf(mac))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("ask the wire for %s: %w", addr, err)
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

func (l *Lab) hostOf(mac net.HardwareAddr) string {
	for _, h := range l.Lab.Hosts() {
		if bytes.Equal(h.MAC, mac) {
			return h.Name
		}
	}
	return "?"
}

// Claim sends a gratuitous ARP (RFC 5227, 3: an announcement) from a host that says it has an
// address, under the MAC: what a machine does that was given the same address by mistake.
func Claim(h *netlab.Host, addr netip.Addr, mac net.HardwareAddr) error {
	return h.Do(func() error {
		wire, err := openRawSocket()
		if err != nil {
			return err
		}
		defer wire.close()
		return wire.send(arpFrame(mac, addr, addr))
	})
}

// rawSocket is a packet socket on a host's link.
type rawSocket struct {
	fd    int
	index int
}

func openRawSocket() (*rawSocket, error) {
	link, err := net.InterfaceByName(netlab.LinkName)
	if err != nil {
		return nil, err
	}
	const all = unix.ETH_P_ALL<<8 | unix.ETH_P_ALL>>8 // network byte order
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	w := &rawSocket{fd: fd, index: link.Index}
	short := unix.NsecToTimeval((5 * time.Millisecond).Nanoseconds())
	err = errors.Join(
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &short),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: link.Index}))
	if err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

func (w *rawSocket) close() { _ = unix.Close(w.fd) }

func (w *rawSocket) send(frame []byte) error {
	return unix.Sendto(w.fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: w.index})
}

// answers collects the hosts that claim the address.
func (w *rawSocket) answers(addr netip.Addr) (macs []net.HardwareAddr) {
	frame := make([]byte, 2048)
	for end := time.Now().Add(answerTime); time.Now().Before(end); {
		n, from, err := unix.Recvfrom(w.fd, frame, 0)
		if err != nil {
			continue // the short time is over, or a signal came
		}
		if ll, ok := from.(*unix.SockaddrLinklayer); ok && ll.Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		if mac, ok := claimIn(frame[:n], addr); ok {
			macs = append(macs, mac)
		}
	}
	return macs
}

// claimIn is the sender of an ARP reply for the address, or of a solicited neighbour advertisement.
func claimIn(frame []byte, addr netip.Addr) (net.HardwareAddr, bool) {
	if len(frame) < 14 {
		return nil, false
	}
	kind, body := binary.BigEndian.Uint16(frame[12:]), frame[14:]
	switch {
	case kind == unix.ETH_P_ARP && len(body) >= 28 && binary.BigEndian.Uint16(body[6:]) == 2:
		return slices.Clone(body[8:14]), addr.Is4() && bytes.Equal(body[14:18], addr.AsSlice())
	case kind == unix.ETH_P_IPV6 && len(body) >= 64 && body[6] == unix.IPPROTO_ICMPV6 &&
		body[40] == 136:
		solicited := body[44]&0x40 != 0
		return slices.Clone(frame[6:12]), solicited && addr.Is6() &&
			bytes.Equal(body[48:64], addr.AsSlice())
	}
	return nil, false
}

// addressRequest is what the host asks the link to find an address.
func addressRequest(h *netlab.Host, addr netip.Addr) []byte {
	if addr.Is4() {
		return arpFrame(h.MAC, h.Addr(true), addr)
	}
	return solicitation(h.MAC, h.Addr(false), addr)
}

// arpFrame is an ARP request (RFC 826); one for the sender's own address is an announcement.
func arpFrame(mac net.HardwareAddr, sender, target netip.Addr) []byte {
	b := slices.Concat(bytes.Repeat([]byte{0xff}, 6), mac, []byte{0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1},
		mac, sender.AsSlice(), make([]byte, 6), target.AsSlice())
	return append(b, make([]byte, 60-len(b))...)
}

// solicitation is a neighbour solicitation (RFC 4861, 4.3) to the target's solicited-node address.
func solicitation(mac net.HardwareAddr, sender, target netip.Addr) []byte {
	to := target.As16()
	group := netip.AddrFrom16([16]byte{0: 0xff, 1: 0x02, 11: 0x01, 12: 0xff, 13: to[13], 14: to[14],
		15: to[15]})
	message := slices.Concat([]byte{135, 0, 0, 0, 0, 0, 0, 0}, target.AsSlice(), []byte{1, 1}, mac)
	pseudo := slices.Concat(sender.AsSlice(), group.AsSlice(),
		[]byte{0, 0, 0, byte(len(message)), 0, 0, 0, unix.IPPROTO_ICMPV6}, message)
	binary.BigEndian.PutUint16(message[2:], checksum(pseudo))
	header := slices.Concat([]byte{0x60, 0, 0, 0, 0, byte(len(message)), unix.IPPROTO_ICMPV6, 255},
		sender.AsSlice(), group.AsSlice())
	return slices.Concat([]byte{0x33, 0x33, 0xff, to[13], to[14], to[15]}, mac, []byte{0x86, 0xdd},
		header, message)
}

// checksum is that of RFC 1071, of an even number of bytes.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
