package netlab

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// SYNEvery is the interval of a SYNSampler.
const SYNEvery = 10 * time.Millisecond

// The source ports of a SYNSampler, one for each question in turn. Linux gives its own connections
// ports from 32768 on.
const (
	firstSYNPort = 20000
	synPorts     = 10000
)

// SYNSampler records which hosts accept connections to a service at an address: it sends a SYN to
// each host's hardware address every 10 ms, whichever host answers ARP requests. The SYN comes from
// the address of a host that does not know of it, whose kernel resets the connection (RFC 9293
// 3.5.2).
type SYNSampler struct {
	lab    *Lab
	hosts  []*Host
	target netip.AddrPort
	fds    []int
	frames [][]byte
	*sampling

	mu    sync.Mutex
	asked []time.Time
	masks []uint64 // of the hosts that accepted, for each of asked
	two   []bool   // two of them could reach each other
}

// SampleSYN starts a SYNSampler of up to sixteen hosts. Stop ends it.
func (l *Lab) SampleSYN(from *Host, target netip.AddrPort, hosts ...*Host) (*SYNSampler, error) {
	if len(hosts) == 0 || len(hosts) > maxHosts {
		return nil, fmt.Errorf("sample who accepts connections: %d hosts, want 1 to %d", len(hosts),
			maxHosts)
	}
	s := &SYNSampler{lab: l, hosts: hosts, target: target}
	for _, h := range hosts {
		s.frames = append(s.frames, synFrame(from, h, target))
		err := l.sw.ns.do(func() error {
			fd, err := portSocket(h.port, synAnswers(target.Addr().Is4()))
			if err == nil {
				s.fds = append(s.fds, fd)
			}
			return err
		})
		if err != nil {
			s.close()
			return nil, fmt.Errorf("sample who accepts connections on %s: %w", h.Name, err)
		}
	}
	s.sampling = startSampling(SYNEvery, s.takeSample, s.close)
	return s, nil
}

func (s *SYNSampler) close() {
	for _, fd := range s.fds {
		_ = unix.Close(fd)
	}
}

// takeSample records the answers to earlier questions, and asks again.
func (s *SYNSampler) takeSample() error {
	if err := s.collect(); err != nil {
		return err
	}
	return s.ask()
}

// ask sends a SYN to each host.
func (s *SYNSampler) ask() error {
	s.mu.Lock()
	number := len(s.asked)
	s.asked, s.masks = append(s.asked, time.Now()), append(s.masks, 0)
	s.two = append(s.two, false)
	s.mu.Unlock()
	for i, frame := range s.frames {
		setSYNPort(frame, s.target.Addr().Is4(), uint16(firstSYNPort+number%synPorts))
		if err := sendFrame(s.fds[i], frame); err != nil {
			return fmt.Errorf("send a SYN to %s: %w", s.hosts[i].Name, err)
		}
	}
	return nil
}

// collect records the answers that have come, each with the question of its port.
func (s *SYNSampler) collect() error {
	b := make([]byte, 128)
	for i, fd := range s.fds {
		err := readFrames(fd, b, func(frame []byte) {
			if port, ok := synAccepted(frame, s.target); ok {
				s.accepted(i, int(port)-firstSYNPort)
			}
		})
		if err != nil {
			return fmt.Errorf("read answers of %s: %w", s.hosts[i].Name, err)
		}
	}
	return nil
}

func (s *SYNSampler) accepted(host, question int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := len(s.asked) - 1
	number := last - ((last-question)%synPorts+synPorts)%synPorts
	if number < 0 || number > last {
		return
	}
	s.masks[number] |= 1 << host
	s.two[number] = s.reachable(s.accepting(number))
}

// accepting returns the hosts that accepted in a sample. The caller holds the lock.
func (s *SYNSampler) accepting(number int) (all []*Host) {
	for j, h := range s.hosts {
		if s.masks[number]&(1<<j) != 0 {
			all = append(all, h)
		}
	}
	return all
}

// SYNReport is what a SYNSampler recorded in a window.
type SYNReport struct {
	Samples int
	// Two counts samples in which two hosts that could reach each other accepted connections. Longest
	// is the longest time of such samples without a break.
	Two     int
	Longest time.Duration
	// Accepted counts the samples in which each host accepted, by its name.
	Accepted map[string]int
}

// Window returns the report from one instant to another. A zero instant means no limit.
func (s *SYNSampler) Window(from, to time.Time) SYNReport {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := SYNReport{Accepted: map[string]int{}}
	var since time.Time
	for i, at := range s.asked {
		if at.Before(from) || !to.IsZero() && at.After(to) {
			continue
		}
		r.Samples++
		for _, h := range s.accepting(i) {
			r.Accepted[h.Name]++
		}
		if !s.two[i] {
			since = time.Time{}
			continue
		}
		r.Two++
		if since.IsZero() {
			since = at
		}
		r.Longest = max(r.Longest, at.Sub(since)+SYNEvery)
	}
	return r
}

