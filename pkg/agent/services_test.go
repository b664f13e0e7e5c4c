package agent

import (
	"context"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/metrics"
	"github.com/kvip/kvip/pkg/svc"
	"github.com/kvip/kvip/test/fakeapi"
	"github.com/kvip/kvip/test/fakeapi/fakecluster"

	"github.com/kvip/kvip/test/testutil"
)

const daemonSet = "/apis/apps/v1/namespaces/kube-system/daemonsets/kvip-services"

// newServicesSite is the Services part of a node that has the API server of a cluster, of which the catalogue
// alone runs.
func newServicesSite(t *testing.T) (*fakecluster.Env, *services) {
	t.Helper()
	e, s, _ := newCountedSite(t)
	return e, s
}

// newCountedSite is newServicesSite with its metrics.
func newCountedSite(t *testing.T) (*fakecluster.Env, *services, *metrics.Set) {
	t.Helper()
	e := fakecluster.New(t)
	cfg := config.ServicesDaemonSet()
	cfg.NodeName, cfg.Port = "n1", portOf(e.Server.Host)
	set, err := metrics.New(Build{Version: "test", Commit: "none"}, known(cfg))
	if err != nil {
		t.Fatal(err)
	}
	s, err := newServices(cfg, "n1_boot", e.Creds, set, e.Logger)
	if err != nil {
		t.Fatal(err)
	}
	e.PutNode("n1", "10.0.0.1")
	e.Run(s.catalogue.Run)
	e.Eventually("the cluster is read", s.catalogue.HasSyncedPools)
	return e, s, set
}

// S6: an agent ends for good if its node is cordoned or its DaemonSet is gone or going; in doubt it is a restart.
func TestWhetherAnAgentEndsForGood(t *testing.T) {
	now := metav1.Now()
	for _, row := range []struct {
		name string
		set  func(e *fakecluster.Env)
		want bool
	}{
		{"the DaemonSet is there", func(e *fakecluster.Env) { e.Put(daemonSet, map[string]any{}) }, false},
		{"it is gone", func(*fakecluster.Env) {}, true},
		{"it is going", func(e *fakecluster.Env) {
			e.Put(daemonSet, map[string]any{"metadata": metav1.ObjectMeta{DeletionTimestamp: &now}})
		}, true},
		{"the node is cordoned", func(e *fakecluster.Env) {
			e.Put(daemonSet, map[string]any{})
			e.PutNode("n1", "10.0.0.1", func(n *corev1.Node) { n.Spec.Unschedulable = true })
		}, true},
		{"the right is missing", func(e *fakecluster.Env) {
			e.Server.Deny(fakeapi.Denial{Path: "/daemonsets/", Code: http.StatusForbidden})
		}, false},
		{"the API server has an error", func(e *fakecluster.Env) { e.Server.Deny(fakeapi.Denial{Path: "/daemonsets/", Code: 503}) }, false},
		{"the API server is down", func(e *fakecluster.Env) { e.Server.Close() }, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			e, s := newServicesSite(t)
			row.set(e)
			cordoned := func() bool { return s.catalogue.Node("n1").Cordoned }
			if strings.Contains(row.name, "cordoned") {
				e.Eventually("the cordon is seen", cordoned)
			}
			if got := s.isOver(t.Context()); got != row.want {
				t.Errorf("it ends for good: %v\n%s", got, e.Log)
			}
		})
	}
	_, s := newServicesSite(t)
	s.cfg.DaemonSet = "" // a static pod
	if s.isOver(t.Context()) {
		t.Error("without a DaemonSet it ends for good")
	}
}

// The routers learn of all API servers, and forget those that are gone.
func TestRoutersFollowTheServers(t *testing.T) {
	e, s := newServicesSite(t)
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
			"metadata": map[string]any{"labels": map[string]string{"kubernetes.io/service-name": "kubernetes"}},
			"ports":    []map[string]any{{"name": "https", "port": 6443}}, "endpoints": []map[string]any{{"addresses": addresses}},
		}
	}
	const path = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes"
	e.Put(path, slice("192.0.2.2", "192.0.2.1"))
	e.Eventually("both are known", peers("192.0.2.1:6443", "192.0.2.2:6443"))
	e.Put(path, slice("192.0.2.1"))
	e.Eventually("one is forgotten", peers("192.0.2.1:6443"))
}

