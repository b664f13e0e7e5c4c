// Package fakecluster is a cluster of the fake API server for tests of Services: the server, a
// router, a cache, and the objects that tests create. It makes no assertions about them.
package fakecluster

import (
	"context"
	"encoding/json"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/apis/v1alpha1"
	"github.com/kvip/kvip/pkg/ipam"
	"github.com/kvip/kvip/pkg/svc"
	"github.com/kvip/kvip/test/fakeapi"
	"github.com/kvip/kvip/test/testutil"
)

// Namespace and LeaseName name the Lease of the allocator.
const (
	Namespace = "kube-system"
	LeaseName = "kvip-services"
)

// Env is a cluster with one API server.
type Env struct {
	T      *testing.T
	Store  *fakeapi.Store
	Server *fakeapi.Server
	Creds  *apiclient.Store
	Router *apiclient.Router
	Log    *testutil.Log
	Logger *slog.Logger
	// Reader selects the objects of NewCache and RunCache.
	Reader svc.Reader
}

// New returns an empty cluster, which ends with the test.
func New(t *testing.T) *Env {
	t.Helper()
	e := &Env{T: t, Log: &testutil.Log{}, Reader: svc.Reader{Class: "kvip.dev/kvip"}}
	e.Logger = slog.New(slog.NewTextHandler(e.Log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var err error
	if e.Store, err = fakeapi.NewStore(); err != nil {
		t.Fatal(err)
	}
	e.Server = e.Serve()
	path := filepath.Join(t.TempDir(), "admin.conf")
	if err := e.Store.WriteKubeconfig(path, "https://unused.invalid:6443",
		fakeapi.User{Token: "t"}); err != nil {
		t.Fatal(err)
	}
	e.Creds = testutil.Must(apiclient.NewStore(apiclient.StoreConfig{Kubeconfigs: []string{path},
		Log: e.Logger}))
	e.Router = e.NewRouter("", e.Server)
	return e
}

// Serve starts another API server of the cluster.
func (e *Env) Serve() *fakeapi.Server {
	e.T.Helper()
	server, err := e.Store.Serve("127.0.0.1:0")
	if err != nil {
		e.T.Fatal(err)
	}
	e.T.Cleanup(server.Close)
	return server
}

// NewRouter returns a router to these API servers, with the connections of a named pool.
func (e *Env) NewRouter(pool string, servers ...*fakeapi.Server) *apiclient.Router {
	local := func() (hosts []string) {
		for _, s := range servers {
			hosts = append(hosts, s.Host)
		}
		return hosts
	}
	return testutil.Must(apiclient.NewRouter(apiclient.RouterConfig{
		Store: e.Creds, ConnectionPool: pool, Local: local,
	}))
}

// NewCache returns a cache that does not run yet.
func (e *Env) NewCache() *svc.Cache {
	e.T.Helper()
	c, err := svc.NewCache(svc.CacheConfig{
		Reader: e.Reader, Namespace: Namespace, Lease: LeaseName, Router: e.Router, Log: e.Logger,
	})
	if err != nil {
		e.T.Fatal(err)
	}
	return c
}

// RunCache returns a running cache that has synced.
func (e *Env) RunCache() *svc.Cache {
	e.T.Helper()
	c := e.NewCache()
	e.Run(c.Run)
	e.Eventually("the cache has synced",
		func() bool { return c.HasSyncedPools() && c.BGP().Synced })
	return c
}

// Run runs a component until the test ends or stop is called, which waits for its end.
func (e *Env) Run(run func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := run(ctx); err != nil {
			e.T.Errorf("the component ended with %v", err)
		}
	}()
	stop = func() {
		cancel()
		<-done
	}
	e.T.Cleanup(stop)
	return stop
}

// Eventually fails the test, with the log, unless ok reports true within 15 seconds.
func (e *Env) Eventually(what string, ok func() bool) {
	e.T.Helper()
	for range 3000 {
		if ok() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	e.T.Fatalf("timed out waiting until %s\n%s", what, e.Log)
}

// Never fails the test, with the log, if ok reports true within 200 milliseconds.
func (e *Env) Never(what string, ok func() bool) {
	e.T.Helper()
	for range 40 {
		if ok() {
			e.T.Fatalf("%s\n%s", what, e.Log)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// Put creates or replaces the object at a path.
func (e *Env) Put(path string, o any) {
	e.T.Helper()
	if err := e.Store.Put(path, o); err != nil {
		e.T.Fatal(err)
	}
}

// ServicePath returns the path of the Service NAMESPACE/NAME.
func ServicePath(owner string) string {
	namespace, name, _ := strings.Cut(owner, "/")
	return "/api/v1/namespaces/" + namespace + "/services/" + name
}

// LeasePath returns the path of a Lease in Namespace.
func LeasePath(name string) string {
	return "/apis/coordination.k8s.io/v1/namespaces/" + Namespace + "/leases/" + name
}

// PutService creates or changes the Service NAMESPACE/NAME, of type LoadBalancer with port 80, and
// applies the changes.
func (e *Env) PutService(owner string, changes ...func(*corev1.Service)) {
	e.T.Helper()
	namespace, name, _ := strings.Cut(owner, "/")
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Annotations: map[string]string{}},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeLoadBalancer, IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol},
			Ports: []corev1.ServicePort{{Protocol: corev1.ProtocolTCP, Port: 80}},
		},
	}
	e.Service(owner, s)
	for _, change := range changes {
		change(s)
	}
	e.Put(ServicePath(owner), s)
}

// Service reads a Service. It returns false if the Service does not exist.
func (e *Env) Service(owner string, s *corev1.Service) bool {
	e.T.Helper()
	ok, err := e.Store.Get(ServicePath(owner), s)
	if err != nil {
		e.T.Fatal(err)
	}
	return ok
}

// ServiceStatus returns the addresses of a Service and the reason of kvip's condition, separated by
// spaces.
func (e *Env) ServiceStatus(owner string) string {
	e.T.Helper()
	var s corev1.Service
	e.Service(owner, &s)
	var words []string
	for _, i := range s.Status.LoadBalancer.Ingress {
		words = append(words, i.IP)
	}
	for _, c := range s.Status.Conditions {
		if c.Type == svc.Condition {
			words = append(words, c.Reason)
		}
	}
	return strings.Join(words, " ")
}

// PutNode creates or replaces a Node with one address.
func (e *Env) PutNode(name, address string, changes ...func(*corev1.Node)) {
	e.T.Helper()
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{}}}
	n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: address},
		{Type: corev1.NodeHostName, Address: name}}
	for _, change := range changes {
		change(n)
	}
	e.Put("/api/v1/nodes/"+name, n)
}

