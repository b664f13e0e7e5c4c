package services

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/svc"
	"github.com/kvip/kvip/pkg/svc/allocator"
	"github.com/kvip/kvip/test/lab/cluster"
	"github.com/kvip/kvip/test/lab/netlab"
	"github.com/kvip/kvip/test/lab/servicelab"
)

// createMany makes Services and returns who owns each address.
func (s *env) createMany(count int) map[netip.Addr]*cluster.Node {
	s.t.Helper()
	for i := range count {
		s.must(s.Create(s.ctx, fmt.Sprintf("many-%d", i)))
	}
	var all []netip.Addr
	for i := range count {
		all = append(all, s.addresses(fmt.Sprintf("many-%d", i), 1)[0])
	}
	return s.owners(all)
}

func (s *env) owners(addrs []netip.Addr) map[netip.Addr]*cluster.Node {
	s.t.Helper()
	owners := map[netip.Addr]*cluster.Node{}
	for _, addr := range addrs {
		owners[addr] = s.owner(addr)
	}
	return owners
}

// TestNodeDeath cuts the power of a node that announces some of many addresses, which are spread
// over all: each answers from another node then, and none moves of those that others have. When it
// is back, it gets its own again, and they answer from there alone.
func TestNodeDeath(t *testing.T) {
	s := prepareEnv(t)
	s.must(s.StartAgents(s.AllNodes()))
	s.waitSettled(s.AllNodes()...)
	before := s.createMany(24)
	counts := map[*cluster.Node]int{}
	for _, n := range before {
		counts[n]++
	}
	for _, n := range s.AllNodes() {
		if counts[n] == 0 {
			t.Errorf("%s has none of %d addresses", n.Name, len(before))
		}
	}
	dead, logged := s.Workers[0], map[*cluster.Node]int{}
	for _, n := range s.AllNodes() {
		logged[n] = len(s.LogOf(n))
	}
	s.must(dead.PowerOff())
	for addr, was := range before {
		now := s.owner(addr)
		if now == dead || was != dead && now != was {
			t.Errorf("%s was on %s and is on %s after the death of %s", addr, was.Name, now.Name, dead.Name)
		}
		s.waitServed(addr, servicelab.Port, now)
	}
	silent := map[string]bool{} // nodes that the others found silent (S10)
	for _, n := range s.AllNodes() {
		for line := range strings.Lines(s.LogOf(n)[logged[n]:]) {
			if _, node, found := strings.Cut(line, `"a node is silent; `); found {
				silent[strings.TrimSpace(node[strings.LastIndex(node, "node=")+len("node="):])] = true
			}
		}
	}
	if len(silent) != 1 || !silent[dead.Name] {
		t.Errorf("%v were found silent, want %s alone", silent, dead.Name)
	}
	s.must(dead.PowerOn())
	s.must(dead.RestartAgent())
	s.waitSettled(s.AllNodes()...)
	for addr, was := range before {
		s.wait(addr.String()+" to be on "+was.Name, func() bool { return s.owner(addr) == was })
		s.waitServed(addr, servicelab.Port, was)
		s.checkNoReport(addr, was)
	}
}

// TestLinkLost takes the link of a node away, by its cable and by its administrator, while the node
// lives on: its addresses answer elsewhere. What the node kept of them is no second owner when the
// link is back, and no neighbour keeps a wrong entry (S3).
func TestLinkLost(t *testing.T) {
	s := prepareEnv(t)
	s.must(s.StartAgents(s.Workers))
	s.waitSettled(s.Workers...)
	s.must(s.Create(s.ctx, "web", servicelab.Families(corev1.IPFamilyPolicyRequireDualStack)))
	addrs := s.addresses("web", 2)
	for _, fault := range []struct{ begin, end func(*netlab.Host) error }{
		{(*netlab.Host).Unplug, (*netlab.Host).Plug},
		{(*netlab.Host).LinkDown, (*netlab.Host).LinkUp},
	} {
		n, before := s.owner(addrs[0]), s.owners(addrs)
		s.must(fault.begin(n.Host))
		for _, addr := range addrs {
			s.wait("another node to answer for "+addr.String(), func() bool {
				names, err := s.Responders(addr)
				return err == nil && len(names) == 1 && names[0] != n.Name
			})
			s.waitServed(addr, servicelab.Port, s.Workers...)
		}
		s.must(fault.end(n.Host))
		s.must(n.Host.RestoreAddrs())
		s.waitSettled(s.Workers...)
		for _, addr := range addrs {
			was := before[addr] // the rank decides again as soon as the node is alive
			s.wait(addr.String()+" to be on "+was.Name, func() bool { return s.owner(addr) == was })
			s.waitServed(addr, servicelab.Port, was)
			s.checkNoReport(addr, was)
		}
	}
}

