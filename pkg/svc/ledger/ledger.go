// Package ledger keeps in the cluster which Service has which address (S4). It writes only what
// nobody else has written meanwhile, and shuts out whoever wrote before: deciding who gets which
// address is not its job.
//
// The ledger is a row of Leases, its shards: besides Leases there is no object that kvip may write with
// the rights that kube-vip had (S9), and a Lease says by itself who wrote it. An entry stays in its
// shard while it fits, and goes to a later one when it has grown. New ones go to the first with room. The
// last is always empty, so that whoever takes the ledger over has written every object that the allocator
// before could still want to write.
package ledger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/ipam"
	"github.com/kvip/kvip/pkg/svc"
)

// MaxShard is how long the text of one shard may become, in bytes. An API server takes 256 KiB of
// annotations (k8s.io/apimachinery, TotalAnnotationSizeLimitB).
const MaxShard = 200_000

// MaxEntry is how long the entry of one address may be. What ipam allows is shorter (ipam.MaxHolders and
// ipam.MaxPorts).
const MaxEntry = MaxShard

// ErrLost says that another node has written the ledger: its holder is somebody else now, or all that
// is known of the ledger is old. Take begins anew.
var ErrLost = errors.New("another node has written the ledger")

// Leases is the part of a client for Leases of one namespace that a Book uses.
type Leases interface {
	List(ctx context.Context, o metav1.ListOptions) (*coordinationv1.LeaseList, error)
	Create(ctx context.Context, l *coordinationv1.Lease, o metav1.CreateOptions) (*coordinationv1.Lease, error)
	Update(ctx context.Context, l *coordinationv1.Lease, o metav1.UpdateOptions) (*coordinationv1.Lease, error)
}

// Config of a Book. All fields are needed but Known and MaxShard.
type Config struct {
	// Name begins the names of the shards, Namespace is theirs.
	Name, Namespace string
	// Identity says who writes.
	Identity string
	// Leases returns the client to use now.
	Leases func() (Leases, error)
	Log    *slog.Logger
	// Known returns a Lease of the ledger as the watch has shown it, nil if it has not. It may be nil.
	Known func(name string) *svc.Lease
	// MaxShard bounds a shard's text in bytes; 0 means the constant.
	MaxShard int
}

// Store is one node's hold on the ledger. It is used from one goroutine.
type Store struct {
	cfg    Config
	shards []*shard
}

// New returns a Book that holds nothing before Take.
func New(cfg Config) *Store {
	if cfg.MaxShard == 0 {
		cfg.MaxShard = MaxShard
	}
	if cfg.Known == nil {
		cfg.Known = func(string) *svc.Lease { return nil }
	}
	return &Store{cfg: cfg}
}

// Acquire reads the ledger and writes this node's identity into every shard: from then on whoever held it
// before can write none of them (S4). An address that two shards have keeps the owners of the first.
func (b *Store) Acquire(ctx context.Context) (ipam.Ledger, error) {
	leases, err := b.cfg.Leases()
	if err != nil {
		return nil, fmt.Errorf("take ledger: %w", err)
	}
	listed, err := b.list(ctx, leases)
	if err != nil {
		return nil, err
	}
	before := b.shards
	b.shards = nil
	for _, l := range listed {
		entries := b.contents(&l, before)
		b.withoutKnown(entries)
		s := &shard{lease: &l}
		if err := b.write(ctx, leases, s, entries); err != nil {
			return nil, err
		}
		b.shards = append(b.shards, s)
	}
	if err := b.keepSpare(ctx, leases); err != nil {
		return nil, err
	}
	if len(b.shards) > len(listed) {
		if err := b.alone(ctx, leases); err != nil {
			return nil, err
		}
	}
	return b.Ledger(), nil
}

// Ledger returns what was read and written last.
func (b *Store) Ledger() ipam.Ledger {
	all := ipam.Ledger{}
	for _, s := range slices.Backward(b.shards) { // the first counts
		maps.Copy(all, s.entries)
	}
	return all
}

// Commit writes next, each changed shard once. An entry longer than MaxEntry is left as it was, see Ledger. After an error nobody knows which of them were written:
// Take must follow. The error is ErrLost if another node has written meanwhile, or nothing was taken.
func (b *Store) Commit(ctx context.Context, next ipam.Ledger) error {
	if len(b.shards) == 0 {
		return fmt.Errorf("write ledger: it was not taken: %w", ErrLost)
	}
	leases, err := b.cfg.Leases()
	if err != nil {
		return fmt.Errorf("write ledger: %w", err)
	}
	plan, err := b.split(ctx, leases, b.bounded(next))
	if err != nil {
		return err
	}
	// An entry that changes its shard is in both for a while, and the first counts. So the shards that lose one to
	// a later shard come last, and until then the address has the holders that it had. Those that get something
	// are written in their order: nothing is written behind a shard that another allocator has taken.
	for _, full := range []bool{false, true} {
		for i, part := range plan.parts {
			if plan.full[i] != full || part.Equal(b.shards[i].entries) {
				continue
			}
			if err := b.write(ctx, leases, b.shards[i], part); err != nil {
				return err
			}
		}
	}
	return nil
}

// bounded leaves entries as they are that no Lease has room for: they must not keep the others from being written.
func (b *Store) bounded(next ipam.Ledger) ipam.Ledger {
	var have ipam.Ledger
	for addr, holders := range next {
		if svc.EntrySize(addr, holders) <= MaxEntry {
			continue
		}
		if have == nil {
			have, next = b.Ledger(), maps.Clone(next)
		}
		b.cfg.Log.Error("the ledger has no room for an entry; it stays as it was", "vip", addr, "holders", len(holders))
		if old, ok := have[addr]; ok {
			next[addr] = old
		} else {
			delete(next, addr)
		}
	}
	return next
}
