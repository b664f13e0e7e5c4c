package arp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
)

// listen opens a packet socket (packet(7)) bound to the link and the EtherType, with
// the filter in place before it is bound.
func listen(l LinkRef, etherType uint16, filter []bpf.RawInstruction) (Conn, error) {
	link := &net.Interface{Index: l.Index, Name: l.Name, HardwareAddr: l.MAC}
	conn, err := packet.Listen(link, packet.Raw, int(etherType), &packet.Config{Filter: filter})
	if err != nil {
		return nil, fmt.Errorf("open packet socket (needs CAP_NET_RAW): %w", err)
	}
	return conn, nil
}

// to returns a packet socket's form of a MAC.
func to(mac net.HardwareAddr) net.Addr { return &packet.Addr{HardwareAddr: mac} }

// linkLocal returns the link's IPv6 link-local address, if it has one.
func linkLocal(index int) netip.Addr {
	link, err := net.InterfaceByIndex(index)
	if err != nil {
		return netip.Addr{}
	}
	addrs, err := link.Addrs()
	if err != nil {
		return netip.Addr{}
	}
	for _, a := range addrs {
		prefix, err := netip.ParsePrefix(a.String())
		if err == nil && prefix.Addr().Is6() && prefix.Addr().IsLinkLocalUnicast() {
			return prefix.Addr().WithZone("")
		}
	}
	return netip.Addr{}
}

// hostMACs returns the Ethernet addresses of all links of this host.
func hostMACs() ([]net.HardwareAddr, error) {
	links, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	var macs []net.HardwareAddr
	for _, link := range links {
		if len(link.HardwareAddr) == 6 {
			macs = append(macs, link.HardwareAddr)
		}
	}
	return macs, nil
}

const (
	reopenFirst = 50 * time.Millisecond // after socket trouble, doubled up to reopenMax
	reopenMax   = time.Second
	// writeLimit bounds the wait for room in a socket's send buffer: who stops an
	// announcement waits for it.
	writeLimit = 20 * time.Millisecond
)

// reopening is when to open a socket again that fails.
type reopening struct {
	opened   time.Duration
	retry    time.Duration // opening again not before
	backoff  time.Duration
	silenced bool // the present trouble has been logged
}

// failed makes the pause grow while what was opened does not last, and returns whether this
// trouble is the first of a series, to be logged.
func (r *reopening) failed(now time.Duration, wasOpen bool) (first bool) {
	if wasOpen && now-r.opened > 2*reopenMax {
		r.backoff, r.silenced = 0, false
	}
	first, r.silenced = !r.silenced, true
	r.backoff = min(max(2*r.backoff, reopenFirst), reopenMax)
	r.retry = now + r.backoff
	return first
}

// check says whether frames can be sent on the link.
func (l LinkRef) check() error {
	if len(l.MAC) != len(hardware{}) {
		return fmt.Errorf("link has no Ethernet address (%q): choose another with --interface", l.MAC)
	}
	return nil
}

// write sends a frame unless until, asked last of all, says no, and returns whether it did.
// A queue without room is no error: the next frame of the schedule makes up for it.
func (f frame) write(conn Conn, until func() bool) (sent bool, err error) {
	if err := conn.SetWriteDeadline(time.Now().Add(writeLimit)); err != nil {
		return false, fmt.Errorf("announce %v: set write deadline: %w", f.vip, err)
	}
	if until != nil && !until() { // E4: the fence
		return false, nil
	}
	if _, err := conn.WriteTo(f.bytes, to(f.to)); err != nil && !isFull(err) {
		return false, fmt.Errorf("announce %v: %w", f.vip, err)
	} else if err != nil {
		return false, nil
	}
	return true, nil
}

// isFull tells a queue without room from a socket that is of no use any more.
func isFull(err error) bool {
	var timeout net.Error
	return errors.Is(err, syscall.ENOBUFS) || errors.As(err, &timeout) && timeout.Timeout()
}
