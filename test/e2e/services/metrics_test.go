package services

import (
	"testing"

	"github.com/kvip/kvip/test/lab/cluster"
	"github.com/kvip/kvip/test/lab/servicelab"
)

// TestMetrics compares what agents count with what is true.
func TestMetrics(t *testing.T) {
	s := newEnv(t)
	s.must(s.Addresses(s.ctx, "main", "10.77.0.128-10.77.0.130"))
	first := s.create("first")
	n := s.owner(first)
	s.must(s.Create(s.ctx, "wrong", servicelab.Annotate("kvip.dev/addresses", "x")))
	s.waitCondition("wrong", "Malformed")
	s.waitValue(n, 1, `kvip_service_addresses{state="owned"}`)
	s.waitValue(n, 0, `kvip_service_addresses{state="leaving"}`)
	allocator := s.allocator()
	s.waitValue(allocator, 1, "kvip_allocator")
	s.waitValue(allocator, 3, `kvip_pool_size_addresses{family="ipv4",pool="main"}`)
	s.waitValue(allocator, 1, `kvip_pool_used_addresses{family="ipv4",pool="main"}`)
	s.waitValue(allocator, 1, `kvip_services{reason="Allocated"}`)
	s.waitValue(allocator, 1, `kvip_services{reason="Malformed"}`)
	s.waitMetric(n, `kvip_service_moves_total{change="acquired"}`)
	s.waitMetric(n, "kvip_service_announcements_total")
	s.must(s.Cordon(s.ctx, n.Name, true))
	s.waitMoved(first, n)
	s.waitMetric(n, `kvip_service_moves_total{change="released"}`)
	s.waitValue(n, 0, `kvip_service_addresses{state="owned"}`)
}

// waitValue waits until a sample has a value.
func (s *env) waitValue(n *cluster.Node, want float64, name string) {
	s.t.Helper()
	s.wait(name+" of "+n.Name, func() bool {
		m, err := s.Metrics(n)
		value, there := m[name]
		return err == nil && there && value == want
	})
}

// waitMetric waits until a sum of samples is above 0.
func (s *env) waitMetric(n *cluster.Node, words ...string) {
	s.t.Helper()
	s.wait(words[0]+" of "+n.Name, func() bool {
		m, err := s.Metrics(n)
		return err == nil && m.Sum(words...) > 0
	})
}
