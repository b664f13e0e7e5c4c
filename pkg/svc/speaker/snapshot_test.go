package speaker

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/assignment"
	"github.com/kvip/kvip/pkg/ipam"
	"github.com/kvip/kvip/pkg/placement"
	"github.com/kvip/kvip/pkg/svc"
	"github.com/kvip/kvip/test/fakeapi/fakecluster"
)

// service returns a Service that names a link, with externalTrafficPolicy Local or Cluster.
func service(namespace, name, link string, local bool) *svc.Service {
	return &svc.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Link: link, Local: local,
		Request: ipam.Request{Ports: []ipam.Port{{Protocol: "TCP", Number: 80}}},
	}
}

func TestRequirementsOfAnAddress(t *testing.T) {
	s := snapshot{
		endpoints: map[svc.Backend]placement.Endpoints{
			{Service: "a/local"}: {"n1": placement.Ready},
		},
		interfaces: map[string]string{"b": "eth2", "": "eth3"},
		services:   map[netip.Addr][]*svc.Service{}, controlPlane: map[netip.Addr]string{},
	}
	cluster, local := service("a", "web", "", false), service("a", "local", "", true)
	named, inB := service("b", "web", "eth1", false), service("b", "web", "", false)
	for _, row := range []struct {
		name     string
		services []*svc.Service
		link     string
		local    int
		cluster  bool
	}{
		{"cluster", []*svc.Service{cluster}, "eth3", 0, true},
		{"local", []*svc.Service{local}, "eth3", 1, false},
		{"both", []*svc.Service{local, cluster}, "eth3", 1, true},
		{"its own link", []*svc.Service{named}, "eth1", 0, true},
		{"the older one's link",
			[]*svc.Service{inB, service("a", "web", "eth1", false)}, "eth2", 0, true},
		{"its namespace's link", []*svc.Service{inB}, "eth2", 0, true},
	} {
		s.services[vip4] = row.services
		a := s.address(vip4)
		if a.Link != row.link || len(a.Local) != row.local || a.Cluster != row.cluster ||
			a.Holder != nil {
			t.Errorf("%s: %+v", row.name, a)
		}
	}
	s.interfaces = nil
	if a := s.address(vip4); a.Link != "" {
		t.Errorf("without a setting of the cluster: %+v", a)
	}
	s.controlPlane[vip4] = "n1"
	if *s.address(vip4).Holder != "n1" {
		t.Errorf("shared with the control plane: %+v", s.address(vip4))
	}
}

// S5: the ports of all Services at an address, in order, so that equal ports compare equal.
func TestPortsOfAnAddress(t *testing.T) {
	first, second := service("a", "web", "", false), service("b", "dns", "", false)
	first.Request.Ports = []ipam.Port{{Protocol: "UDP", Number: 53}, {Protocol: "TCP", Number: 443}}
	second.Request.Ports = []ipam.Port{{Protocol: "TCP", Number: 53}}
	s := snapshot{services: map[netip.Addr][]*svc.Service{vip4: {first, second}}}
	want := []assignment.Port{
		{Protocol: "TCP", Port: 53}, {Protocol: "TCP", Port: 443}, {Protocol: "UDP", Port: 53},
	}
	if got := s.ports(vip4); !slices.Equal(got, want) {
		t.Errorf("ports %v, want %v", got, want)
	}
	if got := s.serviceNames(vip4); !slices.Equal(got, []string{"a/web", "b/dns"}) {
		t.Errorf("owners %v", got)
	}
	if s.ports(vip6) != nil || s.serviceNames(vip6) != nil {
		t.Error("an address without Services has ports or owners")
	}
}

// A node without a Node object is dead, whatever its Lease has. Nodes are in order.
func TestPlacementNodes(t *testing.T) {
	f := newFixture(t)
	f.reconcile()
	f.renew()
	f.addPeer("you", peerMAC)
	f.renewPeer("you", peerMAC)
	f.PutNode("you", "10.0.0.2", func(n *corev1.Node) {
		n.Labels[corev1.LabelNodeExcludeBalancers] = ""
	})
	f.Eventually("the label is seen", func() bool { return f.cache.Node("you").Excluded })
	nodes := f.snapshot("me", "you").nodes
	if len(nodes) != 2 || nodes[0].Name != "me" || !nodes[0].Alive || nodes[1].Name != "you" ||
		!nodes[1].Excluded || nodes[1].Cordoned {
		t.Fatalf("nodes %+v", nodes)
	}
	f.Store.Delete("/api/v1/nodes/me")
	f.Eventually("the deletion is seen", func() bool { return f.cache.Node("me") == nil })
	if nodes = f.snapshot("me", "you").nodes; nodes[0].Alive {
		t.Errorf("a deleted node: %+v", nodes[0])
	}
}

