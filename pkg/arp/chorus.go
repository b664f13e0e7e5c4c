package arp

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/kvip/kvip/pkg/boottime"
	"golang.org/x/net/bpf"
)

// Defaults of a Chorus (S8).
const (
	DefaultPeriodic  = 300 * time.Second
	DefaultIdleRate  = 200
	DefaultBurstRate = 2000
)

// Announcement is one address of many and the link it is announced on.
type Announcement struct {
	Addr netip.Addr // unicast, of either family
	Link LinkRef    // Index 0: none at present
	// Silent has the claims of others heard and nothing announced: another node is about to
	// take the address, or has it (S3).
	Silent bool
}

// ServiceConfig says how a Chorus works. The zero value is good.
type ServiceConfig struct {
	// Log receives socket trouble; nil = slog.Default.
	Log *slog.Logger
	// Clock paces the frames and stamps sightings; nil = boottime.Boottime.
	Clock boottime.Clock
	// Sent is called after each frame sent, with a lock held: it must neither block nor
	// call the Chorus. nil: nobody counts.
	Sent func(addr netip.Addr, kind string)
	// Listen opens a packet socket, as in Config; nil = a real one. Where the Conn has a
	// method SetBPF its filter is replaced by it, else the socket is opened again.
	Listen func(l LinkRef, etherType uint16, filter []bpf.RawInstruction) (Conn, error)
	// Periodic is how often each address is announced after its burst; 0 = DefaultPeriodic.
	Periodic time.Duration
	// IdleRate is how many periodic frames leave in a second at most, and BurstRate how
	// many frames at all; 0 = the defaults.
	IdleRate, BurstRate int
}

// ServiceAnnouncer announces the many addresses of a node through one queue (S8), on any number of
// links. It has no fence: when to be silent is said by Set. Its methods may be called from
// any goroutine.
type ServiceAnnouncer struct {
	cfg       ServiceConfig
	ear       *ear
	kick      chan struct{} // wakes Run
	linkLocal func(index int) netip.Addr

	mu     sync.Mutex // held while frames are written, so that Set is synchronous
	voices map[netip.Addr]Announcement
	posts  map[postKey]*post
	queue  *queue // of voices that are not silent and whose post is open
}

// NewServiceAnnouncer checks the configuration. It opens and starts nothing.
func NewServiceAnnouncer(cfg ServiceConfig) (*ServiceAnnouncer, error) {
	cfg.Periodic = orDefault(cfg.Periodic, DefaultPeriodic)
	cfg.IdleRate = orDefault(cfg.IdleRate, DefaultIdleRate)
	cfg.BurstRate = orDefault(cfg.BurstRate, DefaultBurstRate)
	if cfg.Periodic < time.Second {
		return nil, fmt.Errorf("configure announcements: interval %v: want at least 1s", cfg.Periodic)
	}
	if cfg.IdleRate < minRate || cfg.BurstRate < cfg.IdleRate {
		return nil, fmt.Errorf("configure announcements: %d and %d frames a second: want at least %d, and at least as many in bursts",
			cfg.IdleRate, cfg.BurstRate, minRate)
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Clock == nil {
		cfg.Clock = boottime.Now
	}
	if cfg.Sent == nil {
		cfg.Sent = func(netip.Addr, string) {}
	}
	if cfg.Listen == nil {
		cfg.Listen = listen
	}
	c := &ServiceAnnouncer{
		cfg: cfg, kick: make(chan struct{}, 1), linkLocal: linkLocal, ear: newEar(nil, cfg.Clock),
		voices: map[netip.Addr]Announcement{}, posts: map[postKey]*post{},
		queue: newQueue(cfg.IdleRate, cfg.BurstRate, cfg.Periodic),
	}
	c.ear.out = make(chan Conflict, 1024) // a node that takes over announces very many
	return c, nil
}

func orDefault[T int | time.Duration](value, standard T) T {
	if value == 0 {
		return standard
	}
	return value
}

// Set says which addresses to announce and to listen for from now on. New ones, those that
// are silent no more and those whose link changed get a burst, as soon as the rate allows.
// What is not wanted any more, or silent, stops at once: when Set returns no frame of theirs
// leaves any more. An address that is no unicast address is left out and logged; of two
// voices of one address the last counts.
func (c *ServiceAnnouncer) Set(want []Announcement) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.voices
	c.voices = make(map[netip.Addr]Announcement, len(want))
	for _, v := range want {
		v.Addr = v.Addr.Unmap()
		if err := checkVIPs([]netip.Addr{v.Addr}); err != nil {
			c.cfg.Log.Warn("cannot announce the address", "vip", v.Addr, "reason", err)
			continue
		}
		c.voices[v.Addr] = v
	}
	for addr, old := range before {
		if v, ok := c.voices[addr]; !ok || v.Silent || keyOf(v) != keyOf(old) {
			c.queue.remove(addr)
		}
	}
	c.assign()
	c.begin(want)
	c.wake()
}

