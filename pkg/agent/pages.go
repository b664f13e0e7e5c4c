package agent

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/kvip/kvip/pkg/boottime"
	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/election"
	"github.com/kvip/kvip/pkg/health"
	"github.com/kvip/kvip/pkg/metrics"
	"github.com/kvip/kvip/pkg/printable"
	"github.com/kvip/kvip/pkg/status"
)

const (
	// stuckAfter is when /healthz calls a loop stuck: each comes round at least every second
	// (E12), and the machine may be slow.
	stuckAfter = 15 * time.Second
	// leaseStuckAfter is the same for the loop that learns the peers, which waits for
	// answers and turns every 20 s.
	leaseStuckAfter = 90 * time.Second
)

// pages serves /healthz, /readyz, /status and /metrics.
type pages struct {
	cfg     config.Config
	build   Build
	id      string
	metrics *metrics.Set
	log     *slog.Logger
	now     boottime.Clock

	parts    atomic.Pointer[agent]
	state    atomic.Pointer[health.State]
	healthAt atomic.Int64
	waiting  atomic.Pointer[string]
	served   atomic.Bool // there was an API server on this node

	services     atomic.Pointer[services]
	servicesWait atomic.Pointer[string] // why the Services part has not begun; nil: it has, or nothing is wrong
}

func newPages(cfg config.Config, build Build, id string, set *metrics.Set, log *slog.Logger) *pages {
	p := &pages{cfg: cfg, build: build, id: id, metrics: set, log: log, now: boottime.Now}
	p.hold("starting: the link is not there yet")
	p.healthAt.Store(int64(p.now()))
	return p
}

// hold says why the agent has not begun; "" takes it back.
func (p *pages) hold(why string) { p.waiting.Store(&why) }

func (p *pages) watch(a *agent) {
	a.loop.beat.Store(int64(p.now()))
	p.healthAt.Store(int64(p.now()))
	p.parts.Store(a)
}

func (p *pages) health(s health.State) {
	p.state.Store(&s)
	if s.Verdict == election.Healthy || s.Verdict == election.NotReady {
		p.served.Store(true)
	}
	p.healthAt.Store(int64(p.now()))
}

// healthz fails when a loop no longer comes round, and for nothing else (E12).
func (p *pages) healthz(w http.ResponseWriter, _ *http.Request) {
	answer(w, p.stuck())
}

func (p *pages) stuck() string {
	now := p.now()
	for _, part := range p.rounds() {
		if part.beat != 0 && now-part.beat > part.limit {
			return fmt.Sprintf("%s has not come round for %v", part.name, (now - part.beat).Round(time.Second))
		}
	}
	return ""
}

// round is a loop that has to come round: when it last did, since boot, and how long it may take.
type round struct {
	name        string
	beat, limit time.Duration
}

func (p *pages) rounds() (all []round) {
	if a := p.parts.Load(); a != nil {
		all = append(all, round{"the election loop", time.Duration(a.loop.beat.Load()), stuckAfter},
			round{"the health probe", time.Duration(p.healthAt.Load()), stuckAfter}, round{"the lease driver", a.lease.Heartbeat(), leaseStuckAfter})
	}
	if s := p.services.Load(); s != nil {
		interval, _ := s.heart.Timing()
		all = append(all, round{"the loop of Services", s.serve.LastReconcile(), stuckAfter}, round{"the renewal of the node's Lease", s.heart.LastReconcile(), stuckAfter + interval},
			round{"the seat of the allocator", s.keeper.LastTurn(), stuckAfter}, round{"the allocator", s.allocator.LastTurn(), leaseStuckAfter})
	}
	return all
}

// servicesz is the page of the Services part.
func (p *pages) servicesz(w http.ResponseWriter, r *http.Request) {
	s := p.services.Load()
	if s == nil {
		http.Error(w, "this agent serves no Services", http.StatusNotFound)
		return
	}
	s.serve.ServeHTTP(w, r)
}

