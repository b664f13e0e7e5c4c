package agent

import (
	"context"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/link"
	"github.com/kvip/kvip/pkg/svc"
	"github.com/kvip/kvip/test/fakeapi"
	"github.com/kvip/kvip/test/fakeapi/fakecluster"
	"github.com/kvip/kvip/test/testutil"
)

const daemonSet = "/apis/apps/v1/namespaces/kube-system/daemonsets/kvip-services"

// newTestServices is the Services' part on a node with the API server of a cluster. Only the cache
// runs.
func newTestServices(t *testing.T) (*fakecluster.Env, *services) {
	t.Helper()
	e, a := newCountedServices(t)
	return e, a.services
}

// newCountedServices is newTestServices with its agent.
func newCountedServices(t *testing.T) (*fakecluster.Env, *agent) {
	t.Helper()
	e, a := bareAgent(t)
	var err error
	if a.services, err = newServices(a); err != nil {
		t.Fatal(err)
	}
	e.PutNode("n1", "10.0.0.1")
	e.Run(a.services.cache.Run)
	e.Eventually("the cluster is read", a.services.cache.HasSyncedPools)
	return e, a
}

// TestS6LeavesForGood: if its node is cordoned, or its DaemonSet is deleted. In doubt it is a
// restart.
func TestS6LeavesForGood(t *testing.T) {
	now := metav1.Now()
	for _, row := range []struct {
		name string
		set  func(e *fakecluster.Env)
		want bool
	}{
		{"the DaemonSet exists", func(e *fakecluster.Env) { e.Put(daemonSet, map[string]any{}) },
			false},
		{"it is deleted", func(*fakecluster.Env) {}, true},
		{"it is being deleted", func(e *fakecluster.Env) {
			e.Put(daemonSet, map[string]any{"metadata": metav1.ObjectMeta{DeletionTimestamp: &now}})
		}, true},
		{"the node is cordoned", func(e *fakecluster.Env) {
			e.Put(daemonSet, map[string]any{})
			e.PutNode("n1", "10.0.0.1", func(n *corev1.Node) { n.Spec.Unschedulable = true })
		}, true},
		{"the permission is missing", func(e *fakecluster.Env) {
			e.Server.Deny(fakeapi.DenyRule{Path: "/daemonsets/", Code: http.StatusForbidden})
		}, false},
		{"the API server has an error",
			func(e *fakecluster.Env) { e.Server.Deny(fakeapi.DenyRule{Path: "/daemonsets/", Code: 503}) },
			false},
		{"the API server is down", func(e *fakecluster.Env) { e.Server.Close() }, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			e, s := newTestServices(t)
			row.set(e)
			cordoned := func() bool { return s.cache.Node("n1").Cordoned }
			if strings.Contains(row.name, "cordoned") {
				e.Eventually("the cordon is seen", cordoned)
			}
			if got := s.leavesForGood(t.Context()); got != row.want {
				t.Errorf("leaves for good: %v\n%s", got, e.Log)
			}
		})
	}
	_, s := newTestServices(t)
	s.cfg.DaemonSet = "" // a static pod
	if s.leavesForGood(t.Context()) {
		t.Error("leaves for good without a DaemonSet")
	}
}

// TestRoutersFollowServers: the routers add and remove API servers as the cluster lists them.
func TestRoutersFollowServers(t *testing.T) {
	e, s := newTestServices(t)
	e.Run(s.followServers)
	peers := func(hosts ...string) func() bool {
		return func() bool {
			for _, r := range []*apiclient.Router{s.leases, s.bulk} {
				if !slices.Equal(r.Hosts(), append([]string{e.Server.Host}, hosts...)) {
					return false
				}
			}
			return true
		}
	}
	slice := func(addresses ...string) map[string]any {
		return map[string]any{
			"metadata": map[string]any{
				"labels": map[string]string{"kubernetes.io/service-name": "kubernetes"},
			},
			"ports":     []map[string]any{{"name": "https", "port": 6443}},
			"endpoints": []map[string]any{{"addresses": addresses}},
		}
	}
	const path = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes"
	e.Put(path, slice("192.0.2.2", "192.0.2.1"))
	e.Eventually("both are known", peers("192.0.2.1:6443", "192.0.2.2:6443"))
	e.Put(path, slice("192.0.2.1"))
	e.Eventually("one is removed", peers("192.0.2.1:6443"))
}

func TestServicesReadiness(t *testing.T) {
	_, a := newCountedServices(t)
	s := a.services
	ready := func(want string) {
		t.Helper()
		if got := a.notReady(); (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("not ready: %q, want %q", got, want)
		}
	}
	ready("starting")
	if a.servicesPage() != nil {
		t.Error("/services before the start")
	}
	s.started.Store(true)
	if code, body := get(t, a.servicesPage()); code != http.StatusOK ||
		!strings.Contains(body, `"node": "n1"`) || !strings.Contains(body, `"fresh": false`) {
		t.Errorf("/services is %d %s", code, body)
	}
	s.health.Stopped("the view of the cluster is stale") // as the speaker reports
	ready("is stale")
	s.health.Impaired("an address is not protected")
	ready("")
}

