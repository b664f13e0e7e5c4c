package bfd

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"time"

	"github.com/kvip/kvip/pkg/backoff"
)

// DefaultMinTTL is the least TTL of received packets of a multihop session without another one, as
// in FRR and MetalLB: at most one router is in between (RFC 5883 section 5).
const DefaultMinTTL = 254

// SessionConfig configures a Session. Peer is required.
type SessionConfig struct {
	// Peer is the address of the other end. A link-local address needs a zone or an Interface.
	Peer netip.Addr
	// Local is the address to send from, and the only one at which packets are accepted. The zero Addr
	// leaves the choice to the kernel, once for all packets of a socket.
	Local netip.Addr
	// Interface binds the session to a link. Empty means the one of the route, or of the peer's zone.
	Interface string
	// Multihop is for a peer that is not on a link of this node (RFC 5883).
	Multihop bool
	// MinTTL is the least TTL or hop limit of received packets of a multihop session, 1 to 255. 0 is
	// DefaultMinTTL. BIRD 2.0 sends them with 64, which needs 64 less the routers in between. Over a
	// single hop it is always 255 (RFC 5881 section 5), and 0 or 255 here.
	MinTTL int
	// Timers are validated with the limits of MetalLB's BFDProfile.
	Timers Timers
	// OnChange is called for each change of State, by the goroutine of Run, after the peer was sent
	// the new state. It must not block: no packet of any session is sent meanwhile. It may call
	// methods of the Session. Nil ignores changes.
	OnChange func(Status)
}

// validate returns the configuration with its defaults.
func (c SessionConfig) validate() (SessionConfig, error) {
	c.Peer, c.Local = c.Peer.Unmap(), c.Local.Unmap().WithZone("")
	if !c.Peer.IsValid() || c.Peer.IsUnspecified() || c.Peer.IsMulticast() {
		return c, errors.New("peer: give a unicast address")
	}
	if zone := c.Peer.Zone(); c.Interface == "" {
		c.Interface = zone
	} else if zone != "" && zone != c.Interface {
		return c, fmt.Errorf("interface %s is not the zone of the peer", c.Interface)
	}
	c.Peer = c.Peer.WithZone("")
	c.Timers = c.Timers.withDefaults()
	if c.OnChange == nil {
		c.OnChange = func(Status) {}
	}
	linkLocal := c.Peer.IsLinkLocalUnicast()
	switch {
	case linkLocal && c.Multihop:
		return c, errors.New("peer: a link-local address is not reached over several hops")
	case linkLocal && c.Peer.Is6() && c.Interface == "":
		return c, errors.New("peer: a link-local address needs a zone or an interface")
	case c.Local.IsValid() && c.Local.Is4() != c.Peer.Is4():
		return c, fmt.Errorf("local address %v is of another family", c.Local)
	case c.MinTTL < 0 || c.MinTTL > maxTTL:
		return c, fmt.Errorf("minimum TTL %d: give 1 to %d", c.MinTTL, maxTTL)
	case !c.Multihop && c.MinTTL != 0 && c.MinTTL != maxTTL:
		return c, fmt.Errorf("minimum TTL %d: it is %d over a single hop", c.MinTTL, maxTTL)
	case !c.Multihop:
		c.MinTTL = maxTTL
	case c.MinTTL == 0:
		c.MinTTL = DefaultMinTTL
	}
	return c, c.Timers.check(MinMultiplier)
}

// conflicts reports whether packets without a discriminator could be meant for both sessions.
func (c SessionConfig) conflicts(o SessionConfig) bool {
	sameLocal := c.Local == o.Local || !c.Local.IsValid() || !o.Local.IsValid()
	sameLink := c.Interface == o.Interface || c.Interface == "" || o.Interface == ""
	return c.Peer == o.Peer && c.Multihop == o.Multihop && sameLocal && sameLink
}

