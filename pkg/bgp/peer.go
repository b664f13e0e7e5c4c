package bgp

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	codec "github.com/osrg/gobgp/v4/pkg/packet/bgp"

	"github.com/kvip/kvip/pkg/backoff"
)

// peer runs the session to one peer. Only the goroutine of run uses the fields without a comment.
type peer struct {
	speaker    *Config // constant, as log, wake, done and former
	machine    *Machine
	link       transport
	table      table
	encoder    encoder
	restarting bool
	announced  bool // the first table was sent in this session
	applied    int  // the version of cfg that machine and path have
	path       *pathWatch

	log    *slog.Logger
	wake   backoff.Signal
	done   chan struct{}
	former chan struct{}      // done of a former peer of this name, nil without one
	cancel context.CancelFunc // of run; the Speaker's, nil before Run

	mu      sync.Mutex // guards the following fields
	cfg     PeerConfig
	routes  []Route
	pathUp  bool // since the last turn of run
	given   bool // routes were given, or the peer has none of an earlier agent
	version int  // of cfg and routes
	synced  int  // the version that the peer has
	status  Status
	stop    *Stop // how the session ends when run's context ends
}

// newPeer returns a peer of a validated configuration.
func newPeer(cfg PeerConfig, speaker *Config, restarting bool) *peer {
	p := &peer{
		speaker: speaker, log: speaker.Log.With("peer", cfg.Name), cfg: cfg,
		machine: newMachine(cfg, retryJitter), restarting: restarting, given: !restarting,
		link: transport{speaker: speaker, events: make(chan tagged)}, wake: backoff.NewSignal(),
		done: make(chan struct{}),
	}
	p.path = &pathWatch{server: speaker.BFD, wake: p.wake, log: p.log}
	p.status = Status{Name: cfg.Name, Address: cfg.Address, LocalAS: cfg.LocalAS,
		Since: speaker.Clock(), Reason: cfg.Unusable}
	if cfg.Unusable != "" {
		p.status.Code = ReasonConfiguration
	}
	return p
}

const (
	// permitTime is how long a session goes on without a question whether the agent may send (B6).
	permitTime = 250 * time.Millisecond
	// notifyTime limits the time that a NOTIFICATION takes.
	notifyTime = time.Second
)

// setRoutes sets what the peer shall have. given reports whether that is known: else the peer has
// nothing, or what an earlier agent left.
func (p *peer) setRoutes(routes []Route, given bool) {
	p.change(func() { p.routes, p.given = routes, p.given || given })
}

// retry makes the next attempt due, and compares the next hops.
func (p *peer) retry() { p.change(func() { p.pathUp = true }) }

// refresh compares the next hops.
func (p *peer) refresh() { p.change(func() {}) }

// change changes what synchronize compares, and wakes run.
func (p *peer) change(apply func()) {
	p.mu.Lock()
	apply()
	p.version++
	p.mu.Unlock()
	p.wake.Notify()
}

// takePathUp reports whether there was a retry since the last call.
func (p *peer) takePathUp() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	was := p.pathUp
	p.pathUp = false
	return was
}

// update changes what can change within a session (B11).
func (p *peer) update(cfg PeerConfig) { p.change(func() { p.cfg = cfg }) }

// end ends the session for good. The caller need not wait for done.
func (p *peer) end(stop Stop) {
	p.mu.Lock()
	p.stop = &stop
	p.mu.Unlock()
	p.cancel()
}

// pending reports whether the peer's kernel lacks something that was to be sent.
func (p *peer) pending() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.status.State == Established && p.given &&
		(p.synced != p.version || p.link.unacknowledged() > 0)
}

// snapshot returns the status.
func (p *peer) snapshot() Status {
	p.mu.Lock()
	s := p.status
	p.mu.Unlock()
	s.BFD = p.path.status()
	return s
}

