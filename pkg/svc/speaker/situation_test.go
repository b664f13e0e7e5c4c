package speaker

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/election/kubelease"
	"github.com/kvip/kvip/pkg/ipam"
	"github.com/kvip/kvip/pkg/link"
	"github.com/kvip/kvip/pkg/liveness"
	"github.com/kvip/kvip/pkg/placement"
	"github.com/kvip/kvip/pkg/svc"
	"github.com/kvip/kvip/pkg/vip"
	"github.com/kvip/kvip/test/fakeapi/fakecluster"
)

// tenant is a Service with its link.
func tenant(namespace, name, link string, local bool) *svc.Service {
	return &svc.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Link: link, Local: local,
		Request: ipam.Request{Ports: []ipam.Port{{Protocol: "TCP", Number: 80}}}}
}

func TestWhatAnAddressNeeds(t *testing.T) {
	s := situation{
		endpoints:  map[svc.Backend]placement.Endpoints{{Owner: "a/local"}: {"n1": placement.Ready}},
		interfaces: map[string]string{"b": "eth2", "": "eth3"},
		tenants:    map[netip.Addr][]*svc.Service{}, control: map[netip.Addr]string{},
	}
	for _, row := range []struct {
		name           string
		tenants        []*svc.Service
		link           string
		local, cluster int
	}{
		{"cluster", []*svc.Service{tenant("a", "web", "", false)}, "eth3", 0, 1},
		{"local", []*svc.Service{tenant("a", "local", "", true)}, "eth3", 1, 0},
		{"both", []*svc.Service{tenant("a", "local", "", true), tenant("a", "web", "", false)}, "eth3", 1, 1},
		{"its own link", []*svc.Service{tenant("b", "web", "eth1", false)}, "eth1", 0, 1},
		{"the older one's link", []*svc.Service{tenant("b", "web", "", false), tenant("a", "web", "eth1", false)}, "eth2", 0, 2},
		{"its namespace's link", []*svc.Service{tenant("b", "web", "", false)}, "eth2", 0, 1},
	} {
		s.tenants[vip4] = row.tenants
		a := s.address(vip4)
		if a.Link != row.link || len(a.Local) != row.local || a.Cluster != (row.cluster > 0) || a.Holder != nil {
			t.Errorf("%s: %+v", row.name, a)
		}
	}
	s.interfaces = nil
	if a := s.address(vip4); a.Link != "" {
		t.Errorf("an agent's own setting counts: %+v", a)
	}
	s.control[vip4] = "n1"
	if *s.address(vip4).Holder != "n1" {
		t.Errorf("shared with the control plane: %+v", s.address(vip4))
	}
}

// A node that the cluster has no Node of is no node, whatever its kvip says; the others come in order.
func TestNodesOfTheCluster(t *testing.T) {
	r := newRig(t)
	r.turn()
	r.beat()
	r.peer("you", yourMAC)
	r.peerBeats("you", yourMAC)
	r.PutNode("you", "10.0.0.2", func(n *corev1.Node) { n.Labels[corev1.LabelNodeExcludeBalancers] = "" })
	r.Eventually("the label is seen", func() bool { return r.cat.Node("you").Excluded })
	verdict := r.heart.View()
	nodes := r.agent.survey(verdict).nodes
	if len(nodes) != 2 || nodes[0].Name != "me" || !nodes[0].Alive || nodes[1].Name != "you" || !nodes[1].Excluded || nodes[1].Cordoned {
		t.Fatalf("nodes %+v after %+v", nodes, verdict)
	}
	r.Store.Delete("/api/v1/nodes/me")
	r.Eventually("the deletion is seen", func() bool { return r.cat.Node("me") == nil })
	if nodes = r.agent.survey(verdict).nodes; nodes[0].Alive {
		t.Errorf("a deleted node: %+v", nodes[0])
	}
}

// S2: which links of a node carry Services is said by its Lease, and all agents read it there: one whose own flag says
// otherwise decides alike.
func TestLinksAreSelectedByTheirOwnNode(t *testing.T) {
	r := newRig(t)
	r.agent.cfg.Interface = "lan*"
	vlan := link.Network{Link: link.Link{Index: 3, Name: "vlan7", MAC: noMAC}, Names: []string{"lan0"}}
	pod := link.Network{Link: link.Link{Index: 4, Name: "veth1", MAC: noMAC}, Pod: true}
	r.links = append(r.links, pod, vlan)
	r.links[0].Addresses = []netip.Addr{netip.MustParseAddr("10.0.0.1")}
	r.give(vip4, "a/web")
	r.turn()
	r.beat()
	own := r.cat.Lease(svc.NodeLease(fakecluster.Seat, "me")).Info
	if !own.Selected || len(own.Links) != 2 || own.Links[0].Name != "vlan7" || !own.Links[0].Selected || own.Links[1].Selected ||
		!slices.Equal(own.Addresses, r.links[0].Addresses) {
		t.Fatalf("the Lease says %+v", own)
	}
	r.turn()
	if d, _ := r.agent.Placement(vip4); d.Link != "vlan7" {
		t.Errorf("on this node: %+v", d)
	}
	r.peer("you", yourMAC) // without the flag
	r.cordon("me", true)
	r.pass(time.Second)
	r.beat()
	r.turn()
	if d, _ := r.agent.Placement(vip4); d.Node != "you" || d.Link != "eth0" {
		t.Errorf("on another node, whose flag is not set: %+v", d)
	}
}

