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

// keepDeleted is how long a ledger entry counts after its Lease was deleted. The allocator writes
// it again within two seconds; this limits how long agents continue without an allocator.
const keepDeleted = 10 * time.Minute

// deletedEntries remembers the entries of ledger Leases that were deleted. kvip deletes none.
type deletedEntries struct {
	clock boottime.Clock

	mu      sync.Mutex
	entries map[netip.Addr]deletedEntry
}

// deletedEntry is an entry, and when the deletion of its Lease was seen.
type deletedEntry struct {
	entries []ipam.Entry
	at      time.Duration
}

func newDeletedEntries(c boottime.Clock) *deletedEntries {
	return &deletedEntries{clock: c, entries: map[netip.Addr]deletedEntry{}}
}

// track receives a change of a Lease, nil for a missing one, and returns the Lease to keep. kvip
// renews a Lease with each write. Entries that changed without a renewal do not count until the
// allocator writes the Lease.
func (d *deletedEntries) track(old, now *Lease) *Lease {
	d.mu.Lock()
	defer d.mu.Unlock()
	wasLedger := old != nil && old.Role == RoleLedger
	if now == nil || now.Role != RoleLedger {
		if wasLedger {
			for addr, entries := range old.Entries {
				d.entries[addr] = deletedEntry{entries, d.clock()}
			}
		}
		return now
	}
	sameWrite := wasLedger && old.UID == now.UID &&
		!now.Renewed.IsZero() && now.Renewed.Equal(old.Renewed)
	if sameWrite && !now.Entries.Equal(old.Entries) {
		now.Entries, now.Edited = old.Entries, true
	}
	for addr := range now.Entries {
		delete(d.entries, addr)
	}
	return now
}

// merge returns l with the deleted entries that do not contradict it: l does not have the address,
// and the Service has no other address of that family.
func (d *deletedEntries) merge(l ipam.Ledger) ipam.Ledger {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.clock()
	maps.DeleteFunc(d.entries, func(_ netip.Addr, e deletedEntry) bool {
		return now-e.at > keepDeleted
	})
	if len(d.entries) == 0 {
		return l
	}
	type key struct {
		key    ipam.ServiceKey
		family ipam.Family
	}
	served := map[key]bool{}
	for addr, entries := range l {
		for _, one := range entries {
			served[key{one.Service, ipam.FamilyOf(addr)}] = one.Service != ipam.ControlPlane
		}
	}
	all := maps.Clone(l)
	for addr, e := range d.entries {
		if _, exists := l[addr]; exists {
			continue
		}
		entries := slices.DeleteFunc(slices.Clone(e.entries), func(one ipam.Entry) bool {
			return served[key{one.Service, ipam.FamilyOf(addr)}]
		})
		if len(entries) > 0 {
			all[addr] = entries
		}
	}
	return all
}
