package agent

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/election"
	"github.com/kvip/kvip/pkg/link"
	"github.com/kvip/kvip/pkg/metrics"
	"github.com/kvip/kvip/test/testutil"
)

var (
	vip4    = netip.MustParseAddr("10.0.0.100")
	discard = slog.New(slog.DiscardHandler)
)

// get returns the status code and the body of a page.
func get(t *testing.T, page http.Handler) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	page.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
	return w.Code, w.Body.String()
}

// scrape returns the page /metrics.
func scrape(t *testing.T, set *metrics.Set) string {
	t.Helper()
	_, page := get(t, set.Handler())
	return page
}

// TestIdentity is E8: node name, boot and network namespace, the same after a restart and
// another one in another namespace.
func TestIdentity(t *testing.T) {
	outside, err := identity("node-a")
	if err != nil {
		t.Fatal(err)
	}
	boot, err := link.BootID()
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := identity("node-a"); again != outside {
		t.Errorf("%s, and then %s", outside, again)
	}
	if !strings.HasPrefix(outside, "node-a_"+boot[:13]+"_") ||
		election.NodeName(outside) != "node-a" || len(outside) > 128 {
		t.Errorf("identity %s", outside)
	}
	testutil.NewNetns(t)
	if inside, err := identity("node-a"); err != nil || inside == outside ||
		election.NodeName(inside) != "node-a" {
		t.Errorf("%s in another namespace, %s here: %v", inside, outside, err)
	}
}

// testAgent is an agent for the jobs that the configuration has. Nothing runs.
func testAgent(t *testing.T, change func(c *config.Config)) *agent {
	t.Helper()
	cfg := config.Default()
	cfg.NodeName, cfg.Kubeconfigs = "node-a", []string{"/none"}
	change(&cfg)
	a, err := newAgent(cfg, Build{Version: "v1", Commit: "none"}, discard)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestReadiness: an agent for both jobs is ready if both parts are. One for Services alone has no
// control plane's part.
func TestReadiness(t *testing.T) {
	both := testAgent(t, func(c *config.Config) { c.VIPs, c.Services = []netip.Addr{vip4}, true })
	if got := both.notReady(); !strings.HasPrefix(got, "starting: the link is not there yet") {
		t.Errorf("before the start: %q", got)
	}
	for _, c := range []struct{ control, services, want string }{
		{"link is down", "starting", "link is down"},
		{"link is down", "", "link is down"},
		{"", "starting", "starting"},
	} {
		both.controlHealth.Component("election loop").Stopped(c.control)
		both.servicesHealth.Component("Services loop").Stopped(c.services)
		if got := both.notReady(); got != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
	alone := testAgent(t, func(c *config.Config) { c.VIPs, c.Services = nil, true })
	if got := alone.notReady(); got != "starting" {
		t.Errorf("Services alone: %q", got)
	}
}

// TestE12Stuck: the components of both parts are watched.
func TestE12Stuck(t *testing.T) {
	a := testAgent(t, func(c *config.Config) { c.VIPs, c.Services = []netip.Addr{vip4}, true })
	if got := a.stuck(); got != "" {
		t.Errorf("before the start: %q", got)
	}
	for _, registry := range []string{"control", "services"} {
		health := a.controlHealth
		if registry == "services" {
			health = a.servicesHealth
		}
		c := health.Component("test loop")
		c.Heartbeat()
		c.SetTimeout(-1)
		if got := a.stuck(); !strings.Contains(got, "test loop has made no progress") {
			t.Errorf("%s: %q", registry, got)
		}
		c.SetTimeout(1 << 62)
	}
}

// TestStatus before the start, of an agent for the control plane alone.
func TestStatus(t *testing.T) {
	a := testAgent(t, func(c *config.Config) { c.VIPs = []netip.Addr{vip4} })
	s := a.status()
	if s.Node != "node-a" || s.Identity != a.id || s.Version != "v1" || s.State != "starting" ||
		s.Health != "unknown" || len(s.VIPs) != 1 || s.VIPs[0] != vip4.String() || s.NotReady == "" {
		t.Errorf("%+v", s)
	}
	if a.servicesPage() != nil {
		t.Error("/services without Services")
	}
}

func TestNewAgentRejectsBadSettings(t *testing.T) {
	cfg := config.Default()
	cfg.NodeName, cfg.VIPs, cfg.HealthURL = "node-a", []netip.Addr{vip4}, "ftp://"
	if _, err := newAgent(cfg, Build{}, discard); err == nil {
		t.Error("a bad --health-url was accepted")
	}
}
