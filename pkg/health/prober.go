package health

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/kvip/kvip/pkg/backoff"
	"github.com/kvip/kvip/pkg/election"
)

// reportPeriod is the period at which OnState is called without a change (E12).
const reportPeriod = 500 * time.Millisecond

// verdictMessages are the log messages of changes of the verdict.
var verdictMessages = map[election.Verdict]string{
	election.Unknown:  "API server health is unknown",
	election.Healthy:  "API server is healthy",
	election.NotReady: "API server is alive but not ready",
	election.Dead:     "API server is dead",
}

// Prober polls one API server. One goroutine decides; four workers send requests and list sockets.
// Make it with New.
type Prober struct {
	cfg          Config
	client       *client
	sockets      *socketProbe
	disconnected backoff.Signal // the server ended the kept-alive connection
	aborted      backoff.Signal // it did so without a TLS alert; before disconnected

	poll         *worker[Observation]
	ping         *worker[error]
	socketWorker *worker[socketSnapshot]
	secondPoll   *worker[Observation]

	schedule      pollSchedule
	hysteresis    Hysteresis
	latency       latencyWindow
	redial        redialBackoff
	redialAtEnd   bool // a connection ended during a poll
	observed      time.Duration
	socketsHidden bool // the server's sockets are not visible, which was logged
	last          State
}

// Run polls until ctx ends. It then waits for its requests to end and returns nil. Call it once.
func (p *Prober) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	p.schedule = pollSchedule{period: p.cfg.Period, nextPoll: time.Now()}
	var workers sync.WaitGroup
	workers.Go(func() { p.poll.run(ctx) })
	workers.Go(func() { p.ping.run(ctx) })
	workers.Go(func() { p.socketWorker.run(ctx) })
	workers.Go(func() { p.secondPoll.run(ctx) })
	defer p.sockets.close()
	defer p.client.close()
	defer workers.Wait()
	defer cancel()
	p.last = unknownState(p.cfg.Clock())
	p.report()
	p.loop(ctx)
	return nil
}

func (p *Prober) loop(ctx context.Context) {
	reports := time.NewTicker(reportPeriod)
	defer reports.Stop()
	planned := p.schedule.due()
	timer := time.NewTimer(time.Until(planned))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case obs := <-p.poll.results:
			p.pollDone(obs)
		case err := <-p.ping.results:
			p.pingDone(err)
		case snapshot := <-p.socketWorker.results:
			p.socketsDone(snapshot)
		case obs := <-p.secondPoll.results:
			p.secondPollDone(obs)
		case <-p.aborted:
			p.schedule.connectionAborted(time.Now())
		case <-p.disconnected:
			p.pollSooner()
		case <-reports.C:
			p.report()
		case <-timer.C:
			if !p.resultWaiting() { // results count before what time alone decides
				p.act(ctx, planned)
			}
		}
		planned = p.schedule.due()
		if now := time.Now(); planned.Before(now) { // due already, which is not a late wake-up
			planned = now
		}
		timer.Reset(time.Until(planned))
	}
}

func (p *Prober) resultWaiting() bool {
	return len(p.poll.results)+len(p.ping.results)+
		len(p.socketWorker.results)+len(p.secondPoll.results) > 0
}

// act does what is due, at a wake-up planned for the instant planned.
func (p *Prober) act(ctx context.Context, planned time.Time) {
	d := p.schedule.decide(time.Now(), planned)
	if d.poll {
		p.poll.start(ctx)
	}
	if d.ping {
		p.ping.start(ctx)
	}
	if d.probeSockets {
		p.socketWorker.start(ctx)
	}
	if d.secondPoll {
		p.secondPoll.start(ctx)
	}
	if d.report != 0 {
		p.observed = p.cfg.Clock()
	}
	switch d.report {
	case OutcomeAborted:
		p.observe(Observation{OutcomeAborted, "the API server ended its connection without a TLS " +
			"alert, and answers no new one"})
	case OutcomeHung:
		p.observe(Observation{OutcomeHung,
			fmt.Sprintf("/readyz and /livez/ping are unanswered, and "+
				"for %v the process has accepted no connection and read nothing",
				p.schedule.stall.duration().Round(time.Millisecond))})
	case OutcomeSilent:
		p.observe(Observation{OutcomeSilent, fmt.Sprintf(
			"/readyz and /livez/ping are unanswered for %v", silentAfter)})
	case OutcomeSlow:
		p.observe(Observation{OutcomeSlow, fmt.Sprintf(
			"/readyz is unanswered for %v, /livez/ping is answered", slowAfter)})
	}
}

func (p *Prober) pollDone(obs Observation) {
	now := time.Now()
	p.noteObserved(now, p.schedule.pollStarted, obs.Outcome != OutcomeSlow)
	if obs.Outcome == OutcomeSlow { // timed out or cancelled: the schedule reports the silence
		p.schedule.pollDone(now, true, 0)
		return
	}
	p.ping.cancel()
	p.secondPoll.cancel()
	wait := p.cfg.Period
	if obs.Outcome == OutcomeCertificate {
		wait = certificatePeriod
	}
	obs = p.unlessStarved(obs, now)
	p.latency.add(now, now.Sub(p.schedule.unansweredSince))
	p.schedule.pollDone(now, false, wait)
	p.schedule.noteStart(obs.Outcome)
	if !p.schedule.probingSockets {
		p.sockets.close()
	}
	p.observe(obs)
	if obs.Outcome == OutcomeBroken || p.redialAtEnd {
		p.pollSooner()
	}
}

