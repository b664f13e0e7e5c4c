package metrics

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

var (
	v4 = netip.MustParseAddr("192.0.2.10")
	v6 = netip.MustParseAddr("2001:db8::10")
)

// all is what an agent with both jobs knows.
var all = Known{
	VIPs:         []netip.Addr{v4, v6},
	Transitions:  []string{"lease-won", "lease-lost"},
	HealthStates: []string{"unknown", "ok", "slow", "refused"},
	Fences:       []string{"nftables", "lifetimes"},
	Modes:        []string{"fast", "slow"},
	Dropped:      []string{"forged", "replayed"},
	Frames:       []string{"arp-request", "na"},
	Services:     true,
	Refusals:     []string{"PoolExhausted", "NoPool"},
	Requests:     []Request{{"update", "leases"}, {"list", "services"}},
	Codes:        []string{"Conflict", "Timeout"},
}

func newSet(t *testing.T) *Set {
	t.Helper()
	s, err := New(Build{"v1.2.3", "abc"}, all)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func scrape(t *testing.T, s *Set) string {
	t.Helper()
	rec := httptest.NewRecorder()
	s.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	body, err := io.ReadAll(rec.Result().Body)
	if err != nil || rec.Code != http.StatusOK {
		t.Fatalf("scrape: %d, %v", rec.Code, err)
	}
	return string(body)
}

func useAll(s *Set) {
	s.Holder(v4, true)
	s.Holder(v6, false)
	s.Transition("lease-won")
	s.Failover(120 * time.Millisecond)
	s.Renewal("ok")
	s.Renewal("ok")
	s.APIError(Request{"update", "leases"}, "Conflict")
	s.APIError(Request{"update", "leases"}, "words of another program")
	s.Health("slow")
	s.Announced(v4, "arp-request")
	s.Conflict(v4)
	s.FenceExpired()
	s.Fence("nftables")
	s.Quorum(Quorum{Mode: "fast", Agents: 3, MajorityAge: 50 * time.Millisecond, Blinks: 1})
	s.Quorum(Quorum{Mode: "fast", Agents: 3, Blinks: 3, LateWakeups: 2})
	s.MessageDropped("forged")
	s.Ready(true)
	s.Term(7)
	s.Degraded(true)
	s.Credentials("bootstrap")
	s.Credentials("serviceaccount")
	s.TokenExpiry(time.Unix(1800000000, 0))
}

func TestCredentialsHaveOnePresentKind(t *testing.T) {
	s := newSet(t)
	useAll(s)
	for kind, want := range map[string]float64{"serviceaccount": 1, "bootstrap": 0, "none": 0} {
		if got := testutil.ToFloat64(s.credentials.WithLabelValues(kind)); got != want {
			t.Errorf("%s is %v", kind, got)
		}
	}
}

// TestTokenExpiryIsServedWithATokenAlone: a time in 1970 would keep an alarm about a near end
// going.
func TestTokenExpiryIsServedWithATokenAlone(t *testing.T) {
	s := newSet(t)
	const name = "\nkvip_token_expiry_timestamp_seconds "
	for i, at := range []time.Time{{}, time.Unix(1800000000, 0), time.Unix(1900000000, 0), {}, {},
		time.Unix(1800000000, 0)} {
		s.TokenExpiry(at)
		text := scrape(t, s)
		if at.IsZero() && strings.Contains(text, name) {
			t.Errorf("step %d: there is no token, and an expiry is served", i)
		}
		if !at.IsZero() && !strings.Contains(text, fmt.Sprintf("%s%v\n", name, float64(at.Unix()))) {
			t.Errorf("step %d: the expiry is not served", i)
		}
	}
}

func TestEveryMetricIsServedWithItsValue(t *testing.T) {
	s := newSet(t)
	useAll(s)
	text := scrape(t, s)
	for _, line := range []string{
		`kvip_holder{vip="192.0.2.10"} 1`,
		`kvip_holder{vip="2001:db8::10"} 0`,
		`kvip_transitions_total{reason="lease-won"} 1`,
		`kvip_failover_duration_seconds_bucket{le="0.1"} 0`,
		`kvip_failover_duration_seconds_bucket{le="0.15"} 1`,
		`kvip_failover_duration_seconds_sum 0.12`,
		`kvip_renewals_total{result="ok"} 2`,
		`kvip_api_errors_total{code="Conflict",resource="leases",verb="update"} 1`,
		`kvip_api_errors_total{code="Other",resource="leases",verb="update"} 1`,
		`kvip_health_state{state="slow"} 1`,
		`kvip_announcements_sent_total{kind="arp-request",vip="192.0.2.10"} 1`,
		`kvip_conflicts_total{vip="192.0.2.10"} 1`,
		`kvip_fence_expiries_total 1`,
		`kvip_fence_info{fence="nftables"} 1`,
		`kvip_fence_info{fence="lifetimes"} 0`,
		`kvip_mode{mode="fast"} 1`,
		`kvip_mode{mode="slow"} 0`,
		`kvip_agents 3`,
		`kvip_majority_age_seconds 0`,
		`kvip_blinks_total 3`,
		`kvip_late_wakeups_total 2`,
		`kvip_messages_dropped_total{reason="forged"} 1`,
		`kvip_ready 1`,
		`kvip_lease_term 7`,
		`kvip_degraded 1`,
		`kvip_build_info{commit="abc",goversion="` + runtime.Version() + `",version="v1.2.3"} 1`,
	} {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("missing %s", line)
		}
	}
	for _, process := range []string{"go_goroutines ", "process_resident_memory_bytes "} {
		if !strings.Contains(text, "\n"+process) {
			t.Errorf("missing %s", process)
		}
	}
}

