package bfd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/kvip/kvip/pkg/backoff"
	"github.com/kvip/kvip/pkg/boottime"
)

// MaxSessions limits how many sessions a Server has.
const MaxSessions = 128

// Config of a Server. The zero value is usable.
type Config struct {
	// Permit is asked before each packet. While it reports false nothing is sent, so that the peers
	// end their sessions within their detection times (B6). When it reports true again all sessions
	// start again from Down. It must return at once, may be called by several goroutines, and must not
	// call methods of the Server or of a Session. Nil is always true.
	Permit func() bool
	// OnLate is called by the goroutine of Run for each timer that was due, with how late it was: 0 or
	// more. It must return at once, and must not call methods of the Server or of a Session. Nil
	// ignores it.
	OnLate func(late time.Duration)
	// Clock is boottime.Now if it is nil.
	Clock boottime.Clock
	// Log receives changes of sessions, and problems of sockets. Nil discards them.
	Log *slog.Logger
}

// Server runs BFD sessions. It is safe for concurrent use. Make it with New.
type Server struct {
	cfg  Config
	wake backoff.Signal // sessions changed, or a packet arrived

	mu        sync.Mutex
	running   bool
	ended     bool
	sessions  map[uint32]*Session // by discriminator
	listeners map[listenKey]*listener
	dropped   map[Dropped]uint64 // of no session
	withheld  bool               // Permit reported false last
	restart   bool               // and now reports true
	changes   []change           // to be reported
}

// change is one that OnChange has not received yet.
type change struct {
	session *Session
	status  Status
}

// New validates the configuration. It opens no socket before Run.
func New(cfg Config) (*Server, error) {
	if cfg.Permit == nil {
		cfg.Permit = func() bool { return true }
	}
	if cfg.OnLate == nil {
		cfg.OnLate = func(time.Duration) {}
	}
	if cfg.Clock == nil {
		cfg.Clock = boottime.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Server{
		cfg: cfg, wake: backoff.NewSignal(), sessions: map[uint32]*Session{},
		listeners: map[listenKey]*listener{}, dropped: map[Dropped]uint64{},
	}, nil
}

// Add starts a session, before Run or while it runs. It returns an error if the configuration is
// not valid, if there is a session with the same addresses, or if there are MaxSessions.
func (s *Server) Add(cfg SessionConfig) (*Session, error) {
	cfg, err := cfg.validate()
	if err != nil {
		return nil, fmt.Errorf("add BFD session to %v: %w", cfg.Peer, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return nil, fmt.Errorf("add BFD session to %v: the server has ended", cfg.Peer)
	}
	if len(s.sessions) >= MaxSessions {
		return nil, fmt.Errorf("add BFD session to %v: there are %d already", cfg.Peer, MaxSessions)
	}
	for _, other := range s.sessions {
		if other.cfg.conflicts(cfg) {
			return nil, fmt.Errorf("add BFD session to %v: there is one already", cfg.Peer)
		}
	}
	discriminator := rand.Uint32()
	for discriminator == 0 || s.sessions[discriminator] != nil {
		discriminator = rand.Uint32()
	}
	m, err := NewMachine(MachineConfig{
		Discriminator: discriminator, Timers: cfg.Timers, Jitter: rand.Float64,
	})
	if err != nil {
		return nil, err
	}
	one := &Session{
		server: s, cfg: cfg, discriminator: discriminator, machine: m, done: make(chan struct{}),
		since: s.cfg.Clock(), dropped: map[Dropped]uint64{},
	}
	s.sessions[discriminator] = one
	s.wake.Notify()
	return one, nil
}

// Dropped returns how many packets that belong to no session were dropped, by reason.
func (s *Server) Dropped() map[Dropped]uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.dropped)
}

// Run runs the sessions until ctx ends. It then closes all sockets and ends the sessions without a
// further packet: the peers detect it, unless Stop was called before. It returns an error at once
// if it was called before.
func (s *Server) Run(ctx context.Context) error {
	s.mu.Lock()
	again := s.running
	s.running = true
	s.mu.Unlock()
	if again {
		return errors.New("run BFD server: it was run before")
	}
	defer s.close()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
		case <-timer.C:
		}
		next := s.turn()
		s.report()
		timer.Reset(max(next-s.cfg.Clock(), 0))
	}
}

