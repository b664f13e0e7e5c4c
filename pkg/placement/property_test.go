package placement

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

// nameForms are common forms of node names.
var nameForms = []string{
	"node-%d", "worker%02d", "ip-10-0-0-%d.eu-west-1.compute.internal", "%d",
}

var placeSeed = flag.Uint64("place.seed", 0, "run the property tests with this seed only")

// seeds calls test with n seeds, or with -place.seed.
func seeds(t *testing.T, n uint64, test func(t *testing.T, rng *rand.Rand)) {
	t.Helper()
	first, last := uint64(1), n
	if testing.Short() {
		last = min(last, 5)
	}
	if *placeSeed != 0 {
		first, last = *placeSeed, *placeSeed
	}
	for seed := first; seed <= last && !t.Failed(); seed++ {
		test(t, rand.New(rand.NewPCG(seed, 0)))
		if t.Failed() {
			t.Logf("run it alone with -run '%s$' -place.seed=%d", t.Name(), seed)
		}
	}
}

// cluster returns nodes with names of a common form, as those are what hashing must spread.
func cluster(rng *rand.Rand, n int) []Node {
	form := nameForms[rng.IntN(len(nameForms))]
	nodes := make([]Node, n)
	for i := range nodes {
		nodes[i] = node(fmt.Sprintf(form, i+1), "")
		nodes[i].Links = []Link{link("eth0", "10.0.0.0/8", "2001:db8::/64")}
	}
	return nodes
}

// pool returns n addresses in a row, IPv4 or IPv6.
func pool(rng *rand.Rand, n int) []Address {
	next := netip.AddrFrom4([4]byte{
		10, byte(rng.IntN(256)), byte(rng.IntN(200)), byte(rng.IntN(256)),
	})
	if rng.IntN(2) == 0 {
		next = netip.MustParseAddr("2001:db8::")
	}
	addresses := make([]Address, n)
	for i := range addresses {
		addresses[i].Addr = next
		next = next.Next()
	}
	return addresses
}

// TestSpread: of addresses in a row each node with a numbered name gets the mean within 15 %.
func TestSpread(t *testing.T) {
	seeds(t, 20, func(t *testing.T, rng *rand.Rand) {
		nodes := cluster(rng, 3+rng.IntN(8))
		count := map[string]int{}
		const mean = 1500.0 // 15 % is nearly six standard deviations: a failure is not chance
		for _, d := range All(pool(rng, mean*len(nodes)), nodes) {
			count[d.Node]++
		}
		for _, n := range nodes {
			if c := float64(count[n.Name]); c < 0.85*mean || c > 1.15*mean {
				t.Errorf("%s has %v addresses, the mean of %d nodes is %v", n.Name, c, len(nodes), mean)
			}
		}
	})
}

// TestMinimalMovement: if a node becomes better or worse, addresses move only to it or from it.
func TestMinimalMovement(t *testing.T) {
	changes := map[string]func(n *Node){
		"dies":          func(n *Node) { n.Alive = false },
		"S7: cordoned":  func(n *Node) { n.Cordoned = true },
		"excluded":      func(n *Node) { n.Excluded = true },
		"link goes off": func(n *Node) { n.Links = nil },
		"not ready":     func(n *Node) { n.NotReady = true },
		"no network":    func(n *Node) { n.NoNetwork = true },
		"cannot":        func(n *Node) { n.Unavailable = "injected by the test" },
	}
	seeds(t, 30, func(t *testing.T, rng *rand.Rand) {
		nodes, addresses := cluster(rng, 2+rng.IntN(9)), pool(rng, 500)
		before := All(addresses, nodes)
		for what, change := range changes {
			i := rng.IntN(len(nodes))
			kept := nodes[i]
			change(&nodes[i])
			for addr, after := range All(addresses, nodes) {
				switch was := before[addr].Node; {
				case after.Node == "" || after.Node == kept.Name:
					t.Errorf("%s %s, and %s is at %q", kept.Name, what, addr, after.Node)
				case was != kept.Name && was != after.Node:
					t.Errorf("%s %s, and %s moves from %s to %s", kept.Name, what, addr, was, after.Node)
				}
			}
			nodes[i] = kept // and back
			if again := All(addresses, nodes); !reflect.DeepEqual(before, again) {
				t.Errorf("%s %s and recovers, and addresses are elsewhere", kept.Name, what)
			}
		}
	})
}

// TestEveryNodeDecidesAlike: the order of nodes and addresses does not matter, and an address is
// placed alone as among others.
func TestEveryNodeDecidesAlike(t *testing.T) {
	seeds(t, 60, func(t *testing.T, rng *rand.Rand) {
		nodes, addresses := cluster(rng, 1+rng.IntN(8)), pool(rng, 60)
		degrade(rng, nodes)
		require(rng, addresses)
		first := All(addresses, nodes)
		rng.Shuffle(len(nodes), func(i, k int) { nodes[i], nodes[k] = nodes[k], nodes[i] })
		rng.Shuffle(len(addresses), func(i, k int) {
			addresses[i], addresses[k] = addresses[k], addresses[i]
		})
		if second := All(addresses, nodes); !reflect.DeepEqual(first, second) {
			t.Errorf("%v and %v", first, second)
		}
		for _, a := range addresses {
			checkExplanation(t, a, nodes, first[a.Addr])
		}
	})
}