// run keeps the session until ctx ends, and returns once the connection is closed.
func (p *peer) run(ctx context.Context) {
	defer close(p.done)
	if p.former != nil {
		<-p.former
	}
	if p.config().Unusable != "" {
		p.speaker.OnChange(p.snapshot()) // why there is no session
		<-ctx.Done()
		return
	}
	defer p.link.wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		var got tagged
		select {
		case <-ctx.Done():
		case got = <-p.link.events:
		case <-p.wake:
			got = p.link.poll()
		case <-timer.C:
			got = p.link.poll() // before it counts as missing
		}
		if ctx.Err() != nil {
			p.leave()
			return
		}
		p.turn(ctx, got)
		timer.Reset(p.rest())
	}
}

// turn does what is due. It begins with the question whether the agent may send (B6).
func (p *peer) turn(ctx context.Context, got tagged) {
	now := p.speaker.Clock()
	permitted := p.speaker.Permit()
	if !permitted {
		p.carryOut(ctx, Tick{false})
	}
	p.configure(now)
	if p.link.take(got) {
		p.record(got)
		p.carryOut(ctx, got.event)
	}
	if permitted && now >= p.machine.Next() {
		p.carryOut(ctx, Tick{true})
	}
	p.path.maintain(now)
	for _, ev := range p.path.changes() {
		p.carryOut(ctx, ev)
	}
	if p.takePathUp() {
		p.carryOut(ctx, PathUp{})
	}
	p.synchronize(ctx)
}

// rest returns the time until the next turn.
func (p *peer) rest() time.Duration {
	limit := time.Minute
	if p.machine.state != Idle {
		limit = permitTime
	}
	return min(max(0, p.machine.Next()-p.speaker.Clock()), limit)
}

// configure applies a new configuration to what uses it besides synchronize.
func (p *peer) configure(now time.Duration) {
	p.mu.Lock()
	cfg, version := p.cfg, p.version
	p.mu.Unlock()
	if p.applied != version {
		p.applied = version
		p.machine.configure(now, cfg)
		p.path.update(cfg)
	}
}

// record records what an event shows.
func (p *peer) record(got tagged) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch ev := got.event.(type) {
	case Connected:
		p.status.Local, p.status.Address = p.link.addresses()
	case Received:
		if _, ok := ev.Message.(Update); ok {
			p.status.UpdatesIgnored++
		}
	}
}

// carryOut passes an event to the machine and carries out what it decides. A failure is another
// event; the actions that are left then are void, as they were for the connection that failed.
func (p *peer) carryOut(ctx context.Context, ev Event) {
	for ev != nil {
		actions := p.machine.Step(p.speaker.Clock(), ev)
		ev = nil
		for _, action := range actions {
			if err := p.act(ctx, action); err != nil {
				ev = p.link.failure(err)
				break
			}
		}
	}
	p.report()
}

// act carries out one action.
func (p *peer) act(ctx context.Context, action Action) error {
	switch a := action.(type) {
	case Dial:
		p.link.dial(p.config())
	case SendOpen:
		return p.sendOpen(ctx, a.Families)
	case SendKeepalive:
		return p.send(ctx, codec.NewBGPKeepAliveMessage())
	case SendNotification:
		n := a.Notification
		_ = p.send(ctx, codec.NewBGPNotificationMessage(n.Code, n.Subcode, n.Data)) // Close follows
	case Close:
		p.link.close()
	case Up:
		p.establish()
	case Resend:
		p.table.forget(a.Family)
		p.bump()
	case Ended:
		p.ended(a)
	}
	return nil
}

// config returns the present configuration.
func (p *peer) config() PeerConfig {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cfg
}

// bump makes synchronize compare again in this turn.
func (p *peer) bump() {
	p.mu.Lock()
	p.version++
	p.mu.Unlock()
}

// sendOpen sends the OPEN. From now on BFD watches the path.
func (p *peer) sendOpen(ctx context.Context, families []Family) error {
	cfg := p.config()
	open, err := cfg.open(families, p.restarting)
	if err != nil {
		return err
	}
	local, remote := p.link.addresses()
	p.path.start(cfg, local, remote)
	return p.send(ctx, open)
}

