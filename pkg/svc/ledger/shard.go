package ledger

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

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
}

// own picks the shards among the Leases, in the order of their numbers.
func (b *Book) own(all []coordinationv1.Lease) []coordinationv1.Lease {
	all = slices.DeleteFunc(all, func(l coordinationv1.Lease) bool { return b.number(l.Name) < 0 })
	slices.SortFunc(all, func(x, y coordinationv1.Lease) int { return b.number(x.Name) - b.number(y.Name) })
	return all
}

func (b *Book) name(n int) string { return svc.LedgerPrefix(b.cfg.Name) + strconv.Itoa(n) }

// number is that of the shard of a name, -1 if it is none.
func (b *Book) number(name string) int {
	rest, ok := strings.CutPrefix(name, svc.LedgerPrefix(b.cfg.Name))
	n, err := strconv.Atoi(rest)
	if !ok || err != nil || b.name(n) != name { // 01 is no number of a shard
		return -1
	}
	return n
}

// withoutKnown drops what a shard before has.
func (b *Book) withoutKnown(entries ipam.Ledger) {
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
func (b *Book) keepSpare(ctx context.Context, leases Leases) error {
	for len(b.shards) < 2 || len(b.shards[len(b.shards)-1].entries) > 0 {
		if err := b.add(ctx, leases); err != nil {
			return err
		}
	}
	return nil
}

// add makes one more shard, empty.
func (b *Book) add(ctx context.Context, leases Leases) error {
	n := 0
	if len(b.shards) > 0 {
		n = b.number(b.shards[len(b.shards)-1].lease.Name) + 1
	}
	l := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: b.name(n), Namespace: b.cfg.Namespace, Labels: map[string]string{svc.LabelRole: svc.RoleLedger}}}
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
func (b *Book) write(ctx context.Context, leases Leases, s *shard, entries ipam.Ledger) error {
	l := s.lease.DeepCopy()
	b.fill(l, entries)
	written, err := leases.Update(ctx, l, metav1.UpdateOptions{})
	switch {
	case apierrors.IsConflict(err) || apierrors.IsNotFound(err):
		return fmt.Errorf("write lease %s: %w", l.Name, ErrLost)
	case err != nil:
		return fmt.Errorf("write lease %s of the ledger: %w", l.Name, err)
	}
	s.lease, s.entries = written, entries
	return nil
}

// fill says in l who writes what.
func (b *Book) fill(l *coordinationv1.Lease, entries ipam.Ledger) {
	if l.Annotations == nil {
		l.Annotations = map[string]string{}
	}
	l.Annotations[svc.AnnotationLedger] = svc.EncodeLedger(entries)
	now := metav1.NowMicro()
	l.Spec.HolderIdentity, l.Spec.RenewTime = &b.cfg.Identity, &now
}
