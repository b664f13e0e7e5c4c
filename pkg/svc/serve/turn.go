package serve

import (
	"errors"
	"net/netip"
	"strings"
	"time"

	"github.com/kvip/kvip/pkg/arp"
	"github.com/kvip/kvip/pkg/filter"
	"github.com/kvip/kvip/pkg/members"
	"github.com/kvip/kvip/pkg/place"
	"github.com/kvip/kvip/pkg/vip"
)

// adopt takes over what an earlier agent left on this host: it stays until a fresh view says whose it
// is (S6).
func (a *Agent) adopt() {
	present, err := a.cfg.Addresses.Present()
	if err != nil {
		a.cfg.Log.Warn("cannot read what an earlier kvip left on this host", "reason", err)
	}
	for _, m := range present {
		a.have[m.VIP] = held{link: m.LinkName, since: a.cfg.Clock(), adopted: true}
	}
	if len(present) > 0 {
		a.cfg.Log.Info("addresses of an earlier kvip are kept until it is known whose they are", "count", len(present))
	}
}

// turn decides anew, if anything changed, and makes the host agree. It returns when to come again at
// the latest.
func (a *Agent) turn() time.Duration {
	now := a.cfg.Clock()
	last := time.Duration(a.beat.Swap(int64(now)))
	verdict := a.cfg.Heart.Verdict()
	if last != 0 && now-last > frozenAfter {
		a.suspect, verdict.Fresh = true, false
	}
	if !a.cfg.Catalogue.Synced() {
		verdict.Fresh = false
	}
	b := a.basisOf(verdict)
	if b == a.basis && !a.dirty && !a.expiring(now) && now-a.filtered < filterEvery {
		return a.keep(now)
	}
	a.suspect = a.suspect && !verdict.Fresh
	a.basis, a.dirty = b, false
	s := a.survey(verdict)
	decisions := map[netip.Addr]place.Decision{}
	if verdict.Fresh && b.foreign == "" {
		decisions = place.All(s.addresses(), s.nodes)
	}
	next := shift(a.have, decisions, s, now)
	a.adopting = a.adopting && !(verdict.Fresh && len(verdict.Alive) > 0)
	a.become(next, s)
	a.last = s
	a.publish(s, decisions)
	return a.keep(now)
}

func (a *Agent) basisOf(v members.Verdict) basis {
	return basis{
		changes: a.cfg.Catalogue.Changes(), fresh: v.Fresh, alive: strings.Join(v.Alive, " "), foreign: a.yieldsTo(), synced: a.cfg.Catalogue.Synced(),
	}
}

// expiring is whether an address that is leaving has to go now.
func (a *Agent) expiring(now time.Duration) bool {
	for _, h := range a.have {
		if h.leaving && now >= h.until {
			return true
		}
	}
	return false
}

// yieldsTo returns which other program announces Services, if one does (S9), and logs each change.
func (a *Agent) yieldsTo() string {
	who := a.cfg.Foreign()
	if who != a.foreign {
		a.foreign = who
		if who != "" {
			a.cfg.Log.Warn("another program serves Services; this node announces none until it ends", "reason", "the lease is held by "+who)
		}
	}
	return who
}

// become makes filter, kernel and announcements agree with next, in the order that leaves no address
// without protection, none announced before it is there, and none there no longer announced.
func (a *Agent) become(next holdings, s situation) {
	gained, lost := difference(a.have, next)
	if len(lost) > 0 { // stop announcing first
		a.cfg.Announcer.Set(a.voices(intersection(a.have, next)))
	}
	if len(gained) > 0 || len(lost) > 0 || a.filterChanged(next, s) {
		a.protect(union(a.have, next), s)
	}
	if err := a.own(next); err != nil {
		a.trouble(err)
	}
	if len(lost) > 0 {
		a.protect(next, s)
	}
	a.cfg.Announcer.Set(a.voices(next))
	a.note(gained, lost, next)
	a.have = next
}

// own makes the kernel have the addresses. One that it cannot have is not announced, and tried again.
func (a *Agent) own(next holdings) error {
	var want []vip.Address
	for addr, h := range next {
		if ref, ok := a.linkRef(h.link); ok && !h.shared {
			want = append(want, vip.Address{VIP: addr, LinkIndex: ref.Index, LinkName: ref.Name})
		} else if !h.shared {
			delete(next, addr) // its link is gone, and the address with it
		}
	}
	_, _, err := a.cfg.Addresses.Sync(want)
	for _, failed := range vip.AddressErrors(err) {
		delete(next, failed.Address.VIP)
	}
	return err
}

// protect lets through to the addresses what their Services serve, and nothing else (S5).
func (a *Agent) protect(all holdings, s situation) {
	if a.adopting {
		return // what an earlier kvip let through is not known yet: its table stands
	}
	var want filter.Want
	for addr := range all {
		want.Addresses = append(want.Addresses, addr)
		want.Ports = append(want.Ports, s.ports(addr)...)
	}
	a.filtered = a.cfg.Clock()
	if err := a.cfg.Filter.Apply(want); err != nil {
		a.trouble(err)
	}
}

// voices are the announcements that go with the addresses.
func (a *Agent) voices(all holdings) []arp.Voice {
	var list []arp.Voice
	for addr, h := range all {
		if ref, ok := a.linkRef(h.link); ok && !h.shared {
			list = append(list, arp.Voice{Addr: addr, Link: ref, Silent: h.adopted || h.leaving || a.suspect})
		}
	}
	return list
}

// keep renews lifetimes, and returns how long nothing is to be done.
func (a *Agent) keep(now time.Duration) time.Duration {
	next, err := a.cfg.Addresses.Refresh(now)
	if err != nil {
		a.trouble(err)
	}
	wait := min(lookAgain, max(next-now, gather))
	for _, h := range a.have {
		if h.leaving {
			wait = min(wait, max(h.until-now, gather))
		}
	}
	return wait
}

// trouble logs what failed, each new thing once; the next turn tries again.
func (a *Agent) trouble(err error) {
	if text := err.Error(); text != a.failing {
		a.failing = text
		a.cfg.Log.Warn("cannot serve all addresses; trying again", "reason", errors.Join(err))
	}
}
