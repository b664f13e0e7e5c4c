package svc

import (
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/kvip/kvip/pkg/boottime"
	"github.com/kvip/kvip/pkg/ipam"
)

// keepVanished is for how long an entry of the ledger counts whose Lease was deleted. The allocator writes it
// again within a second; this bounds how long agents go on where there is none.
const keepVanished = 10 * time.Minute

// vanished remembers the entries of ledger Leases that somebody deleted: kvip never does.
type vanished struct {
	clock boottime.Clock

	mu      sync.Mutex
	entries map[netip.Addr]lost
}

// lost is an entry, and when its Lease was seen to be gone.
type lost struct {
	holders []ipam.Holder
	at      time.Duration
}

func newVanished(c boottime.Clock) *vanished {
	return &vanished{clock: c, entries: map[netip.Addr]lost{}}
}

// follow sees a Lease change, nil where there is none, and returns what counts. What is not written by a kvip,
// which renews the Lease with each write, changes no entry until the allocator has written it.
func (v *vanished) follow(old, now *Lease) *Lease {
	v.mu.Lock()
	defer v.mu.Unlock()
	if old != nil && old.Role == RoleLedger && (now == nil || now.Role != RoleLedger) {
		for addr, holders := range old.Entries {
			v.entries[addr] = lost{holders, v.clock()}
		}
	}
	if now == nil || now.Role != RoleLedger {
		return now
	}
	if old != nil && old.Role == RoleLedger && old.UID == now.UID && now.writtenWith(old) && !now.Entries.Equal(old.Entries) {
		now.Entries, now.Edited = old.Entries, true
	}
	for addr := range now.Entries {
		delete(v.entries, addr)
	}
	return now
}

// writtenWith reports whether l comes from the same write of a kvip as other, unless others have edited one.
func (l *Lease) writtenWith(other *Lease) bool {
	return !l.Renewed.IsZero() && l.Renewed.Equal(other.Renewed)
}

// restored returns l with the entries that vanished, as far as they do not contradict it: the address is in no
// other, and its holder has no other address of the family.
func (v *vanished) restored(l ipam.Ledger) ipam.Ledger {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := v.clock()
	maps.DeleteFunc(v.entries, func(_ netip.Addr, e lost) bool { return now-e.at > keepVanished })
	if len(v.entries) == 0 {
		return l
	}
	type place struct {
		owner  ipam.Owner
		family ipam.Family
	}
	has := map[place]bool{}
	for addr, holders := range l {
		for _, h := range holders {
			has[place{h.Owner, ipam.FamilyOf(addr)}] = h.Owner != ipam.ControlPlane
		}
	}
	all := maps.Clone(l)
	for addr, e := range v.entries {
		if _, there := l[addr]; there {
			continue
		}
		rest := slices.DeleteFunc(slices.Clone(e.holders), func(h ipam.Holder) bool { return has[place{h.Owner, ipam.FamilyOf(addr)}] })
		if len(rest) > 0 {
			all[addr] = rest
		}
	}
	return all
}
