package svc_test

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/kvip/kvip/pkg/ipam"
	"github.com/kvip/kvip/pkg/placement"
	"github.com/kvip/kvip/pkg/svc"
	"github.com/kvip/kvip/test/fakeapi"
	"github.com/kvip/kvip/test/fakeapi/fakecluster"
)

const pools = "/apis/kvip.dev/v1alpha1/ippools"

func names(c *svc.Cache) string {
	var all []string
	for _, s := range c.Services() {
		all = append(all, string(s.Key()))
	}
	return strings.Join(all, " ")
}

func TestCacheFollowsTheCluster(t *testing.T) {
	e := fakecluster.New(t)
	e.PutNode("n1", "10.0.0.1")
	e.PutPool("p", "10.0.0.100-10.0.0.110")
	e.PutService("b/web")
	e.PutService("a/web")
	e.PutSlice("a/web", "n1")
	e.PutLedger("0", ipam.Ledger{netip.MustParseAddr("10.0.0.100"): {{Service: "a/web"}}})
	e.PutNodeLease(svc.NodeInfo{Node: "n1"}, "me", 5)
	const configMaps = "/api/v1/namespaces/kube-system/configmaps/"
	e.Put(configMaps+"kubevip", corev1.ConfigMap{Data: map[string]string{
		"cidr-global": "10.2.0.0/30", "interface-a": "eth1", "x": "y",
	}})
	e.Put(configMaps+"other", corev1.ConfigMap{Data: map[string]string{"cidr-global": "10.3.0.0/30"}})
	c := e.RunCache()
	wake := c.Subscribe()
	if got := names(c); got != "a/web b/web" {
		t.Errorf("Services %s", got)
	}
	if c.Node("n1") == nil || c.Node("n2") != nil || len(c.Nodes()) != 1 {
		t.Errorf("nodes %v", c.Nodes())
	}
	if got := c.NodeAddresses(); got[netip.MustParseAddr("10.0.0.1")] != "n1" {
		t.Errorf("addresses of nodes %v", got)
	}
	if got := c.Pools(); len(got) != 1 || got[0].Err != nil || got[0].Pool.Size() != 11 {
		t.Errorf("pools %+v", got)
	}
	if list, problems := c.KubeVIPPools(); len(list) != 1 || len(problems) != 1 {
		t.Errorf("kube-vip's pools %+v, problems %v", list, problems)
	}
	if got := c.Interfaces(); got["a"] != "eth1" {
		t.Errorf("interfaces %v", got)
	}
	if got := c.Endpoints()[svc.Backend{Service: "a/web"}]; got["n1"] != placement.Ready {
		t.Errorf("endpoints %v", got)
	}
	if len(c.Ledger()) != 1 || len(c.Leases()) != 2 || c.Lease("kvip-services-node-n1") == nil {
		t.Errorf("ledger %v, Leases %v", c.Ledger(), c.Leases())
	}
	if l := c.LeaderLease(); l != nil {
		t.Errorf("leader's Lease %+v", l)
	}
	before := c.Changes()
	e.PutService("c/web")
	e.Store.Delete(fakecluster.ServicePath("a/web"))
	e.Eventually("the changes", func() bool { return names(c) == "b/web c/web" })
	if c.Changes() == before || len(wake) != 1 {
		t.Errorf("changes were %d and are %d, %d wake-ups", before, c.Changes(), len(wake))
	}
}