// begin starts the bursts of those wanted that can be announced and are not, in their order.
func (c *ServiceAnnouncer) begin(want []Announcement) {
	now := c.cfg.Clock()
	for _, v := range want {
		v = c.voices[v.Addr.Unmap()]
		if p := c.posts[keyOf(v)]; p != nil && p.socket != nil && !v.Silent && c.queue.entries[v.Addr] == nil {
			c.queue.add(v.Addr, now)
		}
	}
}

// Defend answers a foreign claim of an address with an announcement, at most once a second
// (S3). It does nothing unless the address is being announced.
func (c *ServiceAnnouncer) Defend(addr netip.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queue.defend(addr.Unmap(), c.cfg.Clock())
	c.wake()
}

// Sightings returns the channel on which foreign claims of the addresses arrive, also of
// silent ones. Claims by one MAC within 100 ms are one, and when nobody reads they are dropped.
func (c *ServiceAnnouncer) Sightings() <-chan Conflict { return c.ear.out }

// Run opens the sockets, sends what is due, listens for claims, and opens again after
// trouble. It returns nil when ctx ends, with everything closed.
func (c *ServiceAnnouncer) Run(ctx context.Context) error {
	var readers sync.WaitGroup
	defer readers.Wait()
	defer c.shut()
	turns(ctx, c.kick, func() time.Duration { return c.turn(&readers) })
	return nil
}

// turn does what is due and returns the time until the next turn.
func (c *ServiceAnnouncer) turn(readers *sync.WaitGroup) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.cfg.Clock()
	for _, p := range c.posts {
		c.tend(p, now)
		if p.socket != nil && !p.socket.read {
			sock := p.socket
			sock.read = true
			readers.Go(func() { c.listen(p, sock) })
		}
	}
	for addr, ok := c.queue.take(now); ok; addr, ok = c.queue.take(now) {
		c.announce(addr)
	}
	return c.wait(c.cfg.Clock())
}

// wait returns how long nothing is to be done.
func (c *ServiceAnnouncer) wait(now time.Duration) time.Duration {
	wait := time.Hour
	if next, ok := c.queue.next(now); ok {
		wait = next - now
	}
	for _, p := range c.posts {
		if p.socket == nil {
			wait = min(wait, p.retry-now)
		}
	}
	return max(wait, 0)
}

// announce sends the frames of one address.
func (c *ServiceAnnouncer) announce(addr netip.Addr) {
	v := c.voices[addr]
	p := c.posts[keyOf(v)]
	frames, err := announcement(addr, v.Link.MAC, p.source)
	for _, f := range frames {
		var sent bool
		if err == nil {
			sent, err = f.write(p.socket, nil)
		}
		if sent {
			c.cfg.Sent(addr, f.kind)
		}
	}
	if err != nil {
		c.trouble(p, err)
	}
}

// listen reads one socket until it fails.
func (c *ServiceAnnouncer) listen(p *post, sock *socket) {
	err := c.ear.attend(sock)
	c.mu.Lock()
	defer c.mu.Unlock()
	if p.socket == sock {
		c.trouble(p, err)
		c.wake()
	}
}

func (c *ServiceAnnouncer) wake() {
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

// addresses returns the addresses of all voices in order.
func (c *ServiceAnnouncer) addresses() []netip.Addr {
	list := make([]netip.Addr, 0, len(c.voices))
	for addr := range c.voices {
		list = append(list, addr)
	}
	slices.SortFunc(list, netip.Addr.Compare)
	return list
}
