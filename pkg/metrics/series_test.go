package metrics

import (
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// series returns every series of kvip with its value, as `name{label="value"}`. A histogram is its
// number of observations.
func series(t *testing.T, s *Set) map[string]float64 {
	t.Helper()
	all := map[string]float64{}
	for line := range strings.Lines(scrape(t, s)) {
		blank := strings.LastIndexByte(line, ' ')
		name, value := line[:blank], strings.TrimSpace(line[blank+1:])
		if !strings.HasPrefix(name, "kvip_") || strings.Contains(name, "_seconds_bucket{") ||
			strings.HasSuffix(name, "_seconds_sum") {
			continue
		}
		number, err := strconv.ParseFloat(value, 64)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		all[name] = number
	}
	return all
}

// TestNoSeriesAppearsLater: whatever happens adds no series, except the pools' and the token's,
// whose names and expiry are not known at the start.
func TestNoSeriesAppearsLater(t *testing.T) {
	s := newSet(t)
	before := series(t, s)
	useAll(s)
	useServices(s)
	for name := range series(t, s) {
		_, known := before[name]
		if !known && !strings.HasPrefix(name, "kvip_pool_") &&
			name != "kvip_token_expiry_timestamp_seconds" {
			t.Errorf("%s appears when it is used", name)
		}
	}
}

// TestNumberOfSeriesAtTheStart: every product of known label values, and nothing else.
func TestNumberOfSeriesAtTheStart(t *testing.T) {
	vips, frames := len(all.VIPs), len(all.Frames)
	want := map[string]int{
		"kvip_holder": vips, "kvip_conflicts_total": vips,
		"kvip_announcements_sent_total": vips * frames,
		"kvip_transitions_total":        len(all.Transitions),
		"kvip_renewals_total":           3,
		"kvip_health_state":             len(all.HealthStates),
		"kvip_api_errors_total":         len(all.Requests) * (len(all.Codes) + 1),
		"kvip_credentials":              3, "kvip_build_info": 1, "kvip_ready": 1,
		"kvip_fence_expiries_total": 1, "kvip_lease_term": 1, "kvip_degraded": 1,
		"kvip_fence_info": len(all.Fences), "kvip_mode": len(all.Modes), "kvip_agents": 1,
		"kvip_majority_age_seconds": 1, "kvip_blinks_total": 1, "kvip_late_wakeups_total": 1,
		"kvip_messages_dropped_total":          len(all.Dropped),
		"kvip_failover_duration_seconds_count": 1, "kvip_allocator": 1,
		"kvip_service_addresses": 2, "kvip_service_moves_total": 2,
		"kvip_service_announcements_total": frames, "kvip_service_conflicts_total": 1,
		"kvip_services": len(all.Refusals) + 2,
	}
	have := map[string]int{}
	for name := range series(t, newSet(t)) {
		family, _, _ := strings.Cut(name, "{")
		have[family]++
	}
	if !maps.Equal(have, want) {
		t.Errorf("series per metric:\n%v\nwant\n%v", have, want)
	}
}

// TestCountersStartAtZero, and gauges except those that name a present state.
func TestCountersStartAtZero(t *testing.T) {
	ones := []string{`kvip_credentials{credentials="none"}`, `kvip_health_state{state="unknown"}`}
	for name, value := range series(t, newSet(t)) {
		want := 0.0
		if slices.Contains(ones, name) || strings.HasPrefix(name, "kvip_build_info{") {
			want = 1
		}
		if value != want {
			t.Errorf("%s is %v at the start, want %v", name, value, want)
		}
	}
}

// TestLabelsFromOutsideAreBounded: an API server chooses its codes, and an allocator of another
// version its reasons. A scrape must not grow with them.
func TestLabelsFromOutsideAreBounded(t *testing.T) {
	s := newSet(t)
	before := len(series(t, s))
	refused := map[string]int{}
	for i := range 1000 {
		text := fmt.Sprintf("Invented%d\n\"}", i)
		s.APIError(Request{"update", "leases"}, text)
		refused[text] = 2
	}
	s.APIError(Request{"update", "leases"}, "")
	s.Allocation(0, refused, nil)
	all := series(t, s)
	if len(all) != before {
		t.Errorf("%d series became %d", before, len(all))
	}
	for name, want := range map[string]float64{
		`kvip_api_errors_total{code="Other",resource="leases",verb="update"}`: 1001,
		`kvip_services{reason="Other"}`:                                       2000,
	} {
		if all[name] != want {
			t.Errorf("%s is %v, want %v", name, all[name], want)
		}
	}
}

// TestPoolsThatAreDeletedHaveNoSeries: their last numbers would stay for the agent's life.
func TestPoolsThatAreDeletedHaveNoSeries(t *testing.T) {
	s := newSet(t)
	before := len(series(t, s))
	for i := range 100 {
		s.Allocation(0, nil, []Pool{{fmt.Sprint("pool-", i), "ipv4", 1, 2}})
	}
	all := series(t, s)
	if len(all) != before+2 {
		t.Errorf("%d series, want those of one pool more than %d", len(all), before)
	}
	if all[`kvip_pool_size_addresses{family="ipv4",pool="pool-99"}`] != 2 {
		t.Errorf("the last pool is not served: %v", all)
	}
}

// TestServedPartsDependOnTheConfiguration: methods of a part that is not served do no harm.
func TestServedPartsDependOnTheConfiguration(t *testing.T) {
	for _, row := range []struct {
		name               string
		known              Known
		election, services bool
	}{
		{"nothing", Known{}, false, false},
		{"the control plane", Known{VIPs: []netip.Addr{v4}}, true, false},
		{"Services", Known{Services: true}, false, true},
		{"both", all, true, true},
	} {
		s, err := New(Build{}, row.known)
		if err != nil {
			t.Fatal(err)
		}
		useAll(s)
		useServices(s)
		have := series(t, s)
		_, election := have["kvip_lease_term"]
		_, services := have["kvip_allocator"]
		_, ready := have["kvip_ready"]
		if election != row.election || services != row.services || !ready {
			t.Errorf("%s: election %v, Services %v, readiness %v", row.name, election, services, ready)
		}
	}
}

// TestFailoverBuckets are sorted, and each target lies on a bound, so that the
// share of failovers within the target can be read exactly.
func TestFailoverBuckets(t *testing.T) {
	if !slices.IsSorted(failoverBuckets) ||
		len(slices.Compact(slices.Clone(failoverBuckets))) != len(failoverBuckets) {
		t.Errorf("%v is not strictly ascending", failoverBuckets)
	}
	for _, target := range []float64{0.1, 2, 2.5, 5.5} {
		if !slices.Contains(failoverBuckets, target) {
			t.Errorf("no bucket ends at %v s", target)
		}
	}
}

func TestFailoverIsCountedInItsBucket(t *testing.T) {
	for took, bound := range map[time.Duration]float64{
		0: 0.01, 100 * time.Millisecond: 0.1, 101 * time.Millisecond: 0.15,
		2500 * time.Millisecond: 2.5, 31 * time.Second: math.Inf(1),
	} {
		s := newSet(t)
		s.Failover(took)
		text := scrape(t, s)
		first := math.Inf(1)
		for _, le := range slices.Backward(failoverBuckets) {
			line := fmt.Sprintf("kvip_failover_duration_seconds_bucket{le=\"%v\"} 1\n", le)
			if strings.Contains(text, line) {
				first = le
			}
		}
		if first != bound {
			t.Errorf("%v is in the bucket to %v s, want %v s", took, first, bound)
		}
	}
}

// TestTypesFollowTheNames: alerts use rate() on what ends in _total.
func TestTypesFollowTheNames(t *testing.T) {
	s := newSet(t)
	useAll(s)
	useServices(s)
	found := 0
	for line := range strings.Lines(scrape(t, s)) {
		fields := strings.Fields(line)
		if len(fields) != 4 || fields[1] != "TYPE" || !strings.HasPrefix(fields[2], "kvip_") {
			continue
		}
		found++
		name, want := fields[2], "gauge"
		switch {
		case strings.HasSuffix(name, "_total"):
			want = "counter"
		case strings.HasSuffix(name, "_duration_seconds"):
			want = "histogram"
		}
		if fields[3] != want {
			t.Errorf("%s is a %s, want a %s", name, fields[3], want)
		}
	}
	if found < 20 {
		t.Errorf("found only %d metrics", found)
	}
}

// TestConcurrentUse is for the race detector: a scrape runs while loops count.
func TestConcurrentUse(t *testing.T) {
	s := newSet(t)
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 50 {
				useAll(s)
				useServices(s)
				s.TokenExpiry(time.Time{})
			}
		})
	}
	for range 20 {
		if _, err := s.registry.Gather(); err != nil {
			t.Error(err)
		}
	}
	group.Wait()
	if got := series(t, s)["kvip_fence_expiries_total"]; got != 200 {
		t.Errorf("counted %v of 200", got)
	}
}
