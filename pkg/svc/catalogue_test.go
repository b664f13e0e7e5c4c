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
		all = append(all, string(s.Owner()))
	}
	return strings.Join(all, " ")
}

func TestCatalogueFollowsTheCluster(t *testing.T) {
	e := fakecluster.New(t)
	e.PutNode("n1", "10.0.0.1")
	e.PutPool("p", "10.0.0.100-10.0.0.110")
	e.PutService("b/web")
	e.PutService("a/web")
	e.PutSlice("a/web", "n1")
	e.PutLedger("0", ipam.Ledger{netip.MustParseAddr("10.0.0.100"): {{Owner: "a/web"}}})
	e.PutNodeLease(svc.NodeInfo{Node: "n1"}, "me", 5)
	e.Put("/api/v1/namespaces/kube-system/configmaps/kubevip", corev1.ConfigMap{Data: map[string]string{"cidr-global": "10.2.0.0/30", "interface-a": "eth1", "x": "y"}})
	e.Put("/api/v1/namespaces/kube-system/configmaps/other", corev1.ConfigMap{Data: map[string]string{"cidr-global": "10.3.0.0/30"}})
	c := e.Follow()
	wake := c.Subscribe()
	if got := names(c); got != "a/web b/web" {
		t.Errorf("Services %s", got)
	}
	if c.Node("n1") == nil || c.Node("n2") != nil || len(c.Nodes()) != 1 || c.NodeAddresses()[netip.MustParseAddr("10.0.0.1")] != "n1" {
		t.Errorf("nodes %v, reserved %v", c.Nodes(), c.NodeAddresses())
	}
	if got := c.Pools(); len(got) != 1 || got[0].Err != nil || got[0].Pool.Size() != 11 {
		t.Errorf("pools %+v", got)
	}
	if legacy, problems := c.KubeVIPPools(); len(legacy) != 1 || len(problems) != 1 || c.Interfaces()["a"] != "eth1" {
		t.Errorf("kube-vip's pools %+v, problems %v, interfaces %v", legacy, problems, c.Interfaces())
	}
	if got := c.Endpoints()[svc.Backend{Owner: "a/web"}]; got["n1"] != placement.Ready {
		t.Errorf("endpoints %v", got)
	}
	if len(c.Ledger()) != 1 || len(c.Leases()) != 2 || c.Lease("kvip-services-node-n1") == nil || c.LeaderLease() != nil {
		t.Errorf("ledger %v, Leases %v, seat %v", c.Ledger(), c.Leases(), c.LeaderLease())
	}
	before := c.Changes()
	e.PutService("c/web")
	e.Store.Delete(fakecluster.ServicePath("a/web"))
	e.Eventually("the changes are seen", func() bool { return names(c) == "b/web c/web" })
	if c.Changes() == before || len(wake) != 1 {
		t.Errorf("changes were %d and are %d, %d wake-ups", before, c.Changes(), len(wake))
	}
}

// S1: renewals of a thousand nodes wake, and are no reason to decide anew.
func TestARenewalWakesAndChangesNothing(t *testing.T) {
	e := fakecluster.New(t)
	e.PutNode("n1", "10.0.0.1")
	e.PutNodeLease(svc.NodeInfo{Node: "n1"}, "me", 5)
	c := e.Follow()
	wake := c.Subscribe()
	for _, put := range []func(){
		func() { e.PutNodeLease(svc.NodeInfo{Node: "n1"}, "me", 5) }, func() { e.PutNode("n1", "10.0.0.1") },
	} {
		before := c.Changes()
		put()
		e.Eventually("it is told", func() bool { return len(wake) == 1 })
		<-wake
		if c.Changes() != before {
			t.Error("a renewal counts as a change")
		}
	}
	before := c.Changes()
	e.PutNodeLease(svc.NodeInfo{Node: "n1", StatusPort: 1}, "me", 5)
	e.Eventually("it counts", func() bool { return c.Changes() > before })
}

