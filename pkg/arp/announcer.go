package arp

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/kvip/kvip/pkg/assignment"
	"github.com/kvip/kvip/pkg/backoff"
	"github.com/kvip/kvip/pkg/netaddr"
)

// idleWait is how long Run waits if there is nothing to send.
const idleWait = time.Hour

// Announcer announces addresses on any number of links, through one queue (S8), and detects
// conflicts. Its methods are safe for concurrent use.
type Announcer struct {
	cfg       Config
	conflicts *conflictDetector
	wake      backoff.Signal // of Run
	linkLocal func(index int) netip.Addr

	mu       sync.Mutex // held while frames are written, so that Set is synchronous
	running  bool
	assigned map[netip.Addr]assignment.Assignment // Announced or Silent
	sockets  map[socketKey]*linkSocket            // of the links of the assigned addresses
	queue    *queue                               // of Announced addresses with an open socket
}

// Set replaces the addresses. An Announced address that is new, or whose link is, gets a burst,
// which begins before Set returns if Run is running. A Silent address is not announced, and its
// conflicts are still detected. Others are ignored. When Set has returned, no frame leaves of an
// address that is not Announced any more (S8). Of two Assignments of one address the last counts.
func (a *Announcer) Set(list []assignment.Assignment) {
	a.mu.Lock()
	defer a.mu.Unlock()
	before := a.assigned
	order := a.assign(list)
	for addr := range before {
		if _, ok := a.assigned[addr]; !ok {
			a.queue.remove(addr)
		}
	}
	a.updateSockets()
	for addr, new := range a.assigned {
		if old, ok := before[addr]; ok && old.State == new.State && keyOf(old) == keyOf(new) {
			continue
		}
		a.queue.remove(addr)
		if s := a.sockets[keyOf(new)]; s != nil {
			s.retry = 0
		}
	}
	a.begin(order)
	if a.running {
		a.sendDue()
	}
	a.wake.Notify()
}

// assign replaces a.assigned and returns the addresses in their order.
func (a *Announcer) assign(list []assignment.Assignment) []netip.Addr {
	a.assigned = make(map[netip.Addr]assignment.Assignment, len(list))
	order := make([]netip.Addr, 0, len(list))
	for _, one := range list {
		if one.State != assignment.Announced && one.State != assignment.Silent {
			continue
		}
		one.Addr = one.Addr.Unmap()
		if err := netaddr.Check(one.Addr); err != nil {
			a.cfg.Log.Warn("cannot announce the address", "vip", one.Addr, "err", err)
			continue
		}
		a.assigned[one.Addr] = one
		order = append(order, one.Addr)
	}
	return order
}

// updateSockets closes the sockets that no address needs, and gives the others their addresses.
func (a *Announcer) updateSockets() {
	needed := map[socketKey][]netip.Addr{}
	for addr, one := range a.assigned {
		if one.Link.Index != 0 {
			needed[keyOf(one)] = append(needed[keyOf(one)], addr)
		}
	}
	for key, s := range a.sockets {
		if needed[key] == nil {
			s.close()
			delete(a.sockets, key)
		}
	}
	macs := map[hardware]bool{}
	for key, addrs := range needed {
		l := a.assigned[addrs[0]].Link
		if a.sockets[key] == nil {
			a.sockets[key] = &linkSocket{etherType: key.etherType}
		}
		a.sockets[key].assign(l, addrs)
		if len(l.MAC) == len(hardware{}) {
			macs[hardware(l.MAC)] = true
		}
	}
	a.conflicts.watch(a.assigned, macs)
}

// begin starts the bursts of those addresses that can be announced and are not.
func (a *Announcer) begin(addrs []netip.Addr) {
	now := a.cfg.Clock()
	for _, addr := range addrs {
		one := a.assigned[addr]
		s := a.sockets[keyOf(one)]
		if s != nil && s.conn != nil && one.State == assignment.Announced && !a.queue.has(addr) {
			a.queue.add(addr, now)
		}
	}
}

// Defend answers another host's claim of an address as Config.Pacing says (E9, S3). It does
// nothing unless the address is being announced.
func (a *Announcer) Defend(addr netip.Addr) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.queue.defend(addr.Unmap(), a.cfg.Clock())
	if a.running {
		a.sendDue()
	}
	a.wake.Notify()
}