// TestSeriesExistBeforeAnythingHappened: increase() does not see a counter that begins with 1, and
// a comparison with 0 does not see an absent gauge.
func TestSeriesExistBeforeAnythingHappened(t *testing.T) {
	text := scrape(t, newSet(t))
	lines := []string{
		"kvip_fence_expiries_total 0", "kvip_ready 0", "kvip_lease_term 0", "kvip_degraded 0",
		"kvip_failover_duration_seconds_count 0",
		`kvip_credentials{credentials="none"} 1`, `kvip_credentials{credentials="serviceaccount"} 0`,
		`kvip_health_state{state="unknown"} 1`, `kvip_health_state{state="ok"} 0`,
		`kvip_health_state{state="refused"} 0`,
		`kvip_transitions_total{reason="lease-won"} 0`, `kvip_transitions_total{reason="lease-lost"} 0`,
		`kvip_renewals_total{result="ok"} 0`, `kvip_renewals_total{result="conflict"} 0`,
		`kvip_renewals_total{result="failed"} 0`,
		"kvip_service_conflicts_total 0", "kvip_allocator 0", `kvip_services{reason="Allocated"} 0`,
		`kvip_services{reason="NoPool"} 0`, `kvip_services{reason="Other"} 0`,
		`kvip_service_addresses{state="owned"} 0`, `kvip_service_addresses{state="leaving"} 0`,
		`kvip_service_moves_total{change="acquired"} 0`,
		`kvip_service_moves_total{change="released"} 0`, `kvip_service_announcements_total{kind="na"} 0`,
	}
	for _, code := range []string{"Conflict", "Timeout", "Other"} {
		lines = append(lines, `kvip_api_errors_total{code="`+code+`",resource="services",verb="list"} 0`)
	}
	for _, vip := range []string{"192.0.2.10", "2001:db8::10"} {
		lines = append(lines, `kvip_holder{vip="`+vip+`"} 0`, `kvip_conflicts_total{vip="`+vip+`"} 0`,
			`kvip_announcements_sent_total{kind="arp-request",vip="`+vip+`"} 0`)
	}
	for _, line := range lines {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("missing %s", line)
		}
	}
}