func TestFailureOf(t *testing.T) {
	s := snapshot{nodes: []placement.Node{
		{Name: "a", Unavailable: "no filter"},
		{Name: "b", FailedAddresses: map[netip.Addr]string{vip4: "refused"}},
	}}
	for _, c := range []struct {
		node string
		addr netip.Addr
		want string
	}{
		{"a", vip6, "no filter"}, {"b", vip4, "refused"}, {"b", vip6, ""}, {"c", vip4, ""},
	} {
		if got := s.failureOf(c.node, c.addr); got != c.want {
			t.Errorf("%v on %s: %q, want %q", c.addr, c.node, got, c.want)
		}
	}
}

// S2: whether a Service that has an address is announced depends on no flag: --service-class may
// differ between nodes while it changes.
func TestAServiceOfAnotherClassWithAnAddressIsServed(t *testing.T) {
	f := newFixture(t)
	f.PutService("a/web", func(s *corev1.Service) {
		class := "another.example/class"
		s.Spec.LoadBalancerClass = &class
	})
	f.ownVIP4()
	if one := f.cache.Services()[0]; one.Managed || !one.Announceable || len(one.Request.Ports) != 1 {
		t.Errorf("the Service is %+v", one)
	}
}

// The control plane's address is on the node that holds it. Between two holders, and where no Lease
// lists it, the ledger shows that it is shared: no hash places it.
func TestTheControlPlanesAddressIsPlacedByNoHash(t *testing.T) {
	f := newFixture(t)
	f.PutService("a/web")
	f.PutLedger("0", ipam.Ledger{vip4: {{Service: "a/web"}, {Service: ipam.ControlPlane}}})
	f.Eventually("the ledger is seen", func() bool { return len(f.cache.Ledger()[vip4]) == 2 })
	f.reconcile()
	f.renew()
	f.expect("protect []")
	if d, _ := f.speaker.Placement(vip4); d.Node != "" || d.Reason != placement.ReasonNotHeld {
		t.Errorf("without a holder: %+v", d)
	}
	f.putElection("cp1_boot_1")
	f.expect("")
	if d, _ := f.speaker.Placement(vip4); d.Node != "cp1" || d.Reason != placement.ReasonHolder {
		t.Errorf("held by a node without Services: %+v", d)
	}
}

// The node that holds the control plane's address is the one whose own Lease lists it, while that
// node is alive; then the holder of the election; then the dead node that listed it last.
func TestTheHolderOfTheControlPlanesAddress(t *testing.T) {
	f := newFixture(t)
	f.PutNode("cp0", "10.0.0.3")
	f.PutNodeLease(svc.NodeInfo{Node: "cp0", ControlPlane: []netip.Addr{vip4}}, "cp0_boot", 5)
	f.Eventually("the node is seen", func() bool {
		return f.cache.Node("cp0") != nil &&
			f.cache.Lease(svc.NodeLease(fakecluster.LeaseName, "cp0")) != nil
	})
	holder := func(want string, alive ...string) {
		t.Helper()
		if got := f.snapshot(alive...).controlPlane[vip4]; got != want {
			t.Errorf("with %v alive it is %q, want %q", alive, got, want)
		}
	}
	holder("cp0", "me")
	f.putElection("cp1_boot_1")
	holder("cp1", "me")
	holder("cp0", "cp0", "me")
}

// An address that a flag names is the control plane's before any Lease lists it.
func TestTheControlPlanesAddressOfAFlag(t *testing.T) {
	f := newFixture(t)
	f.speaker.cfg.ControlPlane = []netip.Addr{vip4}
	if holder, shared := f.snapshot("me").controlPlane[vip4]; !shared || holder != "" {
		t.Errorf("shared %v, holder %q", shared, holder)
	}
}

// S2: an address needs endpoints of its own family: kube-proxy drops packets where only the other
// family has one.
func TestLocalEndpointsCountByFamily(t *testing.T) {
	s := snapshot{
		endpoints: map[svc.Backend]placement.Endpoints{
			{Service: "a/web"}:                    {"n4": placement.Ready},
			{Service: "a/web", Family: ipam.IPv6}: {"n6": placement.Ready},
		},
		services: map[netip.Addr][]*svc.Service{
			vip4: {service("a", "web", "", true)}, vip6: {service("a", "web", "", true)},
		},
	}
	for addr, node := range map[netip.Addr]string{vip4: "n4", vip6: "n6"} {
		got := s.address(addr).Local
		if len(got) != 1 || len(got[0]) != 1 || got[0][node] != placement.Ready {
			t.Errorf("%s: %v", addr, got)
		}
	}
	if list := s.addresses(); len(list) != 2 {
		t.Errorf("%d addresses are placed", len(list))
	}
}

// S2: of the Services at one address the oldest decides.
func TestTheOlderServiceGoesFirst(t *testing.T) {
	old, young := service("z", "old", "", false), service("a", "young", "", false)
	sameAge := service("b", "young", "", false)
	old.Created, young.Created, sameAge.Created = time.Unix(1, 0), time.Unix(2, 0), time.Unix(2, 0)
	list := []*svc.Service{sameAge, young, old}
	slices.SortFunc(list, byAge)
	if list[0] != old || list[1] != young || list[2] != sameAge {
		t.Errorf("the order is %v, %v, %v", list[0].Key(), list[1].Key(), list[2].Key())
	}
}
