package services

import (
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/kvip/kvip/test/lab/cluster"
	"github.com/kvip/kvip/test/lab/servicelab"
)

// ipvsLink is where kube-proxy in IPVS mode puts every address of a status, on every node.
const ipvsLink = "kube-ipvs0"

// commands runs ip commands on a node.
func (s *env) commands(n *cluster.Node, lines ...string) {
	s.t.Helper()
	s.must(n.Host.Do(func() error {
		for _, line := range lines {
			if err := exec.Command("ip", strings.Fields(line)...).Run(); err != nil {
				return err
			}
		}
		return nil
	}))
}

// strictARP makes the links of IPVS mode, and has the kernel answer for the addresses of the link
// alone that is asked, as kube-proxy does with strictARP. A dummy link is not in every kernel: a
// link that is down and has no ARP is the same to the rest of the host.
func (s *env) strictARP() {
	s.t.Helper()
	for _, n := range s.Nodes {
		s.must(n.Host.Sysctl("net/ipv4/conf/all/arp_ignore", "1"))
		s.commands(n, "link add "+ipvsLink+" type veth peer name ipvs-peer", "link set "+ipvsLink+
			" arp off")
		s.t.Cleanup(func() {
			s.commands(n, "link del "+ipvsLink)
			s.must(n.Host.Sysctl("net/ipv4/conf/all/arp_ignore", "0"))
		})
	}
}

// TestKubeProxyIPVS has each address on kube-proxy's own link of every node as well (S6), on the
// one before kvip has it and on the other after: both still answer from one node, and stay there.
func TestKubeProxyIPVS(t *testing.T) {
	s := newEnv(t)
	s.strictARP()
	bind := func(addr netip.Addr) {
		for _, n := range s.Nodes {
			s.commands(n, "addr add "+addr.String()+"/32 dev "+ipvsLink)
		}
	}
	before := netip.MustParseAddr("10.77.0.140")
	bind(before)
	s.must(s.Create(s.ctx, "before", func(o *corev1.Service) {
		o.Spec.LoadBalancerIP = before.String()
	}))
	s.addresses("before", 1)
	after := s.create("after")
	bind(after)
	s.must(s.Create(s.ctx, "later")) // has every agent compare all addresses of its host again
	s.addresses("later", 1)
	for _, addr := range []netip.Addr{before, after} {
		var names []string
		s.wait("one node to answer for "+addr.String(), func() (ok bool) {
			var err error
			names, err = s.Responders(addr)
			return err == nil && len(names) == 1
		})
		s.waitServed(addr, servicelab.Port, s.Node(names[0]))
		for _, n := range s.Nodes {
			if problem := s.LogOf(n); strings.Contains(problem, ipvsLink) {
				t.Errorf("%s complains of %s:\n%s", n.Name, ipvsLink, problem)
			}
		}
	}
	s.waitCondition("after", "Allocated")
}
