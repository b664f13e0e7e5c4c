// Package ledger keeps in the cluster which Service has which address (S4). It writes only what
// nobody else has written meanwhile, and shuts out whoever wrote before: deciding who gets which
// address is not its job.
//
// The ledger is a row of Leases, its shards: besides Leases there is no object that kvip may write with
// the rights that kube-vip had (S9), and a Lease says by itself who wrote it. An entry stays in its
// shard. New ones go to the first with room, and the last is always empty, so that whoever takes the
// ledger over has made every object that his predecessor could still want to write.
package ledger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/ipam"
	"github.com/kvip/kvip/pkg/svc"
)

// MaxShard is how long the text of one shard may become, in bytes. An API server takes 256 KiB of
// annotations (k8s.io/apimachinery, TotalAnnotationSizeLimitB).
const MaxShard = 200_000

// ErrLost says that another node has written the ledger: its holder is somebody else now, or all that
// is known of the ledger is old. Take begins anew.
var ErrLost = errors.New("another node has written the ledger")

// Leases is the part of a client for Leases of one namespace that a Book uses.
type Leases interface {
	List(ctx context.Context, o metav1.ListOptions) (*coordinationv1.LeaseList, error)
	Create(ctx context.Context, l *coordinationv1.Lease, o metav1.CreateOptions) (*coordinationv1.Lease, error)
	Update(ctx context.Context, l *coordinationv1.Lease, o metav1.UpdateOptions) (*coordinationv1.Lease, error)
}

// Config of a Book. All fields are needed but MaxShard.
type Config struct {
	// Name begins the names of the shards, Namespace is theirs.
	Name, Namespace string
	// Identity says who writes.
	Identity string
	// Leases returns the client to use now.
	Leases func() (Leases, error)
	Log    *slog.Logger
	// MaxShard bounds a shard's text in bytes; 0 means the constant.
	MaxShard int
}

// Book is one node's hold on the ledger. It is used from one goroutine.
type Book struct {
	cfg    Config
	shards []*shard
}

// shard is one Lease as it was written last.
type shard struct {
	lease   *coordinationv1.Lease
	entries ipam.Ledger
}

// New returns a Book that holds nothing before Take.
func New(cfg Config) *Book {
	if cfg.MaxShard == 0 {
		cfg.MaxShard = MaxShard
	}
	return &Book{cfg: cfg}
}

// Take reads the ledger and writes this node's identity into every shard: from then on whoever held it
// before can write none of them (S4). An address that two shards have keeps the owners of the first.
func (b *Book) Take(ctx context.Context) (ipam.Ledger, error) {
	leases, err := b.cfg.Leases()
	if err != nil {
		return nil, fmt.Errorf("take ledger: %w", err)
	}
	list, err := leases.List(ctx, metav1.ListOptions{LabelSelector: svc.LabelRole + "=" + svc.RoleLedger})
	if err != nil {
		return nil, fmt.Errorf("list ledger: %w", err)
	}
	b.shards = nil
	for _, l := range b.own(list.Items) {
		entries := svc.DecodeLedger(l.Annotations[svc.AnnotationLedger])
		b.withoutKnown(entries)
		if err := b.write(ctx, leases, &shard{lease: &l}, entries, true); err != nil {
			return nil, err
		}
	}
	if err := b.keepSpare(ctx, leases); err != nil {
		return nil, err
	}
	return b.Ledger(), nil
}

// own picks the shards among the Leases, in the order of their numbers.
func (b *Book) own(all []coordinationv1.Lease) []coordinationv1.Lease {
	all = slices.DeleteFunc(all, func(l coordinationv1.Lease) bool { return b.number(l.Name) < 0 })
	slices.SortFunc(all, func(x, y coordinationv1.Lease) int { return b.number(x.Name) - b.number(y.Name) })
	return all
}

func (b *Book) name(n int) string { return b.cfg.Name + "-ledger-" + strconv.Itoa(n) }

func (b *Book) number(name string) int {
	rest, ok := strings.CutPrefix(name, b.cfg.Name+"-ledger-")
	n, err := strconv.Atoi(rest)
	if !ok || err != nil || n < 0 {
		return -1
	}
	return n
}

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

// Ledger returns what was read and written last.
func (b *Book) Ledger() ipam.Ledger {
	all := ipam.Ledger{}
	for _, s := range b.shards {
		maps.Copy(all, s.entries)
	}
	return all
}

// Commit writes next, each changed shard once. After an error nobody knows which of them were written:
// Take must follow. The error is ErrLost if another node has written meanwhile.
func (b *Book) Commit(ctx context.Context, next ipam.Ledger) error {
	leases, err := b.cfg.Leases()
	if err != nil {
		return fmt.Errorf("write ledger: %w", err)
	}
	parts, err := b.split(ctx, leases, next)
	if err != nil {
		return err
	}
	for i, part := range parts {
		if part.Equal(b.shards[i].entries) {
			continue
		}
		if err := b.write(ctx, leases, b.shards[i], part, false); err != nil {
			return err
		}
	}
	return nil
}

// split says what belongs into each shard. An entry that is there stays where it is; before the last
// shard gets its first, there is another one behind it.
func (b *Book) split(ctx context.Context, leases Leases, next ipam.Ledger) ([]ipam.Ledger, error) {
	parts, sizes := make([]ipam.Ledger, len(b.shards)), make([]int, len(b.shards))
	where := map[netip.Addr]int{}
	for i, s := range b.shards {
		parts[i] = ipam.Ledger{}
		for addr := range s.entries {
			where[addr] = i
		}
	}
	var fresh []netip.Addr
	for addr, owners := range next {
		i, known := where[addr]
		if !known {
			fresh = append(fresh, addr)
			continue
		}
		parts[i][addr] = owners
		sizes[i] += svc.EntrySize(addr, owners)
	}
	slices.SortFunc(fresh, netip.Addr.Compare)
	at := 0
	for _, addr := range fresh {
		size := svc.EntrySize(addr, next[addr])
		for at < len(parts)-1 && sizes[at]+size > b.cfg.MaxShard {
			at++
		}
		if at == len(parts)-1 {
			if err := b.add(ctx, leases); err != nil {
				return nil, err
			}
			parts, sizes = append(parts, ipam.Ledger{}), append(sizes, 0)
		}
		parts[at][addr] = next[addr]
		sizes[at] += size
	}
	return parts, nil
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

// write updates a shard at the version that was seen last, and appends it to those that are held.
func (b *Book) write(ctx context.Context, leases Leases, s *shard, entries ipam.Ledger, appendIt bool) error {
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
	if appendIt {
		b.shards = append(b.shards, s)
	}
	return nil
}

func (b *Book) fill(l *coordinationv1.Lease, entries ipam.Ledger) {
	if l.Annotations == nil {
		l.Annotations = map[string]string{}
	}
	l.Annotations[svc.AnnotationLedger] = svc.EncodeLedger(entries)
	now := metav1.NowMicro()
	l.Spec.HolderIdentity, l.Spec.RenewTime = &b.cfg.Identity, &now
}