// TestLocal follows the endpoints of a Service with externalTrafficPolicy Local: ready ones, then
// those that serve as they end, then none.
func TestLocal(t *testing.T) {
	s := newEnv(t)
	s.must(s.Create(s.ctx, "web", servicelab.Local))
	addr := s.addresses("web", 1)[0]
	s.waitCondition("web", "NoLocalEndpoint", addr.String(), "externalTrafficPolicy")
	s.waitNoOwner(addr)
	at := func(states map[string]servicelab.State, want string) {
		t.Helper()
		s.must(s.Endpoints(s.ctx, "web", states))
		s.wait(addr.String()+" to be on "+want, func() bool {
			holders := s.Holders(addr)
			return len(holders) == 1 && holders[0] == want
		})
		s.waitServed(addr, servicelab.Port, s.owner(addr))
	}
	const ready, unready, ending, gone = servicelab.Ready, servicelab.Unready, servicelab.Terminating,
		servicelab.Gone
	at(map[string]servicelab.State{"cp1": ready}, "cp1")
	s.waitCondition("web", "Allocated", addr.String())
	at(map[string]servicelab.State{"cp2": ready, "cp1": unready}, "cp2")
	at(map[string]servicelab.State{"cp3": ready, "cp2": ending}, "cp3")
	at(map[string]servicelab.State{"cp3": ending}, "cp3")
	at(map[string]servicelab.State{"cp3": gone, "cp1": ending}, "cp1")
	s.must(s.Endpoints(s.ctx, "web", map[string]servicelab.State{"cp1": gone, "cp2": unready}))
	s.waitNoOwner(addr)
	s.waitCondition("web", "NoLocalEndpoint")
	s.must(s.Change(s.ctx, "web", func(o *corev1.Service) {
		o.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyCluster
	}))
	// with the other policy, without any endpoint (S4)
	s.waitServed(addr, servicelab.Port, s.owner(addr))
	s.waitCondition("web", "Allocated")
}

// TestExcludedAndCordoned takes nodes out of service by label and by cordon (S7): an address leaves
// them, as planned moves do (S3), unless no other node is left.
func TestExcludedAndCordoned(t *testing.T) {
	s := newEnv(t)
	addr := s.create("web")
	first := s.owner(addr)
	sampler := s.sample(addr)
	label := func(n *cluster.Node, on bool) {
		s.must(s.ChangeNode(s.ctx, n.Name, func(o *corev1.Node) {
			if o.Labels = map[string]string{}; on {
				o.Labels[corev1.LabelNodeExcludeBalancers] = ""
			}
		}))
	}
	s.event("Service", "web", allocator.ReasonAnnounced, addr.String(), "node "+first.Name)
	label(first, true)
	second := s.waitMoved(addr, first)
	s.event("Service", "web", allocator.ReasonAnnounced, addr.String(), "node "+second.Name)
	s.must(s.Cordon(s.ctx, second.Name, true))
	third := s.waitMoved(addr, second)
	// one that is only labelled is better than one that is drained
	s.must(s.Cordon(s.ctx, third.Name, true))
	s.wait(addr.String()+" to be on "+first.Name, func() bool { return s.owner(addr) == first })
	s.must(s.Cordon(s.ctx, first.Name, true))
	last := s.waitMoved(addr, first)
	s.waitServed(addr, servicelab.Port, last)
	for _, n := range s.Nodes {
		s.must(s.Cordon(s.ctx, n.Name, false))
	}
	label(first, false)
	s.wait(addr.String()+" to be where it was", func() bool { return s.owner(addr) == first })
	s.checkAlwaysOwned(sampler)
}

// TestLinks places addresses by subnet and by interface, and follows what links have.
func TestLinks(t *testing.T) {
	s := newEnv(t)
	s.must(s.Addresses(s.ctx, "other", "198.51.100.8/29"))
	s.must(s.Create(s.ctx, "far", servicelab.Annotate(svc.AnnotationPool, "other")))
	s.expect("far", "198.51.100.8")
	far := ip("198.51.100.8")
	s.waitCondition("far", "NoSubnet", "198.51.100.8")
	s.waitNoOwner(far)
	s.must(s.Nodes[1].Host.AddAddr(netip.MustParsePrefix("198.51.100.1/24")))
	s.wait("cp2 to have it", func() bool { h := s.Holders(far); return len(h) == 1 && h[0] == "cp2" })
	s.waitCondition("far", "Allocated")
	s.must(s.Nodes[1].Host.DelAddr(netip.MustParsePrefix("198.51.100.1/24")))
	s.waitCondition("far", "NoSubnet")
	s.waitNoOwner(far)
	// then no subnet is needed
	s.must(s.Change(s.ctx, "far", servicelab.Annotate(svc.AnnotationInterface, "eth*")))
	s.owner(far)
	s.must(s.Change(s.ctx, "far", servicelab.Annotate(svc.AnnotationInterface, "bond0")))
	s.waitCondition("far", "NoLink", "198.51.100.8")
	s.waitNoOwner(far)
}

// TestNodeDeleted deletes the Node object of an owner whose agent runs: it counts no more.
func TestNodeDeleted(t *testing.T) {
	s := newEnv(t)
	addr := s.create("web")
	n := s.owner(addr)
	s.must(s.Kube.CoreV1().Nodes().Delete(s.ctx, n.Name, metav1.DeleteOptions{}))
	s.waitMoved(addr, n)
	s.must(s.RegisterNodes(s.ctx, n))
	s.wait(addr.String()+" to be back", func() bool { return s.owner(addr) == n })
}
