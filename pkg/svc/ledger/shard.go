package ledger

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/ipam"
	"github.com/kvip/kvip/pkg/svc"
)

// shard is one Lease as it was written last.
type shard struct {
	lease   *coordinationv1.Lease
	entries ipam.Ledger
	// seen says that the watch has shown the Lease, reached that it has shown this version of it.
	seen, reached bool
}

// list reads the shards, in the order of their numbers. They are told by their names: somebody may have taken a
// label away.
func (b *Store) list(ctx context.Context, leases Leases) ([]coordinationv1.Lease, error) {
	list, err := leases.List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list ledger: %w", err)
	}
	all := slices.DeleteFunc(list.Items, func(l coordinationv1.Lease) bool { return svc.Shard(b.cfg.Name, l.Name) < 0 })
	slices.SortFunc(all, func(x, y coordinationv1.Lease) int {
		return svc.Shard(b.cfg.Name, x.Name) - svc.Shard(b.cfg.Name, y.Name)
	})
	return all, nil
}

// alone asserts, after shards were made, that there are no others: whoever was frozen since the list, while others
// made the ledger and somebody deleted a part of it, must not take what he makes for all of it.
func (b *Store) alone(ctx context.Context, leases Leases) error {
	listed, err := b.list(ctx, leases)
	if err != nil {
		return err
	}
	for _, l := range listed {
		if !slices.ContainsFunc(b.shards, func(s *shard) bool { return s.lease.Name == l.Name }) {
			return fmt.Errorf("take ledger: lease %s was made meanwhile: %w", l.Name, ErrLost)
		}
	}
	return nil
}

func (b *Store) name(n int) string { return svc.LedgerPrefix(b.cfg.Name) + strconv.Itoa(n) }

// withoutKnown drops what a shard before has.
func (b *Store) withoutKnown(entries ipam.Ledger) {
	for _, s := range b.shards {
		for addr := range s.entries {
			if _, twice := entries[addr]; twice {
				b.cfg.Log.Error("the ledger has an address twice; the first entry counts", "vip", addr, "lease", s.lease.Name)
				delete(entries, addr)
			}
		}
	}
}

// keepSpare makes the last shard an empty one.
func (b *Store) keepSpare(ctx context.Context, leases Leases) error {
	for len(b.shards) < 2 || len(b.shards[len(b.shards)-1].entries) > 0 {
		if err := b.add(ctx, leases); err != nil {
			return err
		}
	}
	return nil
}

// add makes one more shard, empty.
func (b *Store) add(ctx context.Context, leases Leases) error {
	n := 0
	if len(b.shards) > 0 {
		n = svc.Shard(b.cfg.Name, b.shards[len(b.shards)-1].lease.Name) + 1
	}
	l := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: b.name(n), Namespace: b.cfg.Namespace}}
	b.fill(l, ipam.Ledger{})
	made, err := leases.Create(ctx, l, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create lease %s: %w", l.Name, ErrLost)
	}
	if err != nil {
		return fmt.Errorf("create lease %s for the ledger: %w", l.Name, err)
	}
	b.shards = append(b.shards, &shard{lease: made, entries: ipam.Ledger{}})
	return nil
}

// write updates a shard at the version that was seen last.
func (b *Store) write(ctx context.Context, leases Leases, s *shard, entries ipam.Ledger) error {
	l := s.lease.DeepCopy()
	b.fill(l, entries)
	written, err := leases.Update(ctx, l, metav1.UpdateOptions{})
	switch {
	case apierrors.IsConflict(err) || apierrors.IsNotFound(err):
		return fmt.Errorf("write lease %s: %w", l.Name, ErrLost)
	case err != nil:
		return fmt.Errorf("write lease %s of the ledger: %w", l.Name, err)
	}
	s.lease, s.entries, s.reached = written, entries, false
	return nil
}

// fill says in l who writes what.
func (b *Store) fill(l *coordinationv1.Lease, entries ipam.Ledger) {
	if l.Annotations == nil {
		l.Annotations = map[string]string{}
	}
	if l.Labels == nil {
		l.Labels = map[string]string{}
	}
	l.Labels[svc.LabelRole], l.Annotations[svc.AnnotationLedger] = svc.RoleLedger, svc.EncodeLedger(entries)
	now := metav1.NowMicro()
	l.Spec.HolderIdentity, l.Spec.RenewTime = &b.cfg.Identity, &now
}