// Conflicts returns the channel on which claims of the addresses by other hosts arrive. Claims by
// one MAC within 100 ms are one. If the channel is full they are dropped.
func (a *Announcer) Conflicts() <-chan Conflict { return a.conflicts.out }

// Run opens the sockets, sends what is due, detects conflicts, and reopens sockets that fail. It
// returns nil when ctx ends, with everything closed and nothing announced any more.
func (a *Announcer) Run(ctx context.Context) error {
	var readers sync.WaitGroup
	defer readers.Wait()
	defer a.shutDown()
	a.mu.Lock()
	a.running = true
	a.mu.Unlock()
	for a.wake.Wait(ctx, a.step(&readers)) {
	}
	return nil
}

// step does what is due and returns the time until the next step.
func (a *Announcer) step(readers *sync.WaitGroup) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sendDue()
	now, wait := a.cfg.Clock(), idleWait
	if next, ok := a.queue.next(now); ok {
		wait = next - now
	}
	for _, s := range a.sockets {
		if s.conn == nil {
			wait = min(wait, s.retry-now)
			continue
		}
		if conn := s.conn; !s.reading {
			s.reading = true
			readers.Go(func() { a.read(s, conn) })
		}
	}
	return max(wait, 0)
}

// sendDue opens sockets, updates their filters and sends the announcements that are due.
func (a *Announcer) sendDue() {
	now := a.cfg.Clock()
	for _, s := range a.sockets {
		if err := a.prepare(s, now); err != nil {
			a.fail(s, err)
		}
	}
	for addr, ok := a.queue.take(now); ok; addr, ok = a.queue.take(now) {
		a.announce(addr)
	}
}

// prepare opens a socket that is due, or updates its filter and its source address.
func (a *Announcer) prepare(s *linkSocket, now time.Duration) error {
	if s.conn == nil {
		if now < s.retry {
			return nil
		}
		return a.open(s, now)
	}
	s.findSource(a.linkLocal, now)
	reopen, err := s.setFilter()
	if err != nil || !reopen {
		return err
	}
	s.close()
	return a.open(s, now)
}

// open opens a socket and starts a burst of its addresses: what was sent before may not have
// arrived.
func (a *Announcer) open(s *linkSocket, now time.Duration) error {
	if err := s.open(a.cfg.Listen, now); err != nil {
		return err
	}
	s.findSource(a.linkLocal, now)
	a.begin(s.addrs)
	return nil
}

// announce sends the frames of one address.
func (a *Announcer) announce(addr netip.Addr) {
	s := a.sockets[keyOf(a.assigned[addr])]
	frames, err := announcement(addr, s.link.MAC, s.source)
	for _, f := range frames {
		if err == nil {
			err = a.send(s, f, a.cfg.MayAnnounce)
		}
	}
	if err != nil {
		a.fail(s, err)
	}
}

// send writes a frame if allowed, which is asked last, reports true.
func (a *Announcer) send(s *linkSocket, f frame, allowed func(netip.Addr) bool) error {
	sent, err := s.write(f, allowed)
	if sent {
		a.cfg.Sent(f.vip, f.kind)
	}
	return err
}

// fail closes a socket, which ends the announcements on it until it is open again. It logs the
// first of several failures in a row.
func (a *Announcer) fail(s *linkSocket, err error) {
	if s.failed(a.cfg.Clock()) {
		a.cfg.Log.Warn("announcements interrupted, reopening the packet socket", "link", s.link.Name,
			"err", err)
	}
	s.close()
	for _, addr := range s.addrs {
		a.queue.remove(addr)
	}
}

// read passes what a socket receives to the conflict detector until the socket fails.
func (a *Announcer) read(s *linkSocket, conn Conn) {
	err := a.conflicts.readFrom(conn)
	a.mu.Lock()
	defer a.mu.Unlock()
	if s.conn == conn {
		a.fail(s, err)
		a.wake.Notify()
	}
}

// shutDown ends Run.
func (a *Announcer) shutDown() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.running = false
	for _, s := range a.sockets {
		s.close()
		s.failures, s.retry = 0, 0
		for _, addr := range s.addrs {
			a.queue.remove(addr)
		}
	}
}