func TestPagesOfTheServicesPart(t *testing.T) {
	e, s := newServicesSite(t)
	p := newPages(s.cfg, Build{}, "n1_boot", nil, discard)
	if code, _ := answered(t, p.servicesz); code != http.StatusNotFound {
		t.Errorf("/services before there is anything: %d", code)
	}
	ready := func(want string) {
		t.Helper()
		code, body := answered(t, p.readyz)
		if (code == http.StatusOK) != (want == "") || !strings.Contains(body, want) {
			t.Errorf("/readyz is %d %q, want %q", code, body, want)
		}
	}
	ready("starting")
	why := "another kvip serves Services on this host"
	p.servicesWait.Store(&why)
	ready(why)
	p.servicesWait.Store(nil)
	p.services.Store(s)
	ready("the Lease of node n1 was not renewed and seen back yet")
	if code, body := answered(t, p.servicesz); code != http.StatusOK || !strings.Contains(body, `"node": "n1"`) || !strings.Contains(body, `"fresh": false`) {
		t.Errorf("/services is %d %s", code, body)
	}
	if code, body := answered(t, p.healthz); code != http.StatusOK {
		t.Errorf("/healthz before the first turn is %d %s", code, body)
	}
	e.Server.Close()
	e.Eventually("the outage is noticed", func() bool { return strings.Contains(s.catalogue.Problem(), "connection refused") })
	ready("connection refused")
}

func TestWhereTheAPIServersAre(t *testing.T) {
	for _, row := range []struct{ host, port, want string }{{"10.96.0.1", "443", "10.96.0.1:443"}, {"fd00::1", "443", "[fd00::1]:443"}, {"", "443", ""}, {"10.96.0.1", "", ""}} {
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
		if row.want != "" { // a pod for Services alone asks there first
			want = map[*config.Config][]string{&alone: {row.want}, &both: append(local, row.want)}
		}
		for cfg, hosts := range want {
			if got := testutil.Must(router(*cfg, testutil.Must(newStore(*cfg, nil, discard)), "pool")).Hosts(); !slices.Equal(got, hosts) {
				t.Errorf("%q %q, VIPs %v: %v, want %v", row.host, row.port, cfg.VIPs, got, hosts)
			}
		}
	}
}

func TestPortOf(t *testing.T) {
	for address, want := range map[string]int{":9": 9, "[::1]:10255": 10255, "127.0.0.1:0": 0, "": 0, "x": 0, "x:y": 0} {
		if got := portOf(address); got != want {
			t.Errorf("%q: %d", address, got)
		}
	}
}

// TestFailuresOfTheAllocatorAreCounted: its requests count like all others.
func TestFailuresOfTheAllocatorAreCounted(t *testing.T) {
	e, s, set := newCountedSite(t)
	e.Server.Deny(fakeapi.Denial{Method: "PATCH", Code: 503}, fakeapi.Denial{Method: "PUT", Path: "/leases/kvip-services-ledger-", Code: 503})
	e.PutPool("p", "10.0.0.100-10.0.0.103")
	e.PutService("a/web")
	s.heart.SetInfo(svc.NodeInfo{Node: "n1"})
	for _, part := range []func(context.Context) error{s.heart.Run, s.keeper.Run, s.allocator.Run} {
		e.Run(part)
	}
	counted := func(series string) func() bool {
		return func() bool {
			for line := range strings.Lines(scrape(t, set)) {
				if value, ok := strings.CutPrefix(line, `kvip_api_errors_total{code="ServiceUnavailable",`+series+"} "); ok {
					return value != "0\n"
				}
			}
			t.Fatalf("there is no series %s", series)
			return false
		}
	}
	e.Eventually("the ledger's writes count", counted(`resource="leases",verb="update"`))
	e.Server.Deny(fakeapi.Denial{Method: "PATCH", Code: 503})
	e.Eventually("writes of statuses count", counted(`resource="services",verb="patch"`))
	e.Eventually("writes of pools count", counted(`resource="ippools",verb="patch"`))
}

func TestRequestsAboutTheLedgerAreCounted(t *testing.T) {
	e, s := newServicesSite(t)
	failed := map[string]int{}
	client, err := s.ledgerClient(func(verb, resource string, _ error) { failed[verb+" "+resource]++ })
	if err != nil {
		t.Fatal(err)
	}
	e.Server.Deny(fakeapi.Denial{Path: "/leases", Code: 503})
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "x", Namespace: "kube-system"}}
	_, _ = client.List(t.Context(), metav1.ListOptions{})
	_, _ = client.Create(t.Context(), lease, metav1.CreateOptions{})
	_, _ = client.Update(t.Context(), lease, metav1.UpdateOptions{})
	if len(failed) != 3 || failed["list leases"] != 1 || failed["create leases"] != 1 || failed["update leases"] != 1 {
		t.Errorf("counted are %v", failed)
	}
}
