package bgplab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kvip/kvip/test/lab/cluster"
	"github.com/kvip/kvip/test/lab/netlab"
)

// echoPort is the UDP port that every node answers at the routed addresses, whether or not it has
// them: the kernel delivers packets only while it does.
const echoPort = 7007

// echo answers probes in a node.
type echo struct {
	conns []*net.UDPConn
	group sync.WaitGroup
}

// startEcho starts to answer probes in a host.
func startEcho(h *netlab.Host) (*echo, error) {
	e := &echo{}
	for _, vip := range []netip.Addr{cluster.RoutedVIP4, cluster.RoutedVIP6} {
		conn, err := listenFree(h, netip.AddrPortFrom(vip, echoPort))
		if err != nil {
			return nil, errors.Join(fmt.Errorf("answer probes in %s: %w", h.Name, err), e.close())
		}
		e.conns = append(e.conns, conn)
		e.group.Go(func() {
			buffer := make([]byte, 64)
			for {
				n, from, err := conn.ReadFromUDPAddrPort(buffer)
				if errors.Is(err, net.ErrClosed) {
					return
				}
				if err == nil {
					_, _ = conn.WriteToUDPAddrPort(buffer[:n], from)
				}
			}
		})
	}
	return e, nil
}

// listenFree opens a UDP socket in a host at an address that it need not have.
func listenFree(h *netlab.Host, at netip.AddrPort) (conn *net.UDPConn, err error) {
	free := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var failed error
		err := raw.Control(func(fd uintptr) {
			level, option := unix.IPPROTO_IP, unix.IP_FREEBIND
			if at.Addr().Is6() {
				level, option = unix.IPPROTO_IPV6, unix.IPV6_FREEBIND
			}
			failed = unix.SetsockoptInt(int(fd), level, option, 1)
		})
		return errors.Join(err, failed)
	}}
	err = h.Do(func() error {
		packet, err := free.ListenPacket(noContext, "udp", at.String())
		if err == nil {
			conn = packet.(*net.UDPConn)
		}
		return err
	})
	return conn, err
}

func (e *echo) close() error {
	var errs []error
	for _, c := range e.conns {
		errs = append(errs, c.Close())
	}
	e.group.Wait()
	return errors.Join(errs...)
}

// probeFlows is the number of flows of a Probe: routers spread them over the nodes. Each flow has a
// probe every 16 ms.
const probeFlows = 16

// probePatience is how long a probe waits for its answer.
const probePatience = time.Second

// Probe sends a packet to an address each millisecond, on one flow after the other, and counts
// those that are not answered. Make it with StartProbe.
type Probe struct {
	conns []*net.UDPConn
	stop  chan struct{}
	group sync.WaitGroup

	mu       sync.Mutex
	sent     []time.Time
	answered []bool
}

// StartProbe starts to probe an address from the host behind a router.
func StartProbe(r *Router, vip netip.Addr) (*Probe, error) {
	p := &Probe{stop: make(chan struct{})}
	err := r.Client.Do(func() error {
		for range probeFlows {
			conn, err := net.DialUDP("udp", nil,
				net.UDPAddrFromAddrPort(netip.AddrPortFrom(vip, echoPort)))
			if err != nil {
				return err
			}
			p.conns = append(p.conns, conn)
		}
		return nil
	})
	if err != nil {
		for _, c := range p.conns {
			_ = c.Close()
		}
		return nil, fmt.Errorf("probe %s from %s: %w", vip, r.Client.Name, err)
	}
	for _, c := range p.conns {
		p.group.Go(func() { p.receive(c) })
	}
	p.group.Go(p.send)
	return p, nil
}

func (p *Probe) send() {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-p.stop:
			return
		case <-tick.C:
		}
		p.mu.Lock()
		n := len(p.sent)
		p.sent, p.answered = append(p.sent, time.Now()), append(p.answered, false)
		p.mu.Unlock()
		var packet [8]byte
		binary.BigEndian.PutUint64(packet[:], uint64(n))
		_, _ = p.conns[n%probeFlows].Write(packet[:]) // an ICMP error of an earlier one is a loss
	}
}

func (p *Probe) receive(c *net.UDPConn) {
	var packet [16]byte
	for {
		n, err := c.Read(packet[:])
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || n != 8 {
			continue
		}
		p.mu.Lock()
		if i := binary.BigEndian.Uint64(packet[:8]); i < uint64(len(p.answered)) {
			p.answered[i] = true
		}
		p.mu.Unlock()
	}
}

// Loss returns how many probes were sent from an instant on and not answered, and how many were
// sent. Probes of the last second before the call do not count.
func (p *Probe) Loss(since time.Time) (lost, sent int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	until := time.Now().Add(-probePatience)
	for i, at := range p.sent {
		if at.Before(since) || at.After(until) {
			continue
		}
		sent++
		if !p.answered[i] {
			lost++
		}
	}
	return lost, sent
}

// Gap returns the longest time without an answer on any flow that lost probes since an instant:
// from the first probe of the flow that was lost to the next one that was answered.
func (p *Probe) Gap(since time.Time) (longest time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	until := time.Now().Add(-probePatience)
	var began [probeFlows]time.Time
	for i, at := range p.sent {
		flow := i % probeFlows
		switch {
		case at.Before(since) || at.After(until):
		case !p.answered[i] && began[flow].IsZero():
			began[flow] = at
		case p.answered[i] && !began[flow].IsZero():
			longest = max(longest, at.Sub(began[flow]))
			began[flow] = time.Time{}
		}
	}
	for _, at := range began {
		if !at.IsZero() {
			longest = max(longest, until.Sub(at))
		}
	}
	return longest
}

// Answering reports whether all probes of the last tenth of a second that had time to be answered
// were.
func (p *Probe) Answering() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	now, count := time.Now(), 0
	for i := len(p.sent) - 1; i >= 0; i-- {
		age := now.Sub(p.sent[i])
		if age > 150*time.Millisecond {
			break
		}
		if age < 50*time.Millisecond {
			continue
		}
		if !p.answered[i] {
			return false
		}
		count++
	}
	return count > 0
}

// Stop ends the probe.
func (p *Probe) Stop() {
	close(p.stop)
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.group.Wait()
}
