package netlab

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// wireMAC and wireLinkLocal are the addresses from which a wire asks. No host has them.
var (
	wireMAC       = net.HardwareAddr{0x02, 0x6b, 0x76, 0x69, 0xff, 0x01}
	wireLinkLocal = netip.MustParseAddr("fe80::6b:76ff:fe69:ff01")
)

// wire asks one host for addresses, from the other end of its link, and collects its answers: ARP
// probes with the sender address 0.0.0.0 (RFC 5227 2.1) and neighbour solicitations (RFC 4861 7.2).
// Frames reach this host alone, also if the switch drops those of other hosts.
type wire struct {
	fd       int
	requests [][]byte // one for each address
	vips     []netip.Addr
	buf      []byte
}

// newWire opens the socket in the namespace of the port with the index.
func newWire(ns netns, port int, vips []netip.Addr) (*wire, error) {
	w := &wire{fd: -1, vips: vips, buf: make([]byte, 256)}
	for _, a := range vips {
		w.requests = append(w.requests, wireRequest(a))
	}
	err := ns.do(func() (err error) {
		w.fd, err = portSocket(port, toWire)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open wire: %w", err)
	}
	return w, nil
}

// toWire accepts frames to wireMAC.
var toWire = []bpf.Instruction{
	bpf.LoadAbsolute{Off: 0, Size: 4},
	bpf.JumpIf{Val: binary.BigEndian.Uint32(wireMAC), SkipFalse: 3},
	bpf.LoadAbsolute{Off: 4, Size: 2},
	bpf.JumpIf{Val: uint32(binary.BigEndian.Uint16(wireMAC[4:])), SkipFalse: 1},
	bpf.RetConstant{Val: 1 << 16},
	bpf.RetConstant{Val: 0},
}

// portSocket opens a packet socket of one switch port, for the frames of its host that a program
// accepts.
func portSocket(port int, program []bpf.Instruction) (int, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	err = attachProgram(fd, program)
	if err == nil { // the switch floods the answers of other hosts to this port
		err = unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1)
	}
	if err == nil {
		all := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_ALL))
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: port})
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func (w *wire) close() { _ = unix.Close(w.fd) }

// ask sends a request for each address. A link that is down carries none, which is not an error.
func (w *wire) ask() error {
	for _, frame := range w.requests {
		if err := sendFrame(w.fd, frame); err != nil {
			return fmt.Errorf("ask on the wire: %w", err)
		}
	}
	return nil
}

// sendFrame sends a frame. That the link is down or full is not an error.
func sendFrame(fd int, frame []byte) error {
	_, err := unix.Write(fd, frame)
	switch err {
	case unix.ENETDOWN, unix.ENXIO, unix.ENOBUFS, unix.EAGAIN:
		return nil
	}
	return err
}

// readFrames calls seen for each frame that has come. A frame is valid until seen returns.
func readFrames(fd int, buf []byte, seen func(frame []byte)) error {
	for {
		n, err := unix.Read(fd, buf)
		switch err {
		case nil:
			seen(buf[:n])
		case unix.EINTR, unix.ENETDOWN:
		case unix.EAGAIN:
			return nil
		default:
			return err
		}
	}
}

// answers calls seen for each address, by its index, that the host has answered for since the last
// call.
func (w *wire) answers(seen func(vip int)) error {
	err := readFrames(w.fd, w.buf, func(frame []byte) {
		if a, ok := wireAnswer(frame); ok {
			for i, vip := range w.vips {
				if a == vip {
					seen(i)
				}
			}
		}
	})
	if err != nil {
		return fmt.Errorf("read answers on the wire: %w", err)
	}
	return nil
}

// wireRequest returns the frame that asks for an address.
func wireRequest(a netip.Addr) []byte {
	if a.Is4() {
		b := append(net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, wireMAC...)
		b = append(b, 0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1) // request: Ethernet, IPv4
		b = append(append(b, wireMAC...), 0, 0, 0, 0)
		return append(append(b, 0, 0, 0, 0, 0, 0), a.AsSlice()...)
	}
	target, source := a.As16(), wireLinkLocal.As16()
	group := netip.MustParseAddr("ff02::1:ff00:0").As16() // solicited-node, RFC 4291 2.7.1
	copy(group[13:], target[13:])
	icmp := append([]byte{135, 0, 0, 0, 0, 0, 0, 0}, target[:]...)
	icmp = append(append(icmp, 1, 1), wireMAC...)     // source link-layer address
	pseudo := uint32(len(icmp)) + unix.IPPROTO_ICMPV6 // RFC 4443 2.3
	binary.BigEndian.PutUint16(icmp[2:], checksum(pseudo, source[:], group[:], icmp))
	b := append(net.HardwareAddr{0x33, 0x33, 0xff, target[13], target[14], target[15]}, wireMAC...)
	b = append(b, 0x86, 0xdd, 0x60, 0, 0, 0, 0, byte(len(icmp)), unix.IPPROTO_ICMPV6, 255)
	return append(append(append(b, source[:]...), group[:]...), icmp...)
}

// checksum is that of RFC 1071 over a start value and parts of even length.
func checksum(sum uint32, parts ...[]byte) uint16 {
	for _, part := range parts {
		for i := 0; i+1 < len(part); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(part[i:]))
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// wireAnswer returns the address that a frame answers for: the sender of an ARP reply, or the
// target of a neighbour advertisement.
func wireAnswer(b []byte) (netip.Addr, bool) {
	const header = 14
	if len(b) < header+28 {
		return netip.Addr{}, false
	}
	switch body := b[header:]; binary.BigEndian.Uint16(b[12:]) {
	case unix.ETH_P_ARP:
		reply := binary.BigEndian.Uint16(body[6:]) == 2
		return netip.AddrFrom4([4]byte(body[14:18])), reply
	case unix.ETH_P_IPV6:
		if len(body) < 64 || body[6] != unix.IPPROTO_ICMPV6 || body[40] != 136 {
			return netip.Addr{}, false
		}
		return netip.AddrFrom16([16]byte(body[48:64])), true
	}
	return netip.Addr{}, false
}