// S1: renewals wake subscribers and do not count as changes: a thousand nodes renew all the time.
func TestRenewalsWakeAndDoNotCount(t *testing.T) {
	e := fakecluster.New(t)
	e.PutNode("n1", "10.0.0.1")
	e.PutNodeLease(svc.NodeInfo{Node: "n1"}, "me", 5)
	c := e.RunCache()
	wake := c.Subscribe()
	for _, put := range []func(){
		func() { e.PutNodeLease(svc.NodeInfo{Node: "n1"}, "me", 5) },
		func() { e.PutNode("n1", "10.0.0.1") },
	} {
		before := c.Changes()
		put()
		e.Eventually("a wake-up", func() bool { return len(wake) == 1 })
		<-wake
		if c.Changes() != before {
			t.Error("a renewal counts as a change")
		}
	}
	before := c.Changes()
	e.PutNodeLease(svc.NodeInfo{Node: "n1", StatusPort: 1}, "me", 5)
	e.Eventually("a change of the port", func() bool { return c.Changes() > before })
}

// S4: if two shards have an address, the entry of the first one counts on all nodes.
func TestFirstShardCounts(t *testing.T) {
	e := fakecluster.New(t)
	addr := netip.MustParseAddr("10.0.0.1")
	for shard, key := range map[string]ipam.ServiceKey{"10": "a/ten", "2": "a/two", "9": "a/nine"} {
		e.PutLedger(shard, ipam.Ledger{addr: {{Service: key}}})
	}
	c := e.RunCache()
	for range 20 {
		if got := c.Ledger()[addr][0].Service; got != "a/two" {
			t.Fatalf("%s has the address", got)
		}
	}
}

func TestSlicesOfOneServiceAreMerged(t *testing.T) {
	e := fakecluster.New(t)
	e.PutSlice("a/web", "n1")
	e.PutSlice("default/kubernetes")
	c := e.RunCache()
	e.Put("/apis/discovery.k8s.io/v1/namespaces/a/endpointslices/web-6", map[string]any{
		"metadata": map[string]any{"labels": map[string]string{"kubernetes.io/service-name": "web"}},
		"endpoints": []map[string]any{{"nodeName": "n2"}, {
			"nodeName":   "n1",
			"conditions": map[string]bool{"ready": false, "serving": true, "terminating": true},
		}},
	})
	web := svc.Backend{Service: "a/web"}
	e.Eventually("endpoints on both nodes", func() bool { return len(c.Endpoints()[web]) == 2 })
	if got := c.Endpoints()[web]; got["n1"] != placement.Ready || got["n2"] != placement.Ready {
		t.Errorf("endpoints %v", got)
	}
	if c.Servers() != nil {
		t.Errorf("API servers %v", c.Servers())
	}
}

// Missing pools do not prevent decisions once the reason is known; other missing objects do. A 503
// is not a reason.
func TestMissingObjects(t *testing.T) {
	const configMaps, services, missing = "/configmaps", "/api/v1/services", "not read yet: services; "
	for _, row := range []struct {
		name          string
		deny          []fakeapi.DenyRule
		synced, pools bool
		problem       string
	}{
		{"pools are not installed", []fakeapi.DenyRule{{Path: pools, Code: 404}}, true, true, ""},
		{"pools and ConfigMaps are forbidden (S9)", []fakeapi.DenyRule{
			{Path: pools, Code: 403}, {Path: configMaps, Code: 403},
		}, true, true, ""},
		{"pools cannot be read now", []fakeapi.DenyRule{{Path: pools, Code: 503}}, true, false, ""},
		{"Services are forbidden", []fakeapi.DenyRule{{Path: services, Code: 403}}, false, false,
			missing},
		{"the server fails", []fakeapi.DenyRule{{Path: services, Code: 500}}, false, false, missing},
	} {
		t.Run(row.name, func(t *testing.T) {
			e := fakecluster.New(t)
			e.Server.Deny(row.deny...)
			c := e.NewCache()
			e.Run(c.Run)
			synced := func() bool { return c.HasSynced() == row.synced && c.HasSyncedPools() == row.pools }
			e.Eventually("the expected state", func() bool {
				problem := c.Problem()
				return synced() && strings.HasPrefix(problem, row.problem) &&
					(problem == "") == (row.problem == "")
			})
			e.Never("the state changed", func() bool { return !synced() })
			e.Server.Deny()
			e.Eventually("a full cache", func() bool { return c.HasSyncedPools() && c.Problem() == "" })
		})
	}
}

