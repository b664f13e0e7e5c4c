package agent

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"

	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/ipam"
	"github.com/kvip/kvip/pkg/metrics"
	"github.com/kvip/kvip/pkg/reporter"
	"github.com/kvip/kvip/pkg/svc"
	"github.com/kvip/kvip/pkg/svc/allocator"
	"github.com/kvip/kvip/pkg/vip"
	"github.com/kvip/kvip/test/fakeapi/fakecluster"
	"github.com/kvip/kvip/test/testutil"
)

// agentOf is an agent on node n1 of a cluster, before newServices.
func agentOf(e *fakecluster.Env) *agent {
	a := &agent{
		cfg: config.ServicesDaemonSet(), id: "n1_boot", log: e.Logger,
		credentials:   &credentials{store: e.Creds},
		controlHealth: reporter.NewRegistry(nil), servicesHealth: reporter.NewRegistry(nil),
	}
	a.cfg.NodeName, a.cfg.Port = "n1", portOf(e.Server.Host)
	a.metrics = testutil.Must(metrics.New(Build{}, knownLabels(a.cfg)))
	a.routes = testutil.Must(newRoutes(a))
	return a
}

// bareAgent is agentOf with a new cluster.
func bareAgent(t *testing.T) (*fakecluster.Env, *agent) {
	t.Helper()
	e := fakecluster.New(t)
	return e, agentOf(e)
}

// TestNewServicesStartsNothing: no request, no goroutine, and the agent is not ready.
func TestNewServicesStartsNothing(t *testing.T) {
	e, a := bareAgent(t)
	before := runtime.NumGoroutine()
	s, err := newServices(a)
	if err != nil {
		t.Fatal(err)
	}
	if after := runtime.NumGoroutine(); after > before {
		t.Errorf("%d goroutines became %d", before, after)
	}
	if requests := e.Server.Requests(); len(requests) > 0 {
		t.Errorf("requests: %v", requests)
	}
	if got := a.servicesHealth.NotReady(); got != "starting" {
		t.Errorf("not ready: %q", got)
	}
	for name, missing := range map[string]bool{
		"leases": s.leases == nil, "bulk": s.bulk == nil, "watcher": s.watcher == nil,
		"cache": s.cache == nil, "node Lease": s.nodeLease == nil, "elector": s.elector == nil,
		"announcer": s.announcer == nil, "speaker": s.speaker == nil,
		"allocator": s.allocator == nil,
	} {
		if missing {
			t.Errorf("no %s", name)
		}
	}
	if s.leases == s.bulk {
		t.Error("renewals share their connections with lists")
	}
}

// TestNewServicesReportsTheFirstComponentThatFails: each needs those before it.
func TestNewServicesReportsTheFirstComponentThatFails(t *testing.T) {
	steps := []struct {
		spoil func(a *agent)
		want  string
	}{
		{func(a *agent) { a.credentials.store = nil }, "configure API server router"},
		{func(a *agent) { a.cfg.Namespace = "" }, "configure cache"},
		{func(a *agent) { a.cfg.ServicesName = "" }, "configure cache"},
		{func(a *agent) { a.cfg.NodeName = "" }, "configure node lease"},
		{func(a *agent) { a.id = "" }, "configure node lease"},
	}
	for i, step := range steps {
		_, a := bareAgent(t)
		for _, later := range steps[i:] { // spoils those after it too
			later.spoil(a)
		}
		if _, err := newServices(a); err == nil || !strings.Contains(err.Error(), step.want) {
			t.Errorf("step %d: %v, want %q", i, err, step.want)
		}
	}
}

// TestE12EachLoopHasItsOwnHealth: a loop that hangs is not hidden by another one's heartbeats.
func TestE12EachLoopHasItsOwnHealth(t *testing.T) {
	e, a := newCountedServices(t)
	s := a.services
	s.nodeLease.SetInfo(svc.NodeInfo{Node: "n1"})
	loops := []struct {
		name string
		run  func(context.Context) error
	}{
		{"node Lease", s.nodeLease.Run}, {"allocator leader election", s.elector.Run},
		{"allocator", s.allocator.Run},
	}
	for i, loop := range loops {
		for _, later := range loops[i:] {
			if a.servicesHealth.Component(later.name).LastHeartbeat() != 0 {
				t.Errorf("%s has a heartbeat before it runs", later.name)
			}
		}
		e.Run(loop.run)
		e.Eventually("the loop of "+loop.name+" has a heartbeat", func() bool {
			return a.servicesHealth.Component(loop.name).LastHeartbeat() != 0
		})
	}
}

// TestS4OnlyANodeWithAFreshViewLeads: without its node Lease it does not know which nodes live.
func TestS4OnlyANodeWithAFreshViewLeads(t *testing.T) {
	e, a := newCountedServices(t)
	s := a.services
	leads := func() bool {
		var l coordinationv1.Lease
		return e.Lease(s.cfg.ServicesName, &l) && l.Spec.HolderIdentity != nil &&
			*l.Spec.HolderIdentity == "n1_boot"
	}
	e.Run(s.elector.Run)
	e.Never("a node without a view leads", leads)
	s.nodeLease.SetInfo(svc.NodeInfo{Node: "n1"})
	e.Run(s.nodeLease.Run)
	e.Eventually("the node leads", leads)
}

