package ledger

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/ipam"
	"github.com/kvip/kvip/pkg/svc"
)

// errDown is no answer of an API server.
var errDown = errors.New("the API server is down")

// cluster has the Leases of one namespace and checks resourceVersions as an API server does.
type cluster struct {
	version int
	leases  map[string]*coordinationv1.Lease
	writes  int
	fail    map[int]error   // by the number of the write: it is not done
	mute    map[int]bool    // by the number of the write: it is done, and nobody hears of it
	lost    map[string]bool // addresses that were in a Lease that was deleted
}

func newCluster() *cluster {
	return &cluster{leases: map[string]*coordinationv1.Lease{}, fail: map[int]error{}, mute: map[int]bool{}, lost: map[string]bool{}}
}

var resource = coordinationv1.Resource("leases")

// List implements Leases. A label is all that is selected by.
func (c *cluster) List(_ context.Context, o metav1.ListOptions) (*coordinationv1.LeaseList, error) {
	list := &coordinationv1.LeaseList{}
	name, value, _ := strings.Cut(o.LabelSelector, "=")
	for _, key := range slices.Sorted(maps.Keys(c.leases)) {
		if l := c.leases[key]; l.Labels[name] == value {
			list.Items = append(list.Items, *l.DeepCopy())
		}
	}
	return list, nil
}

// Create implements Leases.
func (c *cluster) Create(_ context.Context, l *coordinationv1.Lease, _ metav1.CreateOptions) (*coordinationv1.Lease, error) {
	if _, there := c.leases[l.Name]; there {
		return nil, apierrors.NewAlreadyExists(resource, l.Name)
	}
	return c.put(l)
}

// Update implements Leases.
func (c *cluster) Update(_ context.Context, l *coordinationv1.Lease, _ metav1.UpdateOptions) (*coordinationv1.Lease, error) {
	old, there := c.leases[l.Name]
	switch {
	case !there:
		return nil, apierrors.NewNotFound(resource, l.Name)
	case old.ResourceVersion != l.ResourceVersion:
		return nil, apierrors.NewConflict(resource, l.Name, errors.New("it changed"))
	}
	return c.put(l)
}

func (c *cluster) put(l *coordinationv1.Lease) (*coordinationv1.Lease, error) {
	c.writes++
	if err := c.fail[c.writes]; err != nil {
		return nil, err
	}
	c.version++
	l = l.DeepCopy()
	l.ResourceVersion = strconv.Itoa(c.version)
	c.leases[l.Name] = l
	if c.mute[c.writes] {
		return nil, errDown
	}
	return l.DeepCopy(), nil
}

// lose deletes a Lease, if it is there.
func (c *cluster) lose(name string) {
	if l := c.leases[name]; l != nil {
		for addr := range svc.DecodeLedger(l.Annotations[svc.AnnotationLedger]) {
			c.lost[addr.String()] = true
		}
		delete(c.leases, name)
	}
}

// entries counts how often each address is in a shard, and returns its owner in the first.
func (c *cluster) entries() (count map[string]int, owner map[string]ipam.Owner) {
	count, owner = map[string]int{}, map[string]ipam.Owner{}
	names := slices.SortedFunc(maps.Keys(c.leases), func(a, b string) int {
		if len(a) != len(b) {
			return len(a) - len(b)
		}
		return strings.Compare(a, b)
	})
	for _, name := range names {
		for addr, holders := range svc.DecodeLedger(c.leases[name].Annotations[svc.AnnotationLedger]) {
			if count[addr.String()]++; count[addr.String()] == 1 {
				owner[addr.String()] = holders[0].Owner
			}
		}
	}
	return count, owner
}

// book is the hold of one allocator, whose every request passes through gate.
func (c *cluster) book(identity string, maxShard int, gate func() Leases) *Store {
	if gate == nil {
		gate = func() Leases { return c }
	}
	return New(Config{
		Name: "s", Namespace: "n", Identity: identity, MaxShard: maxShard, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Leases: func() (Leases, error) { return gate(), nil },
	})
}

func shardName(n int) string { return fmt.Sprintf("s-ledger-%d", n) }
