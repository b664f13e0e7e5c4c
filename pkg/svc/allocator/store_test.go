package allocator

import (
	"context"
	"errors"
	"net/netip"
	"testing"

	"github.com/kvip/kvip/pkg/ipam"
	"github.com/kvip/kvip/pkg/svc"
)

func addr(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}) }

// many returns a ledger of n addresses of one owner.
func many(n int, key ipam.ServiceKey) ipam.Ledger {
	l := ipam.Ledger{}
	for i := range n {
		l[addr(i)] = []ipam.Entry{{Service: key}}
	}
	return l
}

func acquire(t *testing.T, b *store) ipam.Ledger {
	t.Helper()
	if err := b.acquire(context.Background()); err != nil {
		t.Fatal(err)
	}
	return b.ledger()
}

func commit(t *testing.T, b *store, l ipam.Ledger) {
	t.Helper()
	if err := b.commit(context.Background(), l); err != nil {
		t.Fatal(err)
	}
}

func TestTheFirstAcquisitionCreatesTheLedger(t *testing.T) {
	c := newFakeLeases()
	b := c.store("me", 0, nil)
	if got := acquire(t, b); len(got) != 0 || len(c.leases) != 2 {
		t.Fatalf("an empty ledger: %v in %d Leases", got, len(c.leases))
	}
	commit(t, b, many(3, "a/web"))
	l := c.leases[shardName(0)]
	if *l.Spec.HolderIdentity != "me" || l.Labels[svc.LabelRole] != svc.RoleLedger {
		t.Errorf("the Lease does not name its writer: %+v", l)
	}
	if got := acquire(t, c.store("you", 0, nil)); !got.Equal(many(3, "a/web")) {
		t.Errorf("the next allocator reads %v", got)
	}
}

// S4: thousands of Services cost tens of writes, and no change costs none.
func TestOneWriteForAllChanges(t *testing.T) {
	c := newFakeLeases()
	b := c.store("me", 0, nil)
	acquire(t, b)
	before := c.writes
	commit(t, b, many(5000, "namespace/a-service-with-a-name"))
	if cost := c.writes - before; cost > 4 {
		t.Errorf("5000 addresses cost %d writes", cost)
	}
	before = c.writes
	commit(t, b, many(5000, "namespace/a-service-with-a-name"))
	if c.writes != before {
		t.Errorf("nothing new cost %d writes", c.writes-before)
	}
}

// S4: the ledger grows by shards, each below its bound. Entries stay in their shard, and the last
// shard is empty.
func TestShardsGrow(t *testing.T) {
	const bound = 200
	c := newFakeLeases()
	b := c.store("me", bound, nil)
	acquire(t, b)
	for _, n := range []int{1, 4, 5, 60, 20, 61} {
		where := map[netip.Addr]string{}
		for name, l := range c.leases {
			for a := range svc.DecodeLedger(l.Annotations[svc.AnnotationLedger]) {
				where[a] = name
			}
		}
		commit(t, b, many(n, "a/web"))
		if !b.ledger().Equal(many(n, "a/web")) {
			t.Fatalf("after %d addresses: %v", n, b.ledger())
		}
		for name, l := range c.leases {
			text := l.Annotations[svc.AnnotationLedger]
			if len(text) > bound+len("{}") {
				t.Errorf("%d addresses: %s has %d bytes", n, name, len(text))
			}
			for a := range svc.DecodeLedger(text) {
				if was, known := where[a]; known && was != name {
					t.Errorf("%d addresses: %v moved from %s to %s", n, a, was, name)
				}
			}
		}
		if last := c.leases[shardName(len(c.leases)-1)]; last == nil ||
			last.Annotations[svc.AnnotationLedger] != "{}" {
			t.Errorf("%d addresses: the last shard is not empty: %+v", n, last)
		}
	}
	if got := acquire(t, c.store("you", bound, nil)); !got.Equal(many(61, "a/web")) {
		t.Errorf("the next allocator reads %d addresses", len(got))
	}
}

