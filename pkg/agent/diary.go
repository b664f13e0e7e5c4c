package agent

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/kvip/kvip/pkg/arp"
	"github.com/kvip/kvip/pkg/election"
)

// quiet is the least time between two log records about the same standing trouble.
const quiet = 10 * time.Second

// diary remembers what was written about last, so that changes are told once.
type diary struct {
	sighted  time.Duration
	claimed  time.Duration // when the silence or release that led to the present claim began
	holding  bool
	takeover election.Action // the claim under way
}

// conflict logs a foreign announcement, at most once in a while.
func (d *diary) conflict(log *slog.Logger, s arp.Conflict) {
	if d.sighted != 0 && s.At-d.sighted < quiet {
		return
	}
	d.sighted = s.At
	log.Warn("another machine announces the address; is it configured there, or in use twice?", "vip", s.VIP, "reason", "announced by "+s.MAC.String())
}

// note tells log, metrics and the cluster what one event changed.
func (l *loop) note(ev election.Event, before election.Status) {
	now := l.machine.Status()
	l.status.Store(&now)
	l.countRenewal(ev, before)
	l.metrics.Term(now.Term)
	l.metrics.Degraded(now.Degraded != "" && now.Holder == l.id)
	l.noteTwin(now, before)
	if now.Owned != before.Owned {
		for _, a := range l.cfg.VIPs {
			l.metrics.Holder(a, now.Owned)
		}
	}
	switch {
	case now.Owned && !l.diary.holding:
		l.took(now)
	case l.diary.holding && now.State != election.Holding:
		l.gaveUp(now)
	case now.State != before.State || now.Reason != before.Reason || now.Holder != before.Holder:
		l.log.Info("election", "vip", vips(l.cfg.VIPs), "state", now.State, "holder", election.NodeName(now.Holder), "lease", l.cfg.LeaseName,
			"term", now.Term, "reason", now.Reason)
	}
}

func (l *loop) countRenewal(ev election.Event, before election.Status) {
	w, ok := ev.(election.Written)
	if !ok || before.State != election.Holding {
		return
	}
	l.metrics.Renewal(map[election.Outcome]string{
		election.OutcomeOK: "ok", election.OutcomeConflict: "conflict", election.OutcomeFailed: "failed",
	}[w.Outcome])
}

func (l *loop) took(now election.Status) {
	l.diary.holding = true
	l.metrics.Transition(string(now.Reason))
	l.log.Info("holding the address", "vip", vips(l.cfg.VIPs), "link", l.network.link().Name, "node", l.cfg.NodeName,
		"lease", l.cfg.LeaseName, "term", now.Term, "reason", now.Reason)
	byClaim := now.Reason == election.ReasonReleased || now.Reason == election.ReasonExpired
	if l.diary.claimed == 0 || !byClaim {
		return
	}
	if l.diary.takeover.PreviousHolder != "" { // else nobody had it before: a start, not a fail-over
		l.metrics.Failover(l.now() - l.diary.claimed)
	}
	l.diary.claimed = 0
	l.reportTransition(l.diary.takeover)
}

func (l *loop) gaveUp(now election.Status) {
	l.diary.holding = false
	l.metrics.Transition(string(now.Cause))
	l.log.Warn("gave the address up", "vip", vips(l.cfg.VIPs), "node", l.cfg.NodeName, "lease", l.cfg.LeaseName, "term", now.Term,
		"state", now.State, "reason", fmt.Sprintf("%s: %s", now.Cause, now.Cause.Sentence()))
}

// noteTwin says clearly when another machine holds under this node's name (E8). Before
// such a holder is seen to renew it may be this machine before its last boot.
func (l *loop) noteTwin(now, before election.Status) {
	renewed := now.Holder == before.Holder && now.Age < before.Age
	switch {
	case !twin(now.Holder, l.id):
		l.twin.Store(false)
	case renewed && !l.twin.Swap(true):
		l.log.Error("another machine holds the lease under this node's name: give every node its own name (--node-name)",
			"node", l.cfg.NodeName, "lease", l.cfg.LeaseName, "reason", "held by "+now.Holder)
	}
}
