package arp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// ProbeLimit is the longest that Probe waits: it is part of every take-over. RFC 5227's
// own timing takes 4 to 7 s; the conflicts it would find later arrive as sightings.
const ProbeLimit = 100 * time.Millisecond

// probeOffsets are the instants at which each VIP is probed.
var probeOffsets = [...]time.Duration{0, 25 * time.Millisecond, 60 * time.Millisecond}

// Probe asks the link who uses the VIPs and returns who answered, other than this host;
// an empty map means silence. It returns when every VIP was answered, or after timeout
// (at most, and by default, ProbeLimit). It fails if it could not ask, and with ctx's
// error if that ends; the answers so far are returned all the same. Run must be running.
func (s *VIPAnnouncer) Probe(ctx context.Context, timeout time.Duration) (map[netip.Addr]net.HardwareAddr, error) {
	if timeout <= 0 || timeout > ProbeLimit {
		timeout = ProbeLimit
	}
	q := s.ear.ask()
	began := time.Now()
	end := time.NewTimer(timeout)
	defer end.Stop()
	for _, offset := range probeOffsets {
		if !sleep(ctx, q, end, time.Until(began.Add(offset))) {
			return s.ear.end(q), ctx.Err()
		}
		if err := s.sendProbes(); err != nil {
			return s.ear.end(q), err
		}
	}
	sleep(ctx, q, end, timeout)
	return s.ear.end(q), ctx.Err()
}

// sleep waits and tells whether there is anything left to wait for afterwards.
func sleep(ctx context.Context, q *inquiry, end *time.Timer, wait time.Duration) bool {
	select {
	case <-ctx.Done():
	case <-q.all:
	case <-end.C:
	case <-time.After(wait):
		return true
	}
	return false
}

func (s *VIPAnnouncer) sendProbes() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.running {
		return errors.New("probe VIPs: the speaker is not running")
	}
	if err := s.open(); err != nil {
		s.trouble(err)
		return fmt.Errorf("probe VIPs: %w", err)
	}
	defer s.wake() // Run gives fresh sockets their readers
	for _, vip := range s.cfg.VIPs {
		f, err := probe(vip, s.link.MAC)
		if err == nil {
			err = s.send([]frame{f}, nil)
		}
		if err != nil {
			s.trouble(err)
			return fmt.Errorf("probe VIPs: %w", err)
		}
	}
	return nil
}