// send sends a message if the agent may send (B6). A peer that does not read for a third of the
// hold time loses the session, and at once when ctx ends.
func (p *peer) send(ctx context.Context, m *codec.BGPMessage) error {
	if !p.speaker.Permit() {
		return errNotPermitted
	}
	data, err := encode(m)
	if err != nil {
		return err
	}
	timeout := p.machine.holdTime() / 3
	if m.Header.Type == codec.BGP_MSG_NOTIFICATION {
		timeout = min(timeout, notifyTime)
	}
	return p.link.write(data, timeout, func() error {
		if !p.speaker.Permit() {
			return errNotPermitted
		}
		if ctx.Err() != nil {
			return errLeaving
		}
		return nil
	})
}

// establish prepares a session without routes.
func (p *peer) establish() {
	p.table = table{map[netip.Prefix]string{}}
	p.announced, p.restarting = false, false
	p.encoder = encoder{localAS: p.machine.cfg.LocalAS, agreed: p.machine.agreed}
	p.path.established()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.version++
	p.status.PeerAS, p.status.HoldTime = p.machine.agreed.PeerAS, p.machine.agreed.HoldTime
	p.status.Reason, p.status.Code, p.status.Sessions = "", "", p.status.Sessions+1
}

// ended records why a session, or the attempt to have one, is over.
func (p *peer) ended(a Ended) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.status.Reason, p.status.Code, p.status.HoldTime = a.Why, a.Code, 0
	p.status.Routes, p.status.NextHops = [families]int{}, [families]netip.Addr{}
	p.status.Refused, p.status.Unreachable, p.status.Invalid = 0, 0, 0
}

// report publishes a change of the state.
func (p *peer) report() {
	p.mu.Lock()
	changed := p.status.State != p.machine.state
	if changed {
		p.status.State, p.status.Since = p.machine.state, p.speaker.Clock()
	}
	p.mu.Unlock()
	if changed {
		p.speaker.OnChange(p.snapshot())
	}
}

// synchronize sends what the peer lacks.
func (p *peer) synchronize(ctx context.Context) {
	if p.machine.state != Established {
		return
	}
	p.mu.Lock()
	cfg, routes, version := p.cfg, p.routes, p.version
	due := p.given && (version != p.synced || !p.announced)
	p.mu.Unlock()
	if !due {
		return
	}
	if err := p.sendChanges(ctx, cfg, routes); err != nil {
		p.carryOut(ctx, p.link.failure(err))
		return
	}
	p.mu.Lock()
	p.synced = version
	p.mu.Unlock()
}

// sendChanges sends what must go first, then the routes in their order. The first table of a
// session ends with the end of the RIB of each family.
func (p *peer) sendChanges(ctx context.Context, cfg PeerConfig, routes []Route) error {
	local, _ := p.link.addresses()
	hops := nextHops(cfg, local, p.machine.agreed, func(f Family) netip.Addr {
		a, err := p.speaker.LinkAddress(local, f)
		if err != nil {
			p.log.Debug("cannot read the own addresses; the last next hop stays", "err", err)
			return p.encoder.nextHops[f]
		}
		return a
	})
	if hops != p.encoder.nextHops { // every route changes with its next hop
		for f := range families {
			p.table.forget(f)
		}
		p.encoder.nextHops = hops
	}
	c := p.table.diff(routes, cfg.MaximumPrefixes, p.encoder.carries)
	messages, err := p.encoder.encode(c, !p.announced)
	if err != nil {
		return err
	}
	for _, m := range messages {
		if err := p.send(ctx, m); err != nil {
			return err
		}
	}
	p.announced = true
	p.table.record(c)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.status.UpdatesSent += uint64(len(messages))
	p.status.Routes, p.status.NextHops = p.table.count(), p.encoder.nextHops
	p.status.Refused, p.status.Unreachable = c.refused, c.unreachable
	p.status.Invalid = c.invalid
	return nil
}

// leave ends the session when run ends: BFD first, so that the peer does not take the silence for a
// failure (B4, B8).
func (p *peer) leave() {
	p.path.stop()
	p.mu.Lock()
	stop := p.stop
	p.mu.Unlock()
	if stop == nil {
		stop = &Stop{Notification: cease(ceaseShutdown, "kvip stops"), Why: "kvip stops",
			Silent: p.machine.cfg.GracefulRestart > 0}
	}
	p.carryOut(context.Background(), *stop)
}
