package services

import (
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/kvip/kvip/test/lab/cluster"
	"github.com/kvip/kvip/test/lab/servicelab"
)

// TestClientBehindRouter reaches a Service, in both families, from a client in another network,
// whose router believes what it knows of its neighbours for longer than the test: only
// announcements lead it to the node that has the address now (S3). They do when a Service gets
// externalTrafficPolicy Local, when the node is drained, and when it dies. The client's own address
// is seen throughout.
func TestClientBehindRouter(t *testing.T) {
	s := prepareEnv(t)
	s.must(s.StartAgents(s.Workers))
	s.waitSettled(s.Workers...)
	s.must(s.RouteBehind())
	s.must(s.Create(s.ctx, "web", servicelab.Families(corev1.IPFamilyPolicyRequireDualStack)))
	addrs := s.addresses("web", 2)
	for _, addr := range addrs { // policy Cluster: each family may be on a node of its own
		s.reachedFromBehind(addr, s.owner(addr))
	}
	one, other := s.Workers[0], s.Workers[1]
	if s.owner(addrs[0]) == one {
		one, other = other, one
	}
	ready := func(nodes ...*cluster.Node) {
		t.Helper()
		states := map[string]servicelab.State{}
		for _, n := range nodes {
			states[n.Name] = servicelab.Ready
		}
		s.must(s.Endpoints(s.ctx, "web", states))
	}
	ready(one)
	s.must(s.Change(s.ctx, "web", servicelab.Local))
	s.allFromBehind(addrs, one)

	ready(one, other)
	s.must(s.Cordon(s.ctx, one.Name, true))
	s.allFromBehind(addrs, other)

	ready(other)
	s.must(s.Cordon(s.ctx, one.Name, false))
	s.must(other.PowerOff())
	ready(one)
	s.allFromBehind(addrs, one)
	s.must(other.PowerOn())
}

func (s *env) allFromBehind(addrs []netip.Addr, n *cluster.Node) {
	s.t.Helper()
	for _, addr := range addrs {
		s.wait(addr.String()+" to be on "+n.Name, func() bool { return s.owner(addr) == n })
		s.reachedFromBehind(addr, n)
	}
}

// reachedFromBehind waits until a connection of the client behind the router ends at the node,
// which sees the client's own address, and until the router believes again without asking.
func (s *env) reachedFromBehind(addr netip.Addr, n *cluster.Node) {
	s.t.Helper()
	client := s.Behind.Addr(addr.Is4())
	s.wait(client.String()+" to reach "+addr.String()+" on "+n.Name, func() bool {
		name, source, err := servicelab.RequestSource(s.Behind, addr, servicelab.Port)
		return err == nil && name == n.Name && source == client
	})
	s.wait("the router to believe that "+addr.String()+" is on "+n.Name, func() bool {
		mac, reachable, err := s.Router.Neighbour(addr)
		return err == nil && reachable && mac.String() == n.Host.MAC.String()
	})
}
