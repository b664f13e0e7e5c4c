package arp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"

	"github.com/kvip/kvip/pkg/assignment"
	"github.com/kvip/kvip/pkg/backoff"
	"github.com/kvip/kvip/pkg/link"
)

const (
	// writeLimit bounds the wait for room in a socket's send buffer: Set waits for it.
	writeLimit = 20 * time.Millisecond
	// sourceInterval is how often the link-local address of a link without one is looked up.
	sourceInterval = time.Second
)

// reopenBackoff paces the attempts to reopen a socket. One that stays open for twice the longest
// pause begins a new series of failures.
var reopenBackoff = backoff.Backoff{Min: 50 * time.Millisecond, Max: time.Second}

// Conn is the part of a packet socket that an Announcer uses, with the contracts of
// net.PacketConn. Frames begin with their Ethernet header. If a Conn has a method
// SetBPF([]bpf.RawInstruction) error, it replaces the filter; else the socket is reopened.
type Conn interface {
	ReadFrom(b []byte) (int, net.Addr, error)
	WriteTo(b []byte, to net.Addr) (int, error)
	SetWriteDeadline(t time.Time) error
	Close() error
}

// listenFunc is the type of Config.Listen.
type listenFunc = func(l link.Link, etherType uint16, filter []bpf.RawInstruction) (Conn, error)

// Listen opens a packet socket (packet(7)) bound to the link and the EtherType, with the filter in
// place before it is bound. Without a filter it receives all frames of the EtherType.
func Listen(l link.Link, etherType uint16, filter []bpf.RawInstruction) (Conn, error) {
	device := &net.Interface{Index: l.Index, Name: l.Name, HardwareAddr: l.MAC}
	conn, err := packet.Listen(device, packet.Raw, int(etherType), &packet.Config{Filter: filter})
	if err != nil {
		return nil, fmt.Errorf("open packet socket (needs CAP_NET_RAW): %w", err)
	}
	return conn, nil
}

// Address returns a hardware address as the receiver of a frame.
func Address(mac net.HardwareAddr) net.Addr { return &packet.Addr{HardwareAddr: mac} }

// socketKey identifies a socket of an Announcer. A link that is re-created has another index.
type socketKey struct {
	index     int
	mac       string
	etherType uint16
}

// keyOf returns which socket an address needs.
func keyOf(one assignment.Assignment) socketKey {
	key := socketKey{index: one.Link.Index, mac: string(one.Link.MAC), etherType: etherARP}
	if one.Addr.Is6() {
		key.etherType = etherIPv6
	}
	return key
}

// linkSocket is the packet socket for the addresses of one family on one link.
type linkSocket struct {
	etherType uint16
	link      link.Link
	addrs     []netip.Addr // sorted
	source    netip.Addr   // link-local address for NAs, if the link has one
	sourceAt  time.Duration

	conn    Conn                 // nil: closed
	reading bool                 // conn has a reader
	program []bpf.RawInstruction // the filter of conn
	passed  []netip.Addr         // by program

	opened   time.Duration
	retry    time.Duration // earliest next attempt to open
	failures int           // in a row
}

// assign sets the addresses of a socket. A link that becomes usable is tried at once.
func (s *linkSocket) assign(l link.Link, addrs []netip.Addr) {
	slices.SortFunc(addrs, netip.Addr.Compare)
	if s.link.Usable != l.Usable {
		s.retry = 0
	}
	s.link, s.addrs = l, addrs
}

func (s *linkSocket) open(listen listenFunc, now time.Duration) error {
	if len(s.link.MAC) != len(hardware{}) {
		return fmt.Errorf("link has no Ethernet address (%q): choose another with --interface",
			s.link.MAC)
	}
	program, err := filter(s.etherType, s.addrs)
	if err != nil {
		return err
	}
	conn, err := listen(s.link, s.etherType, program)
	if err != nil {
		return err
	}
	s.conn, s.reading, s.program, s.passed = conn, false, program, s.addrs
	s.opened, s.sourceAt = now, 0
	return nil
}

// setFilter replaces the filter of an open socket if the addresses have changed. It reports
// whether the socket must be reopened for that.
func (s *linkSocket) setFilter() (reopen bool, err error) {
	if slices.Equal(s.passed, s.addrs) {
		return false, nil
	}
	program, err := filter(s.etherType, s.addrs)
	if err != nil {
		return false, err
	}
	s.passed = s.addrs
	if slices.Equal(s.program, program) {
		return false, nil
	}
	s.program = program
	conn, ok := s.conn.(interface {
		SetBPF(filter []bpf.RawInstruction) error
	})
	if !ok {
		return true, nil
	}
	return false, conn.SetBPF(program)
}

// findSource looks up the source address of NAs if there is none.
func (s *linkSocket) findSource(linkLocal func(index int) netip.Addr, now time.Duration) {
	due := s.sourceAt == 0 || now-s.sourceAt >= sourceInterval
	if s.etherType == etherIPv6 && !s.source.IsValid() && due {
		s.source, s.sourceAt = linkLocal(s.link.Index), now
	}
}

// failed counts a failure and reports whether it is the first in a row.
func (s *linkSocket) failed(now time.Duration) (first bool) {
	if s.conn != nil && now-s.opened > 2*reopenBackoff.Max {
		s.failures = 0
	}
	s.failures++
	s.retry = now + reopenBackoff.After(s.failures)
	return s.failures == 1
}

func (s *linkSocket) close() {
	if s.conn != nil {
		s.conn.Close() // the reader ends even if this fails
		s.conn, s.source = nil, netip.Addr{}
	}
}

// write sends a frame if allowed, which is asked last, reports true. It reports whether it did. A
// full send buffer is not an error: the next announcement makes up for it.
func (s *linkSocket) write(f frame, allowed func(netip.Addr) bool) (sent bool, err error) {
	if err := s.conn.SetWriteDeadline(time.Now().Add(writeLimit)); err != nil {
		return false, fmt.Errorf("announce %v: set write deadline: %w", f.vip, err)
	}
	if !allowed(f.vip) { // E4: the fence
		return false, nil
	}
	_, err = s.conn.WriteTo(f.bytes, Address(f.to))
	if isFull(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("announce %v: %w", f.vip, err)
	}
	return true, nil
}

// isFull reports whether a write failed for lack of room alone.
func isFull(err error) bool {
	var timeout net.Error
	return errors.Is(err, syscall.ENOBUFS) || errors.As(err, &timeout) && timeout.Timeout()
}
