package arp

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"
)

// defendGap is RFC 5227's DEFEND_INTERVAL: two hosts that defend an address without
// it would flood the link.
const defendGap = 10 * time.Second

// VIPAnnouncer announces the VIPs on one link. Make it with New. Its methods may be called
// from any goroutine.
type VIPAnnouncer struct {
	cfg       Config
	ear       *ear
	kick      chan struct{} // wakes Run
	linkLocal func(index int) netip.Addr

	mu      sync.Mutex // held while frames are written, so that Stop is synchronous
	running bool
	link    LinkRef
	sockets map[uint16]*socket // by EtherType; nil = to be opened
	reopening
	source   netip.Addr // link-local address for NAs
	until    func() bool
	bursts   map[netip.Addr]*burst // what is being announced; empty = stopped
	defended map[netip.Addr]time.Duration
}

// socket is one open packet socket. Run gives it a reader.
type socket struct {
	Conn
	read bool
}

// burst is the announcement of one VIP in progress.
type burst struct{ began, next time.Duration }

// Sightings returns the channel on which foreign claims of a VIP arrive. Claims by one
// MAC within 100 ms are one, and when nobody reads they are dropped.
func (s *VIPAnnouncer) Sightings() <-chan Conflict { return s.ear.out }

// SetLink says which link to speak on, also when it was made anew or changed its MAC. A
// present announcement goes on there with a new burst. Index 0: no link for now.
func (s *VIPAnnouncer) SetLink(l LinkRef) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sockets != nil && l.Index == s.link.Index && l.MAC.String() == s.link.MAC.String() {
		s.link.Name = l.Name
		return
	}
	s.link, s.reopening = l, reopening{}
	s.ear.setLink(l.MAC)
	s.close()
	s.wake()
}

// Start begins to announce all VIPs: a burst, then every Interval. The first frames have
// left when it returns, if Run is running and the link is known; else they follow as
// soon as they can. until is asked before every frame, and none is sent while it says no
// (the fence, E4); it is called with a lock held and must not call the Speaker.
func (s *VIPAnnouncer) Start(until func() bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.until = until
	s.restart()
	if s.running {
		if err := s.open(); err != nil {
			s.trouble(err)
		}
		s.sendDue()
	}
	s.wake()
}

// Stop ends the announcement. When it has returned no frame leaves any more.
func (s *VIPAnnouncer) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.until = nil
	clear(s.bursts)
}

// Defend answers a foreign claim of a VIP with a burst, at most once in 10 s per VIP
// (RFC 5227 2.4 (b), E9). It does nothing unless the VIP is being announced.
func (s *VIPAnnouncer) Defend(vip netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, announced := s.bursts[vip]
	now := s.cfg.Clock()
	if last, ok := s.defended[vip]; !announced || ok && now-last < defendGap {
		return
	}
	s.defended[vip] = now
	b.began, b.next = now, now
	s.sendDue()
	s.wake()
}

// Run opens the sockets, sends what is due, listens for claims, and opens again after
// trouble. It returns nil when ctx ends, with everything closed and announcing stopped.
func (s *VIPAnnouncer) Run(ctx context.Context) error {
	var readers sync.WaitGroup
	defer readers.Wait()
	defer s.shut()
	s.mu.Lock()
	s.running = true
	s.mu.Unlock()
	turns(ctx, s.kick, func() time.Duration { return s.turn(&readers) })
	return nil
}

// turns calls turn at once, when kicked, and after the time that it returned last, until ctx ends.
func turns(ctx context.Context, kick <-chan struct{}, turn func() time.Duration) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-kick:
		}
		timer.Reset(turn())
	}
}

// turn does what is due and returns the time until the next turn.
func (s *VIPAnnouncer) turn(readers *sync.WaitGroup) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sockets == nil && s.cfg.Clock() >= s.retry {
		if err := s.open(); err != nil {
			s.trouble(err)
		}
	}
	s.refreshSource()
	s.sendDue()
	for _, sock := range s.sockets {
		if !sock.read {
			sock.read = true
			readers.Go(func() { s.listen(sock) })
		}
	}
	return s.wait()
}

// wait returns how long nothing is to be done.
func (s *VIPAnnouncer) wait() time.Duration {
	now, wait := s.cfg.Clock(), time.Hour
	if s.sockets == nil {
		if s.link.Index != 0 {
			wait = max(s.retry-now, 0)
		}
		return wait
	}
	for _, b := range s.bursts {
		wait = min(wait, max(b.next-now, 0))
	}
	return wait
}

// listen reads one socket until it fails.
func (s *VIPAnnouncer) listen(sock *socket) {
	err := s.ear.attend(sock)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isOpen(sock) {
		s.trouble(err)
		s.wake()
	}
}

func (s *VIPAnnouncer) isOpen(sock *socket) bool {
	for _, open := range s.sockets {
		if open == sock {
			return true
		}
	}
	return false
}

// restart begins a burst of all VIPs, if there is an announcement.
func (s *VIPAnnouncer) restart() {
	if s.until == nil {
		return
	}
	now := s.cfg.Clock()
	for _, vip := range s.cfg.VIPs {
		s.bursts[vip] = &burst{began: now, next: now}
	}
}

// sendDue sends the announcements whose time has come.
func (s *VIPAnnouncer) sendDue() {
	if s.sockets == nil {
		return
	}
	now := s.cfg.Clock()
	for _, vip := range s.cfg.VIPs {
		b, ok := s.bursts[vip]
		if !ok || now < b.next {
			continue
		}
		b.next = b.began + Schedule(now-b.began, s.cfg.Interval)
		frames, err := announcement(vip, s.link.MAC, s.source)
		if err == nil {
			err = s.send(frames, s.until)
		}
		if err != nil {
			s.trouble(err)
			return
		}
	}
}

// send writes frames, asking before each whether it may still leave.
func (s *VIPAnnouncer) send(frames []frame, until func() bool) error {
	for _, f := range frames {
		sock := s.sockets[f.etherType]
		if sock == nil {
			return fmt.Errorf("announce %v: %w", f.vip, errNoLink)
		}
		sent, err := f.write(sock, until)
		if err != nil {
			return err
		}
		if sent {
			s.cfg.Sent(f.vip, f.kind)
		}
	}
	return nil
}
