package serve

import (
	"maps"
	"net/netip"

	"github.com/kvip/kvip/pkg/arp"
	"github.com/kvip/kvip/pkg/filter"
	"github.com/kvip/kvip/pkg/vip"
)

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
	a.trouble(a.own(next))
	if len(lost) > 0 {
		a.protect(next, s)
	}
	a.cfg.Announcer.Set(a.voices(next))
	a.note(gained, lost, next)
	a.have = next
}

// own makes the kernel have the addresses. One that it cannot have is not announced, and tried again; if it
// does nothing at all, no new one is.
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
	failed := vip.AddressErrors(err)
	for _, f := range failed {
		delete(next, f.Address.VIP)
	}
	if err != nil && len(failed) == 0 {
		maps.DeleteFunc(next, func(addr netip.Addr, h held) bool { return !h.shared && !has(a.have, addr) })
	}
	return err
}

func has(all holdings, addr netip.Addr) bool {
	_, ok := all[addr]
	return ok
}

// protect lets through to the addresses what their Services serve, and nothing else (S5).
func (a *Agent) protect(all holdings, s situation) {
	a.filterAt = a.cfg.Clock() + filterEvery
	if a.adopting {
		return // what an earlier kvip let through is not known yet: its table stands (S6)
	}
	var want filter.Want
	for addr := range all {
		want.Addresses = append(want.Addresses, addr)
		want.Ports = append(want.Ports, s.ports(addr)...)
	}
	a.trouble(a.cfg.Filter.Apply(want))
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
