package ledger

import (
	"maps"
	"slices"

	coordinationv1 "k8s.io/api/coordination/v1"

	"github.com/kvip/kvip/pkg/ipam"
	"github.com/kvip/kvip/pkg/svc"
)

// contents returns the entries that a kvip wrote into l. Whoever edits a Lease leaves the time of its renewal as
// it is: then what was there before counts, if this node knows that.
func (b *Store) contents(l *coordinationv1.Lease, before []*shard) ipam.Ledger {
	entries := svc.DecodeLedger(l.Annotations[svc.AnnotationLedger])
	known := b.asWritten(l, before)
	if known == nil || known.Equal(entries) {
		return entries
	}
	b.cfg.Log.Warn("somebody has edited the ledger; its entries are restored", "lease", l.Name)
	return maps.Clone(known)
}

// asWritten returns the entries of the last write of a kvip into l, nil if they are not known.
func (b *Store) asWritten(l *coordinationv1.Lease, before []*shard) ipam.Ledger {
	if l.Spec.RenewTime == nil {
		return nil
	}
	for _, s := range before {
		if s.lease.UID == l.UID && s.lease.Name == l.Name && s.lease.Spec.RenewTime.Equal(l.Spec.RenewTime) {
			return s.entries
		}
	}
	if seen := b.cfg.Known(l.Name); seen != nil && seen.UID == l.UID && seen.Renewed.Equal(l.Spec.RenewTime.Time) {
		return seen.Entries
	}
	return nil
}

// Changed returns the name of a Lease of the ledger that somebody has edited, made or deleted since, by what the
// watch shows; "" if there is none. Take must follow. That another allocator has taken the ledger over is not
// meant: who is that one is the seat's to say, and writes fail.
func (b *Store) Changed(leases []*svc.Lease) string {
	seen := map[string]*svc.Lease{}
	for _, l := range leases {
		if l.Role == svc.RoleLedger {
			seen[l.Name] = l
		}
	}
	for _, s := range b.shards {
		l := seen[s.lease.Name]
		delete(seen, s.lease.Name)
		switch {
		case l == nil && s.seen: // the watch lags behind, but what it has shown is gone only if it was deleted
			return s.lease.Name
		case l == nil:
		case l.ResourceVersion == s.lease.ResourceVersion:
			s.seen, s.reached = true, true
		case svc.Newer(l, s.lease):
			if l.Edited || l.Holder == b.cfg.Identity {
				return s.lease.Name
			}
		case s.reached: // an older one after a newer one: etcd was restored
			return s.lease.Name
		default:
			s.seen = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(seen)) {
		if len(seen[name].Entries) > 0 {
			return name
		}
	}
	return ""
}
