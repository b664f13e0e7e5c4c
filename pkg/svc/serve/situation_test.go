package serve

import (
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/ipam"
	"github.com/kvip/kvip/pkg/place"
	"github.com/kvip/kvip/pkg/svc"
)

// tenant is a Service with its link.
func tenant(namespace, name, link string, local bool) *svc.Service {
	return &svc.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Link: link, Local: local,
		Request: ipam.Request{Ports: []ipam.Port{{Protocol: "TCP", Number: 80}}}}
}

func TestWhatAnAddressNeeds(t *testing.T) {
	s := situation{
		endpoints:  map[ipam.Owner]place.Endpoints{"a/local": {"n1": place.Ready}},
		interfaces: map[string]string{"b": "eth2", "": "eth3"}, anywhere: "eth*",
		tenants: map[netip.Addr][]*svc.Service{}, control: map[netip.Addr]string{}, controlled: 6443,
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
		{"its namespace's link", []*svc.Service{tenant("b", "web", "", false)}, "eth2", 0, 1},
	} {
		s.tenants[vip4] = row.tenants
		a := s.address(vip4)
		if a.Link != row.link || len(a.Local) != row.local || a.Cluster != (row.cluster > 0) || a.Holder != nil {
			t.Errorf("%s: %+v", row.name, a)
		}
	}
	s.interfaces = nil
	if a := s.address(vip4); a.Link != "eth*" {
		t.Errorf("without others the agent's setting counts: %+v", a)
	}
	s.control[vip4] = "n1" // S5: 6443 works where the address is shared
	if ports := s.ports(vip4); len(ports) != 2 || ports[1].Port != 6443 || *s.address(vip4).Holder != "n1" {
		t.Errorf("shared with the control plane: %+v", ports)
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
	verdict := r.heart.Verdict()
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
