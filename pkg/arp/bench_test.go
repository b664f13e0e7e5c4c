package arp

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/net/bpf"

	"github.com/kvip/kvip/pkg/assignment"
	"github.com/kvip/kvip/pkg/link"
)

// discardConn is a socket that discards what is sent and receives nothing.
type discardConn struct{ done chan struct{} }

func (c discardConn) ReadFrom([]byte) (int, net.Addr, error) {
	<-c.done
	return 0, nil,
		net.ErrClosed
}
func (c discardConn) WriteTo(b []byte, _ net.Addr) (int, error) { return len(b), nil }
func (c discardConn) SetBPF([]bpf.RawInstruction) error         { return nil }
func (c discardConn) SetWriteDeadline(time.Time) error          { return nil }
func (c discardConn) Close() error                              { close(c.done); return nil }
func discard(link.Link, uint16, []bpf.RawInstruction) (Conn, error) {
	return discardConn{make(chan struct{})}, nil
}

// manyAddrs returns addresses of one family.
func manyAddrs(n int, family4 bool) []netip.Addr {
	list := make([]netip.Addr, n)
	for i := range list {
		if family4 {
			list[i] = netip.AddrFrom4([4]byte{10, 20, byte(i >> 8), byte(i)})
		} else {
			list[i] = netip.AddrFrom16([16]byte{0x20, 1, 0x0d, 0xb8, 14: byte(i >> 8), 15: byte(i)})
		}
	}
	return list
}

// BenchmarkAnnouncement builds the frames of one announcement.
func BenchmarkAnnouncement(b *testing.B) {
	for _, vip := range []netip.Addr{vip4, vip6} {
		b.Run(fmt.Sprintf("IPv4=%v", vip.Is4()), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := announcement(vip, mac1, linkAddr); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkDecode decodes an announcement of another host.
func BenchmarkDecode(b *testing.B) {
	for b.Loop() {
		decode(wireRequest)
		decode(wireNA)
	}
}

// BenchmarkFilter builds an exact filter, and one of a range.
func BenchmarkFilter(b *testing.B) {
	for _, family4 := range []bool{true, false} {
		for _, n := range []int{2, 256, 5000} {
			addrs, etherType := manyAddrs(n, family4), uint16(etherIPv6)
			if family4 {
				etherType = etherARP
			}
			b.Run(fmt.Sprintf("IPv4=%v/addresses=%d", family4, n), func(b *testing.B) {
				for b.Loop() {
					if _, err := filter(etherType, addrs); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkSet replaces 1000 addresses, of which one changes its state.
func BenchmarkSet(b *testing.B) {
	a := newAnnouncer(b, newSegment(), func(cfg *Config) { cfg.Listen = discard })
	run(b, a, newSegment())
	var list []assignment.Assignment
	for i := range 1000 {
		list = append(list, announced(nth(i)))
	}
	a.Set(list)
	states := [2]assignment.State{assignment.Announced, assignment.Silent}
	for i := 0; b.Loop(); i++ {
		list[500].State = states[i%2]
		a.Set(list)
	}
}

// BenchmarkQueue plans the announcements of 5000 addresses in their first 10 seconds.
func BenchmarkQueue(b *testing.B) {
	for b.Loop() {
		s := &sim{queue: newQueue(ServicePacing()), now: time.Hour}
		for i := range 5000 {
			s.add(nth(i), s.now)
		}
		s.run(s.now + 10*time.Second)
	}
}
