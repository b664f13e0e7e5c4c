package allocator

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/kvip/kvip/pkg/ipam"
	"github.com/kvip/kvip/pkg/svc"
	"github.com/kvip/kvip/pkg/svc/ledger"
)

// turn brings ledger and status in line with what the cluster wants. It reports whether it had to look.
func (a *Allocator) turn(ctx context.Context) (looked bool) {
	term, held := a.cfg.Elector.IsLeader()
	held = held && a.cfg.Cache.HasSyncedPools()
	a.observe(held)
	if !held {
		a.rest()
		return false
	}
	if known, _ := a.elections.state(); a.cfg.KubeVIP && !known {
		return false
	}
	b := a.basisNow(term)
	if a.settled(b) || a.term != term && b.at < a.takeAgain {
		return false
	}
	a.basis = b
	if a.term == term {
		if name := a.cfg.Store.Changed(a.cfg.Cache.Leases()); name != "" {
			a.failed(fmt.Errorf("somebody else has changed or deleted lease %s: %w", name, ledger.ErrLost))
		}
	}
	if a.term != term && !a.take(ctx, term) {
		return true
	}
	services, pools := a.cfg.Cache.Services(), a.pools()
	have := a.cfg.Cache.WithDeletedEntries(a.cfg.Store.Ledger())
	others, reserved := a.others(services, have), a.reserved()
	result := ipam.Plan(have, usable(pools), reserved, requests(services, others, a.cfg.Cache.Interfaces()))
	if !result.Ledger.Equal(a.cfg.Store.Ledger()) {
		if err := a.cfg.Store.Commit(ctx, result.Ledger); err != nil {
			a.failed(err)
			return true
		}
	}
	a.publish(services, pools, reserved, result, others)
	a.release(services)
	return true
}

// rest begins nothing more: another node has the seat, or may have.
func (a *Allocator) rest() {
	a.writer.only(nil)
	a.elections.forget()
	if a.term != 0 {
		a.term = 0
		a.cfg.OnStats(Stats{})
	}
}

// take takes the ledger over. The seat is looked at again after that: who was frozen before taking it, and has
// taken it from the node that has the seat now, must not write what he believes (S4). Who is frozen later
// cannot.
func (a *Allocator) take(ctx context.Context, term uint64) bool {
	if _, err := a.cfg.Store.Acquire(ctx); err != nil {
		a.failed(err)
		return false
	}
	if a.behind(ctx) {
		a.takeAgain = a.cfg.Clock() + lookAgain
		return false
	}
	if now, held := a.cfg.Elector.IsLeader(); !held || now != term {
		return false
	}
	a.control.adopt(a.cfg.Store.Ledger(), uint16(a.cfg.Port), a.cfg.Clock())
	a.term = term
	return true
}

// failed begins anew with the ledger, whose state is not known now: at once if others have written it, and else after
// a while, as all of it is written then.
func (a *Allocator) failed(err error) {
	a.term = 0
	if errors.Is(err, ledger.ErrLost) {
		a.cfg.Log.Info("the ledger is read again", "reason", err)
		return
	}
	a.takeAgain = a.cfg.Clock() + lookAgain
	a.cfg.Log.Warn("cannot read or write the ledger; trying again", "reason", err)
}

// requests are those of kvip's Services, but those whose status others have: these get no address, and none is
// kept for them.
func requests(services []*svc.Service, others map[ipam.Owner]string, interfaces map[string]string) []ipam.Request {
	var all []ipam.Request
	for _, s := range services {
		if s.Managed && others[s.Owner()] == "" {
			request := s.Request
			request.Link = cmp.Or(s.Link, interfaces[s.Namespace], interfaces[""])
			all = append(all, request)
		}
	}
	return all
}

// publish writes what Services and pools are to say, and tells the metrics.
func (a *Allocator) publish(services []*svc.Service, pools []source, reserved ipam.Reserved, result ipam.Result, others map[ipam.Owner]string) {
	figures := Stats{Refused: map[string]int{}}
	told := make(map[ipam.Owner]bool, len(services))
	for _, s := range services {
		if s.Managed && s.Condition == nil {
			a.announced.begin(s.Owner())
		}
		if want, ok := a.wanted(s, result, others[s.Owner()]); ok {
			a.writer.service(s, want.brief())
			told[s.Owner()] = true
			if want.refused() {
				figures.Refused[string(want.reason)]++
			} else if s.Managed {
				figures.Services++
			}
		}
	}
	a.writer.only(told)
	a.publishPools(pools, result.Ledger, reserved, &figures)
	a.cfg.OnStats(figures)
}
