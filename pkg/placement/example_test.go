package placement_test

import (
	"fmt"
	"net/netip"

	"github.com/kvip/kvip/pkg/placement"
)

var (
	lan   = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	nodes = []placement.Node{
		{Name: "worker1", Alive: true, Links: []placement.Link{{Name: "eth0", Subnets: lan}}},
		{Name: "worker2", Alive: true, Links: []placement.Link{{Name: "eth0", Subnets: lan}}},
		{Name: "worker3", Links: []placement.Link{{Name: "eth0", Subnets: lan}}},
	}
	addr = netip.MustParseAddr("192.0.2.80")
)

// Hashing chooses one of the nodes that can announce the address.
func ExampleChoose() {
	d := placement.Choose(placement.Address{Addr: addr}, nodes)
	fmt.Printf("%s on %s: %s\n", d.Node, d.Link, d.Reason.Sentence())

	// The Service has externalTrafficPolicy Local, and its only endpoint is on worker2.
	local := placement.Endpoints{"worker2": placement.Ready}
	d = placement.Choose(placement.Address{Addr: addr, Local: []placement.Endpoints{local}}, nodes)
	fmt.Printf("%s on %s: %s\n", d.Node, d.Link, d.Reason.Sentence())
	// Output:
	// worker1 on eth0: it has the highest weight for this address among the eligible nodes
	// worker2 on eth0: it is the only eligible node
}

// Explain also reports why the other nodes were not chosen.
func ExampleExplain() {
	e := placement.Explain(placement.Address{Addr: addr}, nodes)
	fmt.Println("eligible:", e.Eligible)
	for name, reason := range e.Rejected {
		fmt.Printf("rejected: %s: %s\n", name, reason.Sentence())
	}
	// Output:
	// eligible: [worker1 worker2]
	// rejected: worker3: the node does not renew its Lease: check that kvip runs there
}
