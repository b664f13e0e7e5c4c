package arp

import (
	"net/netip"
	"time"

	"golang.org/x/net/bpf"
)

// postKey tells the sockets of a Chorus apart: a link that was made anew is another.
type postKey struct {
	index     int
	mac       string
	etherType uint16
}

// keyOf returns which socket a voice needs.
func keyOf(v Announcement) postKey {
	key := postKey{index: v.Link.Index, mac: string(v.Link.MAC), etherType: etherARP}
	if v.Addr.Is6() {
		key.etherType = etherIPv6
	}
	return key
}

// post is where voices of one family stand: a link, with its socket if that is open.
type post struct {
	reopening
	key    postKey
	link   LinkRef
	socket *socket
	span   span       // of the voices
	tuned  span       // what the socket's filter passes
	source netip.Addr // link-local address for NAs
	looked time.Duration
}

// sourcePause is how often a link without a link-local address is looked at again.
const sourcePause = time.Second

// assign gives each voice its post, and closes the sockets that nobody needs any more. The
// caller holds the lock, as in all functions of this file.
func (c *ServiceAnnouncer) assign() {
	needed := map[postKey]span{}
	list := c.addresses()
	for _, addr := range list {
		v := c.voices[addr]
		key := keyOf(v)
		if v.Link.Index == 0 {
			continue
		}
		needed[key] = needed[key].with(addr)
		if c.posts[key] == nil {
			c.posts[key] = &post{key: key, link: v.Link}
		}
	}
	for key, p := range c.posts {
		span, ok := needed[key]
		if !ok {
			p.close()
			delete(c.posts, key)
		}
		p.span = span
	}
	c.ear.listenFor(list)
}

// tend opens a post that is closed once its time has come, and keeps the filter of an open
// one up to date.
func (c *ServiceAnnouncer) tend(p *post, now time.Duration) {
	var err error
	switch {
	case p.socket == nil && now >= p.retry:
		err = c.open(p, now)
	case p.socket != nil && p.tuned != p.span:
		err = c.tune(p, now)
	}
	if err != nil {
		c.trouble(p, err)
	}
	if p.socket != nil && p.key.etherType == etherIPv6 && !p.source.IsValid() && now-p.looked >= sourcePause {
		p.source, p.looked = c.linkLocal(p.link.Index), now
	}
}

// open opens a socket and begins the bursts of its voices: what was sent before the trouble
// may not have arrived.
func (c *ServiceAnnouncer) open(p *post, now time.Duration) error {
	if err := p.link.check(); err != nil {
		return err
	}
	program, err := spanFilter(p.key.etherType, p.span)
	if err != nil {
		return err
	}
	conn, err := c.cfg.Listen(p.link, p.key.etherType, program)
	if err != nil {
		return err
	}
	p.socket, p.tuned, p.opened, p.looked = &socket{Conn: conn}, p.span, now, now
	if p.key.etherType == etherIPv6 {
		p.source = c.linkLocal(p.link.Index)
	}
	for _, addr := range c.addresses() {
		if v := c.voices[addr]; keyOf(v) == p.key && !v.Silent {
			c.queue.add(addr, now)
		}
	}
	return nil
}

// tune replaces the filter of an open socket.
func (c *ServiceAnnouncer) tune(p *post, now time.Duration) error {
	program, err := spanFilter(p.key.etherType, p.span)
	if err != nil {
		return err
	}
	conn, ok := p.socket.Conn.(interface {
		SetBPF(filter []bpf.RawInstruction) error
	})
	if !ok {
		c.leave(p)
		return c.open(p, now)
	}
	p.tuned = p.span
	return conn.SetBPF(program)
}

// trouble leaves a post, to be opened again after a pause that grows while it does not
// last. It logs the first of a series.
func (c *ServiceAnnouncer) trouble(p *post, err error) {
	if p.failed(c.cfg.Clock(), p.socket != nil) {
		c.cfg.Log.Warn("announcing interrupted, opening the packet socket again", "link", p.link.Name, "reason", err)
	}
	c.leave(p)
}

// leave closes a post, and ends what is announced there.
func (c *ServiceAnnouncer) leave(p *post) {
	p.close()
	for addr, v := range c.voices {
		if keyOf(v) == p.key {
			c.queue.remove(addr)
		}
	}
}

func (p *post) close() {
	if p.socket != nil {
		p.socket.Close() // nothing to do about an error: the reader ends either way
		p.socket = nil
	}
}

// shut is the end of Run.
func (c *ServiceAnnouncer) shut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.posts {
		c.leave(p)
		p.reopening = reopening{}
	}
}
