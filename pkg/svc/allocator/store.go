package allocator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/ipam"
	"github.com/kvip/kvip/pkg/svc"
)

// maxShardBytes is the longest text of one shard. An API server accepts 256 KiB of annotations
// (k8s.io/apimachinery, TotalAnnotationSizeLimitB). The entry of one address is shorter
// (ipam.MaxSharers and ipam.MaxPorts).
const maxShardBytes = 200_000

// errLedgerChanged means that another client has written the ledger, or that it was not acquired.
// acquire must follow.
var errLedgerChanged = errors.New("another client has written the ledger")

// leaseClient is what a store uses of a client for the Leases of one namespace.
type leaseClient interface {
	apiclient.LeaseWriter
	List(ctx context.Context, o metav1.ListOptions) (*coordinationv1.LeaseList, error)
}

// storeConfig configures a store. All fields are required.
type storeConfig struct {
	// name is the prefix of the shards' names, namespace is theirs.
	name, namespace string
	identity        string
	leases          func() (leaseClient, error)
	log             *slog.Logger
	// known returns a Lease of the ledger as the watch shows it, or nil.
	known func(name string) *svc.Lease
	// maxShardBytes is the longest text of a shard.
	maxShardBytes int
}

// store reads and writes the ledger (S4). Each write carries the version that was read, and acquire
// fences earlier writers. It is used from one goroutine.
//
// The ledger is a sequence of Leases, its shards: with the permissions of kube-vip, kvip may write
// no other object (S9), and a Lease names its writer. An entry stays in its shard while it fits,
// and moves to a later one when it has grown. New entries go to the first shard with room. The last
// shard is always empty, so a new allocator has written every object that the former one could
// write.
type store struct {
	cfg    storeConfig
	shards []*shard
}

// shard is one Lease as it was written last.
type shard struct {
	lease   *coordinationv1.Lease
	entries ipam.Ledger
	// seen: the watch has shown the Lease. reached: it has shown this version.
	seen, reached bool
}

// acquire reads the ledger and writes this node's identity into every shard, so that an earlier
// writer can write none of them (S4). If two shards have an address, the first counts.
func (st *store) acquire(ctx context.Context) error {
	leases, err := st.cfg.leases()
	if err != nil {
		return fmt.Errorf("acquire ledger: %w", err)
	}
	listed, err := st.list(ctx, leases)
	if err != nil {
		return err
	}
	before := st.shards
	st.shards = nil
	for _, l := range listed {
		entries := st.restore(&l, before)
		st.removeDuplicates(entries)
		s := &shard{lease: &l}
		if err := st.write(ctx, leases, s, entries); err != nil {
			return err
		}
		st.shards = append(st.shards, s)
	}
	if err := st.ensureSpareShard(ctx, leases); err != nil {
		return err
	}
	if len(st.shards) > len(listed) {
		return st.checkComplete(ctx, leases)
	}
	return nil
}

// ledger returns what was read and written last.
func (st *store) ledger() ipam.Ledger {
	all := ipam.Ledger{}
	for _, s := range slices.Backward(st.shards) { // the first counts
		maps.Copy(all, s.entries)
	}
	return all
}

// commit writes next, each changed shard once. An entry that is too long for a shard stays as it
// was. After an error it is unknown which shards were written: acquire must follow. The error is
// errLedgerChanged if another client has written meanwhile, or nothing was acquired.
func (st *store) commit(ctx context.Context, next ipam.Ledger) error {
	if len(st.shards) == 0 {
		return fmt.Errorf("write ledger: it was not acquired: %w", errLedgerChanged)
	}
	leases, err := st.cfg.leases()
	if err != nil {
		return fmt.Errorf("write ledger: %w", err)
	}
	layout, err := st.split(ctx, leases, st.dropOversized(next))
	if err != nil {
		return err
	}
	// An entry that moves is in two shards for a while, and the first counts. Shards that lose an
	// entry to a later one come last, so the address has its Services throughout. The others are
	// written in order, so nothing is written behind a shard that another allocator acquired.
	for _, full := range []bool{false, true} {
		for i, part := range layout.parts {
			if layout.full[i] != full || part.Equal(st.shards[i].entries) {
				continue
			}
			if err := st.write(ctx, leases, st.shards[i], part); err != nil {
				return err
			}
		}
	}
	return nil
}

// dropOversized keeps entries that fit into no Lease as they are, so that they do not block other
// entries.
func (st *store) dropOversized(next ipam.Ledger) ipam.Ledger {
	var have ipam.Ledger
	for addr, entries := range next {
		if svc.EntrySize(addr, entries) <= st.cfg.maxShardBytes {
			continue
		}
		if have == nil {
			have, next = st.ledger(), maps.Clone(next)
		}
		st.cfg.log.Error("ledger entry exceeds the size of a shard; keeping the previous entry",
			"address", addr, "services", len(entries))
		if old, ok := have[addr]; ok {
			next[addr] = old
		} else {
			delete(next, addr)
		}
	}
	return next
}

// restore returns the entries that a kvip wrote into l. An edit by another client leaves the time
// of renewal as it is: then the entries before the edit count, if this node knows them.
func (st *store) restore(l *coordinationv1.Lease, before []*shard) ipam.Ledger {
	entries := svc.DecodeLedger(l.Annotations[svc.AnnotationLedger])
	known := st.lastWritten(l, before)
	if known == nil || known.Equal(entries) {
		return entries
	}
	st.cfg.log.Warn("another client has edited the ledger; its entries are restored", "lease", l.Name)
	return maps.Clone(known)
}

