package bgp

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/svc/bgpstate"
	"github.com/kvip/kvip/test/lab/cluster"
)

// TestB4PlannedLeave: an agent that gets SIGTERM leaves without the loss of a packet, and removes
// the address. No router has a route to a node without the address when all leave at once.
func TestB4PlannedLeave(t *testing.T) {
	s := newEnv(t)
	n := s.Nodes[0]
	s.must(n.Agent().SendTerm())
	s.waitVia(s.others(n)...)
	s.wait("the agent to exit", func() bool { return !n.Agent().Running() })
	s.lossless("SIGTERM")
	if s.has(n) {
		t.Errorf("%s has the addresses after its agent left", n.Name)
	}
	for _, other := range s.Nodes[1:] { // all at once
		s.must(other.Agent().SendTerm())
	}
	s.waitVia()
	for _, one := range s.Nodes {
		s.must(one.RestartAgent()) // it waits for the one that leaves
	}
	s.waitVia("cp1", "cp2", "cp3")
}

// TestAPIServerKilled: no router keeps the route to a dead API server, and the node's address goes.
func TestAPIServerKilled(t *testing.T) {
	s := newEnv(t)
	n := s.Nodes[1]
	s.must(n.KillAPI())
	s.waitVia(s.others(n)...)
	s.wait("the address to go", func() bool { return !s.has(n) })
	s.lossless("API server killed")
	s.must(n.StartAPI())
	s.waitVia("cp1", "cp2", "cp3")
}

// TestAPIServerShutsDown: clients of an API server that shuts down in order notice nothing, but
// that the router moves connections that are open when it leaves the node.
func TestAPIServerShutsDown(t *testing.T) {
	s := newEnv(t)
	n := s.Nodes[2]
	client := s.startClient(s.Routers[1], "/livez/ping")
	s.must(n.TerminateAPI())
	s.waitVia(s.others(n)...)
	time.Sleep(2 * shutdownDelay) // its listener is closed by then; its end takes longer
	s.lossless("API server SIGTERM")
	client.Stop()
	prefix := netip.PrefixFrom(cluster.RoutedVIP4, 32)
	for _, q := range client.Requests(s.began) {
		if !q.OK() && !s.sampler.Rehashed(s.Routers[1], prefix, q) {
			t.Errorf("a request failed: %+v", q)
		}
	}
	s.must(n.StartAPI())
	s.waitVia("cp1", "cp2", "cp3")
}

// TestAPIServerHangs: a process that does not answer is as dead.
func TestAPIServerHangs(t *testing.T) {
	s := newEnv(t)
	n := s.Nodes[0]
	s.must(n.FreezeAPI())
	s.waitVia(s.others(n)...)
	s.must(n.ThawAPI())
	s.waitVia("cp1", "cp2", "cp3")
	s.lossless("API server frozen")
}

// TestB5NotReady: an API server without its etcd member makes the path worse, which routers know
// and do not use. Without any etcd all are worse alike, and routers use all of them.
func TestB5NotReady(t *testing.T) {
	s := newEnv(t)
	n := s.Nodes[1]
	s.must(n.KillEtcd())
	s.waitVia(s.others(n)...)
	for _, r := range s.Routers {
		s.wait(r.Host.Name+" to know the worse path", func() bool { return s.worse(r, n) })
	}
	for _, other := range s.Nodes {
		if other != n {
			s.must(other.KillEtcd())
		}
	}
	s.waitVia("cp1", "cp2", "cp3")
	s.lossless("etcd killed")
	for _, one := range s.Nodes {
		s.must(one.StartEtcd())
	}
	for _, one := range s.Nodes {
		for _, r := range s.Routers {
			s.wait("the path to be good again", func() bool { return !s.worse(r, one) })
		}
	}
	s.waitVia("cp1", "cp2", "cp3")
}

// TestAgentKilled: the route goes with the connection, and the address after it, by its lifetime
// (B7).
func TestAgentKilled(t *testing.T) {
	s := newEnv(t)
	n := s.Nodes[2]
	s.must(n.Agent().Kill())
	s.waitVia(s.others(n)...)
	s.lossless("agent killed")
	s.wait("the address to expire", func() bool { return !s.has(n) })
	s.must(n.RestartAgent())
	s.waitVia("cp1", "cp2", "cp3")
}