func TestALinkThatIsNotThereIsNamedOnce(t *testing.T) {
	r := newRig(t)
	r.agent.cfg.Interface = "nosuch*"
	const said = "no usable link is one of those for Services"
	for range 3 {
		r.agent.readLinks()
	}
	if n := strings.Count(r.Log.String(), said); n != 1 || !strings.Contains(r.Log.String(), "nosuch*") {
		t.Errorf("said %d times\n%s", n, r.Log)
	}
	r.links = append(r.links, link.Network{Link: link.Link{Index: 3, Name: "nosuch1", MAC: noMAC}})
	r.agent.readLinks()
	r.links = r.links[:1]
	r.agent.readLinks()
	if n := strings.Count(r.Log.String(), said); n != 2 {
		t.Errorf("said %d times after the link came and went", n)
	}
}

// S2: the link for addresses in no subnet may be that of the default route, which may come, go and move without an
// event; it is read again now and then.
func TestAFallbackFollowsTheDefaultRoute(t *testing.T) {
	r := newRig(t)
	r.agent.cfg.Fallback = func(n link.Network) bool { return n.Default }
	r.links = append(r.links, link.Network{Link: link.Link{Index: 3, Name: "eth1", MAC: noMAC}})
	outside := netip.MustParseAddr("203.0.113.5")
	r.give(outside, "a/web")
	look := func(want string) {
		t.Helper()
		r.pass(routesEvery)
		r.turn()
		r.beat()
		r.turn()
		if d, _ := r.agent.Placement(outside); d.Link != want {
			t.Errorf("placed %+v, want link %q", d, want)
		}
	}
	look("")
	r.links[1].Default = true
	look("eth1")
	r.links[0].Default, r.links[1].Default = true, false
	look("eth0")
	if own := r.cat.Lease(svc.NodeLease(fakecluster.Seat, "me")).Info; own.Selected {
		t.Error("the node selects links for all addresses")
	}
}

// A Lease has room for so many links: those selected come first, then those with a subnet.
func TestMoreLinksThanALeaseHolds(t *testing.T) {
	r := newRig(t)
	r.agent.cfg.Interface = "z1"
	r.links = nil
	for i := range 100 {
		r.links = append(r.links, link.Network{Link: link.Link{Index: 10 + i, Name: fmt.Sprintf("vlan%d", i), MAC: noMAC}})
	}
	r.links = append(r.links, link.Network{Link: link.Link{Index: 2, Name: "eth0", MAC: ownMAC}, Subnets: []netip.Prefix{subnet}})
	r.links = append(r.links, link.Network{Link: link.Link{Index: 3, Name: "z1", MAC: ownMAC}})
	r.turn()
	r.beat()
	got := r.cat.Lease(svc.NodeLease(fakecluster.Seat, "me")).Info.Links
	if len(got) != 64 || got[0].Name != "z1" || got[1].Name != "eth0" {
		t.Errorf("%d links, the first %+v", len(got), got[:2])
	}
}

// S2: whether a Service that has an address is announced depends on no flag: --service-class may differ while it changes.
func TestAServiceOfAnotherClassWithAnAddressIsServed(t *testing.T) {
	r := newRig(t)
	r.PutService("a/web", func(s *corev1.Service) { class := "another.example/class"; s.Spec.LoadBalancerClass = &class })
	r.serving()
	if one := r.cat.Services()[0]; one.Managed || !one.Announceable || len(one.Request.Ports) != 1 {
		t.Errorf("the Service is %+v", one)
	}
}

