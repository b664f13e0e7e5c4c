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

// TestAPILost stops all API servers for longer than any Lease (S2): every address stays where it is
// and answers, also through the restart of an agent, which finds no API server (S6). When the first
// server is back, long before the others, its node takes nothing, and nothing moves at all. The
// agent that was restarted is of that node: it has learnt of no other server meanwhile.
func TestAPILost(t *testing.T) {
	s := newEnv(t)
	owners := s.createMany(4)
	var addrs []netip.Addr
	for addr := range owners {
		addrs = append(addrs, addr)
	}
	sampler := s.sample(addrs...)
	for _, n := range s.Nodes {
		s.must(n.KillAPI())
	}
	restarted := s.Nodes[0]
	if !slices.Contains(slices.Collect(maps.Values(owners)), restarted) {
		t.Fatalf("%s owns nothing", restarted.Name)
	}
	s.must(restarted.Agent().Kill())
	s.must(restarted.RestartAgent())
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(time.Second) {
		for addr, n := range owners {
			s.waitServed(addr, servicelab.Port, n)
		}
	}
	s.must(s.Nodes[0].StartAPI())
	s.must(s.Nodes[0].WaitReady(s.ctx))
	for _, n := range s.Nodes[1:] {
		s.must(n.StartAPI())
	}
	s.must(s.WaitReady(s.ctx))
	s.waitSettled(s.Nodes...)
	fresh := s.create("after")
	s.waitServed(fresh, servicelab.Port, s.owner(fresh))
	for addr, n := range owners {
		s.waitServed(addr, servicelab.Port, n)
		s.checkStayed(sampler, n, addr)
	}
}

// TestBeforeTheAPI starts agents while no API server runs: they say why they are not ready, and do
// their work as soon as there is one.
func TestBeforeTheAPI(t *testing.T) {
	s := prepareEnv(t)
	s.must(s.Create(s.ctx, "web"))
	for _, n := range s.Nodes {
		s.must(n.KillAPI())
	}
	s.must(s.StartAgents(s.Nodes))
	for _, n := range s.Nodes {
		s.wait(n.Name+" to say why it is not ready", func() bool {
			code, body, err := s.LocalPage(n, "/readyz")
			return err == nil && code == http.StatusServiceUnavailable &&
				servicelab.ContainsAll(string(body), "refused")
		})
		s.wait(n.Name+" to be alive",
			func() bool {
				code, _, err := s.LocalPage(n, "/healthz")
				return err == nil &&
					code == http.StatusOK
			})
	}
	for _, n := range s.Nodes {
		s.must(n.StartAPI())
	}
	s.must(s.WaitReady(s.ctx))
	s.waitSettled(s.Nodes...)
	addr := s.addresses("web", 1)[0]
	s.waitServed(addr, servicelab.Port, s.owner(addr))
}

// behindProxy starts agents on the workers, which reach API servers through the proxy alone.
func behindProxy(t *testing.T) (*env, *servicelab.Proxy) {
	t.Helper()
	s := prepareEnv(t)
	var targets []netip.AddrPort
	for _, n := range s.Nodes {
		targets = append(targets, netip.AddrPortFrom(n.Host.Addr(true), cluster.Port))
	}
	proxy, err := servicelab.StartProxy(s.Client,
		netip.AddrPortFrom(s.Client.Addr(true), cluster.Port), targets...)
	s.must(err)
	t.Cleanup(func() {
		if err := proxy.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, w := range s.Workers {
		s.must(s.Lab.Lab.PartitionPorts(w.Host, []uint16{cluster.Port}, s.Hosts()...))
		env := []string{"KUBERNETES_SERVICE_HOST=" + s.Client.Addr(true).String(),
			fmt.Sprintf("KUBERNETES_SERVICE_PORT=%d", cluster.Port)}
		_, err := w.RunKvip(s.Kvip, servicelab.Arguments(w), env)
		s.must(err)
	}
	s.waitSettled(s.Workers...)
	return s, proxy
}

// TestFaultyProxy runs agents against an API behind a proxy that delays, cuts and drops: Services
// get their addresses, and the addresses that were served before are served all the time.
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
		s.waitServed(addr, servicelab.Port, s.owner(addr))
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
	s.waitSettled(s.Workers...)
	s.waitServed(first, servicelab.Port, n)
	s.checkAlwaysOwned(sampler)
}

// TestWatchGap cuts the agents off for longer than their Leases, while Services come, change and
// go, and API servers forget what happened: they are started again and know nothing of before
// (410). Nothing moves meanwhile (S2), and then the agents do what is wanted now.
func TestWatchGap(t *testing.T) {
	s, proxy := behindProxy(t)
	kept, gone := s.create("kept"), s.create("gone")
	n := s.owner(kept)
	s.owner(gone)
	sampler := s.sample(kept)
	proxy.Refuse(true)
	proxy.Cut()
	s.must(s.Delete(s.ctx, "gone"))
	s.must(s.Create(s.ctx, "new", servicelab.Ports(otherPort)))
	s.must(s.Change(s.ctx, "kept", servicelab.Ports(otherPort)))
	for _, cp := range s.Nodes {
		s.must(cp.RestartAPI())
	}
	s.must(s.WaitReady(s.ctx))
	audited := map[*cluster.Node]int64{}
	for _, cp := range s.Nodes {
		audited[cp] = cp.AuditOffset()
	}
	s.waitServed(kept, servicelab.Port, n)
	proxy.Refuse(false)
	s.waitServed(s.addresses("new", 1)[0], otherPort, s.Workers...)
	s.waitServed(kept, otherPort, n)
	s.refused(kept, servicelab.Port)
	s.wait("the deleted Service's address to be gone or another's", func() bool {
		return len(s.Holders(gone)) == 0 || gone == s.addresses("new", 1)[0]
	})
	s.checkStayed(sampler, n, kept)
	s.wait("the agents to list Services again",
		func() bool { return s.listed(audited, "services") > 0 })
}

// listed counts in the audit logs, since they had that length, how often a kvip read all objects of
// a kind: by a list, or a watch that begins with them.
func (s *env) listed(since map[*cluster.Node]int64, resource string) (count int) {
	s.t.Helper()
	for _, n := range s.Nodes {
		events, err := n.AuditEvents(since[n])
		s.must(err)
		for _, e := range events {
			whole := e.Verb == "list" || strings.Contains(e.RequestURI, "sendInitialEvents=true")
			if e.UserAgent == "kvip" && whole && e.ObjectRef != nil && e.ObjectRef.Resource == resource {
				count++
			}
		}
	}
	return count
}
