package apiclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kvip/kvip/test/fakeapi"

	"github.com/kvip/kvip/test/testutil"
)

// second starts another API server of the fixture's cluster.
func (f *fixture) second() *fakeapi.Server {
	f.t.Helper()
	server, err := f.store.Serve("127.0.0.1:0")
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(server.Close)
	return server
}

// routes returns a router with a token that every server takes.
func (f *fixture) routes(cfg RouterConfig) *Router {
	f.t.Helper()
	if cfg.Store == nil {
		cfg.Store = f.open(f.kubeconfig("admin.conf", fakeapi.User{Token: "t"}))
	}
	return testutil.Must(NewRouter(cfg))
}

func local(hosts ...string) func() []string { return func() []string { return hosts } }

// ping is a request that any server answers.
func ping(ctx context.Context, s *Server) error { return s.Connect(ctx) }

// E11: the node's own server comes first, then the in-cluster address, then the peers.
func TestOrderOfHosts(t *testing.T) {
	f := newFixture(t)
	r := f.routes(RouterConfig{Local: local("a:1"), InCluster: "b:1"})
	r.SetPeers([]string{"c:1", "a:1", "b:1", "d:1"})
	if got := r.Hosts(); !slices.Equal(got, []string{"a:1", "b:1", "c:1", "d:1"}) {
		t.Errorf("hosts %v", got)
	}
	r = f.routes(RouterConfig{Local: local("a:1"), InCluster: "a:1"})
	if got := r.Hosts(); !slices.Equal(got, []string{"a:1"}) {
		t.Errorf("hosts %v", got)
	}
}

func TestWithoutAHostOrCredentials(t *testing.T) {
	f := newFixture(t)
	r := f.routes(RouterConfig{})
	if _, err := r.Server(); !errors.Is(err, ErrNoServer) {
		t.Errorf("without a host: %v", err)
	}
	if err := r.Do(t.Context(), ping); !errors.Is(err, ErrNoServer) {
		t.Errorf("without a host: %v", err)
	}
	r.Next() // goes nowhere
	r = f.routes(RouterConfig{Store: f.open(f.path("missing")), Local: local(f.server.Host)})
	if err := r.Do(t.Context(), ping); !errors.Is(err, ErrNoCredentials) {
		t.Errorf("without credentials: %v", err)
	}
}

// TestAServerThatIsDownIsLeft: a request that reached no server goes to the next one at once, and
// so do later requests.
func TestAServerThatIsDownIsLeft(t *testing.T) {
	f := newFixture(t)
	other := f.second()
	r := f.routes(RouterConfig{Local: local(f.server.Host, other.Host)})
	if err := r.Do(t.Context(), ping); err != nil ||
		f.server.RequestCount(http.MethodGet, "/livez") != 1 {
		t.Fatalf("the first is not asked: %v", err)
	}
	f.server.Close()
	for range 3 {
		if err := r.Do(t.Context(), ping); err != nil {
			t.Fatal(err)
		}
	}
	if n := other.RequestCount(http.MethodGet, "/livez"); n != 3 {
		t.Errorf("the other one was asked %d times", n)
	}
	other.Close()
	if err := r.Do(t.Context(), ping); err == nil {
		t.Error("a server answers")
	}
}

// TestServerAfterAnError: after no response the next request goes to another server. No request is
// sent twice.
func TestServerAfterAnError(t *testing.T) {
	what := schema.GroupResource{Resource: "leases"}
	for _, row := range []struct {
		name  string
		err   error
		moves bool
	}{
		{"none", nil, false},
		{"a conflict", apierrors.NewConflict(what, "a", errors.New("x")), false},
		{"not found", fmt.Errorf("get: %w", apierrors.NewNotFound(what, "a")), false},
		{"forbidden", apierrors.NewForbidden(what, "a", errors.New("x")), false},
		{"cancelled by the caller", fmt.Errorf("get: %w", context.Canceled), false},
		{"a time-out", context.DeadlineExceeded, true},
		{"a connection that ended", io.ErrUnexpectedEOF, true},
	} {
		f := newFixture(t)
		r := f.routes(RouterConfig{Local: local("a:1", "b:1")})
		asked := 0
		err := r.Do(t.Context(), func(context.Context, *Server) error {
			asked++
			return row.err
		})
		server, again := r.Server()
		if again != nil || asked != 1 || !errors.Is(err, row.err) || (server.Host == "b:1") != row.moves {
			t.Errorf("%s: asked %d times, then %s is (%v, %v)", row.name, asked, server.Host, err, again)
		}
	}
}

