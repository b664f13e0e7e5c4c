package allocator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
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

// errDown is a request without a response.
var errDown = errors.New("the API server is down")

// cluster has the Leases of one namespace and checks resourceVersions as an API server does.
type fakeLeases struct {
	version int
	leases  map[string]*coordinationv1.Lease
	writes  int
	fail    map[int]error   // by the number of the write: it is not done
	mute    map[int]bool    // by the number of the write: it is done, and its response is lost
	lost    map[string]bool // addresses that were in a Lease that was deleted
}

func newFakeLeases() *fakeLeases {
	return &fakeLeases{leases: map[string]*coordinationv1.Lease{}, fail: map[int]error{},
		mute: map[int]bool{}, lost: map[string]bool{}}
}

var leaseResource = coordinationv1.Resource("leases")

// List implements Leases. A label is all that is selected by.
func (c *fakeLeases) List(_ context.Context, o metav1.ListOptions) (*coordinationv1.LeaseList,
	error) {
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
func (c *fakeLeases) Create(_ context.Context, l *coordinationv1.Lease,
	_ metav1.CreateOptions) (*coordinationv1.Lease, error) {
	if _, there := c.leases[l.Name]; there {
		return nil, apierrors.NewAlreadyExists(leaseResource, l.Name)
	}
	return c.put(l)
}

// Update implements Leases.
func (c *fakeLeases) Update(_ context.Context, l *coordinationv1.Lease,
	_ metav1.UpdateOptions) (*coordinationv1.Lease, error) {
	old, there := c.leases[l.Name]
	switch {
	case !there:
		return nil, apierrors.NewNotFound(leaseResource, l.Name)
	case old.ResourceVersion != l.ResourceVersion:
		return nil, apierrors.NewConflict(leaseResource, l.Name, errors.New("it changed"))
	}
	return c.put(l)
}

func (c *fakeLeases) put(l *coordinationv1.Lease) (*coordinationv1.Lease, error) {
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

// lose deletes a Lease, if it exists.
func (c *fakeLeases) lose(name string) {
	if l := c.leases[name]; l != nil {
		for addr := range svc.DecodeLedger(l.Annotations[svc.AnnotationLedger]) {
			c.lost[addr.String()] = true
		}
		delete(c.leases, name)
	}
}

// entries counts how often each address is in a shard, and returns its owner in the first.
func (c *fakeLeases) entries() (count map[string]int, key map[string]ipam.ServiceKey) {
	count, key = map[string]int{}, map[string]ipam.ServiceKey{}
	names := slices.SortedFunc(maps.Keys(c.leases), func(a, b string) int {
		if len(a) != len(b) {
			return len(a) - len(b)
		}
		return strings.Compare(a, b)
	})
	for _, name := range names {
		for addr, entries := range svc.DecodeLedger(c.leases[name].Annotations[svc.AnnotationLedger]) {
			if count[addr.String()]++; count[addr.String()] == 1 {
				key[addr.String()] = entries[0].Service
			}
		}
	}
	return count, key
}

// store returns the store of one allocator. Every request passes through gate. A limit of 0 is
// maxShardBytes.
func (c *fakeLeases) store(identity string, limit int, gate func() leaseClient) *store {
	if gate == nil {
		gate = func() leaseClient { return c }
	}
	return &store{cfg: storeConfig{
		name: "s", namespace: "n", identity: identity, maxShardBytes: cmp.Or(limit, maxShardBytes),
		log: slog.New(slog.DiscardHandler), known: func(string) *svc.Lease { return nil },
		leases: func() (leaseClient, error) { return gate(), nil },
	}}
}

func shardName(n int) string { return fmt.Sprintf("s-ledger-%d", n) }
