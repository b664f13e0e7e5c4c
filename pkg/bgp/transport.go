package bgp

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// transport has the connection of a peer: it dials and reads in the background, and passes on what
// happens. Only the goroutine of the peer uses it, except for unacknowledged.
type transport struct {
	speaker *Config
	events  chan tagged
	running sync.WaitGroup

	generation int                // of the attempt or connection; events of earlier ones are void
	cancel     context.CancelFunc // ends it; nil before the first one

	mu   sync.Mutex
	conn *conn // nil without a connection
}

// tagged is an event of a connection.
type tagged struct {
	generation int
	event      Event // nil: none
	conn       *conn // of Connected
}

// dial connects in the background. There must be no other attempt or connection.
func (t *transport) dial(cfg PeerConfig) {
	ctx, cancel := context.WithCancel(context.Background()) // the peer still writes when Run ends
	t.generation++
	t.cancel = cancel
	generation := t.generation
	t.running.Go(func() {
		defer cancel()
		pass := func(ev Event, c *conn) bool {
			select {
			case t.events <- tagged{generation, ev, c}:
				return true
			case <-ctx.Done():
				return false
			}
		}
		c, err := connect(ctx, t.speaker, cfg)
		if err != nil {
			pass(Lost{err}, nil)
			return
		}
		defer c.drain()
		defer context.AfterFunc(ctx, c.close)()
		if pass(Connected{FamilyOf(c.local.Addr())}, c) {
			err := c.read(func(m Message) bool { return pass(Received{m}, nil) })
			pass(Lost{err}, nil)
		}
	})
}

// failure returns the event of an error of write. A peer that ended the session may have said why:
// its NOTIFICATION counts, which is received beside the write.
func (t *transport) failure(err error) Event {
	switch {
	case errors.Is(err, errNotPermitted):
		return Tick{false}
	case errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET):
		if n, ok := t.notification(); ok {
			return Received{n}
		}
	}
	return Lost{err}
}

// lastMessageTime is how long a NOTIFICATION is waited for that has arrived already.
const lastMessageTime = 100 * time.Millisecond

// notification receives what is left of a connection that the peer has ended, and returns the
// NOTIFICATION in it.
func (t *transport) notification() (n Notification, ok bool) {
	timeout := time.After(lastMessageTime)
	for {
		select {
		case <-timeout:
			return n, false
		case got := <-t.events:
			if got.generation != t.generation {
				continue
			}
			switch ev := got.event.(type) {
			case Lost:
				return n, false
			case Received:
				if n, ok = ev.Message.(Notification); ok {
					return n, true
				}
			}
		}
	}
}

// connect finds the address of the peer and connects to it.
func connect(ctx context.Context, speaker *Config, cfg PeerConfig) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, cfg.ConnectTimeout)
	defer cancel()
	address := cfg.Address
	if !address.IsValid() {
		found, err := speaker.Discover(cfg.Discover)
		if err != nil {
			return nil, err
		}
		address = found.Unmap()
	}
	return dial(ctx, cfg, address)
}

// poll returns an event that is waiting, or none.
func (t *transport) poll() tagged {
	select {
	case got := <-t.events:
		return got
	default:
		return tagged{}
	}
}

// take reports whether an event belongs to the present attempt or connection, and keeps a new
// connection. One that comes too late closes itself.
func (t *transport) take(got tagged) bool {
	if got.event == nil || got.generation != t.generation {
		return false
	}
	if got.conn != nil {
		t.mu.Lock()
		t.conn = got.conn
		t.mu.Unlock()
	}
	return true
}

// addresses returns the addresses of the connection, invalid without one.
func (t *transport) addresses() (local, remote netip.Addr) {
	if t.conn == nil {
		return local, remote
	}
	return t.conn.local.Addr(), t.conn.remote.Addr()
}

// write writes bytes within a time. allowed ends an attempt to write to a peer that does not read.
func (t *transport) write(data []byte, timeout time.Duration, allowed func() error) error {
	if t.conn == nil {
		return errNoConnection
	}
	return t.conn.write(data, timeout, allowed)
}

// unacknowledged returns how many bytes the peer's kernel has not acknowledged, 0 without a
// connection. It is safe for concurrent use.
func (t *transport) unacknowledged() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.conn == nil {
		return 0
	}
	n, err := t.conn.unacknowledged()
	if err != nil {
		return 0 // the connection is closed
	}
	return n
}

// close ends the connection, or the attempt to open it. What was written is still sent.
func (t *transport) close() {
	t.generation++
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.conn != nil {
		t.conn.close()
		t.conn = nil
	}
	if t.cancel != nil {
		t.cancel()
	}
}

// wait waits until no connection is left: at most for drainTime after close.
func (t *transport) wait() { t.running.Wait() }