// servicesNotReady says why the Services part could take no address now, or "".
func (p *pages) servicesNotReady() string {
	if !p.cfg.Services {
		return ""
	}
	if why := p.servicesWait.Load(); why != nil {
		return *why
	}
	s := p.services.Load()
	if s == nil {
		return "starting"
	}
	return s.serve.NotReady()
}

// readyz says whether the agent is ready, and in a second line with whose rights it works.
func (p *pages) readyz(w http.ResponseWriter, _ *http.Request) {
	answer(w, p.notReady())
	if a := p.parts.Load(); a != nil {
		_, _ = fmt.Fprintln(w, printable.Message(a.whose()))
	}
}

// metricsz serves the metrics; whether the agent is ready is found out when it is asked for.
func (p *pages) metricsz(w http.ResponseWriter, r *http.Request) {
	p.metrics.Ready(p.notReady() == "")
	p.metrics.Handler().ServeHTTP(w, r)
}

// answer writes 200 ok, or 503 and the reason.
func answer(w http.ResponseWriter, why string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if why != "" {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = fmt.Fprintln(w, printable.Message(why))
		return
	}
	_, _ = fmt.Fprintln(w, "ok")
}

// notReady says why this agent could neither hold nor take over now, or "".
func (p *pages) notReady() string {
	if len(p.cfg.VIPs) == 0 && p.cfg.Services {
		return p.servicesNotReady()
	}
	if why := p.controlNotReady(); why != "" && !(p.cfg.Services && p.worker()) {
		return why
	}
	return p.servicesNotReady()
}

// worker is whether no API server was ever seen on this node: then it is here for Services alone.
func (p *pages) worker() bool {
	waiting := p.waiting.Load()
	return p.parts.Load() != nil && !p.served.Load() && (waiting == nil || *waiting == "")
}

func (p *pages) controlNotReady() string {
	if why := p.waiting.Load(); why != nil && *why != "" {
		return *why
	}
	a := p.parts.Load()
	if a == nil || a.loop.status.Load() == nil {
		return "starting"
	}
	s := a.loop.status.Load()
	problem := a.lease.Problem()
	if a.ports != nil && problem == "" {
		problem = a.ports.problem()
	}
	switch {
	case a.loop.twin.Load():
		return fmt.Sprintf("another machine holds the lease under this node's name: %s; give every node its own name", s.Holder)
	case s.State == election.Holding && s.Owned, s.State == election.Standby && (s.Reason == election.ReasonHeldByOther || s.Reason == election.ReasonWaiting):
		return problem
	case problem != "":
		problem = "; " + problem
	}
	return fmt.Sprintf("%s: %s%s%s", s.Reason, s.Reason.Sentence(), p.healthReason(), problem)
}

func (p *pages) healthReason() string {
	if h := p.state.Load(); h != nil && h.Verdict != election.Healthy {
		return " (" + h.Reason + ")"
	}
	return ""
}

func (p *pages) statusz(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	encoder := json.NewEncoder(printable.JSON(w))
	encoder.SetIndent("", "  ")
	_ = encoder.Encode(p.nodeStatus())
}

func (p *pages) nodeStatus() status.Agent {
	s := status.Agent{Node: p.cfg.NodeName, Identity: p.id, Version: p.build.Version, State: "starting", Health: election.Unknown.String(), NotReady: p.notReady()}
	for _, a := range p.cfg.VIPs {
		s.VIPs = append(s.VIPs, a.String())
	}
	if h := p.state.Load(); h != nil {
		s.Health, s.HealthWhy, s.Warning = h.Verdict.String(), h.Reason, h.Warning
	}
	a := p.parts.Load()
	if a == nil {
		return s
	}
	s.Link, s.Peers = a.network.link().Name, a.lease.Peers()
	kind, source := a.store.InUse()
	s.Rights, s.Credentials = string(kind), source
	if a.keeper != nil {
		s.TokenExpires, s.RightsProblem = a.keeper.Expires(), a.keeper.Problem()
	}
	if now := a.loop.status.Load(); now != nil {
		s.State, s.Reason, s.Owned, s.Term = string(now.State), string(now.Reason), now.Owned, now.Term
	}
	return s
}