// turn does what is due and returns the instant of the next turn.
//
// A process that was frozen or starved finds its timers late and the packets of the meantime in its
// sockets. So the instant is read first, then all sockets are drained, and then the timers are
// served for that instant: each packet that arrived before it counts, and a detection time that has
// passed by then has really passed without a packet.
func (s *Server) turn() (next time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.cfg.Clock()
	s.openSockets(now)
	for _, one := range s.sessions {
		if due := one.machine.Next(); due > 0 && due <= now { // 0: the first packet has no time
			s.cfg.OnLate(now - due)
		}
	}
	for _, l := range s.listeners {
		s.drain(l, now)
	}
	for _, one := range s.sessions {
		if one.machine.Next() <= now {
			one.step(now, Tick{})
		}
	}
	if s.restart {
		s.restart = false
		s.cfg.Log.Info("BFD is permitted again: sessions start from Down")
		for _, one := range s.sessions {
			one.step(now, Restart{ForwardingPlaneReset})
		}
	}
	next = Never
	for _, one := range s.sessions {
		if one.machine.Ended() {
			one.remove()
			s.wake.Notify() // its listener may be closed
			continue
		}
		next = min(next, one.machine.Next(), one.reopenAt())
	}
	for _, l := range s.listeners {
		next = min(next, l.reopenAt())
	}
	return min(next, now+maxPause)
}

// maxPause is the longest pause between two turns.
const maxPause = time.Hour

// openSockets opens the sockets that sessions need and that are due, and closes the others.
func (s *Server) openSockets(now time.Duration) {
	needed := map[listenKey]bool{}
	for _, one := range s.sessions {
		needed[one.cfg.key()] = true
		one.openSender(now)
	}
	for key := range needed {
		l := s.listeners[key]
		if l == nil {
			l = &listener{key: key}
			s.listeners[key] = l
		}
		if l.file == nil && now >= l.retry.at {
			if err := l.open(s.wake); err != nil {
				s.failListener(l, now, err)
			}
		}
	}
	for key, l := range s.listeners {
		if !needed[key] {
			l.close()
			delete(s.listeners, key)
		}
	}
}

func (s *Server) failListener(l *listener, now time.Duration, err error) {
	if l.retry.fail(now, err) {
		s.cfg.Log.Warn("cannot receive BFD packets", "port", l.key.port(), "err", err)
	}
}

// drain passes all datagrams of a socket to their sessions.
func (s *Server) drain(l *listener, now time.Duration) {
	if l.file == nil {
		return
	}
	b := make([]byte, readLength)
	for range drainLimit {
		d, ok, err := l.read(b)
		if err != nil {
			l.close()
			s.failListener(l, now, err)
			return
		}
		if !ok {
			break
		}
		if l.retry.end() {
			s.cfg.Log.Info("BFD packets are received again", "port", l.key.port())
		}
		s.receive(d, now)
	}
	l.resume.Notify()
}

// receive passes a datagram to its session, or counts why it is dropped.
func (s *Server) receive(d datagram, now time.Duration) {
	p, err := Parse(d.payload)
	if err != nil {
		var malformed *ParseError
		if errors.As(err, &malformed) {
			s.dropped[malformed.Reason]++
		}
		return
	}
	one := s.find(d, p.YourDiscriminator)
	switch {
	case one == nil:
		s.dropped[DroppedNoSession]++
	case !one.matches(d):
		one.dropped[DroppedAddress]++
	case d.ttl < one.cfg.MinTTL: // B8
		one.dropped[DroppedTTL]++
	default:
		one.received++
		one.step(now, Received{p})
	}
}

// find returns the session of a datagram: by the discriminator of its sender's choice or, at the
// start, by the addresses (RFC 5880 section 6.3, RFC 5881 section 3, RFC 5883 section 3).
func (s *Server) find(d datagram, discriminator uint32) *Session {
	if discriminator != 0 {
		return s.sessions[discriminator]
	}
	for _, one := range s.sessions {
		if one.matches(d) {
			return one
		}
	}
	return nil
}

// report calls OnChange for the changes of the turn.
func (s *Server) report() {
	s.mu.Lock()
	changes := s.changes
	s.changes = nil
	s.mu.Unlock()
	for _, c := range changes {
		if !c.session.isQuiet() {
			c.session.cfg.OnChange(c.status)
		}
	}
}

// permitted asks whether a packet may be sent. Once it may again, those of the time before are not
// sent any more: the turn that notices it starts the sessions again (B6). A process that is frozen
// between the question and the write sends that one packet late. It does not take a session up that
// the peer has ended: a state of Up has no effect on Down (RFC 5880 section 6.8.6).
func (s *Server) permitted() bool {
	allowed := s.cfg.Permit()
	if allowed == s.withheld {
		s.withheld = !allowed
		s.restart = allowed
		if allowed {
			s.wake.Notify() // Stop and SetTimers send outside of a turn
		} else {
			s.cfg.Log.Warn("BFD is not permitted: no packets are sent")
		}
	}
	return allowed && !s.restart
}

// close ends all sessions and closes all sockets.
func (s *Server) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	for _, one := range s.sessions {
		one.remove()
	}
	for key, l := range s.listeners {
		l.close()
		delete(s.listeners, key)
	}
}