// S9: a missing right to read pools does not make the credentials suspect.
func TestForbiddenPoolsDoNotSuspectTheCredentials(t *testing.T) {
	e := fakecluster.New(t)
	e.Server.Deny(fakeapi.DenyRule{Path: pools, Code: http.StatusForbidden})
	e.RunCache()
	if e.Log.Count("refuses these credentials") > 0 {
		t.Error(e.Log)
	}
	e.Eventually("a log message on the right",
		func() bool { return e.Log.Count("cannot read objects") > 0 })
	if e.Log.Count("cannot read objects") != 1 {
		t.Errorf("the right is not logged once:\n%s", e.Log)
	}
}

func TestPoolsInstalledLater(t *testing.T) {
	e := fakecluster.New(t)
	e.Server.Deny(fakeapi.DenyRule{Path: pools, Code: 404})
	c := e.RunCache()
	e.PutPool("p", "10.0.0.0/30")
	e.Server.Deny()
	e.Eventually("the pool", func() bool { return len(c.Pools()) == 1 })
}

// Changes during the gap between two watches are seen, whatever ended the first one.
func TestWatchesThatEnd(t *testing.T) {
	for name, end := range map[string]func(e *fakecluster.Env){
		"dropped": func(e *fakecluster.Env) { e.Server.EndWatches() },
		"too old": func(e *fakecluster.Env) {
			e.Store.Compact()
			e.Server.EndWatches()
		},
		"refused for a while": func(e *fakecluster.Env) {
			e.Server.Deny(fakeapi.DenyRule{Method: "WATCH", Code: 500})
			e.Server.EndWatches()
			e.Never("a request that no reflector sends",
				func() bool { return e.Server.RequestCount("GET", "/nothing") > 0 })
			e.Server.Deny()
		},
		"too many requests": func(e *fakecluster.Env) {
			e.Server.Deny(fakeapi.DenyRule{Code: 429})
			e.Server.EndWatches()
			e.Never("a request that no reflector sends",
				func() bool { return e.Server.RequestCount("GET", "/nothing") > 0 })
			e.Server.Deny()
		},
		"without watch lists": func(e *fakecluster.Env) {
			e.Store.Compact()
			e.Server.Deny(fakeapi.DenyRule{Method: "WATCH", Code: 422})
			e.Server.EndWatches()
			e.Eventually("a list", func() bool {
				return slices.ContainsFunc(e.Server.Requests(), func(q fakeapi.Request) bool {
					return q.Path == "/api/v1/services" && !strings.Contains(q.Query, "watch=")
				})
			})
			e.Server.Deny()
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := fakecluster.New(t)
			e.PutService("a/old")
			e.PutService("a/gone")
			c := e.RunCache()
			e.PutService("a/seen")
			e.Eventually("the new Service by the watch",
				func() bool { return names(c) == "a/gone a/old a/seen" })
			end(e)
			e.Store.Delete(fakecluster.ServicePath("a/gone"))
			e.PutService("a/new")
			e.Eventually("the changes in the gap", func() bool { return names(c) == "a/new a/old a/seen" })
		})
	}
}

// A server that ends each watch at once receives few requests.
func TestNoSpinningOnShortWatches(t *testing.T) {
	e := fakecluster.New(t)
	c := e.RunCache()
	e.Server.Deny(fakeapi.DenyRule{Method: "WATCH", Path: "/api/v1/services", Code: 500})
	e.Server.EndWatches()
	before := len(e.Server.Requests())
	e.Eventually("further requests", func() bool { return len(e.Server.Requests()) > before+3 })
	asked := e.Server.RequestCount("GET", "/api/v1/services")
	e.Never("too many requests", func() bool {
		return e.Server.RequestCount("GET", "/api/v1/services") > asked+12
	})
	if !c.HasSynced() || names(c) != "" {
		t.Errorf("synced %v, Services %q", c.HasSynced(), names(c))
	}
}