// S4: of an address in two shards the first entry counts, for everybody.
func TestFirstShardCounts(t *testing.T) {
	e := fakecluster.New(t)
	addr := netip.MustParseAddr("10.0.0.1")
	for shard, owner := range map[string]ipam.Owner{"10": "a/ten", "2": "a/two", "9": "a/nine"} {
		e.PutLedger(shard, ipam.Ledger{addr: {{Owner: owner}}})
	}
	c := e.Follow()
	for range 20 {
		if got := c.Ledger()[addr][0].Owner; got != "a/two" {
			t.Fatalf("%s has it", got)
		}
	}
}

func TestSlicesOfOneServiceAreJoined(t *testing.T) {
	e := fakecluster.New(t)
	e.PutSlice("a/web", "n1")
	e.PutSlice("default/kubernetes")
	c := e.Follow()
	e.Put("/apis/discovery.k8s.io/v1/namespaces/a/endpointslices/web-6", map[string]any{
		"metadata":  map[string]any{"labels": map[string]string{"kubernetes.io/service-name": "web"}},
		"endpoints": []map[string]any{{"nodeName": "n2"}, {"nodeName": "n1", "conditions": map[string]bool{"ready": false, "serving": true, "terminating": true}}},
	})
	e.Eventually("both count", func() bool { return len(c.Endpoints()[svc.Backend{Owner: "a/web"}]) == 2 })
	if got := c.Endpoints()[svc.Backend{Owner: "a/web"}]; got["n1"] != placement.Ready || got["n2"] != placement.Ready {
		t.Errorf("endpoints %v", got)
	}
	if c.Servers() != nil {
		t.Errorf("API servers %v", c.Servers())
	}
}

// What is missing of pools stops nothing once it is known why; what is missing of the rest stops all. An answer
// that says nothing, as 503, is no reason.
func TestWhatMayBeMissing(t *testing.T) {
	const configMaps, services = "/configmaps", "/api/v1/services"
	for _, row := range []struct {
		name            string
		deny            []fakeapi.Denial
		synced, settled bool
		problem         string
	}{
		{"pools are not installed", []fakeapi.Denial{{Path: pools, Code: 404}}, true, true, ""},
		{"pools and ConfigMaps are forbidden (S9)", []fakeapi.Denial{{Path: pools, Code: 403}, {Path: configMaps, Code: 403}}, true, true, ""},
		{"pools cannot be read now", []fakeapi.Denial{{Path: pools, Code: 503}}, true, false, ""},
		{"Services are forbidden", []fakeapi.Denial{{Path: services, Code: 403}}, false, false, "not read yet: services; "},
		{"the server has an error", []fakeapi.Denial{{Path: services, Code: 500}}, false, false, "not read yet: services; "},
	} {
		t.Run(row.name, func(t *testing.T) {
			e := fakecluster.New(t)
			e.Server.Deny(row.deny...)
			c := e.Catalogue()
			e.Run(c.Run)
			e.Eventually("it is as it will be", func() bool {
				return c.HasSynced() == row.synced && c.HasSyncedPools() == row.settled && strings.HasPrefix(c.Problem(), row.problem) && (c.Problem() == "") == (row.problem == "")
			})
			e.Never("it changed its mind", func() bool { return c.HasSynced() != row.synced || c.HasSyncedPools() != row.settled })
			e.Server.Deny()
			e.Eventually("all is read when nothing is denied", func() bool { return c.HasSyncedPools() && c.Problem() == "" })
		})
	}
}

// S9: a right that is missing for pools does not make the credentials suspect.
func TestForbiddenPoolsLeaveTheCredentialsAlone(t *testing.T) {
	e := fakecluster.New(t)
	e.Server.Deny(fakeapi.Denial{Path: pools, Code: http.StatusForbidden})
	e.Follow()
	if e.Log.Count("refuses these credentials") > 0 {
		t.Error(e.Log)
	}
	e.Eventually("the right is named", func() bool { return e.Log.Count("cannot read objects") > 0 })
	if e.Log.Count("cannot read objects") != 1 {
		t.Errorf("the right is not named once:\n%s", e.Log)
	}
}

