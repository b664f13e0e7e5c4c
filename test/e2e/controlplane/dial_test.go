package controlplane

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/kvip/kvip/test/lab/netlab"
)

// TestNeverDialsTheVIP listens on every node, loopback included, from before the agents start,
// through the bootstrap of their rights, until after two hand-overs: only the client connects to
// the VIP or even looks for its hardware address, and no process asks a name server (E11), though
// the kubeconfigs name the VIP.
func TestNeverDialsTheVIP(t *testing.T) {
	s := prepareEnv(t)
	captures := map[string]*netlab.Capture{}
	for _, n := range s.c.Nodes {
		capture, err := n.Host.StartCapture(2379, 2380)
		s.must(err)
		captures[n.Name] = capture
	}
	s.startAll()
	s.waitSettled()
	for _, n := range s.c.Nodes { // their rights were applied, and their tokens given, on the way
		s.waitOwnToken(n)
	}
	first := s.holder()
	s.must(first.KillAPI()) // the release takes the way over the peers
	second := s.waitMoved(first)
	s.must(second.Agent().Terminate(patience))
	last := s.waitMoved(second)
	s.waitSettled()
	s.checkOwnDial(last.Host)

	seen := &segmentRecorder{own: map[netip.Addr]bool{}, vips: s.vips,
		dialled: map[netip.AddrPort]int{}}
	for _, n := range s.c.Nodes {
		for _, p := range n.Host.Addrs {
			seen.own[p.Addr()] = true
		}
	}
	for name, capture := range captures {
		path := filepath.Join(t.TempDir(), name+".pcap")
		s.must(capture.Stop(path))
		s.must(frames(path, seen.record))
	}
	for _, v := range s.vips {
		if n := seen.dialled[netip.AddrPortFrom(v, 6443)]; n > 0 {
			t.Errorf("%d connections to %s", n, v)
		}
		if n := seen.dialled[netip.AddrPortFrom(v, 9)]; n == 0 {
			t.Errorf("the capture did not see this test itself dial %s", v)
		}
	}
	if seen.dialled[netip.MustParseAddrPort("127.0.0.1:6443")] == 0 || seen.byClient == 0 {
		t.Error("the capture saw neither the agents' connections nor the client's")
	}
	if seen.dns > 0 {
		t.Errorf("%d packets to a name server", seen.dns)
	}
	if seen.sought > 0 {
		t.Errorf("a node looked for the VIP's hardware address %d times", seen.sought)
	}
	s.must(second.RestartAgent())
	s.must(s.c.Heal(t.Context()))
}

// checkOwnDial connects to the VIPs from their holder, on a closed port.
func (s *env) checkOwnDial(h *netlab.Host) {
	for _, v := range s.vips {
		if conn, err := h.Dial(s.t.Context(), "tcp", netip.AddrPortFrom(v, 9).String()); err == nil {
			_ = conn.Close()
		}
	}
}

// segmentRecorder counts what matters among the frames of a capture.
type segmentRecorder struct {
	own      map[netip.Addr]bool // of the nodes
	vips     []netip.Addr
	dialled  map[netip.AddrPort]int // TCP connections of nodes, by destination
	byClient int                    // TCP connections of others
	dns      int                    // to port 53
	sought   int                    // ARP requests of a node's kernel for a VIP
}

// record takes one Ethernet frame.
func (e *segmentRecorder) record(frame []byte) {
	if len(frame) < 14+20 {
		return
	}
	packet := frame[14:]
	switch binary.BigEndian.Uint16(frame[12:]) {
	case 0x0806: // RFC 826; kvip's own probes and announcements have other senders
		if len(packet) < 28 || binary.BigEndian.Uint16(packet[6:]) != 1 {
			return
		}
		sender, target := netip.AddrFrom4([4]byte(packet[14:])), netip.AddrFrom4([4]byte(packet[24:]))
		if e.own[sender] && slices.Contains(e.vips, target) {
			e.sought++
		}
	case 0x0800: // RFC 791
		if header := int(packet[0]&15) * 4; len(packet) >= header+20 {
			e.segment(packet[9], netip.AddrFrom4([4]byte(packet[12:])),
				netip.AddrFrom4([4]byte(packet[16:])), packet[header:])
		}
	case 0x86dd: // RFC 8200
		if len(packet) >= 60 {
			e.segment(packet[6], netip.AddrFrom16([16]byte(packet[8:])),
				netip.AddrFrom16([16]byte(packet[24:])), packet[40:])
		}
	}
}

// segment takes the TCP or UDP part of a packet.
func (e *segmentRecorder) segment(protocol byte, from, to netip.Addr, segment []byte) {
	const tcp, udp, syn, ack = 6, 17, 2, 16
	port := binary.BigEndian.Uint16(segment[2:])
	opens := protocol == tcp && segment[13]&(syn|ack) == syn
	if port == 53 && (protocol == udp || opens) {
		e.dns++
	}
	switch {
	case !opens:
	case e.own[from] || from.IsLoopback() || slices.Contains(e.vips, from): // which dials itself
		e.dialled[netip.AddrPortFrom(to, port)]++
	default:
		e.byClient++
	}
}

// frames calls hear for every frame of a file that netlab captured (pcap-savefile(5)).
func frames(path string, hear func(frame []byte)) error {
	const fileHeader, recordHeader = 24, 16
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	for b = b[min(fileHeader, len(b)):]; len(b) >= recordHeader; {
		kept := int(binary.LittleEndian.Uint32(b[8:]))
		b = b[recordHeader:]
		if kept > len(b) {
			return fmt.Errorf("read capture %s: it is cut off", path)
		}
		hear(b[:kept])
		b = b[kept:]
	}
	return nil
}
