package speaker

import (
	"errors"
	"maps"
	"net/netip"
	"time"

	"github.com/kvip/kvip/pkg/arp"
	"github.com/kvip/kvip/pkg/nftfilter"
	"github.com/kvip/kvip/pkg/vip"
)

// become makes filter, kernel and announcements agree with next, in the order that leaves no address
// without protection, none announced before it is there, and none there no longer announced. After an error the
// order holds, too: what the filter does not protect is not put there (S5).
func (a *Speaker) become(next holdings, s situation) {
	a.withhold(next)
	gained, lost := difference(a.have, next)
	if len(lost) > 0 { // stop announcing first
		a.cfg.Announcer.Set(a.voices(intersection(a.have, next)))
	}
	if len(gained) > 0 || len(lost) > 0 || a.filterChanged(next, s) {
		if !a.protect(union(a.have, next), s) {
			maps.DeleteFunc(next, func(addr netip.Addr, h held) bool { return !h.shared && !has(a.have, addr) })
		}
	}
	a.own(next)
	if len(lost) > 0 {
		a.protect(next, s)
	}
	a.cfg.Announcer.Set(a.voices(next))
	a.note(gained, lost, next)
	a.have = next
}

// withhold takes out of next what failed a short time ago: it is tried again, at growing intervals.
func (a *Speaker) withhold(next holdings) {
	a.chosen = map[netip.Addr]bool{}
	for addr, h := range next {
		if h.shared || has(a.have, addr) {
			continue
		}
		a.chosen[addr] = true
		if a.able.waits(addr, a.cfg.Clock()) {
			delete(next, addr)
		}
	}
}

// own makes the kernel have the addresses. One that it cannot have is not announced, and tried again; if it
// does nothing at all, no new one is.
func (a *Speaker) own(next holdings) {
	var want []vip.Address
	for addr, h := range next {
		if ref, ok := a.linkRef(h.link); ok && !h.shared {
			want = append(want, vip.Address{VIP: addr, LinkIndex: ref.Index, LinkName: ref.Name})
		} else if !h.shared {
			delete(next, addr) // its link is gone, and the address with it
		}
	}
	_, _, err := a.cfg.Addresses.Sync(want)
	failed, now := vip.AddressErrors(err), a.cfg.Clock()
	if len(failed) == 0 || a.able.areNew(failed) {
		a.warn(err)
	}
	if err != nil && len(failed) == 0 {
		a.able.hostFailed("addresses", err, now)
		maps.DeleteFunc(next, func(addr netip.Addr, h held) bool { return !h.shared && !has(a.have, addr) })
		a.remains = union(a.remains, without(a.have, next))
		return
	}
	a.able.hostWorks("addresses")
	a.failed(next, failed, now)
	for addr := range next {
		a.able.works(addr)
	}
}

// failed notes which addresses the kernel could not put there, or take away.
func (a *Speaker) failed(next holdings, failed []*vip.AddressError, now time.Duration) {
	before := union(a.remains, a.have)
	a.remains = holdings{}
	for _, f := range failed {
		addr := f.Address.VIP
		wanted := has(next, addr)
		if h, had := before[addr]; (had || !wanted) && !h.shared {
			a.remains[addr] = h
		}
		if !wanted {
			a.trouble(f)
			continue
		}
		a.able.failed(addr, f, now)
		a.chosen[addr] = true
		delete(next, addr)
	}
}

func has(all holdings, addr netip.Addr) bool {
	_, ok := all[addr]
	return ok
}

// protect lets through to the addresses what their Services serve, and nothing else (S5). It reports whether the
// filter protects all of them now. The control plane's address is not filtered: what its host serves there does not
// depend on whether a Service shares it.
func (a *Speaker) protect(all holdings, s situation) bool {
	now := a.cfg.Clock()
	if a.adopting { // what an earlier kvip let through is not known yet: its table stands (S6)
		a.filterAt = now + filterEvery
		return true
	}
	if a.able.hostWaits("filter", now) {
		return false
	}
	var want nftfilter.Want
	ports := make(map[netip.Addr][]nftfilter.Port, len(all))
	for addr, h := range union(a.remains, all) {
		if !h.shared {
			ports[addr] = s.ports(addr)
			want.Addresses = append(want.Addresses, addr)
			want.Ports = append(want.Ports, ports[addr]...)
		}
	}
	err := a.cfg.Filter.Apply(want)
	a.warn(err)
	if errors.Is(err, nftfilter.ErrNotWritten) {
		a.able.hostFailed("filter", err, now)
		a.filterAt = a.able.host["filter"].again
		return false
	}
	a.able.hostWorks("filter")
	a.filtered, a.filterAt = ports, now+filterEvery
	return true
}

// voices are the announcements that go with the addresses.
func (a *Speaker) voices(all holdings) []arp.Announcement {
	var list []arp.Announcement
	for addr, h := range all {
		if ref, ok := a.linkRef(h.link); ok && !h.shared {
			list = append(list, arp.Announcement{Addr: addr, Link: ref, Silent: h.adopted || h.leaving || a.suspect})
		}
	}
	return list
}
