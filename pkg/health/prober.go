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
		poll: newErrand(client.look), ping: newErrand(client.ping),
	}
	var workers sync.WaitGroup
	workers.Go(func() { s.poll.serve(ctx) })
	workers.Go(func() { s.ping.serve(ctx) })
	defer client.close()
	defer workers.Wait()
	defer cancel()
	p.last = State{Code: CodeUnknown, Reason: "the API server has not been judged yet", Since: p.cfg.Clock()}
	p.cfg.OnState(p.last)
	s.run()
	return nil
}

// step feeds the hysteresis and reports a change.
func (p *Prober) step(obs Observation) {
	state := p.h.Step(obs, p.cfg.Clock())
	if state.Verdict == Unknown {
		state.Since = p.last.Since
	}
	if state == p.last {
		return
	}
	if state.Verdict != p.last.Verdict || state.Code != p.last.Code {
		level := slog.LevelInfo
		if state.Verdict != Healthy || state.Warning != "" {
			level = slog.LevelWarn
		}
		p.cfg.Log.Log(context.Background(), level, "API server is "+state.Verdict.String(),
			"reason", state.Reason, "code", state.Code, "warning", state.Warning, "seen", obs.Detail)
	}
	p.last = state
	p.cfg.OnState(state)
}

// session is one Run: one goroutine decides, two workers ask.
type session struct {
	*Prober
	ctx   context.Context
	pace  pace
	hurry hurry
	poll  *errand[Observation]
	ping  *errand[error]
	ended bool // a connection ended while a poll was on its way
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
		case <-s.lost:
			s.hasten()
		case <-life.C:
			s.cfg.OnState(s.last)
		case <-timer.C:
			s.act(time.Now(), planned)
		}
		planned = s.pace.due()
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
	default:
	}
	d := s.pace.at(now, planned)
	if d.poll {
		s.poll.start(s.ctx)
	}
	if d.ping {
		s.ping.start(s.ctx)
	}
	switch d.say {
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
	wait := s.cfg.Period
	if obs.Outcome == OutcomeCertificate {
		wait = certificatePeriod
	}
	s.pace.answered(now, false, wait)
	s.step(obs)
	if obs.Outcome == OutcomeBroken || s.ended {
		s.hasten()
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