// TestManyFailuresLeaveOneServer: requests that fail at one server do not skip the following ones.
func TestManyFailuresLeaveOneServer(t *testing.T) {
	f := newFixture(t)
	r := f.routes(RouterConfig{Local: local("a:1", "b:1", "c:1")})
	first, err := r.Server()
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		r.Report(first, io.EOF)
	}
	if now, _ := r.Server(); now.Host != "b:1" {
		t.Errorf("asked now is %s", now.Host)
	}
	r.Next()
	r.Next()
	if now, _ := r.Server(); now.Host != "a:1" {
		t.Errorf("after the last it does not go round: %s", now.Host)
	}
}

// TestPeersThatGo: a server that is not a peer any more gets no request.
func TestPeersThatGo(t *testing.T) {
	f := newFixture(t)
	r := f.routes(RouterConfig{Local: local("a:1")})
	peers := []string{"b:1"}
	r.SetPeers(peers)
	peers[0] = "x:1" // the caller's
	r.Next()         // no server is in use yet
	if now, _ := r.Server(); now.Host != "a:1" {
		t.Fatalf("asked is %s", now.Host)
	}
	r.Next()
	if now, _ := r.Server(); now.Host != "b:1" {
		t.Fatalf("asked is %s", now.Host)
	}
	r.SetPeers(nil)
	if now, _ := r.Server(); now.Host != "a:1" {
		t.Errorf("asked is %s", now.Host)
	}
}

// E11: connection pools do not share connections.
func TestPoolsShareNoConnection(t *testing.T) {
	f := newFixture(t)
	store := f.open(f.kubeconfig("admin.conf", fakeapi.User{Token: "t"}))
	for _, pool := range []string{"", "one", "two"} {
		r := f.routes(RouterConfig{Store: store, ConnectionPool: pool, Local: local(f.server.Host)})
		for range 2 {
			if err := r.Do(t.Context(), ping); err != nil {
				t.Fatal(err)
			}
		}
	}
	clients := map[string]bool{}
	for _, q := range f.server.Requests() {
		clients[q.Client] = true
	}
	if len(clients) != 3 {
		t.Errorf("%d connections for three pools", len(clients))
	}
}

// TestDeniedCredentials: the Store learns of denied credentials and switches to the next ones.
func TestDeniedCredentials(t *testing.T) {
	f := newFixture(t)
	f.server.RejectUser("old")
	store := f.open(
		f.kubeconfig("a.conf", fakeapi.User{Token: "old"}),
		f.kubeconfig("b.conf", fakeapi.User{Token: "new"}),
	)
	r := f.routes(RouterConfig{Store: store, Local: local(f.server.Host)})
	list := func(ctx context.Context, s *Server) error {
		_, err := s.Coordination.Leases("kube-system").List(ctx, metav1.ListOptions{})
		return err
	}
	if err := r.Do(t.Context(), list); !apierrors.IsUnauthorized(err) {
		t.Fatalf("the first are taken: %v", err)
	}
	if err := r.Do(t.Context(), list); err != nil {
		t.Errorf("the second are not tried: %v", err)
	}
}

func TestNewRouterValidates(t *testing.T) {
	if _, err := NewRouter(RouterConfig{Local: local("a:1")}); err == nil {
		t.Error("a router without a store")
	}
}

// TestErrorClasses: what an error means for the choice of the server.
func TestErrorClasses(t *testing.T) {
	dial := fmt.Errorf("get: %w", &net.OpError{Op: "dial", Err: errors.New("refused")})
	what := schema.GroupResource{Resource: "leases"}
	for _, c := range []struct {
		err                             error
		denied, noResponse, unreachable bool
	}{
		{nil, false, false, false},
		{dial, false, true, true},
		{&net.OpError{Op: "read", Err: errors.New("reset")}, false, true, false},
		{context.DeadlineExceeded, false, true, false},
		{context.Canceled, false, false, false},
		{apierrors.NewUnauthorized("x"), true, false, false},
		{fmt.Errorf("get: %w", apierrors.NewForbidden(what, "a", nil)), true, false, false},
		{apierrors.NewServiceUnavailable("x"), false, false, false},
	} {
		denied, noResponse := IsDenied(c.err), IsNoResponse(c.err)
		if denied != c.denied || noResponse != c.noResponse || IsUnreachable(c.err) != c.unreachable {
			t.Errorf("%v: denied %v, no response %v, unreachable %v",
				c.err, denied, noResponse, IsUnreachable(c.err))
		}
	}
}