// An entry longer than a shard is not added, and one that an earlier allocator wrote stays.
func TestAnEntryLongerThanAShard(t *testing.T) {
	c := newFakeLeases()
	earlier := c.store("me", 0, nil)
	acquire(t, earlier)
	commit(t, earlier, many(3, "a/web"))
	b := c.store("you", 10, nil)
	acquire(t, b)
	commit(t, b, many(4, "a/web"))
	if len(c.leases) != 2 || !b.ledger().Equal(many(3, "a/web")) {
		t.Errorf("%d shards with %v", len(c.leases), b.ledger())
	}
}

// S4: if two shards have an address, the first entry counts, and a take-over removes the other.
func TestAnAddressTwice(t *testing.T) {
	c := newFakeLeases()
	acquire(t, c.store("me", 0, nil))
	c.leases[shardName(0)].Annotations[svc.AnnotationLedger] = svc.EncodeLedger(many(1, "a/first"))
	c.leases[shardName(1)].Annotations[svc.AnnotationLedger] = svc.EncodeLedger(many(2, "a/second"))
	got := acquire(t, c.store("you", 0, nil))
	if got[addr(0)][0].Service != "a/first" || got[addr(1)][0].Service != "a/second" {
		t.Errorf("the ledger is %v", got)
	}
	if count, _ := c.entries(); count["10.0.0.0"] != 1 {
		t.Errorf("entries %v", count)
	}
}

func TestForeignLeasesAreNoShards(t *testing.T) {
	c := newFakeLeases()
	acquire(t, c.store("me", 0, nil))
	for _, name := range []string{"s-ledger-01", "s-ledger-x", "s-ledger--1", "other-ledger-0",
		"s-node-n1"} {
		l := c.leases[shardName(0)].DeepCopy()
		l.Name, l.Annotations[svc.AnnotationLedger] = name, svc.EncodeLedger(many(1, "a/other"))
		c.leases[name] = l
	}
	if got := acquire(t, c.store("you", 0, nil)); len(got) != 0 {
		t.Errorf("the ledger is %v", got)
	}
}

func TestFailedCommits(t *testing.T) {
	for _, x := range []struct {
		name   string
		breaks func(c *fakeLeases)
		lost   bool
	}{
		{"no response", func(c *fakeLeases) { c.fail[c.writes+1] = errDown }, false},
		{"a lost response", func(c *fakeLeases) { c.mute[c.writes+1] = true }, false},
		{"a write of another client",
			func(c *fakeLeases) { c.leases[shardName(0)].ResourceVersion = "999" }, true},
		{"a shard that is gone", func(c *fakeLeases) { delete(c.leases, shardName(0)) }, true},
		{"a shard that another made", func(c *fakeLeases) {
			c.leases[shardName(2)] = c.leases[shardName(1)].DeepCopy()
			c.leases[shardName(2)].Name = shardName(2)
		}, true},
	} {
		c := newFakeLeases()
		b := c.store("me", 100, nil)
		acquire(t, b)
		x.breaks(c)
		err := b.commit(context.Background(), many(9, "a/web"))
		if err == nil || errors.Is(err, errLedgerChanged) != x.lost {
			t.Errorf("%s: %v", x.name, err)
		}
		acquire(t, b)
		commit(t, b, many(9, "a/web"))
		if count, _ := c.entries(); len(count) != 9 || count["10.0.0.0"] != 1 {
			t.Errorf("%s: then %v", x.name, count)
		}
	}
}

func TestNoCommitBeforeAcquire(t *testing.T) {
	c := newFakeLeases()
	if err := c.store("me", 0, nil).commit(context.Background(), many(1, "a/web")); !errors.Is(err,
		errLedgerChanged) || c.writes != 0 {
		t.Errorf("%v, %d writes", err, c.writes)
	}
	down := &store{cfg: storeConfig{name: "s", identity: "me", leases: func() (leaseClient, error) {
		return nil, errDown
	}}}
	if err := down.acquire(context.Background()); !errors.Is(err, errDown) ||
		errors.Is(err, errLedgerChanged) {
		t.Errorf("without a server: %v", err)
	}
}
