package arp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"
)

// probeLimit is the longest that Probe waits: it is part of every take-over. RFC 5227's own timing
// takes 4 to 7 s; later conflicts arrive through Conflicts.
const probeLimit = 100 * time.Millisecond

// probeOffsets are the instants at which each address is probed.
var probeOffsets = [...]time.Duration{0, 25 * time.Millisecond, 60 * time.Millisecond}

// pendingProbe collects the answers to one probe.
type pendingProbe struct {
	addrs   []netip.Addr
	answers map[netip.Addr]net.HardwareAddr
	all     chan struct{} // closed when every address has an answer
}

func (p *pendingProbe) answer(c claim) {
	if _, ok := p.answers[c.addr]; ok || !slices.Contains(p.addrs, c.addr) {
		return
	}
	p.answers[c.addr] = slices.Clone(c.mac[:])
	if len(p.answers) == len(p.addrs) {
		close(p.all)
	}
}

// Probe returns which other hosts use the addresses, which must be distinct and Set, Announced or
// Silent. An empty map means that none does. Probe returns when every address was answered, or
// after timeout (at most probeLimit, and probeLimit if it is 0). It fails if it cannot send, and
// with ctx's error if that ends, with the answers so far. Run must be running.
func (a *Announcer) Probe(ctx context.Context, addrs []netip.Addr,
	timeout time.Duration) (map[netip.Addr]net.HardwareAddr, error) {
	if timeout <= 0 || timeout > probeLimit {
		timeout = probeLimit
	}
	p := &pendingProbe{addrs: addrs, answers: map[netip.Addr]net.HardwareAddr{},
		all: make(chan struct{})}
	a.conflicts.startProbe(p)
	began := time.Now()
	end := time.NewTimer(timeout)
	defer end.Stop()
	for _, offset := range probeOffsets {
		if !p.wait(ctx, end, time.Until(began.Add(offset))) {
			return a.conflicts.endProbe(p), ctx.Err()
		}
		if err := a.sendProbes(addrs); err != nil {
			return a.conflicts.endProbe(p), fmt.Errorf("probe: %w", err)
		}
	}
	p.wait(ctx, end, timeout)
	return a.conflicts.endProbe(p), ctx.Err()
}

// wait pauses and reports whether the probe goes on.
func (p *pendingProbe) wait(ctx context.Context, end *time.Timer, pause time.Duration) bool {
	select {
	case <-ctx.Done():
	case <-p.all:
	case <-end.C:
	case <-time.After(pause):
		return true
	}
	return false
}

func (a *Announcer) sendProbes(addrs []netip.Addr) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.running {
		return errors.New("the announcer is not running")
	}
	defer a.wake.Notify() // Run starts the readers of new sockets
	for _, addr := range addrs {
		s := a.sockets[keyOf(a.assigned[addr])]
		if s == nil {
			return fmt.Errorf("%v: %w", addr, errNoLink)
		}
		if err := a.sendProbe(s, addr); err != nil {
			a.fail(s, err)
			return err
		}
	}
	return nil
}

// sendProbe probes for one address. A probe claims nothing: it needs no permission.
func (a *Announcer) sendProbe(s *linkSocket, addr netip.Addr) error {
	if s.conn == nil {
		if err := a.open(s, a.cfg.Clock()); err != nil {
			return err
		}
	}
	f, err := probe(addr, s.link.MAC)
	if err != nil {
		return err
	}
	return a.send(s, f, func(netip.Addr) bool { return true })
}
