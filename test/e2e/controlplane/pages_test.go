package controlplane

import (
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/kvip/kvip/test/lab/cluster"
)

// TestMetrics compares every documented metric with what is true.
func TestMetrics(t *testing.T) {
	s := newEnv(t)
	old := s.holder()
	s.must(old.Agent().Terminate(patience))
	holder := s.waitMoved(old)
	s.must(old.RestartAgent())
	s.waitSettled()
	for _, n := range s.c.Nodes {
		s.waitReady(n)
		holds := 0.0
		if n == holder {
			holds = 1
		}
		for _, v := range s.vips {
			s.wait("kvip_holder of "+n.Name, func() bool {
				value, ok := s.metrics(n)[`kvip_holder{vip="`+v.String()+`"}`]
				return ok && value == holds
			})
		}
		s.waitMetric(n, `kvip_ready`)
		s.waitMetric(n, `kvip_lease_term`)
		s.waitMetric(n, `kvip_health_state{state="ok"}`)
		s.waitMetric(n, `kvip_build_info{`, "version=", "commit=", "goversion=")
	}
	s.waitMetric(holder, `kvip_transitions_total{reason="Released"}`)
	s.waitMetric(holder, `kvip_failover_duration_seconds_count`)
	s.waitMetric(holder, `kvip_renewals_total{result="ok"}`)
	for _, v := range s.vips {
		s.waitMetric(holder, `kvip_announcements_sent_total{`, `vip="`+v.String()+`"`, "kind=")
	}
	m := s.metrics(holder)
	for _, name := range []string{"kvip_degraded", "kvip_fence_expiries_total"} {
		if value, ok := m[name]; !ok || value != 0 {
			t.Errorf("%s is %v, present: %v", name, value, ok)
		}
	}
	s.checkEvents()
}

// TestPortInUse takes the port of an agent's pages before it starts: it says so, does all of
// its work without, and serves them when the port is free.
func TestPortInUse(t *testing.T) {
	s := prepareEnv(t)
	first := s.c.Nodes[0]
	var taken net.Listener
	s.must(first.Host.Do(func() (err error) {
		taken, err = net.Listen("tcp", "127.0.0.1:2113")
		return err
	}))
	defer taken.Close()
	s.startAgent(first)
	s.waitLogged(first, "level=WARN", "cannot serve", "127.0.0.1:2113", "address already in use")
	if h := s.holder(); h != first {
		t.Errorf("%s holds", h.Name)
	}
	s.must(taken.Close())
	s.waitReady(first)
}

// checkAlive asks for /healthz until the agent answers, which takes long on a busy machine.
func (s *env) checkAlive(n *cluster.Node) {
	s.t.Helper()
	s.wait(n.Name+" to answer the liveness probe", func() bool {
		code, body, err := s.page(n, "/healthz")
		if err == nil && code != http.StatusOK {
			s.t.Errorf("%s: /healthz: %d %s", n.Name, code, body)
		}
		return err == nil
	})
}

// TestAllAPIServersDown stops all of them for a while. The VIP goes with the fence, every
// agent says why on /readyz, in its log and in its metrics, and /healthz stays well: there is
// nothing that a restart could mend (E12). Then everything comes back by itself.
func TestAllAPIServersDown(t *testing.T) {
	s := newEnv(t)
	pids := map[string]int{}
	for _, n := range s.c.Nodes {
		pids[n.Name] = n.Agent().PID()
		s.must(n.KillAPI())
	}
	s.waitNoHolder()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(time.Second) {
		for _, n := range s.c.Nodes {
			s.checkAlive(n)
		}
	}
	for _, n := range s.c.Nodes {
		s.waitUnready(n, "refused")
		s.waitLogged(n, "level=WARN", "API server is dead", "refused")
		s.waitLogged(n, "level=WARN", "API requests fail", "refused")
		s.waitMetric(n, "kvip_api_errors_total", `code="Unreachable"`)
		s.waitMetric(n, `kvip_health_state{state="refused"}`)
		s.must(n.StartAPI())
	}
	s.must(s.c.WaitReady(t.Context()))
	s.waitSettled()
	for _, n := range s.c.Nodes {
		s.waitReady(n)
		if !n.Agent().Running() || n.Agent().PID() != pids[n.Name] {
			t.Errorf("%s: process %d is not the agent that was started", n.Name, pids[n.Name])
		}
	}
}
