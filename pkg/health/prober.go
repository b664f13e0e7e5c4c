package health

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// signOfLife is the period at which OnState is called without a change (E12).
const signOfLife = 500 * time.Millisecond

// Prober polls one API server. Make it with New.
type Prober struct {
	cfg  Config
	h    Hysteresis
	last State
	lost chan struct{} // the kept connection ended
}

// Run polls until ctx ends, then waits for its requests to end and returns nil. Call it
// once.
func (p *Prober) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	client := newClient(&p.cfg, func() {
		select {
		case p.lost <- struct{}{}:
		default:
		}
	})
	s := &session{
		Prober: p, ctx: ctx, pace: pace{period: p.cfg.Period, next: time.Now()},
		poll: newErrand(client.look), ping: newErrand(client.ping), ask: newErrand(client.askBeside),
	}
	s.looker = &looker{dialer: dialer{&p.cfg}, server: client.server}
	s.look = newErrand(s.looker.look)
	var workers sync.WaitGroup
	workers.Go(func() { s.poll.serve(ctx) })
	workers.Go(func() { s.ping.serve(ctx) })
	workers.Go(func() { s.look.serve(ctx) })
	workers.Go(func() { s.ask.serve(ctx) })
	defer s.looker.rest()
	defer client.close()
	defer workers.Wait()
	defer cancel()
	p.last = State{Code: CodeUnknown, Reason: "the API server has not been judged yet", Since: p.cfg.Clock()}
	p.cfg.OnState(p.last)
	s.run()
	return nil
}

// session is one Run: one goroutine decides, four workers ask and look.
type session struct {
	*Prober
	ctx    context.Context
	pace   pace
	gauge  gauge
	hurry  hurry
	poll   *errand[Observation]
	ping   *errand[error]
	look   *errand[glance]
	ask    *errand[Observation] // a second /readyz
	looker *looker
	ended  bool // a connection ended while a poll was on its way
	blind  bool // the sockets of the server cannot be seen, and the log says so
}

func (s *session) run() {
	life := time.NewTicker(signOfLife)
	defer life.Stop()
	planned := s.pace.due()
	timer := time.NewTimer(time.Until(planned))
	defer timer.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case obs := <-s.poll.answers:
			s.answered(obs)
		case err := <-s.ping.answers:
			s.ponged(err)
		case g := <-s.look.answers:
			s.looked(g)
		case obs := <-s.ask.answers:
			s.askedBeside(obs)
		case <-s.lost:
			s.hasten()
		case <-life.C:
			s.tell()
		case <-timer.C:
			s.act(time.Now(), planned)
		}
		planned = s.pace.due()
		if now := time.Now(); planned.Before(now) { // overdue by its nature, not by a late wake-up
			planned = now
		}
		timer.Reset(time.Until(planned))
	}
}

// act does what is due. An answer that waits to be read is read first.
func (s *session) act(now, planned time.Time) {
	select {
	case obs := <-s.poll.answers:
		s.answered(obs)
		return
	case err := <-s.ping.answers:
		s.ponged(err)
		return
	case g := <-s.look.answers:
		s.looked(g)
		return
	case obs := <-s.ask.answers:
		s.askedBeside(obs)
		return
	default:
	}
	d := s.pace.at(now, planned)
	if d.poll {
		s.poll.start(s.ctx)
	}
	if d.ping {
		s.ping.start(s.ctx)
	}
	if d.look {
		s.look.start(s.ctx)
	}
	if d.ask {
		s.ask.start(s.ctx)
	}
	switch d.say {
	case OutcomeHung:
		s.step(Observation{OutcomeHung, fmt.Sprintf("/readyz and /livez/ping are not answered, and for %v "+
			"the process has accepted no connection and read nothing", s.pace.still.lasted().Round(time.Millisecond))})
	case OutcomeSilent:
		s.step(Observation{OutcomeSilent, fmt.Sprintf("/readyz and /livez/ping have not answered for %v", silentAfter)})
	case OutcomeSlow:
		s.step(Observation{OutcomeSlow, fmt.Sprintf("/readyz has not answered for %v, /livez/ping does", softAfter)})
	}
}