// S2: an API server without etcd keeps its watches open. Resync leaves it.
func TestResyncLeavesABlindServer(t *testing.T) {
	e := fakecluster.New(t)
	other := e.Serve()
	e.Router = e.NewRouter("", e.Server, other)
	e.PutService("a/old")
	c := e.RunCache()
	e.Server.StallWatches(true)
	e.PutService("a/new")
	e.Never("a change at a blind server", func() bool { return names(c) != "a/old" })
	c.Resync()
	e.Eventually("the change at another server", func() bool { return names(c) == "a/new a/old" })
	if !c.HasSynced() {
		t.Error("Resync emptied the cache")
	}
}

func TestRunEndsAtOnceWithoutAServer(t *testing.T) {
	e := fakecluster.New(t)
	c := e.NewCache()
	e.Server.Close()
	stop := e.Run(c.Run)
	e.Eventually("the problem", func() bool {
		problem := c.Problem()
		return strings.HasPrefix(problem, "not read yet: endpointslices, leases, ") &&
			strings.Contains(problem, "connection refused")
	})
	if c.HasSynced() || c.HasSyncedPools() {
		t.Error("an empty cache has synced")
	}
	stop()
}

func TestNewCacheValidates(t *testing.T) {
	e := fakecluster.New(t)
	valid := svc.CacheConfig{Namespace: "kube-system", Lease: "s", Router: e.Router}
	if _, err := svc.NewCache(valid); err != nil {
		t.Errorf("a minimal configuration: %v", err)
	}
	for name, change := range map[string]func(*svc.CacheConfig){
		"no namespace": func(c *svc.CacheConfig) { c.Namespace = "" },
		"no lease":     func(c *svc.CacheConfig) { c.Lease = "" },
		"no router":    func(c *svc.CacheConfig) { c.Router = nil },
	} {
		cfg := valid
		change(&cfg)
		c, err := svc.NewCache(cfg)
		if c != nil || err == nil || !strings.Contains(err.Error(), "required") {
			t.Errorf("%s: cache %v, error %v", name, c, err)
		}
	}
}

// Each failed request is reported with its verb and resource.
func TestFailuresAreReported(t *testing.T) {
	e := fakecluster.New(t)
	e.Server.Deny(fakeapi.DenyRule{Path: pools, Code: http.StatusServiceUnavailable})
	failures := make(chan string, 1000)
	c, err := svc.NewCache(svc.CacheConfig{
		Namespace: fakecluster.Namespace, Lease: fakecluster.LeaseName, Router: e.Router,
		OnFailure: func(verb, resource string, err error) {
			if err != nil {
				failures <- verb + " " + resource
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	e.Run(c.Run)
	if got := <-failures; got != "list ippools" && got != "watch ippools" {
		t.Errorf("reported %q", got)
	}
}

// S9: with kube-vip's rules the networks of the cluster are read too.
func TestNetworksAreReadWithKubeVIP(t *testing.T) {
	for _, kubeVIP := range []bool{false, true} {
		e := fakecluster.New(t)
		e.Reader.KubeVIP = kubeVIP
		e.Put("/apis/networking.k8s.io/v1/servicecidrs/kubernetes", map[string]any{
			"spec": map[string]any{"cidrs": []string{"10.96.0.0/12"}},
		})
		e.PutNode("n1", "10.0.0.1", func(n *corev1.Node) { n.Spec.PodCIDRs = []string{"10.244.0.0/24"} })
		c := e.RunCache()
		var got []string
		for _, n := range c.Networks() {
			got = append(got, n.Prefix.String())
		}
		want := ""
		if kubeVIP {
			want = "10.96.0.0/12 10.244.0.0/24"
		}
		if strings.Join(got, " ") != want {
			t.Errorf("KubeVIP %v: networks %v, want %q", kubeVIP, got, want)
		}
	}
}
