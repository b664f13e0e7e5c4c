package ledger

import (
	"context"
	"flag"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/ipam"
)

var seedFlag = flag.Uint64("ledger.seed", 0, "play the history of this seed alone")

// stage lets one allocator at a time make one request: between any two requests of one, the others may do
// whatever they do. Who is not called any more is frozen.
type stage struct {
	c     *cluster
	turn  chan struct{}
	ready chan bool // true: it waits to make a request; false: it has ended
}

// List implements Leases.
func (s *stage) List(ctx context.Context, o metav1.ListOptions) (*coordinationv1.LeaseList, error) {
	s.wait()
	return s.c.List(ctx, o)
}

// Create implements Leases.
func (s *stage) Create(ctx context.Context, l *coordinationv1.Lease, o metav1.CreateOptions) (*coordinationv1.Lease, error) {
	s.wait()
	return s.c.Create(ctx, l, o)
}

// Update implements Leases.
func (s *stage) Update(ctx context.Context, l *coordinationv1.Lease, o metav1.UpdateOptions) (*coordinationv1.Lease, error) {
	s.wait()
	return s.c.Update(ctx, l, o)
}

func (s *stage) wait() {
	s.ready <- true
	<-s.turn
}

// granted is what an allocator believes to have given after a Commit that succeeded.
type granted struct {
	addr  string
	owner ipam.Owner
}

// allocator takes the ledger and gives free addresses to Services of its own, has entries grow and shrink, and
// frees addresses, again and again, as long as it is let; it believes always to be the one.
func allocator(s *stage, name string, random *rand.Rand, report func(granted)) {
	defer func() { s.ready <- false }()
	b := s.c.book(name, 150, func() Leases { return s })
	for round := range 6 {
		if _, err := b.Acquire(context.Background()); err != nil {
			continue
		}
		for range 3 {
			next, given := b.Ledger().Clone(), []granted(nil)
			for i := range 8 {
				owner := ipam.Owner(name + "/" + string(rune('a'+round)))
				switch holders := next[addr(i)]; {
				case len(holders) == 0 && random.IntN(2) == 0:
					next[addr(i)] = []ipam.Holder{{Owner: owner}}
					given = append(given, granted{addr(i).String(), owner})
				case len(holders) > 0 && random.IntN(6) == 0:
					delete(next, addr(i))
				case len(holders) > 0 && random.IntN(3) == 0: // others join the first, or leave it
					next[addr(i)] = joined(holders[0], random.IntN(4))
				}
			}
			if b.Commit(context.Background(), next) != nil {
				break
			}
			for _, g := range given {
				report(g)
			}
		}
	}
}

// joined is an owner with so many others beside it.
func joined(first ipam.Holder, others int) []ipam.Holder {
	all := []ipam.Holder{first}
	for i := range others {
		all = append(all, ipam.Holder{Owner: ipam.Owner(string(first.Owner) + strconv.Itoa(i))})
	}
	return all
}

// TestS4NoAddressHasTwoOwners: three allocators, each of which believes to be the one and may be frozen between any
// two of its requests, never give an address to another owner than the one that has it, while entries grow,
// shrink, and move from shard to shard, and while Leases of the ledger are deleted. What one of them has given out
// is in the ledger at that instant.
func TestS4NoAddressHasTwoOwners(t *testing.T) {
	if *seedFlag != 0 {
		history(t, *seedFlag)
		return
	}
	first := uint64(time.Now().UnixNano())
	for i := range uint64(400) {
		if history(t, first+i); t.Failed() {
			t.Fatalf("play it alone with -ledger.seed=%d", first+i)
		}
	}
}

func history(t *testing.T, seed uint64) {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 4))
	c := newCluster()
	var stages []*stage
	for _, name := range []string{"x", "y", "z"} {
		s := &stage{c: c, turn: make(chan struct{}), ready: make(chan bool)}
		own := rand.New(rand.NewPCG(random.Uint64(), 5))
		go allocator(s, name, own, func(g granted) { check(t, c, g) })
		if <-s.ready {
			stages = append(stages, s)
		}
	}
	at, owner := 0, map[string]ipam.Owner{}
	for len(stages) > 0 {
		if random.IntN(4) == 0 { // the others go on while this one is frozen
			at = random.IntN(len(stages))
		}
		at %= len(stages)
		s := stages[at]
		s.turn <- struct{}{}
		if !<-s.ready {
			stages = append(stages[:at], stages[at+1:]...)
		}
		owner = faithful(t, c, owner)
		if random.IntN(60) == 0 { // somebody deletes one
			c.lose(shardName(random.IntN(3)))
			_, owner = c.entries()
		}
	}
}

// faithful asserts that no address went from one owner to another in one step: it has to be free in between. Where
// it is in two shards, the first counts. It returns the owners.
func faithful(t *testing.T, c *cluster, before map[string]ipam.Owner) map[string]ipam.Owner {
	t.Helper()
	_, now := c.entries()
	for a, owner := range now {
		if was, had := before[a]; had && was != owner {
			t.Errorf("S4: %s went from %s to %s", a, was, owner)
		}
	}
	return now
}

// check asserts that what was given is in the ledger: nobody else could give it at the same time. What somebody
// has deleted meanwhile may be nobody's.
func check(t *testing.T, c *cluster, g granted) {
	if _, owner := c.entries(); owner[g.addr] != g.owner && (owner[g.addr] != "" || !c.lost[g.addr]) {
		t.Errorf("S4: %s was given to %s, and the ledger says %q", g.addr, g.owner, owner[g.addr])
	}
}