// lastWritten returns the entries of the last write of a kvip into l, nil if they are unknown.
func (st *store) lastWritten(l *coordinationv1.Lease, before []*shard) ipam.Ledger {
	if l.Spec.RenewTime == nil {
		return nil
	}
	for _, s := range before {
		last := s.lease
		if last.UID == l.UID && last.Name == l.Name && last.Spec.RenewTime.Equal(l.Spec.RenewTime) {
			return s.entries
		}
	}
	seen := st.cfg.known(l.Name)
	if seen != nil && seen.UID == l.UID && seen.Renewed.Equal(l.Spec.RenewTime.Time) {
		return seen.Entries
	}
	return nil
}

// changed returns the name of a shard that another client than an allocator has edited, created or
// deleted, by what the watch shows, or "". acquire must follow. A take-over by another allocator
// does not count: the election reports it, and writes fail.
func (st *store) changed(leases []*svc.Lease) string {
	seen := map[string]*svc.Lease{}
	for _, l := range leases {
		if l.Role == svc.RoleLedger {
			seen[l.Name] = l
		}
	}
	for _, s := range st.shards {
		l := seen[s.lease.Name]
		delete(seen, s.lease.Name)
		switch {
		case l == nil && s.seen: // the watch may lag, but a Lease that it has shown was deleted
			return s.lease.Name
		case l == nil:
		case l.ResourceVersion == s.lease.ResourceVersion:
			s.seen, s.reached = true, true
		case svc.Newer(l, s.lease):
			if l.Edited || l.Holder == st.cfg.identity {
				return s.lease.Name
			}
		case s.reached: // an older version after a newer one: etcd was restored
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

// list reads the shards in the order of their numbers. It selects them by name, as another client
// may have removed a label.
func (st *store) list(ctx context.Context, leases leaseClient) ([]coordinationv1.Lease, error) {
	list, err := leases.List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list ledger: %w", err)
	}
	number := func(l coordinationv1.Lease) int { return svc.Shard(st.cfg.name, l.Name) }
	all := slices.DeleteFunc(list.Items, func(l coordinationv1.Lease) bool { return number(l) < 0 })
	slices.SortFunc(all, func(x, y coordinationv1.Lease) int { return number(x) - number(y) })
	return all, nil
}

// checkComplete returns an error if there are shards that this node has neither read nor created:
// it was paused since list, while others created the ledger and a part of that was deleted.
func (st *store) checkComplete(ctx context.Context, leases leaseClient) error {
	listed, err := st.list(ctx, leases)
	if err != nil {
		return err
	}
	for _, l := range listed {
		if !slices.ContainsFunc(st.shards, func(s *shard) bool { return s.lease.Name == l.Name }) {
			return fmt.Errorf("acquire ledger: lease %s was created meanwhile: %w", l.Name, errLedgerChanged)
		}
	}
	return nil
}

// removeDuplicates removes entries that an earlier shard has.
func (st *store) removeDuplicates(entries ipam.Ledger) {
	for _, s := range st.shards {
		for addr := range s.entries {
			if _, twice := entries[addr]; twice {
				st.cfg.log.Error("the ledger has an address twice; the first entry counts",
					"address", addr, "lease", s.lease.Name)
				delete(entries, addr)
			}
		}
	}
}

// ensureSpareShard adds shards until the last of at least two is empty.
func (st *store) ensureSpareShard(ctx context.Context, leases leaseClient) error {
	for len(st.shards) < 2 || len(st.shards[len(st.shards)-1].entries) > 0 {
		if err := st.add(ctx, leases); err != nil {
			return err
		}
	}
	return nil
}

// add creates an empty shard behind the last.
func (st *store) add(ctx context.Context, leases leaseClient) error {
	n := 0
	if len(st.shards) > 0 {
		n = svc.Shard(st.cfg.name, st.shards[len(st.shards)-1].lease.Name) + 1
	}
	name := svc.LedgerPrefix(st.cfg.name) + strconv.Itoa(n)
	l := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: st.cfg.namespace}}
	created, err := st.send(ctx, leases, l, ipam.Ledger{})
	if apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create lease %s: %w", l.Name, errLedgerChanged)
	}
	if err != nil {
		return fmt.Errorf("create lease %s for the ledger: %w", l.Name, err)
	}
	st.shards = append(st.shards, &shard{lease: created, entries: ipam.Ledger{}})
	return nil
}

// write updates a shard at the version that was read last.
func (st *store) write(
	ctx context.Context, leases leaseClient, s *shard, entries ipam.Ledger,
) error {
	written, err := st.send(ctx, leases, s.lease, entries)
	switch {
	case apierrors.IsConflict(err) || apierrors.IsNotFound(err):
		return fmt.Errorf("write lease %s: %w", s.lease.Name, errLedgerChanged)
	case err != nil:
		return fmt.Errorf("write lease %s of the ledger: %w", s.lease.Name, err)
	}
	s.lease, s.entries, s.reached = written, entries, false
	return nil
}

// send writes a copy of base with entries, writer and time.
func (st *store) send(
	ctx context.Context, leases leaseClient, base *coordinationv1.Lease, entries ipam.Ledger,
) (*coordinationv1.Lease, error) {
	return apiclient.WriteLease(ctx, leases, base, func(l *coordinationv1.Lease) {
		l.Labels[svc.LabelRole] = svc.RoleLedger
		l.Annotations[svc.AnnotationLedger] = svc.EncodeLedger(entries)
		now := metav1.NowMicro()
		l.Spec.HolderIdentity, l.Spec.RenewTime = &st.cfg.identity, &now
	})
}
