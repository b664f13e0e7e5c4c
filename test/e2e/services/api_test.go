package services

import (
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/test/lab/cluster"
	"github.com/kvip/kvip/test/lab/servicelab"
)

// TestAPILost stops all API servers for longer than any Lease (S2): every address stays where it is and
// answers, also through the restart of an agent, which finds nobody to ask (S6). When the first server is
// back, long before the others, its node takes nothing, and nothing moves at all. The agent that was
// restarted is of that node: it has learnt of no other server meanwhile.
func TestAPILost(t *testing.T) {
	s := begin(t)
	owners := s.many(4)
	var addrs []netip.Addr
	for addr := range owners {
		addrs = append(addrs, addr)
	}
	sampler := s.sample(addrs...)
	for _, n := range s.Nodes {
		s.ok(n.KillAPI())
	}
	restarted := s.Nodes[0]
	if !slices.Contains(slices.Collect(maps.Values(owners)), restarted) {
		t.Fatalf("%s owns nothing", restarted.Name)
	}
	s.ok(restarted.Agent().Kill())
	s.ok(restarted.RestartAgent())
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(time.Second) {
		for addr, n := range owners {
			s.served(addr, servicelab.Port, n)
		}
	}
	s.ok(s.Nodes[0].StartAPI())
	s.ok(s.Nodes[0].WaitReady(s.ctx))
	for _, n := range s.Nodes[1:] {
		s.ok(n.StartAPI())
	}
	s.ok(s.WaitReady(s.ctx))
	s.settle(s.Nodes...)
	fresh := s.create("after")
	s.served(fresh, servicelab.Port, s.owner(fresh))
	for addr, n := range owners {
		s.served(addr, servicelab.Port, n)
		s.stayed(sampler, n, addr)
	}
}

// TestBeforeTheAPI starts agents while no API server runs: they say why they are not ready, and do their
// work as soon as there is one.
func TestBeforeTheAPI(t *testing.T) {
	s := prepare(t)
	s.ok(s.Create(s.ctx, "web"))
	for _, n := range s.Nodes {
		s.ok(n.KillAPI())
	}
	s.ok(s.StartAgents(s.Nodes))
	for _, n := range s.Nodes {
		s.wait(n.Name+" to say why it is not ready", func() bool {
			code, body, err := s.LocalPage(n, "/readyz")
			return err == nil && code == http.StatusServiceUnavailable && servicelab.ContainsAll(string(body), "refused")
		})
		s.wait(n.Name+" to be alive", func() bool { code, _, err := s.LocalPage(n, "/healthz"); return err == nil && code == http.StatusOK })
	}
	for _, n := range s.Nodes {
		s.ok(n.StartAPI())
	}
	s.ok(s.WaitReady(s.ctx))
	s.settle(s.Nodes...)
	addr := s.addresses("web", 1)[0]
	s.served(addr, servicelab.Port, s.owner(addr))
}

// behindProxy starts agents on the workers, which reach API servers through the proxy alone.
func behindProxy(t *testing.T) (*story, *servicelab.Proxy) {
	t.Helper()
	s := prepare(t)
	var targets []netip.AddrPort
	for _, n := range s.Nodes {
		targets = append(targets, netip.AddrPortFrom(n.Host.Addr(true), cluster.Port))
	}
	proxy, err := servicelab.StartProxy(s.Client, netip.AddrPortFrom(s.Client.Addr(true), cluster.Port), targets...)
	s.ok(err)
	t.Cleanup(func() {
		if err := proxy.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, w := range s.Workers {
		s.ok(s.Lab.Lab.PartitionPorts(w.Host, []uint16{cluster.Port}, s.Hosts()...))
		env := []string{"KUBERNETES_SERVICE_HOST=" + s.Client.Addr(true).String(), fmt.Sprintf("KUBERNETES_SERVICE_PORT=%d", cluster.Port)}
		_, err := w.RunKvip(s.Kvip, servicelab.Arguments(w), env)
		s.ok(err)
	}
	s.settle(s.Workers...)
	return s, proxy
}

// TestFaultyProxy has agents talk to the API through something that delays, cuts and swallows: Services
// get their addresses all the same, and the addresses that were served before are served all the time.
func TestFaultyProxy(t *testing.T) {
	s, proxy := behindProxy(t)
	first := s.create("first")
	n := s.owner(first)
	sampler := s.sample(first)
	count := 0
	served := func() {
		t.Helper()
		began := time.Now()
		addr := s.create(fmt.Sprintf("web-%d", count))
		s.served(addr, servicelab.Port, s.owner(addr))
		t.Logf("a Service was served after %v", time.Since(began).Round(time.Millisecond))
		count++
	}
	for range 3 {
		if cut := proxy.Cut(); cut == 0 {
			t.Error("the agents have no connection through the proxy")
		}
		served()
	}
	proxy.Delay(50 * time.Millisecond)
	served()
	proxy.Delay(0)
	proxy.Refuse(true)
	proxy.Cut()
	time.Sleep(2 * time.Second) // shorter than a Lease: the length is the test's subject
	proxy.Refuse(false)
	served()
	proxy.Swallow(true)
	time.Sleep(2 * time.Second)
	proxy.Swallow(false)
	proxy.Cut() // what was swallowed makes no sense of the rest
	served()
	s.settle(s.Workers...)
	s.served(first, servicelab.Port, n)
	s.neverNobody(sampler)
}

// TestWatchGap cuts the agents off for longer than their Leases, while Services come, change and go, and API servers
// forget what happened: they are started again and know nothing of before (410). Nothing moves meanwhile (S2), and then
// the agents do what is wanted now.
func TestWatchGap(t *testing.T) {
	s, proxy := behindProxy(t)
	kept, gone := s.create("kept"), s.create("gone")
	n := s.owner(kept)
	s.owner(gone)
	sampler := s.sample(kept)
	proxy.Refuse(true)
	proxy.Cut()
	s.ok(s.Delete(s.ctx, "gone"))
	s.ok(s.Create(s.ctx, "new", servicelab.Ports(otherPort)))
	s.ok(s.Change(s.ctx, "kept", servicelab.Ports(otherPort)))
	for _, cp := range s.Nodes {
		s.ok(cp.RestartAPI())
	}
	s.ok(s.WaitReady(s.ctx))
	audited := map[*cluster.Node]int64{}
	for _, cp := range s.Nodes {
		audited[cp] = cp.AuditOffset()
	}
	s.served(kept, servicelab.Port, n)
	proxy.Refuse(false)
	s.served(s.addresses("new", 1)[0], otherPort, s.Workers...)
	s.served(kept, otherPort, n)
	s.refused(kept, servicelab.Port)
	s.wait("the deleted Service's address to be gone or another's", func() bool {
		return len(s.Holders(gone)) == 0 || gone == s.addresses("new", 1)[0]
	})
	s.stayed(sampler, n, kept)
	s.wait("the agents to list Services anew", func() bool { return s.listed(audited, "services") > 0 })
}

// listed counts in the audit logs, since they had that length, how often a kvip read all objects of a kind: by a list, or a watch that
// begins with them.
func (s *story) listed(since map[*cluster.Node]int64, resource string) (count int) {
	s.t.Helper()
	for _, n := range s.Nodes {
		events, err := n.AuditEvents(since[n])
		s.ok(err)
		for _, e := range events {
			whole := e.Verb == "list" || strings.Contains(e.RequestURI, "sendInitialEvents=true")
			if e.UserAgent == "kvip" && whole && e.ObjectRef != nil && e.ObjectRef.Resource == resource {
				count++
			}
		}
	}
	return count
}