// reachable reports whether two of the hosts can reach each other.
func (s *SYNSampler) reachable(hosts []*Host) bool {
	return slices.ContainsFunc(hosts, func(a *Host) bool {
		return slices.ContainsFunc(hosts, func(b *Host) bool { return a != b && s.lab.Reachable(a, b) })
	})
}

// Offsets of a frame with TCP: behind Ethernet and IPv4 without options, or IPv6.
const (
	tcpAt4, tcpAt6  = 14 + 20, 14 + 40
	synFlag         = 0x02
	synAck          = 0x12
	tcpHeader       = 20
	firstSYNSegment = 0x6b766970 // the sequence number
)

func tcpAt(is4 bool) int {
	if is4 {
		return tcpAt4
	}
	return tcpAt6
}

// synFrame returns a SYN from one host to another's hardware address, without a source port.
func synFrame(from, to *Host, target netip.AddrPort) []byte {
	is4 := target.Addr().Is4()
	source, destination := from.Addr(is4).AsSlice(), target.Addr().AsSlice()
	b := slices.Concat(to.MAC, from.MAC)
	if is4 {
		ip := []byte{0x45, 0, 0, 20 + tcpHeader, 0, 0, 0x40, 0, 64, unix.IPPROTO_TCP, 0, 0}
		ip = slices.Concat(ip, source, destination)
		binary.BigEndian.PutUint16(ip[10:], checksum(0, ip))
		b = append(append(b, 0x08, 0x00), ip...)
	} else {
		b = append(b, 0x86, 0xdd, 0x60, 0, 0, 0, 0, tcpHeader, unix.IPPROTO_TCP, 64)
		b = slices.Concat(b, source, destination)
	}
	tcp := make([]byte, tcpHeader)
	binary.BigEndian.PutUint16(tcp[2:], target.Port())
	binary.BigEndian.PutUint32(tcp[4:], firstSYNSegment)
	tcp[12], tcp[13], tcp[14] = tcpHeader/4<<4, synFlag, 0x40 // a window of 16384
	return append(b, tcp...)
}

// setSYNPort sets the source port and the checksum (RFC 9293 3.1).
func setSYNPort(frame []byte, is4 bool, port uint16) {
	at := tcpAt(is4)
	tcp := frame[at:]
	binary.BigEndian.PutUint16(tcp, port)
	binary.BigEndian.PutUint16(tcp[16:], 0)
	addresses := frame[at-32 : at]
	if is4 {
		addresses = frame[at-8 : at]
	}
	binary.BigEndian.PutUint16(tcp[16:], checksum(tcpHeader+unix.IPPROTO_TCP, addresses, tcp))
}

// synAccepted returns the port of the question that a frame answers with SYN and ACK.
func synAccepted(b []byte, target netip.AddrPort) (port uint16, ok bool) {
	at := tcpAt(target.Addr().Is4())
	if len(b) < at+tcpHeader {
		return 0, false
	}
	tcp, size := b[at:], len(target.Addr().AsSlice())
	source := b[at-2*size : at-size]
	return binary.BigEndian.Uint16(tcp[2:]), tcp[13] == synAck &&
		slices.Equal(source, target.Addr().AsSlice()) &&
		binary.BigEndian.Uint16(tcp) == target.Port() &&
		binary.BigEndian.Uint32(tcp[8:]) == firstSYNSegment+1
}

// synAnswers accepts TCP frames to the ports of a SYNSampler.
func synAnswers(is4 bool) []bpf.Instruction {
	etherType, protocolAt := uint32(unix.ETH_P_IP), uint32(14+9)
	if !is4 {
		etherType, protocolAt = unix.ETH_P_IPV6, 14+6
	}
	return []bpf.Instruction{
		bpf.LoadAbsolute{Off: 12, Size: 2},
		bpf.JumpIf{Val: etherType, SkipFalse: 6},
		bpf.LoadAbsolute{Off: protocolAt, Size: 1},
		bpf.JumpIf{Val: unix.IPPROTO_TCP, SkipFalse: 4},
		bpf.LoadAbsolute{Off: uint32(tcpAt(is4)) + 2, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpLessThan, Val: firstSYNPort, SkipTrue: 2},
		bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: firstSYNPort + synPorts, SkipTrue: 1},
		bpf.RetConstant{Val: 128},
		bpf.RetConstant{Val: 0},
	}
}
