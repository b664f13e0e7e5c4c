package metrics

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
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

func newSet(t *testing.T) *Set {
	t.Helper()
	s, err := New("v1.2.3", "abc")
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
	s.APIError("update", "409")
	s.Health("slow")
	s.Announced(v4, "arp-request")
	s.Conflict(v4)
	s.FenceExpired()
	s.Ready(true)
	s.Term(7)
	s.Degraded(true)
	s.Credentials("bootstrap")
	s.Credentials("serviceaccount")
	s.TokenExpiry(time.Unix(1800000000, 0))
}

// TestCredentialsHaveOnePresentKind and an expiry that ends with the token.
func TestCredentialsHaveOnePresentKind(t *testing.T) {
	s := newSet(t)
	useAll(s)
	for kind, want := range map[string]float64{"serviceaccount": 1, "bootstrap": 0, "none": 0} {
		if got := testutil.ToFloat64(s.credentials.WithLabelValues(kind)); got != want {
			t.Errorf("%s is %v", kind, got)
		}
	}
	if got := testutil.ToFloat64(s.tokenExpiry); got != 1800000000 {
		t.Errorf("expiry %v", got)
	}
	s.TokenExpiry(time.Time{})
	if got := testutil.ToFloat64(s.tokenExpiry); got != 0 {
		t.Errorf("expiry without a token %v", got)
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
		`kvip_api_errors_total{code="409",op="update"} 1`,
		`kvip_health_state{state="slow"} 1`,
		`kvip_announcements_sent_total{kind="arp-request",vip="192.0.2.10"} 1`,
		`kvip_conflicts_total{vip="192.0.2.10"} 1`,
		`kvip_fence_expiries_total 1`,
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

func TestScalarsAreServedBeforeAnythingHappened(t *testing.T) {
	text := scrape(t, newSet(t))
	for _, line := range []string{"kvip_fence_expiries_total 0", "kvip_ready 0", "kvip_lease_term 0", "kvip_degraded 0", "kvip_failover_duration_seconds_count 0"} {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("missing %s: an alert on it would never see the first change", line)
		}
	}
}

func TestHealthHasOnePresentState(t *testing.T) {
	s := newSet(t)
	for _, state := range []string{"unknown", "ok", "ok", "refused"} {
		s.Health(state)
		if got := testutil.ToFloat64(s.healthState.WithLabelValues(state)); got != 1 {
			t.Errorf("after %s its gauge is %v", state, got)
		}
	}
	for _, state := range []string{"unknown", "ok"} {
		if got := testutil.ToFloat64(s.healthState.WithLabelValues(state)); got != 0 {
			t.Errorf("%s is over and its gauge is %v", state, got)
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
	for _, line := range []string{`kvip_holder{vip="192.0.2.10"} 0`, "kvip_ready 0", "kvip_degraded 0"} {
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