// key returns the listener that the session needs.
func (c SessionConfig) key() listenKey { return listenKey{c.Peer.Is6(), c.Multihop} }

// Status is what a Session is at an instant.
type Status struct {
	Peer netip.Addr
	// Local is the address that packets are sent from, the zero Addr while none can be sent.
	Local     netip.Addr
	Interface string
	Multihop  bool

	State State
	// Since is the instant of the Clock at which the session came to State.
	Since time.Duration
	// Diagnostic is why the session came to State. Remote is what the peer sent last.
	Diagnostic Diagnostic
	Remote     Remote
	// LastDown is why the session left Up last, in words; empty if it never did.
	LastDown string
	// Problem is why packets cannot be sent or received, empty if they can: another program has the
	// port, for instance. It is tried again.
	Problem string

	// TransmitInterval is the negotiated one, before jitter; 0 if no periodic packets are sent.
	TransmitInterval time.Duration
	// DetectionTime is after how long without a packet the peer is down; 0 while it is unknown.
	DetectionTime time.Duration

	Sent     uint64
	Received uint64
	// Withheld counts packets that Permit did not allow.
	Withheld uint64
	// Dropped counts packets that name the session and were dropped.
	Dropped map[Dropped]uint64
	// Detections counts how often the peer became silent while the session was Up.
	Detections uint64
}

// Session is one session of a Server. It is safe for concurrent use.
type Session struct {
	server        *Server
	cfg           SessionConfig
	discriminator uint32
	done          chan struct{}

	// The following fields are guarded by server.mu.
	machine *Machine
	sender  sender
	retry   retry
	closed  bool
	quiet   bool // Close was called

	since      time.Duration
	lastDown   string
	sent       uint64
	received   uint64
	withheld   uint64
	detections uint64
	dropped    map[Dropped]uint64
}

// SetTimers changes the timers without a new session: the peer agrees by a Poll Sequence (B8). It
// returns an error if they are not valid.
func (s *Session) SetTimers(t Timers) error {
	if err := t.withDefaults().check(MinMultiplier); err != nil {
		return fmt.Errorf("set timers of BFD session to %v: %w", s.cfg.Peer, err)
	}
	s.enter(SetTimers{t})
	return nil
}

// Stop takes the session to AdminDown: the peer must not take its end for a failure of the path
// (RFC 5880 section 6.8.16, B8). When it returns the first packet was sent, if Permit and the
// socket allow it. More follow for a detection time of the peer, at least Multiplier seconds. Then
// Done is closed. A caller that leaves need not wait for it.
func (s *Session) Stop(why Diagnostic) { s.enter(Stop{why}) }

// Close ends the session at once and without a packet. OnChange is not called any more, except for
// a call that is running. Close is idempotent.
func (s *Session) Close() {
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	s.quiet = true
	s.remove()
	s.server.wake.Notify()
}

// Done returns a channel that is closed when the session is over: after Stop or Close, or with Run.
func (s *Session) Done() <-chan struct{} { return s.done }

// Status returns what the session is now.
func (s *Session) Status() Status {
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	return s.status()
}

func (s *Session) status() Status {
	m := s.machine
	problem := s.retry.problem
	if l := s.server.listeners[s.cfg.key()]; problem == "" && l != nil {
		problem = l.retry.problem
	}
	return Status{
		Peer: s.cfg.Peer, Local: s.sender.local, Interface: s.cfg.Interface, Multihop: s.cfg.Multihop,
		State: m.State(), Since: s.since, Diagnostic: m.Diagnostic(), Remote: m.Remote(),
		LastDown: s.lastDown, Problem: problem, TransmitInterval: m.TransmitInterval(),
		DetectionTime: m.DetectionTime(), Sent: s.sent, Received: s.received, Withheld: s.withheld,
		Dropped: maps.Clone(s.dropped), Detections: s.detections,
	}
}

func (s *Session) isQuiet() bool {
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	return s.quiet
}

