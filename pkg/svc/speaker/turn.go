package speaker

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/kvip/kvip/pkg/liveness"
	"github.com/kvip/kvip/pkg/placement"
	"github.com/kvip/kvip/pkg/svc"
)

// knowsHost is whether this host's links were read once, and what an earlier agent left there: before that
// nothing is touched.
func (a *Speaker) knowsHost() bool {
	if a.unread {
		a.readLinks()
	}
	if !a.adopted && a.mayAdopt() {
		a.adopt()
	}
	return a.adopted && a.links != nil
}

// mayAdopt reports whether an earlier agent's addresses can be told from others: by their mark, or else, on kernels
// before 5.18, by the ledger.
func (a *Speaker) mayAdopt() bool {
	marks, err := a.cfg.Addresses.KeepsMarks()
	if err != nil {
		a.trouble(fmt.Errorf("read what an earlier kvip left on this host: %w", err))
		return false
	}
	return marks || a.cfg.Cache.HasSynced()
}

// adopt takes over what an earlier agent left on this host: it stays until a fresh view says whose it
// is (S6).
func (a *Speaker) adopt() {
	present, err := a.cfg.Addresses.Present()
	if err != nil {
		a.trouble(fmt.Errorf("read what an earlier kvip left on this host: %w", err))
		return
	}
	a.adopted = true
	for _, m := range present {
		a.have[m.VIP] = held{link: m.LinkName, since: a.cfg.Clock(), adopted: true}
	}
	if len(present) > 0 {
		a.cfg.Log.Info("addresses of an earlier kvip are kept until it is known whose they are", "count", len(present))
	}
}

// turn decides anew, if anything changed, and makes the host agree. It returns when to come again at
// the latest.
func (a *Speaker) turn() time.Duration {
	now := a.cfg.Clock()
	last := time.Duration(a.beat.Swap(int64(now)))
	verdict := a.cfg.NodeLease.View()
	if last != 0 && now-last > frozenAfter {
		a.suspect, a.dirty, verdict.Fresh = true, true, false
	}
	if !a.cfg.Cache.HasSynced() {
		verdict.Fresh = false
	}
	if a.cfg.Fallback != nil && now >= a.routesAt {
		a.routesAt = now + routesEvery
		a.readLinks()
	}
	b := a.basisOf(verdict)
	if a.due(b, now) {
		a.suspect = a.suspect && !verdict.Fresh
		a.basis, a.dirty = b, false
		a.decide(verdict, now)
	}
	return a.keep(now)
}

// due is whether there is something to decide.
func (a *Speaker) due(b basis, now time.Duration) bool {
	return b != a.basis || a.dirty || a.again != 0 && now >= a.again || a.expiring(now) || now >= a.filterAt
}

// decide says what this node has next, and makes the host agree.
func (a *Speaker) decide(verdict liveness.View, now time.Duration) {
	if a.failing == "" && a.able.fine() {
		clear(a.told)
	}
	a.again, a.failing = 0, ""
	if !a.knowsHost() {
		a.publish(a.last, nil)
		return
	}
	s := a.survey(verdict)
	decisions := map[netip.Addr]placement.Decision{}
	if verdict.Fresh && a.basis.foreign == "" {
		decisions = placement.All(s.addresses(), s.nodes)
	}
	next := shift(a.have, decisions, s, now)
	if a.adopting && verdict.Fresh && len(verdict.Alive) > 0 {
		a.adopting, a.filterAt = false, 0
	}
	a.become(next, s)
	a.last = s
	a.able.forget(now, a.isChosen)
	if again := a.able.next(now, a.isChosen); again != 0 && (a.again == 0 || again < a.again) {
		a.again = again
	}
	a.inform()
	a.publish(s, decisions)
}

func (a *Speaker) basisOf(v liveness.View) basis {
	return basis{
		changes: a.cfg.Cache.Changes(), fresh: v.Fresh, alive: strings.Join(v.Alive, " "), foreign: a.yieldsTo(), synced: a.cfg.Cache.HasSynced(),
	}
}

// expiring is whether an address that is leaving has to go now.
func (a *Speaker) expiring(now time.Duration) bool {
	for _, h := range a.have {
		if h.leaving && now >= h.until {
			return true
		}
	}
	return false
}

// yieldsTo returns which other program announces Services, if one does (S9), and logs each change.
func (a *Speaker) yieldsTo() string {
	who := a.cfg.ForeignHolder()
	if who != a.foreign {
		a.foreign = who
		if who != "" {
			a.cfg.Log.Warn("another program serves Services; this node announces none until it ends", "reason", "the lease is held by "+who)
		}
	}
	return who
}

// keep renews lifetimes, and returns how long nothing is to be done.
func (a *Speaker) keep(now time.Duration) time.Duration {
	next, err := a.cfg.Addresses.Refresh(now)
	a.trouble(err)
	wait := min(lookAgain, max(next-now, gather))
	for _, h := range a.have {
		if h.leaving {
			wait = min(wait, max(h.until-now, gather))
		}
	}
	return wait
}

// trouble notes what failed, and has it tried again soon; each new thing is logged once.
func (a *Speaker) trouble(err error) {
	if err == nil {
		return
	}
	a.again = a.cfg.Clock() + lookAgain
	text := err.Error()
	if a.failing == "" {
		a.failing = text
	} else if !strings.Contains(a.failing, text) {
		a.failing += "; " + text
	}
	a.warn(err)
}

// mostTold bounds what is remembered of failures that were logged.
const mostTold = 100

// warn logs what failed, once, and in brief: it may be all addresses.
func (a *Speaker) warn(err error) {
	if err == nil {
		return
	}
	if text := svc.Brief(err.Error()); !a.told[text] {
		if len(a.told) == mostTold {
			clear(a.told)
		}
		a.told[text] = true
		a.cfg.Log.Warn("cannot serve all addresses; trying again", "reason", text)
	}
}