// TestB6FrozenAgent: routers lose a frozen agent by BFD, while its node serves on. When it runs
// again it ends the sessions, and has new ones.
func TestB6FrozenAgent(t *testing.T) {
	s := newEnv(t)
	n := s.Nodes[0]
	s.must(n.Agent().Freeze())
	s.waitVia(s.others(n)...)
	s.lossless("agent frozen")
	s.must(n.Agent().Thaw())
	s.waitVia("cp1", "cp2", "cp3")
}

// TestFrozenWithDeadAPIServer: a thawed agent does not announce an API server that died meanwhile.
func TestFrozenWithDeadAPIServer(t *testing.T) {
	s := newEnv(t)
	n := s.Nodes[1]
	s.must(n.Agent().Freeze())
	s.must(n.KillAPI())
	s.waitVia(s.others(n)...)
	s.must(n.Agent().Thaw())
	s.wait("the address to go", func() bool { return !s.has(n) })
	s.waitVia(s.others(n)...)
	s.must(n.StartAPI())
	s.waitVia("cp1", "cp2", "cp3")
}

// TestNodeLost: a node without its cable, behind a switch, is lost by BFD.
func TestNodeLost(t *testing.T) {
	s := newEnv(t)
	n := s.Nodes[0]
	s.must(n.Host.Unplug())
	s.waitVia(s.others(n)...)
	s.wait("the others to answer all", s.answering)
	s.must(n.Host.Plug())
	s.waitVia("cp1", "cp2", "cp3")
}

// TestLinkDown: the same when the node's own link is down.
func TestLinkDown(t *testing.T) {
	s := newEnv(t)
	n := s.Nodes[2]
	s.must(n.Host.LinkDown())
	s.waitVia(s.others(n)...)
	s.must(n.Host.LinkUp())
	s.must(s.Reroute(n)) // the kernel removed the routes with the link
	s.waitVia("cp1", "cp2", "cp3")
}

// TestRouterDies: the other router notices nothing, and a router that is back has the routes. Each
// node has an Event about the session, which its agent posts with the rights that it has given
// itself.
func TestRouterDies(t *testing.T) {
	s := newEnv(t)
	for i, r := range s.Routers {
		s.must(r.Kill())
		other := s.Routers[1-i]
		s.wait("the agents to lose it", func() bool {
			return !slices.ContainsFunc(s.Nodes, func(n *cluster.Node) bool {
				return !strings.Contains(s.logOf(n), "BGP session down") // of this router, at least
			})
		})
		if via, err := s.Via(other); err != nil || len(via) != len(s.Nodes) {
			t.Errorf("%s uses %v: %v", other.Host.Name, via, err)
		}
		s.must(s.Restart(r))
		s.waitVia("cp1", "cp2", "cp3")
	}
	kube, err := s.Kube(s.Nodes[0])
	s.must(err)
	for _, n := range s.Nodes {
		s.wait("an Event on "+n.Name, func() bool {
			list, err := kube.CoreV1().Events(metav1.NamespaceDefault).List(t.Context(), metav1.ListOptions{
				FieldSelector: "involvedObject.kind=Node,involvedObject.name=" + n.Name,
			})
			return err == nil && slices.ContainsFunc(list.Items, func(e corev1.Event) bool {
				return e.FirstTimestamp.After(s.began.Truncate(time.Second)) &&
					(e.Reason == bgpstate.EventDown ||
						e.Reason == bgpstate.EventUp && strings.Contains(e.Message, "it ended before"))
			})
		})
	}
}

// TestB8RouterDropsBFD: the session is reset at most once for it, and works without BFD.
func TestB8RouterDropsBFD(t *testing.T) {
	s := newEnv(t)
	r, n := s.Routers[0], s.Nodes[0]
	s.must(r.SetBFD(n.Host.Addr(true), false))
	s.wait("BFD to be off", func() bool {
		info, err := r.Session(n.Host.Addr(true))
		return err == nil && info.BFD != "Up"
	})
	s.waitVia("cp1", "cp2", "cp3")
	s.must(r.SetBFD(n.Host.Addr(true), true))
	s.wait("BFD to be up", func() bool {
		info, err := r.Session(n.Host.Addr(true))
		return err == nil && info.BFD == "Up"
	})
	s.waitVia("cp1", "cp2", "cp3")
}
