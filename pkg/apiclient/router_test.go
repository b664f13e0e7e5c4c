package apiclient

import (
	"context"
	"errors"
	"fmt"
	"io"
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

// E11: the node's own server first, then the in-cluster address, then the others, each once.
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

// A request that reached nobody is made elsewhere at once, and what comes next goes there.
func TestAServerThatIsDownIsLeft(t *testing.T) {
	f := newFixture(t)
	other := f.second()
	r := f.routes(RouterConfig{Local: local(f.server.Host, other.Host)})
	if err := r.Do(t.Context(), ping); err != nil || f.server.Count(http.MethodGet, "/livez") != 1 {
		t.Fatalf("the first is not asked: %v", err)
	}
	f.server.Close()
	for range 3 {
		if err := r.Do(t.Context(), ping); err != nil {
			t.Fatal(err)
		}
	}
	if n := other.Count(http.MethodGet, "/livez"); n != 3 {
		t.Errorf("the other one was asked %d times", n)
	}
	other.Close()
	if err := r.Do(t.Context(), ping); err == nil {
		t.Error("somebody answers")
	}
}

// Other errors: an answer stays, silence moves on with the next request, and nothing is sent twice.
func TestWhatAnErrorChanges(t *testing.T) {
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
		{"given up by the caller", fmt.Errorf("get: %w", context.Canceled), false},
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

// Many requests that fail at one server leave it once, not one server each.
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

// A server that is no longer known is asked no more.
func TestPeersThatGo(t *testing.T) {
	f := newFixture(t)
	r := f.routes(RouterConfig{Local: local("a:1")})
	peers := []string{"b:1"}
	r.SetPeers(peers)
	peers[0] = "x:1" // the caller's
	r.Next()         // nobody was asked yet
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

// What must not wait has connections of its own (E11).
func TestLanesShareNoConnection(t *testing.T) {
	f := newFixture(t)
	store := f.open(f.kubeconfig("admin.conf", fakeapi.User{Token: "t"}))
	for _, lane := range []string{"", "one", "two"} {
		r := f.routes(RouterConfig{Store: store, ConnectionPool: lane, Local: local(f.server.Host)})
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
		t.Errorf("%d connections for three lanes", len(clients))
	}
}

// ReportDenied credentials are told to the store, which goes on to the next ones.
func TestRefusedCredentials(t *testing.T) {
	f := newFixture(t)
	f.server.Refuse("old")
	store := f.open(f.kubeconfig("a.conf", fakeapi.User{Token: "old"}), f.kubeconfig("b.conf", fakeapi.User{Token: "new"}))
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
