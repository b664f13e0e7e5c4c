package netlab

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// dumper lists the addresses of one host's kernel. It keeps one socket and one buffer, so that 200
// dumps a second cost almost nothing (vishvananda/netlink allocates for each).
type dumper struct {
	fd  int
	seq uint32
	buf []byte
}

// newDumper opens the socket in the host's namespace. dump then works from any thread.
func newDumper(h *Host) (*dumper, error) {
	d := &dumper{fd: -1, buf: make([]byte, 64<<10)}
	err := h.Do(func() (err error) {
		d.fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		return unix.Bind(d.fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	})
	if err != nil {
		return nil, fmt.Errorf("open address dump of host %s: %w", h.Name, err)
	}
	return d, nil
}

func (d *dumper) close() { _ = unix.Close(d.fd) }

// request is RTM_GETADDR with NLM_F_DUMP for all families (rtnetlink(7)): nlmsghdr, ifaddrmsg.
func (d *dumper) request() []byte {
	b := make([]byte, 0, 24)
	b = binary.NativeEndian.AppendUint32(b, 24)
	b = binary.NativeEndian.AppendUint16(b, unix.RTM_GETADDR)
	b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	b = binary.NativeEndian.AppendUint32(b, d.seq)
	return append(b, make([]byte, 12)...)
}

// dump calls seen for every address the host has now, on any link.
func (d *dumper) dump(seen func(netip.Addr)) error {
	d.seq++
	if err := unix.Sendto(d.fd, d.request(), 0,
		&unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("request addresses: %w", err)
	}
	for {
		n, _, err := unix.Recvfrom(d.fd, d.buf, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("read addresses: %w", err)
		}
		if done, err := d.parse(d.buf[:n], seen); done || err != nil {
			return err
		}
	}
}

// parse walks the messages of one datagram and reports whether the dump has ended.
func (d *dumper) parse(b []byte, seen func(netip.Addr)) (done bool, err error) {
	for len(b) >= unix.NLMSG_HDRLEN {
		size := int(binary.NativeEndian.Uint32(b))
		if size < unix.NLMSG_HDRLEN || size > len(b) {
			return true, fmt.Errorf("read addresses: message of %d bytes in %d", size, len(b))
		}
		msg, kind, seq := b[unix.NLMSG_HDRLEN:size], binary.NativeEndian.Uint16(b[4:]),
			binary.NativeEndian.Uint32(b[8:])
		b = b[min(align4(size), len(b)):]
		if seq != d.seq {
			continue // the rest of a dump that failed
		}
		switch kind {
		case unix.NLMSG_DONE:
			return true, nil
		case unix.NLMSG_ERROR:
			return true, fmt.Errorf("read addresses: the kernel refused the dump")
		case unix.RTM_NEWADDR:
			if a, ok := addressOf(msg); ok {
				seen(a)
			}
		}
	}
	return false, nil
}

// addressOf finds the address in an ifaddrmsg and its attributes: IFA_LOCAL if there is one
// (IPv4), else IFA_ADDRESS.
func addressOf(msg []byte) (netip.Addr, bool) {
	var found netip.Addr
	for b := msg[min(unix.SizeofIfAddrmsg, len(msg)):]; len(b) >= unix.SizeofRtAttr; {
		size, kind := int(binary.NativeEndian.Uint16(b)), binary.NativeEndian.Uint16(b[2:])
		if size < unix.SizeofRtAttr || size > len(b) {
			break
		}
		if a, ok := netip.AddrFromSlice(b[unix.SizeofRtAttr:size]); ok {
			if kind == unix.IFA_LOCAL {
				return a, true
			}
			if kind == unix.IFA_ADDRESS {
				found = a
			}
		}
		b = b[min(align4(size), len(b)):]
	}
	return found, found.IsValid()
}

func align4(n int) int { return (n + 3) &^ 3 }
