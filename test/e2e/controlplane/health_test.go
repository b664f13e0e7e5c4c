package controlplane

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/kvip/kvip/test/lab/cluster"
)

// healthStub answers in a node for --health-url, so that the verdict on an API server can be
// set while the API server itself keeps serving the lease.
type healthStub struct {
	ready atomic.Bool
}

const standInURL = "http://127.0.0.1:7443/readyz"

// startHealthStubs starts one on every node; all begin ready.
func (s *env) startHealthStubs() map[*cluster.Node]*healthStub {
	s.t.Helper()
	all := map[*cluster.Node]*healthStub{}
	for _, n := range s.c.Nodes {
		stand := &healthStub{}
		stand.ready.Store(true)
		all[n] = stand
		var listener net.Listener
		s.must(n.Host.Do(func() (err error) {
			listener, err = net.Listen("tcp", "127.0.0.1:7443")
			return err
		}))
		server := &http.Server{Handler: stand}
		go server.Serve(listener)
		s.after = append(s.after, func() { _ = server.Close() })
	}
	return all
}

// ServeHTTP is always alive, and ready if set.
func (i *healthStub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !i.ready.Load() && !strings.HasPrefix(r.URL.Path, "/livez") {
		http.Error(w, "[-]custom failed: set by the test\nreadyz check failed",
			http.StatusInternalServerError)
	}
}

// TestSoftFailureMovesToAReadyPeer: not ready here, ready there (E6).
func TestSoftFailureMovesToAReadyPeer(t *testing.T) {
	s := prepareEnv(t)
	stands := s.startHealthStubs()
	s.startAll("--health-url=" + standInURL)
	s.waitSettled()
	old := s.holder()
	stands[old].ready.Store(false)
	s.waitMoved(old)
}

// TestNobodyHealthy: when no API server is ready the holder stays, reports that it is
// degraded, and leaves when a healthy follower asks for the lease (E6).
func TestNobodyHealthy(t *testing.T) {
	s := prepareEnv(t)
	stands := s.startHealthStubs()
	s.startAll("--health-url=" + standInURL)
	s.waitSettled()
	holder := s.holder()
	// The peers' own /readyz is what a holder asks. Hide it, so that none is ready.
	s.must(s.c.Lab.PartitionPorts(holder.Host, []uint16{6443}, s.c.Others(holder)...))
	for _, n := range s.c.Nodes {
		stands[n].ready.Store(false)
	}
	s.wait("the lease to say degraded",
		func() bool { return s.lease().Annotations["kvip.dev/degraded"] != "" })
	for _, n := range s.c.Nodes {
		if n != holder {
			s.wait(n.Name+" to know that it is not healthy",
				func() bool { return s.agentStatus(n).Reason == "APIServerNotReady" })
		}
	}
	if h := s.holder(); h != holder {
		t.Fatalf("moved from %s to %s though no node is healthy", holder.Name, h.Name)
	}
	var healthy *cluster.Node
	for _, n := range s.c.Nodes {
		if n != holder {
			healthy = n
		}
	}
	stands[healthy].ready.Store(true)
	if next := s.waitMoved(holder); next != healthy {
		t.Errorf("moved to %s, which is not healthy", next.Name)
	}
	for _, n := range s.c.Nodes {
		stands[n].ready.Store(true)
	}
	s.must(s.c.Lab.Heal())
}

// startAll starts kvip on every node.
func (s *env) startAll(flags ...string) {
	s.t.Helper()
	for _, n := range s.c.Nodes {
		s.startAgent(n, flags...)
	}
}

// TestWinnerWithoutALink takes the link away from the only candidate: it does not
// campaign, and the others do (E5).
func TestWinnerWithoutALink(t *testing.T) {
	s := prepareEnv(t)
	first := s.c.Nodes[0]
	s.startAgent(first, "--interface=missing0")
	s.wait("the agent to say why", func() bool {
		_, body, err := s.page(first, "/readyz")
		return err == nil && strings.Contains(body, "LinkDown")
	})
	s.startAgent(s.c.Nodes[1])
	s.startAgent(s.c.Nodes[2])
	s.waitSettled()
	if h := s.holder(); h == first {
		t.Error("a node without the link holds")
	}
}

// TestAddressInUse: a machine that is not kvip has the address already (E9). No node takes
// it at the very first claim, and everybody says who has it.
func TestAddressInUse(t *testing.T) {
	s := prepareEnv(t)
	s.must(s.c.Client.AddAddr(netip.PrefixFrom(cluster.VIP4, 32)))
	s.startAll()
	s.wait("an agent to say who answers", func() bool {
		for _, n := range s.c.Nodes {
			if strings.Contains(logOf(s, n), "another host answers for the address") {
				return true
			}
		}
		return false
	})
	s.waitNoHolder()
	s.must(s.c.Client.DelAddr(netip.PrefixFrom(cluster.VIP4, 32)))
	s.waitSettled()
}
