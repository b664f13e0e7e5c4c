package metrics

import (
	"strings"
	"testing"
)

func useServices(s *Set) {
	s.ServiceAddresses(5, 2)
	s.ServiceMoved("acquired")
	s.ServiceMoved("acquired")
	s.ServiceMoved("released")
	s.ServiceAnnounced("arp-request")
	s.ServiceConflict()
	s.Allocator(true)
	s.Allocation(7, map[string]int{"PoolExhausted": 3, "OfALaterRelease": 2},
		[]Pool{{"p", "ipv4", 7, 8}, {"q", "ipv4", 0, 1}, {"q", "ipv6", 0, 1 << 64}})
}

func TestServicesMetrics(t *testing.T) {
	s := newSet(t)
	useServices(s)
	text := scrape(t, s)
	for _, line := range []string{
		`kvip_service_addresses{state="owned"} 5`, `kvip_service_addresses{state="leaving"} 2`,
		`kvip_service_moves_total{change="acquired"} 2`,
		`kvip_service_moves_total{change="released"} 1`,
		`kvip_service_announcements_total{kind="arp-request"} 1`, `kvip_service_conflicts_total 1`,
		`kvip_allocator 1`, `kvip_services{reason="Allocated"} 7`,
		`kvip_services{reason="PoolExhausted"} 3`, `kvip_services{reason="NoPool"} 0`,
		`kvip_services{reason="Other"} 2`,
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("%s is not served:\n%s", line, text)
		}
	}
	if strings.Count(text, `pool="p"`) != 2 || strings.Count(text, `pool="q"`) != 4 ||
		!strings.Contains(text,
			`kvip_pool_size_addresses{family="ipv6",pool="q"} 1.8446744073709552e+19`) {
		t.Errorf("not every pool has its use and its size:\n%s", text)
	}
}

// TestAllocationForgets: a pool or reason that is gone has no count, as after another node became
// the leader.
func TestAllocationForgets(t *testing.T) {
	s := newSet(t)
	useServices(s)
	s.Allocator(false)
	s.Allocation(0, nil, nil)
	text := scrape(t, s)
	if !strings.Contains(text, `kvip_services{reason="PoolExhausted"} 0`) ||
		strings.Contains(text, `pool="`) ||
		!strings.Contains(text, `kvip_services{reason="Allocated"} 0`) ||
		!strings.Contains(text, "kvip_allocator 0\n") {
		t.Errorf("it serves\n%s", text)
	}
}

func TestServicesMetricsWithoutASet(t *testing.T) {
	var s *Set
	useServices(s) // an agent without metrics does not panic
	if s != nil {
		t.Error("there is a set")
	}
}
