package bgp

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/apis/v1alpha1"
	"github.com/kvip/kvip/test/lab/bgplab"
	"github.com/kvip/kvip/test/lab/cluster"
	"github.com/kvip/kvip/test/lab/servicelab"
)

// The addresses of pool "routed", outside of the nodes' networks.
const (
	routed4 = "10.78.1.0/28"
	routed6 = "fd6b:7669:7078:1::/124"
)

// otherPort is one that every node listens on, and no Service has.
const otherPort = 9090

// servicesEnv is one test of Services whose addresses are announced by BGP.
type servicesEnv struct {
	*env
	services *servicelab.Lab
	ctx      context.Context
}

// newServicesEnv resets the lab, makes the nodes, a pool, a peer for each router and an
// advertisement, and starts an agent for Services on every node.
func newServicesEnv(t *testing.T, peer func(*v1alpha1.BGPPeerSpec), flags ...string) *servicesEnv {
	t.Helper()
	lab, kvip := need(t)
	s := &servicesEnv{
		env: &env{Lab: lab, t: t, kvip: kvip}, services: shared.services, ctx: t.Context(),
	}
	s.must(s.services.Reset(s.ctx))
	t.Cleanup(s.endAgents)
	s.must(s.services.RegisterNodes(s.ctx, s.Nodes...))
	s.pool(v1alpha1.BGP)
	s.put(v1alpha1.BFDProfilePlural, v1alpha1.BFDProfileKind, "quick", v1alpha1.BFDProfileSpec{
		ReceiveInterval: 300, TransmitInterval: 300, DetectMultiplier: 3, MinimumTTL: 254,
	})
	for _, r := range s.Routers {
		spec := v1alpha1.BGPPeerSpec{
			MyASN: bgplab.NodeAS, PeerASN: bgplab.RouterAS,
			PeerAddress: v1alpha1.UnicastAddress(r.Addr.String()), BFDProfile: "quick",
			DualStackAddressFamily: true, PeerPort: 179, MaximumPrefixes: 100,
		}
		if peer != nil {
			peer(&spec)
		}
		s.put(v1alpha1.BGPPeerPlural, v1alpha1.BGPPeerKind, r.Host.Name, spec)
	}
	s.put(v1alpha1.BGPAdvertisementPlural, v1alpha1.BGPAdvertisementKind, "all",
		v1alpha1.BGPAdvertisementSpec{Communities: []v1alpha1.Community{"65010:7"}})
	s.must(s.services.StartAgents(s.Nodes, flags...))
	return s
}

// pool makes pool "routed" announce its addresses in a way.
func (s *servicesEnv) pool(how v1alpha1.Announcement) {
	s.t.Helper()
	s.must(s.services.Pool(s.ctx, "routed", v1alpha1.IPPoolSpec{
		Addresses: []v1alpha1.Addresses{routed4, routed6}, Announcement: how,
	}))
}

// put creates or changes an object.
func (s *servicesEnv) put(plural, kind, name string, spec any) {
	s.t.Helper()
	text, err := json.Marshal(map[string]any{
		"apiVersion": v1alpha1.GroupVersion().String(), "kind": kind,
		"metadata": map[string]string{"name": name}, "spec": spec,
	})
	s.must(err)
	s.must(s.services.ApplyObject(s.ctx, plural, name, text))
}

// create makes a Service and waits for its addresses.
func (s *servicesEnv) create(name string, count int, edits ...servicelab.Edit) []netip.Addr {
	s.t.Helper()
	s.must(s.services.Create(s.ctx, name, edits...))
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	list, err := s.services.WaitIngress(ctx, name, count)
	s.must(err)
	return list
}

// waitRouted waits until both routers send packets for an address to exactly these nodes.
func (s *servicesEnv) waitRouted(addr netip.Addr, nodes ...string) {
	s.t.Helper()
	s.wait(fmt.Sprintf("both routers to send %s to %v", addr, nodes), func() bool {
		for _, r := range s.Routers {
			via, err := s.ViaOf(r, netip.PrefixFrom(addr, addr.BitLen()))
			s.must(err)
			if !slices.Equal(via, nodes) {
				return false
			}
		}
		return true
	})
}