// TestKnownAddressesAreTheLedger, and those with the control plane are not the Services' alone.
func TestKnownAddressesAreTheLedger(t *testing.T) {
	e, a := newCountedServices(t)
	alone, shared := netip.MustParseAddr("10.0.0.100"), netip.MustParseAddr("10.0.0.101")
	if known := a.services.knownAddresses(); len(known) != 0 {
		t.Errorf("an empty ledger has %v", known)
	}
	web := ipam.Entry{Service: "a/web"}
	e.PutLedger("0", ipam.Ledger{alone: {web}, shared: {{Service: ipam.ControlPlane}, web}})
	e.Eventually("both addresses are known", func() bool {
		known := a.services.knownAddresses()
		return len(known) == 2 && known[alone] && !known[shared]
	})
}

// TestStatsBecomeMetrics: the zero value stands for a node that is not the leader.
func TestStatsBecomeMetrics(t *testing.T) {
	_, a := bareAgent(t)
	s := &services{metrics: a.metrics}
	for _, row := range []struct {
		stats allocator.Stats
		want  []string
	}{
		{allocator.Stats{
			Services: 3, Refused: map[string]int{"NoPool": 2, "OfALaterRelease": 1},
			Pools: []allocator.PoolStats{
				{Pool: "p", Family: ipam.IPv4, Usage: ipam.Usage{Used: 3, Size: 16}},
				{Pool: "p", Family: ipam.IPv6, Usage: ipam.Usage{Used: 0, Size: 1 << 32}},
			},
		}, []string{
			"kvip_allocator 1", `kvip_services{reason="Allocated"} 3`,
			`kvip_services{reason="NoPool"} 2`, `kvip_services{reason="Other"} 1`,
			`kvip_pool_used_addresses{family="ipv4",pool="p"} 3`,
			`kvip_pool_size_addresses{family="ipv6",pool="p"} 4.294967296e+09`,
		}},
		{allocator.Stats{Refused: map[string]int{}}, []string{
			"kvip_allocator 1", `kvip_services{reason="Allocated"} 0`,
		}},
		{allocator.Stats{}, []string{
			"kvip_allocator 0", `kvip_services{reason="Allocated"} 0`,
			`kvip_services{reason="NoPool"} 0`,
		}},
	} {
		s.recordStats(row.stats)
		page := scrape(t, a.metrics)
		for _, line := range row.want {
			if !strings.Contains(page, "\n"+line+"\n") {
				t.Errorf("%+v: %s is not served", row.stats, line)
			}
		}
		if pools := strings.Count(page, `pool="`); pools != 2*len(row.stats.Pools) {
			t.Errorf("%+v: %d series of pools", row.stats, pools)
		}
	}
}

// TestRunServesPagesWhileItWaits: another agent has the Services' lock. The agent is alive and not
// ready, and ends without an error.
func TestRunServesPagesWhileItWaits(t *testing.T) {
	testutil.NeedRoot(t)
	other, err := vip.LockServices()
	if err != nil && !errors.Is(err, vip.ErrLocked) {
		t.Fatal(err)
	}
	if other != nil {
		defer other.Close()
	}
	free := testutil.Must(net.Listen("tcp", "127.0.0.1:0"))
	free.Close()
	cfg := config.ServicesDaemonSet()
	cfg.NodeName, cfg.Kubeconfigs, cfg.MetricsAddress = "node-a", []string{"/none"}, ""
	cfg.HealthAddress = free.Addr().String()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, cfg, Build{Version: "v1"}, discard) }()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	code := func(page string) int {
		response, err := client.Get("http://" + cfg.HealthAddress + page)
		if err != nil {
			return 0
		}
		defer response.Body.Close()
		return response.StatusCode
	}
	for end := time.Now().Add(20 * time.Second); code("/healthz") != http.StatusOK; {
		if time.Now().After(end) {
			t.Fatal("timed out waiting for /healthz")
		}
		time.Sleep(10 * time.Millisecond)
	}
	for page, want := range map[string]int{
		"/readyz": http.StatusServiceUnavailable, "/status": http.StatusOK,
		"/services": http.StatusNotFound, "/metrics": http.StatusNotFound,
	} {
		if got := code(page); got != want {
			t.Errorf("%s: %d, want %d", page, got, want)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("an orderly shutdown returned %v", err)
	}
	if got := code("/healthz"); got != 0 {
		t.Errorf("/healthz after the end: %d", got)
	}
}

// TestRunRejectsBadSettings before it serves anything.
func TestRunRejectsBadSettings(t *testing.T) {
	cfg := config.Default()
	cfg.NodeName, cfg.VIPs, cfg.HealthURL = "node-a", []netip.Addr{vip4}, "ftp://"
	if err := Run(t.Context(), cfg, Build{}, discard); err == nil {
		t.Error("a bad --health-url was accepted")
	}
}