// enter passes an event to the machine now. Run reports the change and sets its timer.
func (s *Session) enter(ev Event) {
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	if !s.closed {
		s.step(s.server.cfg.Clock(), ev)
		s.server.wake.Notify()
	}
}

// step passes an event to the machine and executes its actions. The caller holds the lock.
func (s *Session) step(now time.Duration, ev Event) {
	changed := false
	for _, a := range s.machine.Step(now, ev) {
		switch a := a.(type) {
		case Send:
			s.send(now, a.Packet)
		case Changed:
			changed = true
			s.record(now, a)
		}
	}
	if changed {
		s.server.changes = append(s.server.changes, change{s, s.status()})
	}
}

// record records a change of state.
func (s *Session) record(now time.Duration, c Changed) {
	s.since = now
	log := s.server.cfg.Log.Info
	if c.From == Up {
		s.lastDown = c.Diagnostic.String()
		if c.Diagnostic == DetectionTimeExpired {
			s.detections++
		}
		log = s.server.cfg.Log.Warn
	}
	if c.From == Up || c.To == Up || c.To == AdminDown {
		log("BFD session changed", "peer", s.cfg.Peer.String(), "from", c.From.String(),
			"to", c.To.String(), "reason", c.Diagnostic.String(),
			"peer-reason", c.Remote.Diagnostic.String())
	}
}

// send sends a packet if it is permitted, which is asked last (B6).
func (s *Session) send(now time.Duration, p Packet) {
	if !s.sender.isOpen() {
		return
	}
	b := p.Append(make([]byte, 0, packetLength))
	if !s.server.permitted() {
		s.withheld++
		return
	}
	sent, err := s.sender.write(b)
	if sent {
		s.sent++
		if s.retry.end() {
			s.server.cfg.Log.Info("BFD packets are sent again", "peer", s.cfg.Peer.String())
		}
	}
	if err != nil {
		s.fail(now, err)
	}
}

// openSender opens the sending socket if that is due. A problem is over when a packet was sent.
func (s *Session) openSender(now time.Duration) {
	if s.sender.isOpen() || now < s.retry.at {
		return
	}
	if err := s.sender.open(s.cfg); err != nil {
		s.fail(now, err)
	}
}

// fail closes the sending socket, which is opened again after a pause.
func (s *Session) fail(now time.Duration, err error) {
	s.sender.close()
	if s.retry.fail(now, err) {
		s.server.cfg.Log.Warn("cannot send BFD packets", "peer", s.cfg.Peer.String(), "err", err)
	}
	s.server.wake.Notify()
}

func (s *Session) reopenAt() time.Duration {
	if s.sender.isOpen() {
		return Never
	}
	return s.retry.at
}

// matches reports whether a datagram came from the peer to this session's address and link.
func (s *Session) matches(d datagram) bool {
	return s.cfg.key() == d.key && s.cfg.Peer == d.from &&
		(!s.sender.local.IsValid() || s.sender.local == d.to) &&
		(s.sender.index == 0 || s.sender.index == d.index)
}

// remove takes the session from the server. The caller holds the lock.
func (s *Session) remove() {
	if !s.closed {
		s.closed = true
		s.sender.close()
		delete(s.server.sessions, s.discriminator)
		close(s.done)
	}
}

// retry is when to try again what has failed.
type retry struct {
	problem  string
	failures int
	at       time.Duration
}

var reopenBackoff = backoff.Backoff{Min: 100 * time.Millisecond, Max: 5 * time.Second, Jitter: 0.2}

// fail records a failure and reports whether it is the first one in a row.
func (r *retry) fail(now time.Duration, err error) (first bool) {
	r.failures++
	r.problem, r.at = err.Error(), now+reopenBackoff.After(r.failures)
	return r.failures == 1
}

// end records a success and reports whether it follows a failure.
func (r *retry) end() (again bool) {
	again = r.failures > 0
	*r = retry{}
	return again
}