func (s *session) answered(obs Observation) {
	now := time.Now()
	if obs.Outcome == OutcomeSlow { // timed out or given up: the watch has its own say
		s.pace.answered(now, true, 0)
		return
	}
	s.ping.cancel()
	s.ask.cancel()
	wait := s.cfg.Period
	if obs.Outcome == OutcomeCertificate {
		wait = certificatePeriod
	}
	obs = s.unlessStarved(obs, now)
	s.gauge.add(now, now.Sub(s.pace.waiting))
	s.pace.answered(now, false, wait)
	if !s.pace.looking {
		s.looker.rest()
	}
	s.step(obs)
	if obs.Outcome == OutcomeBroken || s.ended {
		s.hasten()
	}
}

// unlessStarved returns obs, or that it may only have timed out.
func (s *session) unlessStarved(obs Observation, now time.Time) Observation {
	if obs.Outcome == OutcomeNotReady && s.pace.starved(now) {
		obs.Outcome = OutcomeLate
	}
	return obs
}

// askedBeside takes in what a second /readyz was told while the first is unanswered. That the
// server is ready may be what it remembers, and that there is no answer is known: only a
// refusal counts.
func (s *session) askedBeside(obs Observation) {
	now := time.Now()
	refused := obs.Outcome == OutcomeNotReady || obs.Outcome == OutcomeShutdown
	if s.pace.asked(now) && refused {
		s.step(s.unlessStarved(obs, now))
	}
}

// ponged notes a proof of life. If nothing listens any more, the answer that /readyz
// still owes is given up for a fresh look at all addresses.
func (s *session) ponged(err error) {
	s.pace.ponged(time.Now(), err == nil)
	if err != nil && fromError(err).Outcome == OutcomeRefused && s.pace.busy {
		s.poll.cancel()
	}
}

// looked takes in what the kernel shows of the server. A server that is not of this network
// namespace shows nothing, and its silence is never taken for a stopped process.
func (s *session) looked(g glance) {
	s.pace.looked(time.Now(), g.at, g.sockets)
	if !s.pace.watching {
		s.looker.rest()
	}
	if blind := g.sockets == nil; blind != s.blind {
		s.blind = blind
		if blind {
			s.cfg.Log.Info("cannot tell a hung API server from a slow one: its sockets are not visible here", "reason", g.err)
		}
	}
}

// step feeds the hysteresis and reports a change.
func (s *session) step(obs Observation) {
	state := s.h.Step(obs, s.cfg.Clock())
	if state.Verdict == Unknown {
		state.Since = s.last.Since
	}
	if state == s.last {
		return
	}
	if state.Verdict != s.last.Verdict || state.Code != s.last.Code {
		level := slog.LevelInfo
		if state.Verdict != Healthy || state.Warning != "" {
			level = slog.LevelWarn
		}
		s.cfg.Log.Log(context.Background(), level, told[state.Verdict],
			"reason", state.Reason, "code", state.Code, "warning", state.Warning, "seen", obs.Detail)
	}
	s.last = state
	s.tell()
}

// tell passes the present state on.
func (s *session) tell() {
	state := s.last
	state.Latency = s.gauge.worst(time.Now(), s.pace.waiting)
	s.cfg.OnState(state)
}

// hasten moves the next poll forward: a closed socket only causes a redial (E7).
func (s *session) hasten() {
	s.ended = s.pace.busy // then the answer on its way may be the last: look again after it
	if s.ended {
		return
	}
	now := time.Now()
	if wait, ok := s.hurry.grant(now); ok && now.Add(wait).Before(s.pace.next) {
		s.pace.next = now.Add(wait)
	}
}
