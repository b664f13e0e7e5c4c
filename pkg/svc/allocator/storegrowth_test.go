package allocator

import (
	"context"
	"errors"
	"fmt"
	"math"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/ipam"
	"github.com/kvip/kvip/pkg/svc"
)

// limited refuses Leases whose annotations are as long as an API server refuses.
type limited struct {
	*fakeLeases
	most int
}

func (l limited) Update(ctx context.Context, o *coordinationv1.Lease,
	opts metav1.UpdateOptions) (*coordinationv1.Lease, error) {
	if len(o.Annotations[svc.AnnotationLedger]) > l.most {
		return nil, errors.New("metadata.annotations: Too long")
	}
	return l.fakeLeases.Update(ctx, o, opts)
}

// S4: growing entries of a full shard block nothing: they move to later shards. Meanwhile an
// address always has its Services, and the first entry counts.
func TestFullShardsGrow(t *testing.T) {
	const bound, count = 2000, 60
	c := newFakeLeases()
	b := c.store("me", bound, func() leaseClient { return limited{c, bound + len("{}")} })
	acquire(t, b)
	next := many(count, "a/web")
	commit(t, b, next)
	for i := range count {
		next = next.Clone()
		next[addr(i)] = append(next[addr(i)], ipam.Entry{Service: "b/another-one-with-a-longer-name"})
		commit(t, b, next)
		if n, _ := c.entries(); len(n) != count {
			t.Fatalf("%d addresses are left", len(n))
		}
	}
	if got := acquire(t, c.store("you", bound, nil)); !got.Equal(next) {
		t.Errorf("the next allocator reads %d addresses that are not those", len(got))
	}
	if len(c.leases) > 6 {
		t.Errorf("%d Leases for what two have room for", len(c.leases))
	}
}

// An entry that moves is written to its new shard before it is removed from the old one, whichever
// write fails.
func TestAFailedMove(t *testing.T) {
	for after := 1; after <= 3; after++ {
		c := newFakeLeases()
		b := c.store("me", 200, nil)
		acquire(t, b)
		old := many(6, "a/web")
		commit(t, b, old)
		next := old.Clone()
		next[addr(0)] = append(next[addr(0)], ipam.Entry{Service: "b/web"}, ipam.Entry{Service: "c/web"},
			ipam.Entry{Service: "d/web"})
		c.fail[c.writes+after] = errDown
		err := b.commit(context.Background(), next)
		if count, key := c.entries(); len(count) != 6 || key[addr(0).String()] != "a/web" {
			t.Errorf("write %d fails: %v, %v", after, count, key)
		}
		if (err != nil) != (after < 4) {
			t.Errorf("write %d fails: %v", after, err)
		}
		b = c.store("you", 200, nil)
		acquire(t, b)
		if count, _ := c.entries(); count[addr(0).String()] != 1 {
			t.Errorf("write %d fails: the next allocator leaves it in %d shards", after,
				count[addr(0).String()])
		}
		commit(t, b, next)
		if !acquire(t, b).Equal(next) {
			t.Errorf("write %d fails: the ledger is %v", after, b.ledger())
		}
	}
}

// An entry that fits into no Lease is not written, and blocks nothing.
func TestAnEntryLongerThanALease(t *testing.T) {
	c := newFakeLeases()
	b := c.store("me", 0, func() leaseClient { return limited{c, 256 << 10} })
	acquire(t, b)
	next := many(3, "a/web")
	commit(t, b, next)
	for i := range 30_000 {
		next[addr(1)] = append(next[addr(1)],
			ipam.Entry{Service: ipam.ServiceKey(fmt.Sprintf("b/web-%d", i))})
	}
	next[addr(7)], next[addr(8)] = next[addr(1)], []ipam.Entry{{Service: "c/web"}}
	for range 5 {
		commit(t, b, next)
	}
	got := acquire(t, b)
	if len(got) != 4 || len(got[addr(1)]) != 1 || len(got[addr(8)]) != 1 {
		t.Errorf("the ledger has %d addresses, and %d entries", len(got), len(got[addr(1)]))
	}
	if len(c.leases) != 2 {
		t.Errorf("%d Leases", len(c.leases))
	}
}

// A write that fails repeatedly creates no Leases.
func TestRetriesCreateNoShards(t *testing.T) {
	c := newFakeLeases()
	b := c.store("me", 100, func() leaseClient { return limited{c, 10} })
	try := func() {
		acquire(t, b)
		if b.commit(context.Background(), many(9, "a/web")) == nil {
			t.Fatal("it was written")
		}
	}
	try()
	first := len(c.leases)
	for range 20 {
		try()
	}
	if len(c.leases) > first {
		t.Errorf("%d Leases after one try, and %d after 20 more", first, len(c.leases))
	}
}

// S4: a Lease of the ledger without its label is found by its name, and gets the label again.
func TestAShardWithoutItsLabel(t *testing.T) {
	c := newFakeLeases()
	b := c.store("me", 0, nil)
	acquire(t, b)
	commit(t, b, many(3, "a/web"))
	c.leases[shardName(0)].Labels = nil
	if got := acquire(t, c.store("you", 0, nil)); !got.Equal(many(3, "a/web")) ||
		c.leases[shardName(0)].Labels[svc.LabelRole] != svc.RoleLedger {
		t.Errorf("the ledger is %v, labels %v", got, c.leases[shardName(0)].Labels)
	}
}

// S4: a foreign Lease with the largest number does not keep the ledger from growing.
func TestALeaseOfTheLargestNumber(t *testing.T) {
	c := newFakeLeases()
	if _, err := c.Create(t.Context(),
		&coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: shardName(math.MaxInt)}},
		metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, who := range []string{"me", "you"} {
		b := c.store(who, 0, nil)
		acquire(t, b)
		commit(t, b, many(3, ipam.ServiceKey("a/"+who)))
	}
}