// answered returns the nodes that answer requests from behind the routers.
func (s *servicesEnv) answered(addr netip.Addr, port int) (names []string, failed error) {
	for _, r := range s.Routers {
		for range 40 {
			name, err := servicelab.RequestFrom(r.Client, addr, port)
			if err != nil {
				failed = err
			} else if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return names, failed
}

// TestServicesByBGP: both routers spread requests for an address over all nodes, for its own port
// only (S5), with the attributes of the advertisement, and a cordon makes a node's path worse.
func TestServicesByBGP(t *testing.T) {
	s := newServicesEnv(t, nil)
	dual := servicelab.Families(corev1.IPFamilyPolicyRequireDualStack)
	for _, addr := range s.create("web", 2, dual) {
		s.waitRouted(addr, "cp1", "cp2", "cp3")
		names, err := s.answered(addr, servicelab.Port)
		if err != nil || len(names) != len(s.Nodes) {
			t.Errorf("%s: answered by %v: %v", addr, names, err)
		}
		if names, err := s.answered(addr, otherPort); err == nil || len(names) > 0 {
			t.Errorf("S5: %s answers at another port, by %v", addr, names)
		}
		s.checkCommunity(addr)
		s.must(s.services.Cordon(s.ctx, "cp2", true))
		s.waitRouted(addr, "cp1", "cp3")
		s.must(s.services.Cordon(s.ctx, "cp2", false))
		s.waitRouted(addr, "cp1", "cp2", "cp3")
	}
}

// checkCommunity fails the test if a router has a route without the community of the advertisement.
func (s *servicesEnv) checkCommunity(addr netip.Addr) {
	s.t.Helper()
	for _, r := range s.Routers {
		routes, err := r.Routes()
		s.must(err)
		for _, route := range routes {
			if route.Prefix.Addr() == addr && !slices.Contains(route.Communities, "65010:7") {
				s.t.Errorf("%s has %+v", r.Host.Name, route)
			}
		}
	}
}

// TestServicesWithLocalPolicy: only nodes with an endpoint announce, and the last one withdraws.
func TestServicesWithLocalPolicy(t *testing.T) {
	s := newServicesEnv(t, nil)
	addr := s.create("web", 1, servicelab.Local)[0]
	s.must(s.services.Endpoints(s.ctx, "web", ready("cp1", "cp3")))
	s.waitRouted(addr, "cp1", "cp3")
	s.must(s.services.Endpoints(s.ctx, "web", ready("cp3")))
	s.waitRouted(addr, "cp3")
	s.must(s.services.Endpoints(s.ctx, "web", nil))
	s.waitRouted(addr)
}

// ready are endpoints on nodes.
func ready(nodes ...string) map[string]servicelab.State {
	states := map[string]servicelab.State{}
	for _, n := range nodes {
		states[n] = servicelab.Ready
	}
	return states
}

// TestPoolMovesFromLayer2ToBGPAndBack: the Service keeps its address.
func TestPoolMovesFromLayer2ToBGPAndBack(t *testing.T) {
	s := newServicesEnv(t, nil, "--services-interface=eth0")
	addr := s.create("web", 1)[0]
	for range 2 {
		s.pool(v1alpha1.Layer2)
		s.waitRouted(addr)
		s.wait("one node to have it", func() bool { return len(s.on(addr, "eth0")) == 1 })
		s.wait("no other to have it", func() bool { return len(s.on(addr, "lo")) == 0 })
		s.pool(v1alpha1.BGP)
		s.waitRouted(addr, "cp1", "cp2", "cp3")
		s.wait("all nodes to have it on lo", func() bool {
			return len(s.on(addr, "lo")) == len(s.Nodes) && len(s.on(addr, "eth0")) == 0
		})
	}
	one, err := s.services.Read(s.ctx, "web")
	s.must(err)
	if got := servicelab.IngressOf(one); !slices.Equal(got, []netip.Addr{addr}) {
		t.Errorf("the status lists %v, and not %s", got, addr)
	}
}

// on returns the nodes that have an address on a link.
func (s *servicesEnv) on(addr netip.Addr, link string) (names []string) {
	s.t.Helper()
	for _, n := range s.Nodes {
		s.must(n.Host.Do(func() error {
			out, err := exec.Command("ip", "-oneline", "address", "show", "dev", link).Output()
			if strings.Contains(string(out), " "+addr.String()+"/") {
				names = append(names, n.Name)
			}
			return err
		}))
	}
	return names
}

// TestB12PasswordOfASecret: no session without the password, and one as soon as it is there.
func TestB12PasswordOfASecret(t *testing.T) {
	const secret = "routers"
	s := newServicesEnv(t, func(spec *v1alpha1.BGPPeerSpec) {
		spec.PasswordSecret = &v1alpha1.SecretReference{Name: secret}
	})
	addr := s.create("web", 1)[0]
	s.wait("the agents to report the missing password", func() bool {
		return !slices.ContainsFunc(s.Nodes, func(n *cluster.Node) bool {
			return !strings.Contains(s.logOf(n), "no session without its password")
		})
	})
	s.waitRouted(addr)
	client := s.services.Kube.CoreV1().Secrets(metav1.NamespaceSystem)
	_, err := client.Create(s.ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: secret}, Type: corev1.SecretTypeBasicAuth,
		StringData: map[string]string{"password": "wrong"},
	}, metav1.CreateOptions{})
	s.must(err)
	t.Cleanup(func() {
		s.must(client.Delete(context.Background(), secret, metav1.DeleteOptions{}))
	})
	s.waitRouted(addr) // the routers have none
	for _, r := range s.Routers {
		s.put(v1alpha1.BGPPeerPlural, v1alpha1.BGPPeerKind, r.Host.Name, v1alpha1.BGPPeerSpec{
			MyASN: bgplab.NodeAS, PeerASN: bgplab.RouterAS, PeerPort: 179, MaximumPrefixes: 100,
			PeerAddress: v1alpha1.UnicastAddress(r.Addr.String()), DualStackAddressFamily: true,
		})
	}
	s.waitRouted(addr, "cp1", "cp2", "cp3")
}

