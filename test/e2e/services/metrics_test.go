package services

import (
	"testing"

	"github.com/kvip/kvip/test/lab/cluster"
	"github.com/kvip/kvip/test/lab/servicelab"
)

// TestMetrics compares what agents count with what is true.
func TestMetrics(t *testing.T) {
	s := begin(t)
	s.ok(s.Addresses(s.ctx, "main", "10.77.0.128-10.77.0.130"))
	first := s.create("first")
	n := s.owner(first)
	s.ok(s.Create(s.ctx, "wrong", servicelab.Annotate("kvip.dev/addresses", "x")))
	s.told("wrong", "Malformed")
	s.measures(n, 1, `kvip_service_addresses{state="owned"}`)
	s.measures(n, 0, `kvip_service_addresses{state="leaving"}`)
	allocator := s.allocator()
	s.measures(allocator, 1, "kvip_allocator")
	s.measures(allocator, 3, `kvip_pool_size_addresses{family="ipv4",pool="main"}`)
	s.measures(allocator, 1, `kvip_pool_used_addresses{family="ipv4",pool="main"}`)
	s.measures(allocator, 1, `kvip_services{reason="Allocated"}`)
	s.measures(allocator, 1, `kvip_services{reason="Malformed"}`)
	s.counts(n, `kvip_service_moves_total{change="taken"}`)
	s.counts(n, "kvip_service_announcements_total")
	s.ok(s.Cordon(s.ctx, n.Name, true))
	s.moved(first, n)
	s.counts(n, `kvip_service_moves_total{change="given_up"}`)
	s.measures(n, 0, `kvip_service_addresses{state="owned"}`)
}

// measures waits until a sample has a value.
func (s *story) measures(n *cluster.Node, want float64, name string) {
	s.t.Helper()
	s.wait(name+" of "+n.Name, func() bool {
		m, err := s.Metrics(n)
		value, there := m[name]
		return err == nil && there && value == want
	})
}

// counts waits until a sum of samples is above 0.
func (s *story) counts(n *cluster.Node, words ...string) {
	s.t.Helper()
	s.wait(words[0]+" of "+n.Name, func() bool {
		m, err := s.Metrics(n)
		return err == nil && m.Sum(words...) > 0
	})
}