// TestServicesLock admits one agent for Services in a network namespace.
func TestServicesLock(t *testing.T) {
	_, a := newCountedServices(t)
	s := a.services
	testutil.NewNetns(t)
	lock := s.waitForLock(t.Context())
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if s.waitForLock(ended) != nil || !strings.Contains(a.notReady(), "another") {
		t.Errorf("a second lock: %q", a.notReady())
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	again := s.waitForLock(t.Context())
	if again == nil {
		t.Fatal("no lock after the first one was closed")
	}
	_ = again.Close()
}

func TestIsFallback(t *testing.T) {
	if isFallback("") != nil {
		t.Error("a fallback without a name")
	}
	for _, row := range []struct {
		name    string
		network link.Network
		want    bool
	}{
		{"eth0", link.Network{Link: link.Link{Name: "eth0"}}, true},
		{"eth0", link.Network{Link: link.Link{Name: "eth1"}}, false},
		{"lan", link.Network{Link: link.Link{Name: "eth1"}, Names: []string{"wan", "lan"}}, true},
		{config.DefaultRoute, link.Network{Link: link.Link{Name: "eth1"}, Default: true}, true},
		{config.DefaultRoute, link.Network{Link: link.Link{Name: "eth1"}}, false},
		{"eth0", link.Network{Link: link.Link{Name: "eth1"}, Default: true}, false},
	} {
		if got := isFallback(row.name)(row.network); got != row.want {
			t.Errorf("%s for %+v: %v", row.name, row.network, got)
		}
	}
}

func TestLocalAndInClusterServers(t *testing.T) {
	store := testutil.Must(apiclient.NewStore(apiclient.StoreConfig{Log: discard}))
	for _, row := range []struct{ host, port, want string }{{"10.96.0.1", "443", "10.96.0.1:443"},
		{"fd00::1", "443", "[fd00::1]:443"}, {"", "443", ""}, {"10.96.0.1", "", ""}} {
		t.Setenv("KUBERNETES_SERVICE_HOST", row.host)
		t.Setenv("KUBERNETES_SERVICE_PORT", row.port)
		if got := apiclient.InCluster(); got != row.want {
			t.Errorf("%q %q: %q", row.host, row.port, got)
		}
		alone := config.Default()
		alone.Port = 7443
		both := alone
		both.VIPs = []netip.Addr{vip4}
		local := []string{"127.0.0.1:7443"}
		want := map[*config.Config][]string{&alone: local, &both: local}
		if row.want != "" { // a pod for Services alone tries it first
			want = map[*config.Config][]string{&alone: {row.want}, &both: append(local, row.want)}
		}
		for cfg, hosts := range want {
			if got := testutil.Must((&services{cfg: *cfg,
				store: store}).newRouter("pool")).Hosts(); !slices.Equal(got, hosts) {
				t.Errorf("%q %q, VIPs %v: %v, want %v", row.host, row.port, cfg.VIPs, got, hosts)
			}
		}
	}
}

func TestPortOf(t *testing.T) {
	for address, want := range map[string]int{":9": 9, "[::1]:10255": 10255, "127.0.0.1:0": 0, "": 0,
		"x": 0, "x:y": 0} {
		if got := portOf(address); got != want {
			t.Errorf("%q: %d", address, got)
		}
	}
}

// TestAllocatorFailuresAreCounted: its requests count like all others.
func TestAllocatorFailuresAreCounted(t *testing.T) {
	e, a := newCountedServices(t)
	s, set := a.services, a.metrics
	e.Server.Deny(fakeapi.DenyRule{Method: "PATCH", Code: 503},
		fakeapi.DenyRule{Method: "PUT", Path: "/leases/kvip-services-ledger-", Code: 503})
	e.PutPool("p", "10.0.0.100-10.0.0.103")
	e.PutService("a/web")
	s.nodeLease.SetInfo(svc.NodeInfo{Node: "n1"})
	for _, part := range []func(context.Context) error{s.nodeLease.Run, s.elector.Run,
		s.allocator.Run} {
		e.Run(part)
	}
	counted := func(series string) func() bool {
		return func() bool {
			for line := range strings.Lines(scrape(t, set)) {
				if value, ok := strings.CutPrefix(line,
					`kvip_api_errors_total{code="ServiceUnavailable",`+series+"} "); ok {
					return value != "0\n"
				}
			}
			t.Fatalf("no series %s", series)
			return false
		}
	}
	e.Eventually("the ledger's writes count", counted(`resource="leases",verb="update"`))
	e.Server.Deny(fakeapi.DenyRule{Method: "PATCH", Code: 503})
	e.Eventually("writes of statuses count", counted(`resource="services",verb="patch"`))
	e.Eventually("writes of pools count", counted(`resource="ippools",verb="patch"`))
}