// TestB13ServicesOutliveTheAPI: routes of Services stay without any API server.
func TestB13ServicesOutliveTheAPI(t *testing.T) {
	s := newServicesEnv(t, nil)
	addr := s.create("web", 1)[0]
	s.waitRouted(addr, "cp1", "cp2", "cp3")
	for _, n := range s.Nodes {
		s.must(n.KillAPI())
	}
	s.settle()
	for _, r := range s.Routers {
		via, err := s.ViaOf(r, netip.PrefixFrom(addr, 32))
		if err != nil || len(via) != len(s.Nodes) {
			t.Errorf("%s uses %v: %v", r.Host.Name, via, err)
		}
	}
	for _, n := range s.Nodes {
		s.must(n.StartAPI())
	}
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	s.must(s.WaitReady(ctx))
	s.waitRouted(addr, "cp1", "cp2", "cp3")
}

// TestOneSessionForBoth: an agent that announces the VIP and Services to one router has one session
// with it, which the objects of the API do not reset.
func TestOneSessionForBoth(t *testing.T) {
	lab, _ := need(t)
	s := newServicesEnv(t, nil, lab.Flags()...)
	addr := s.create("web", 1)[0]
	s.waitRouted(addr, "cp1", "cp2", "cp3")
	s.waitVia("cp1", "cp2", "cp3")
	for _, n := range s.Nodes {
		if got := strings.Count(s.logOf(n), "BGP session up"); got != len(s.Routers) {
			t.Errorf("%s had %d sessions with %d routers", n.Name, got, len(s.Routers))
		}
	}
	s.must(s.Nodes[0].KillAPI())
	s.waitVia("cp2", "cp3")
	s.waitRouted(addr, "cp1", "cp2", "cp3") // its kube-proxy serves on
	s.must(s.Nodes[0].StartAPI())
	s.waitVia("cp1", "cp2", "cp3")
}
