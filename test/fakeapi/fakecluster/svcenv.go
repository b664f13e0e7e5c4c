// Package fakecluster is a cluster of the fake API server for tests of the Services part: the
// server, a router to it, a catalogue of it, and the objects that tests put there. It decides and
// asserts nothing.
package fakecluster

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/svc"
	"github.com/kvip/kvip/test/fakeapi"
	"github.com/kvip/kvip/test/testutil"
)

// Namespace and Seat are those of the Leases.
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
	// Reader is that of catalogues.
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

// NewRouter returns a router to these API servers, with connections of its own for each lane.
func (e *Env) NewRouter(lane string, servers ...*fakeapi.Server) *apiclient.Router {
	return testutil.Must(apiclient.NewRouter(apiclient.RouterConfig{Store: e.Creds,
		ConnectionPool: lane, Local: func() (hosts []string) {
			for _, s := range servers {
				hosts = append(hosts, s.Host)
			}
			return hosts
		}}))
}

// NewCache returns one that is not kept up to date yet.
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

// RunCache returns a catalogue that has read everything.
func (e *Env) RunCache() *svc.Cache {
	e.T.Helper()
	c := e.NewCache()
	e.Run(c.Run)
	e.Eventually("everything is read", c.HasSyncedPools)
	return c
}

// Run runs part until the function that it returns is called, or the test ends; that returns when
// part has.
func (e *Env) Run(part func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := part(ctx); err != nil {
			e.T.Errorf("it ended with %v", err)
		}
	}()
	stop = func() {
		cancel()
		<-done
	}
	e.T.Cleanup(stop)
	return stop
}

// Eventually waits until something is so.
func (e *Env) Eventually(what string, is func() bool) {
	e.T.Helper()
	for range 3000 {
		if is() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	e.T.Fatalf("it never came to pass that %s\n%s", what, e.Log)
}

// Never lets a while pass, in which something must not be so.
func (e *Env) Never(what string, is func() bool) {
	e.T.Helper()
	for range 40 {
		if is() {
			e.T.Fatalf("%s\n%s", what, e.Log)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
