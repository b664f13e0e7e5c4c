package allocator

import (
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/kvip/kvip/pkg/svc"
)

func kubeVIP(r *svc.Reader) { r.KubeVIP = true }

// S4: no Service gets an address that no host can use in a subnet that nodes publish, whatever
// pools contain. A Service that has such an address keeps it, with a warning.
func TestSubnetAddressesAreNotGiven(t *testing.T) {
	r := newFixture(t)
	a, _ := r.leader("x")
	r.PutPool("p", "10.0.0.100-10.0.0.107")
	r.PutService("a/old", asking("10.0.0.103"))
	r.expect(a, "a/old", "10.0.0.103 Allocated")
	r.showNodeLease(svc.NodeInfo{Node: "n1", Links: []svc.LinkInfo{
		{Name: "eth0", Subnets: []netip.Prefix{netip.MustParsePrefix("10.0.0.101/30"),
			netip.MustParsePrefix("10.0.0.105/31")}},
	}}, "n1")
	r.PutService("a/first")
	r.PutService("a/asks", asking("10.0.0.100"))
	r.expect(a, "a/first", "10.0.0.101 Allocated")
	r.expect(a, "a/asks", "SubnetAddress")
	r.expect(a, "a/old", "10.0.0.103 SubnetAddress")
}

// S4: a node that reports the address of a Service as its own, as cloud controllers do, does not
// revoke the address.
func TestANodeTakesNoAddressFromAService(t *testing.T) {
	r := newFixture(t)
	a, _ := r.leader("x")
	r.PutService("a/web")
	r.expect(a, "a/web", "10.0.0.100 Allocated")
	r.PutNode("n1", "10.0.0.100")
	r.expect(a, "a/web", "10.0.0.100 NodeAddress")
	r.PutNode("n1", "10.0.0.1")
	r.expect(a, "a/web", "10.0.0.100 Allocated")
}

// S9: an address that needs no pool must not be one of the cluster's own.
func TestAnyAddressIsBounded(t *testing.T) {
	for name, tell := range map[string]func(*fixture){
		"by ServiceCIDR": func(r *fixture) {
			r.Put("/apis/networking.k8s.io/v1/servicecidrs/kubernetes",
				&networkingv1.ServiceCIDR{Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{"10.96.0.0/12"}}})
		},
		"by the Services": func(r *fixture) {
			r.PutService("kube-system/kube-dns", func(s *corev1.Service) {
				s.Spec.Type, s.Spec.ClusterIPs = corev1.ServiceTypeClusterIP, []string{"10.96.0.10"}
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newFixture(t, kubeVIP)
			tell(r)
			r.PutNode("n2", "10.0.0.2", func(n *corev1.Node) { n.Spec.PodCIDRs = []string{"10.244.1.0/24"} })
			r.Eventually("the networks are seen", func() bool { return len(r.cache.Networks()) == 2 })
			a, _ := r.leader("x")
			for key, addr := range map[string]string{
				"h/dns": "10.96.0.10", "h/pod": "10.244.1.7", "h/loopback": "127.0.0.5",
				"h/multicast": "224.0.0.251", "h/node": "10.0.0.2", "h/free": "203.0.113.9",
			} {
				r.PutService(key, asking(addr))
			}
			r.expect(a, "h/free", "203.0.113.9 Allocated")
			r.expect(a, "h/node", "NodeAddress")
			for _, key := range []string{"h/dns", "h/pod", "h/loopback", "h/multicast"} {
				r.expect(a, key, "AddressNotAllowed")
			}
		})
	}
}
