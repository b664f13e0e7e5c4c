package allocator

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

var seedFlag = flag.Uint64("store.seed", 0, "run only the history of this seed")

// scheduler lets one allocator at a time make one request: between any two requests of one, the
// others may do whatever they do. One that is not called is paused.
type scheduler struct {
	c     *fakeLeases
	turn  chan struct{}
	ready chan bool // true: it waits to make a request; false: it has ended
}

// List implements Leases.
func (s *scheduler) List(ctx context.Context, o metav1.ListOptions) (*coordinationv1.LeaseList,
	error) {
	s.wait()
	return s.c.List(ctx, o)
}

// Create implements Leases.
func (s *scheduler) Create(ctx context.Context, l *coordinationv1.Lease,
	o metav1.CreateOptions) (*coordinationv1.Lease, error) {
	s.wait()
	return s.c.Create(ctx, l, o)
}

// Update implements Leases.
func (s *scheduler) Update(ctx context.Context, l *coordinationv1.Lease,
	o metav1.UpdateOptions) (*coordinationv1.Lease, error) {
	s.wait()
	return s.c.Update(ctx, l, o)
}

func (s *scheduler) wait() {
	s.ready <- true
	<-s.turn
}

// granted is what an allocator has given by a successful commit.
type granted struct {
	addr string
	key  ipam.ServiceKey
}

// runAllocator acquires the ledger, allocates free addresses, has entries grow and shrink, and
// releases addresses, until the test ends. It always thinks that it is the leader.
func runAllocator(s *scheduler, name string, random *rand.Rand, report func(granted)) {
	defer func() { s.ready <- false }()
	b := s.c.store(name, 150, func() leaseClient { return s })
	for round := range 6 {
		if b.acquire(context.Background()) != nil {
			continue
		}
		for range 3 {
			next, given := b.ledger().Clone(), []granted(nil)
			for i := range 8 {
				key := ipam.ServiceKey(name + "/" + string(rune('a'+round)))
				switch entries := next[addr(i)]; {
				case len(entries) == 0 && random.IntN(2) == 0:
					next[addr(i)] = []ipam.Entry{{Service: key}}
					given = append(given, granted{addr(i).String(), key})
				case len(entries) > 0 && random.IntN(6) == 0:
					delete(next, addr(i))
				case len(entries) > 0 && random.IntN(3) == 0: // others join the first, or leave it
					next[addr(i)] = withOthers(entries[0], random.IntN(4))
				}
			}
			if b.commit(context.Background(), next) != nil {
				break
			}
			for _, g := range given {
				report(g)
			}
		}
	}
}

// withOthers returns an owner with n sharers.
func withOthers(first ipam.Entry, others int) []ipam.Entry {
	all := []ipam.Entry{first}
	for i := range others {
		all = append(all, ipam.Entry{Service: ipam.ServiceKey(string(first.Service) + strconv.Itoa(i))})
	}
	return all
}

// TestS4NoAddressHasTwoServices: three allocators, each of which thinks that it leads and may be
// paused between any two of its requests, never give an address to a second Service, while entries
// grow, shrink and move between shards, and Leases of the ledger are deleted. What an allocator has
// given is in the ledger at that instant.
func TestS4NoAddressHasTwoServices(t *testing.T) {
	if *seedFlag != 0 {
		storeHistory(t, *seedFlag)
		return
	}
	first := uint64(time.Now().UnixNano())
	for i := range uint64(400) {
		if storeHistory(t, first+i); t.Failed() {
			t.Fatalf("run it alone with -store.seed=%d", first+i)
		}
	}
}

func storeHistory(t *testing.T, seed uint64) {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 4))
	c := newFakeLeases()
	var schedulers []*scheduler
	for _, name := range []string{"x", "y", "z"} {
		s := &scheduler{c: c, turn: make(chan struct{}), ready: make(chan bool)}
		own := rand.New(rand.NewPCG(random.Uint64(), 5))
		go runAllocator(s, name, own, func(g granted) { checkGranted(t, c, g) })
		if <-s.ready {
			schedulers = append(schedulers, s)
		}
	}
	at, key := 0, map[string]ipam.ServiceKey{}
	for len(schedulers) > 0 {
		if random.IntN(4) == 0 { // the others continue while this one is paused
			at = random.IntN(len(schedulers))
		}
		at %= len(schedulers)
		s := schedulers[at]
		s.turn <- struct{}{}
		if !<-s.ready {
			schedulers = append(schedulers[:at], schedulers[at+1:]...)
		}
		key = checkServices(t, c, key)
		if random.IntN(60) == 0 { // a client deletes one
			c.lose(shardName(random.IntN(3)))
			_, key = c.entries()
		}
	}
}

// checkServices asserts that no address changed its Service in one step: it must be free between.
// If two shards have it, the first counts. It returns the Services by address.
func checkServices(t *testing.T, c *fakeLeases,
	before map[string]ipam.ServiceKey) map[string]ipam.ServiceKey {
	t.Helper()
	_, now := c.entries()
	for a, key := range now {
		if was, had := before[a]; had && was != key {
			t.Errorf("S4: %s went from %s to %s", a, was, key)
		}
	}
	return now
}

// checkGranted asserts that the ledger has what was given: no other allocator could give it at the
// same time. An address whose Lease was deleted meanwhile may be free.
func checkGranted(t *testing.T, c *fakeLeases, g granted) {
	if _, key := c.entries(); key[g.addr] != g.key && (key[g.addr] != "" || !c.lost[g.addr]) {
		t.Errorf("S4: %s was given to %s, and the ledger has %q", g.addr, g.key, key[g.addr])
	}
}