// checkExplanation asserts that the decision is the same, that each node is either eligible or
// rejected, and that the chosen one is eligible.
func checkExplanation(t *testing.T, a Address, nodes []Node, want Decision) {
	t.Helper()
	e := Explain(a, nodes)
	if !reflect.DeepEqual(e.Decision, want) || !reflect.DeepEqual(Choose(a, nodes), want) {
		t.Errorf("%s: %+v alone, %+v among others", a.Addr, e.Decision, want)
	}
	if len(e.Eligible)+len(e.Rejected) != len(nodes) {
		t.Errorf("%s: %v and %v of %d nodes", a.Addr, e.Eligible, e.Rejected, len(nodes))
	}
	if _, rejected := e.Rejected[e.Node]; rejected || (e.Node == "") != (len(e.Eligible) == 0) {
		t.Errorf("%s: %+v", a.Addr, e)
	}
	if e.Reason.Sentence() == "" ||
		e.Reason != ReasonCannotCarry && len(e.Eligible) > 1 != (e.Reason == ReasonChosen) {
		t.Errorf("%s: %d eligible, reason %q", a.Addr, len(e.Eligible), e.Reason)
	}
	for name, why := range e.Rejected {
		if why.Sentence() == "" {
			t.Errorf("%s: %s is rejected for %q", a.Addr, name, why)
		}
	}
}

// degrade makes some nodes worse.
func degrade(rng *rand.Rand, nodes []Node) {
	for i := range nodes {
		n := &nodes[i]
		n.Alive, n.Cordoned, n.Excluded = rng.IntN(4) > 0, rng.IntN(3) == 0, rng.IntN(4) == 0
		n.NotReady, n.NoNetwork = rng.IntN(5) == 0, rng.IntN(6) == 0
		if rng.IntN(6) == 0 {
			n.Links = nil
		}
		if rng.IntN(6) == 0 {
			n.Unavailable = "injected by the test"
		}
	}
}

// require gives some addresses local endpoints or a host. The names are those of any cluster.
func require(rng *rand.Rand, addresses []Address) {
	for i := range addresses {
		for range rng.IntN(3) {
			endpoints := Endpoints{}
			for n := range 8 {
				for _, form := range nameForms {
					endpoints[fmt.Sprintf(form, n+1)] = Readiness(rng.IntN(3))
				}
			}
			addresses[i].Local = append(addresses[i].Local, endpoints)
		}
	}
}

// TestWeightsStay: nodes of two releases must decide alike during an upgrade.
func TestWeightsStay(t *testing.T) {
	nodes := []Node{node("worker1", ""), node("worker2", ""), node("worker3", "")}
	for i, want := range strings.Fields("3 1 1 3 3 2 1 1") {
		addr := netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)})
		if d := Choose(Address{Addr: addr}, nodes); d.Node != "worker"+want {
			t.Errorf("%s is at %s, was at worker%s in earlier releases", addr, d.Node, want)
		}
	}
}

// TestEqualWeights: of equal weights the first node by name wins.
func TestEqualWeights(t *testing.T) {
	a, b := node("a", ""), node("b", "")
	first, second := candidate{Node: &a, hash: 7}, candidate{Node: &b, hash: 7}
	for _, nodes := range [][]candidate{{first, second}, {second, first}} {
		if d := choose(&Address{Addr: vip}, nodes); d.Node != "a" || d.Reason != ReasonChosen {
			t.Errorf("%+v", d)
		}
	}
}

// TestAllNeedsNoMemoryPerPair: ten times the nodes cost a few more allocations, not one per pair.
func TestAllNeedsNoMemoryPerPair(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	addresses := pool(rng, 1000)
	few, many := cluster(rng, 10), cluster(rng, 100)
	small := testing.AllocsPerRun(5, func() { All(addresses, few) })
	large := testing.AllocsPerRun(5, func() { All(addresses, many) })
	if large > small+50 {
		t.Errorf("%v allocations for 10 nodes, %v for 100", small, large)
	}
}

// BenchmarkAll places all addresses, as each reconcile of the speaker does.
func BenchmarkAll(b *testing.B) {
	for _, c := range []struct{ addresses, nodes int }{{1000, 20}, {5000, 3}, {5000, 100}} {
		b.Run(fmt.Sprintf("%dx%d", c.addresses, c.nodes), func(b *testing.B) {
			rng := rand.New(rand.NewPCG(1, 1))
			nodes, addresses := cluster(rng, c.nodes), pool(rng, c.addresses)
			b.ReportAllocs()
			for b.Loop() {
				All(addresses, nodes)
			}
		})
	}
}