// unlessStarved turns a "not ready" into OutcomeOverloaded if it may be only a timeout.
func (p *Prober) unlessStarved(obs Observation, now time.Time) Observation {
	if obs.Outcome == OutcomeNotReady && p.schedule.starved(now) {
		obs.Outcome = OutcomeOverloaded
	}
	return obs
}

// secondPollDone handles the answer to a second /readyz while the first is unanswered. Only a
// failure counts: success may come from the server's cache, and silence is known already.
func (p *Prober) secondPollDone(obs Observation) {
	now := time.Now()
	failed := obs.Outcome == OutcomeNotReady || obs.Outcome == OutcomeShutdown
	if p.schedule.secondPollDone(now) && failed {
		p.observe(p.unlessStarved(obs, now))
	}
}

// pingDone records a sign of life. If nothing listens any more, it cancels the unanswered /readyz,
// so that all addresses are probed again.
func (p *Prober) pingDone(err error) {
	now := time.Now()
	p.noteObserved(now, p.schedule.pingStarted, false)
	p.schedule.pingDone(now, err == nil)
	if err != nil && fromError(err).Outcome == OutcomeRefused && p.schedule.polling {
		p.poll.cancel()
	}
}

// socketsDone handles a list of the server's sockets. A server in another network namespace shows
// none, and its silence never counts as a stopped process.
func (p *Prober) socketsDone(snapshot socketSnapshot) {
	p.schedule.socketsProbed(time.Now(), snapshot.at, snapshot.sockets)
	if !p.schedule.escalated { // /readyz was answered, or nothing listens any more
		p.sockets.close()
		return
	}
	hidden := snapshot.sockets == nil
	if hidden && !p.socketsHidden {
		reason := slog.Any("err", snapshot.err)
		if snapshot.err == nil {
			reason = slog.String("reason",
				"no socket listens at its address in this network namespace")
		}
		p.cfg.Log.Info("cannot tell a hung API server from a slow one: "+
			"its sockets are not visible here", reason)
	}
	p.socketsHidden = hidden
}

// noteObserved records when a request began whose result shows the state: an answer does, and while
// silence is reported, each request that does not end it.
func (p *Prober) noteObserved(now, began time.Time, answered bool) {
	if answered || p.schedule.reported != 0 {
		p.observed = max(p.observed, p.cfg.Clock()-now.Sub(began))
	}
}

// observe feeds the hysteresis and reports a change.
func (p *Prober) observe(obs Observation) {
	state := p.hysteresis.Step(obs, p.cfg.Clock())
	if state.Verdict == election.Unknown {
		state.Since = p.last.Since
	}
	if state == p.last {
		return
	}
	if state.Verdict != p.last.Verdict || state.Code != p.last.Code {
		level := slog.LevelInfo
		if state.Verdict != election.Healthy || state.Warning != "" {
			level = slog.LevelWarn
		}
		p.cfg.Log.Log(context.Background(), level, verdictMessages[state.Verdict], "reason",
			state.Reason, "code", state.Code, "warning", state.Warning, "seen", obs.Detail)
	}
	p.last = state
	p.report()
}

// report passes on the present state.
func (p *Prober) report() {
	state := p.last
	state.Latency = p.latency.worst(time.Now(), p.schedule.unansweredSince)
	state.Observed = p.observed
	p.cfg.Reporter.Heartbeat()
	if state.Verdict == election.Healthy {
		p.cfg.Reporter.OK()
	} else {
		p.cfg.Reporter.Impaired(state.Reason)
	}
	p.cfg.OnState(state)
}

// pollSooner moves the next poll forward after a connection ended: a closed socket only causes a
// redial (E7).
func (p *Prober) pollSooner() {
	p.redialAtEnd = p.schedule.polling // its answer may be the last: poll again after it
	if p.redialAtEnd {
		return
	}
	now := time.Now()
	if wait, ok := p.redial.allow(now); ok && now.Add(wait).Before(p.schedule.nextPoll) {
		p.schedule.nextPoll = now.Add(wait)
	}
}

// worker runs one request at a time on a goroutine of its own. One other goroutine calls start and
// cancel and receives the results.
type worker[T any] struct {
	request  func(context.Context) T
	requests chan context.Context
	results  chan T
	cancel   context.CancelFunc // cancels the present request, which still has a result
}

func newWorker[T any](do func(context.Context) T) *worker[T] {
	return &worker[T]{
		request: do, cancel: func() {},
		requests: make(chan context.Context, 1), results: make(chan T, 1),
	}
}

// start begins a request. The result of the one before must have been received.
func (w *worker[T]) start(ctx context.Context) {
	w.cancel() // releases the context of the request before
	ctx, w.cancel = context.WithCancel(ctx)
	w.requests <- ctx
}

// run serves requests until ctx ends.
func (w *worker[T]) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case request := <-w.requests:
			w.results <- w.request(request)
		}
	}
}