func TestPoolsAreSeenOnceTheyAreInstalled(t *testing.T) {
	e := fakecluster.New(t)
	e.Server.Deny(fakeapi.Denial{Path: pools, Code: 404})
	c := e.Follow()
	e.PutPool("p", "10.0.0.0/30")
	e.Server.Deny()
	e.Eventually("the pool is seen", func() bool { return len(c.Pools()) == 1 })
}

// Whatever ends a watch, what happened meanwhile is seen.
func TestWatchesThatEnd(t *testing.T) {
	for name, end := range map[string]func(e *fakecluster.Env){
		"dropped": func(e *fakecluster.Env) { e.Server.EndWatches() },
		"too old": func(e *fakecluster.Env) {
			e.Store.Compact()
			e.Server.EndWatches()
		},
		"refused for a while": func(e *fakecluster.Env) {
			e.Server.Deny(fakeapi.Denial{Method: "WATCH", Code: 500})
			e.Server.EndWatches()
			e.Never("a Service is seen through no watch", func() bool { return e.Server.Count("GET", "/nothing") > 0 })
			e.Server.Deny()
		},
		"too many requests": func(e *fakecluster.Env) {
			e.Server.Deny(fakeapi.Denial{Code: 429})
			e.Server.EndWatches()
			e.Never("no request is counted", func() bool { return e.Server.Count("GET", "/nothing") > 0 })
			e.Server.Deny()
		},
		"without watch lists": func(e *fakecluster.Env) {
			e.Store.Compact()
			e.Server.Deny(fakeapi.Denial{Method: "WATCH", Code: 422})
			e.Server.EndWatches()
			e.Eventually("it lists", func() bool {
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
			c := e.Follow()
			e.PutService("a/seen")
			e.Eventually("the watch works", func() bool { return names(c) == "a/gone a/old a/seen" })
			end(e)
			e.Store.Delete(fakecluster.ServicePath("a/gone"))
			e.PutService("a/new")
			e.Eventually("all is seen", func() bool { return names(c) == "a/new a/old a/seen" })
		})
	}
}

// A server that ends every watch at once is not asked thousands of times.
func TestNoSpinningOnShortWatches(t *testing.T) {
	e := fakecluster.New(t)
	c := e.Follow()
	e.Server.Deny(fakeapi.Denial{Method: "WATCH", Path: "/api/v1/services", Code: 500})
	e.Server.EndWatches()
	before := len(e.Server.Requests())
	e.Eventually("it is asked again", func() bool { return len(e.Server.Requests()) > before+3 })
	asked := e.Server.Count("GET", "/api/v1/services")
	e.Never("it is asked all the time", func() bool { return e.Server.Count("GET", "/api/v1/services") > asked+12 })
	if !c.HasSynced() || names(c) != "" {
		t.Errorf("synced %v, Services %q", c.HasSynced(), names(c))
	}
}

// S2: an API server that has lost its etcd keeps its watches open. Anew leaves it.
func TestAnewLeavesABlindServer(t *testing.T) {
	e := fakecluster.New(t)
	other := e.Serve()
	e.Router = e.NewRouter("", e.Server, other)
	e.PutService("a/old")
	c := e.Follow()
	e.Server.Blind(true)
	e.PutService("a/new")
	e.Never("a blind server shows it", func() bool { return names(c) != "a/old" })
	c.Resync()
	e.Eventually("another one shows it", func() bool { return names(c) == "a/new a/old" })
	if !c.HasSynced() {
		t.Error("what was read did not stay")
	}
}

func TestRunEndsAtOnceWithoutAServer(t *testing.T) {
	e := fakecluster.New(t)
	c := e.Catalogue()
	e.Server.Close()
	stop := e.Run(c.Run)
	e.Eventually("it knows that it knows nothing", func() bool {
		return strings.HasPrefix(c.Problem(), "not read yet: endpointslices, leases, ") && strings.Contains(c.Problem(), "connection refused")
	})
	if c.HasSynced() || c.HasSyncedPools() {
		t.Error("it has read something")
	}
	stop()
}