// PutPool creates or replaces an IPPool.
func (e *Env) PutPool(name string, addresses ...string) {
	e.T.Helper()
	p := &v1alpha1.IPPool{ObjectMeta: metav1.ObjectMeta{Name: name, Generation: 1}}
	for _, a := range addresses {
		p.Spec.Addresses = append(p.Spec.Addresses, v1alpha1.Addresses(a))
	}
	e.Put("/apis/kvip.dev/v1alpha1/ippools/"+name, p)
}

// PutSlice creates or replaces a Service's EndpointSlice, with a ready endpoint on each node.
func (e *Env) PutSlice(owner string, nodes ...string) {
	e.T.Helper()
	namespace, name, _ := strings.Cut(owner, "/")
	s := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name,
		Labels: map[string]string{discoveryv1.LabelServiceName: name}}}
	for _, n := range nodes {
		s.Endpoints = append(s.Endpoints,
			discoveryv1.Endpoint{Addresses: []string{"10.1.0.1"}, NodeName: &n})
	}
	e.Put("/apis/discovery.k8s.io/v1/namespaces/"+namespace+"/endpointslices/"+name, s)
}

// PutNodeLease writes the node Lease of another node: its heartbeat, and its addresses in info.
func (e *Env) PutNodeLease(info svc.NodeInfo, holder string, seconds int32) {
	e.T.Helper()
	text, err := json.Marshal(info)
	if err != nil {
		e.T.Fatal(err)
	}
	l := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{
		Labels:      map[string]string{svc.LabelRole: svc.RoleNode},
		Annotations: map[string]string{svc.AnnotationNode: string(text)},
	}}
	l.Spec.HolderIdentity, l.Spec.LeaseDurationSeconds = &holder, &seconds
	e.Put(LeasePath(svc.NodeLease(LeaseName, info.Node)), l)
}

// PutLedger writes a shard of the ledger.
func (e *Env) PutLedger(shard string, l ipam.Ledger) {
	e.T.Helper()
	e.Put(LeasePath(svc.LedgerPrefix(LeaseName)+shard),
		&coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{
			Labels:      map[string]string{svc.LabelRole: svc.RoleLedger},
			Annotations: map[string]string{svc.AnnotationLedger: svc.EncodeLedger(l)},
		}})
}

// Lease reads a Lease. It returns false if the Lease does not exist.
func (e *Env) Lease(name string, l *coordinationv1.Lease) bool {
	e.T.Helper()
	ok, err := e.Store.Get(LeasePath(name), l)
	if err != nil {
		e.T.Fatal(err)
	}
	return ok
}