// TestASetServesItsOwnPartsAlone: an agent without a VIP must not count as one that does not hold
// it.
func TestASetServesItsOwnPartsAlone(t *testing.T) {
	for name, row := range map[string]struct {
		known   Known
		without string
	}{
		"Services alone": {Known{Services: true},
			"kvip_holder|kvip_transitions|kvip_degraded|kvip_fence|kvip_lease_term|kvip_health_state"},
		"the control plane alone": {Known{VIPs: []netip.Addr{v4}}, "kvip_service|kvip_pool"},
	} {
		s, err := New(Build{}, row.known)
		if err != nil {
			t.Fatal(err)
		}
		text := scrape(t, s)
		if found := regexp.MustCompile(row.without).FindString(text); found != "" {
			t.Errorf("%s: %s is served", name, found)
		}
		if !strings.Contains(text, "kvip_build_info") || !strings.Contains(text, "kvip_ready 0") {
			t.Errorf("%s: what every agent serves is missing", name)
		}
	}
}

// TestHealthIsAStateSet: each known state is served, one of them as 1.
func TestHealthIsAStateSet(t *testing.T) {
	s := newSet(t)
	for _, state := range []string{"unknown", "ok", "ok", "refused"} {
		s.Health(state)
		text := scrape(t, s)
		if n := strings.Count(text, "kvip_health_state{"); n != len(all.HealthStates) {
			t.Errorf("in state %s %d states are served", state, n)
		}
		for _, each := range all.HealthStates {
			if got := testutil.ToFloat64(s.healthState.WithLabelValues(each)); got != boolValue(
				each == state) {
				t.Errorf("in state %s the gauge of %s is %v", state, each, got)
			}
		}
	}
}

// TestLabelValuesAreWords: a blank in a value has to be quoted in every query and every shell.
func TestLabelValuesAreWords(t *testing.T) {
	s := newSet(t)
	useAll(s)
	useServices(s)
	for _, value := range regexp.MustCompile(
		`(?m)^kvip_[^{]*\{.*[a-z]="([^"]* [^"]*)"`).FindAllStringSubmatch(scrape(t, s), -1) {
		t.Errorf("label value %q", value[1])
	}
}

func TestOpenMetricsIsServedWhereItIsAskedFor(t *testing.T) {
	for accept, want := range map[string]string{
		"application/openmetrics-text;version=1.0.0": "application/openmetrics-text; version=1.0.0",
		"text/plain": "text/plain; version=0.0.4",
	} {
		request := httptest.NewRequest(http.MethodGet, "/metrics", nil)
		request.Header.Set("Accept", accept)
		rec := httptest.NewRecorder()
		newSet(t).Handler().ServeHTTP(rec, request)
		if got := rec.Header().Get("Content-Type"); !strings.HasPrefix(got, want) {
			t.Errorf("asked for %s it serves %s", accept, got)
		}
		if eof := strings.HasSuffix(rec.Body.String(), "# EOF\n"); eof != strings.Contains(accept,
			"openmetrics") {
			t.Errorf("asked for %s, OpenMetrics' end is there: %v", accept, eof)
		}
	}
}

func TestNamesFollowPrometheusConventions(t *testing.T) {
	s := newSet(t)
	useAll(s)
	problems, err := testutil.GatherAndLint(s.registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestBoolsGoBackToZero(t *testing.T) {
	s := newSet(t)
	useAll(s)
	s.Holder(v4, false)
	s.Ready(false)
	s.Degraded(false)
	text := scrape(t, s)
	for _, line := range []string{`kvip_holder{vip="192.0.2.10"} 0`, "kvip_ready 0",
		"kvip_degraded 0"} {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("missing %s", line)
		}
	}
}

func TestTwoSetsLiveInOneProcess(t *testing.T) {
	one, two := newSet(t), newSet(t)
	one.FenceExpired()
	if got := testutil.ToFloat64(two.fenceExpiries); got != 0 {
		t.Errorf("the second set counts %v of the first", got)
	}
}

func TestNilSetDropsEverything(t *testing.T) {
	var s *Set
	useAll(s)
	rec := httptest.NewRecorder()
	s.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if rec.Code != http.StatusNotFound {
		t.Errorf("a nil set serves %d", rec.Code)
	}
}
