package speaker

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/kvip/kvip/pkg/heartbeat"
)

// fakeHeartbeat records what it was set to.
type fakeHeartbeat struct {
	mu    sync.Mutex
	links []heartbeat.Link
	nodes []heartbeat.Node
}

func (f *fakeHeartbeat) Set(links []heartbeat.Link, nodes []heartbeat.Node) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.links, f.nodes = links, nodes
}

// String returns the links and nodes with their addresses.
func (f *fakeHeartbeat) String() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []string
	for _, l := range f.links {
		list = append(list, fmt.Sprintf("%s %v %v", l.Name, l.Subnets, l.Addresses))
	}
	for _, n := range f.nodes {
		list = append(list, fmt.Sprintf("%s %v %v", n.Name, n.MACs, n.Addresses))
	}
	return strings.Join(list, ", ")
}

// TestS10Neighbours: the heartbeat gets this host's links, and the other nodes that are alive by
// their Leases, also while they are silent.
func TestS10Neighbours(t *testing.T) {
	f := newFixture(t)
	f.start()
	f.addPeer("b", net.HardwareAddr{2, 0, 0, 0, 0, 0xb})
	f.renew()
	f.reconcile()
	want := f.beat.String()
	if !strings.Contains(want, "eth0 ") || !strings.Contains(want, "b [02:00:00:00:00:0b]") {
		t.Errorf("set to %q", want)
	}
	f.lease.Silent("b")
	f.reconcile()
	if got := f.beat.String(); got != want {
		t.Errorf("with a silent node set to %q, want %q", got, want)
	}
}

// TestS10SilentNode: what a silent node had is taken over at once, and given back when it renews
// its Lease.
func TestS10SilentNode(t *testing.T) {
	f := newFixture(t)
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 0xb}
	f.start()
	f.addPeer("b", mac)
	f.renew()
	if before := f.lease.View().Alive; len(before) != 2 {
		t.Fatalf("alive: %v", before)
	}
	woken := 0
	f.lease.OnChange(func() { woken++ })
	f.lease.Silent("b")
	f.lease.Silent("b")
	if v := f.lease.View(); len(v.Alive) != 1 || len(v.Silent) != 1 || woken != 1 {
		t.Errorf("alive %v, silent %v, woken %d times", v.Alive, v.Silent, woken)
	}
	f.renewPeer("b", mac)
	f.renew()
	if v := f.lease.View(); len(v.Alive) != 2 || len(v.Silent) != 0 {
		t.Errorf("alive %v, silent %v", v.Alive, v.Silent)
	}
}