// The control plane's address is on the node that holds it. Between two holders, and where no Lease lists it, the
// ledger says whose it is: no hash places it.
func TestTheControlPlanesAddressIsPlacedByNoHash(t *testing.T) {
	r := newRig(t)
	r.PutService("a/web")
	r.PutLedger("0", ipam.Ledger{vip4: {{Owner: "a/web"}, {Owner: ipam.ControlPlane}}})
	r.Eventually("the ledger is seen", func() bool { return len(r.cat.Ledger()[vip4]) == 2 })
	r.turn()
	r.beat()
	r.did("protect []")
	d, _ := r.agent.Placement(vip4)
	if d.Node != "" || d.Reason != placement.ReasonNotHeld {
		t.Errorf("held by nobody: %+v", d)
	}
	holder, seconds := "cp1_boot_1", int32(5)
	r.Put(fakecluster.LeasePath("api-vip"), &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{
			Name: "api-vip", Namespace: fakecluster.Namespace, Labels: map[string]string{svc.LabelRole: svc.RoleControlPlane},
			Annotations: map[string]string{kubelease.AnnotationAddresses: vip4.String() + ":6443"},
		},
		Spec: coordinationv1.LeaseSpec{HolderIdentity: &holder, LeaseDurationSeconds: &seconds},
	})
	r.Eventually("the election's Lease is seen", func() bool { return len(r.cat.ControlPlane()) == 1 })
	r.did("")
	if d, _ := r.agent.Placement(vip4); d.Node != "cp1" || d.Reason != placement.ReasonHolder {
		t.Errorf("held by a node without Services: %+v", d)
	}
}

// Which node has the control plane's address says the node itself while it is alive, then the election, and what a dead
// node said last only where nobody else knows.
func TestWhoHasTheControlPlanesAddress(t *testing.T) {
	r := newRig(t)
	r.PutNode("cp0", "10.0.0.3")
	r.PutNodeLease(svc.NodeInfo{Node: "cp0", ControlPlane: []netip.Addr{vip4}}, "cp0_boot", 5)
	r.Eventually("the node is seen", func() bool {
		return r.cat.Node("cp0") != nil && r.cat.Lease(svc.NodeLease(fakecluster.Seat, "cp0")) != nil
	})
	has := func(want string, alive ...string) {
		t.Helper()
		if got := r.agent.survey(liveness.View{Fresh: true, Alive: alive}).control[vip4]; got != want {
			t.Errorf("with %v alive it is %q, want %q", alive, got, want)
		}
	}
	has("cp0", "me")
	holder := "cp1_boot_1"
	r.Put(fakecluster.LeasePath("api-vip"), &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{
			Name: "api-vip", Namespace: fakecluster.Namespace, Labels: map[string]string{svc.LabelRole: svc.RoleControlPlane},
			Annotations: map[string]string{kubelease.AnnotationAddresses: vip4.String() + ":6443"},
		},
		Spec: coordinationv1.LeaseSpec{HolderIdentity: &holder},
	})
	r.Eventually("the election's Lease is seen", func() bool { return len(r.cat.ControlPlane()) == 1 })
	has("cp1", "me")
	has("cp0", "cp0", "me")
}

// S2: an address of one family needs endpoints of that family: kube-proxy drops it where only the other has one.
func TestLocalEndpointsCountByFamily(t *testing.T) {
	s := situation{
		endpoints: map[svc.Backend]placement.Endpoints{
			{Owner: "a/web"}:                    {"n4": placement.Ready},
			{Owner: "a/web", Family: ipam.IPv6}: {"n6": placement.Ready},
		},
		tenants: map[netip.Addr][]*svc.Service{vip4: {tenant("a", "web", "", true)}, vip6: {tenant("a", "web", "", true)}},
	}
	for addr, node := range map[netip.Addr]string{vip4: "n4", vip6: "n6"} {
		if got := s.address(addr).Local; len(got) != 1 || len(got[0]) != 1 || got[0][node] != placement.Ready {
			t.Errorf("%s: %v", addr, got)
		}
	}
}

// S2: of Services at one address the oldest decides.
func TestTheOlderServiceGoesFirst(t *testing.T) {
	old, young, twin := tenant("z", "old", "", false), tenant("a", "young", "", false), tenant("b", "young", "", false)
	old.Created, young.Created, twin.Created = time.Unix(1, 0), time.Unix(2, 0), time.Unix(2, 0)
	list := []*svc.Service{twin, young, old}
	bySeniority(list)
	if list[0] != old || list[1] != young || list[2] != twin {
		t.Errorf("the order is %v, %v, %v", list[0].Owner(), list[1].Owner(), list[2].Owner())
	}
}

// S5: if this process is killed, what protects an address ends after it.
func TestTheFilterOutlivesTheAddresses(t *testing.T) {
	if got := FilterTimeout(vip.DefaultServiceLifetime); got < vip.DefaultServiceLifetime+filterEvery {
		t.Errorf("elements live for %v, addresses for %v after the last write, which is up to %v later", got, vip.DefaultServiceLifetime, filterEvery)
	}
}
