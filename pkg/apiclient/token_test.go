package apiclient

import (
	"strings"
	"testing"

	"github.com/kvip/kvip/test/fakeapi"
	"github.com/kvip/kvip/test/testutil"
)

// managed makes a Store of these kubeconfigs whose own token a token manager verifies.
func (f *fixture) managed(kubeconfigs ...string) *Store {
	s := f.open(kubeconfigs...)
	s.cfg.StateDir, s.cfg.TokenManaged = f.path("state"), true
	return s
}

// hardened makes a managed Store without kubeconfigs.
func (f *fixture) hardened() *Store {
	cfg := StoreConfig{StateDir: f.path("state"), TokenManaged: true}
	return testutil.Must(NewStore(cfg))
}

func (f *fixture) token(text string) Credentials {
	return TokenCredentials("own", text, f.store.CA())
}

// wantUsed checks the credentials in use.
func (f *fixture) wantUsed(s *Store, kind Kind, source string) {
	f.t.Helper()
	gotKind, got := s.InUse()
	if gotKind != kind || !strings.Contains(got, source) {
		f.t.Errorf("in use: %s %q, want %s %q", gotKind, got, kind, source)
	}
}

// wantChange checks that the Store has notified of a change.
func (f *fixture) wantChange(s *Store) {
	f.t.Helper()
	select {
	case <-s.Changes():
	default:
		f.t.Error("no notification of the change")
	}
}

// TestSetToken: the own token precedes every file, on the connection that it was verified on, and
// clients with the old credentials are retired.
func TestSetToken(t *testing.T) {
	f := newFixture(t)
	s := f.managed(f.kubeconfig("admin.conf", fakeapi.User{CommonName: "admin"}))
	if err := f.connect(s); err != nil {
		t.Fatal(err)
	}
	old, _ := s.ServerInPool("", f.server.Host)
	f.wantUsed(s, Bootstrap, "admin.conf")
	token := f.token("mine")
	client := testutil.Must(token.Server(f.server.Host))
	if err := client.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.SetToken(token, client)
	f.wantUsed(s, ServiceAccount, "own")
	select {
	case <-old.Retired():
	default:
		t.Error("the old client is not retired")
	}
	if got, _ := s.ServerInPool("", f.server.Host); got != client || got.Kind != ServiceAccount {
		t.Error("a new client was made")
	}
	if err := f.connect(s); err != nil {
		t.Fatal(err)
	}
	requests := f.server.Requests()
	last, before := requests[len(requests)-1], requests[len(requests)-2]
	if last.Token != "mine" || last.Subject != "" || last.Client != before.Client {
		t.Errorf("requested as %q %q on %s", last.Token, last.Subject, last.Client)
	}
	if s.Authorization() != "Bearer mine" {
		t.Errorf("Authorization %q", s.Authorization())
	}
	config, err := s.TLS()
	if err != nil || len(config.Certificates) != 0 || config.GetClientCertificate != nil {
		t.Errorf("the token's TLS has the administrator's certificate: %v", err)
	}
	if n := f.log.Count("credentials in use"); n != 1 {
		t.Errorf("logged %d times", n)
	}
}

// TestManagedToken: a denial of the own token changes nothing until it is verified. Then the files
// are used, until the token is valid again or replaced.
func TestManagedToken(t *testing.T) {
	f := newFixture(t)
	one := f.kubeconfig("one.conf", fakeapi.User{Token: "1"})
	two := f.kubeconfig("two.conf", fakeapi.User{Token: "2"})
	s := f.managed(one, two)
	s.SetToken(f.token("mine"))
	s.ReportDenied("own", "10.0.0.1:6443")
	f.wantUsed(s, ServiceAccount, "own")
	f.wantChange(s)
	if s.TakeDenial() != "10.0.0.1:6443" || s.TakeDenial() != "" {
		t.Error("the denial is not returned once")
	}
	s.SetTokenValid(false)
	s.SetTokenValid(false)
	f.wantUsed(s, Bootstrap, "one.conf")
	s.ReportDenied(one, "host")
	f.wantUsed(s, Bootstrap, "two.conf")
	s.ReportDenied(two, "host")
	f.wantUsed(s, Bootstrap, "one.conf") // and not the invalid token
	s.SetTokenValid(true)
	f.wantUsed(s, ServiceAccount, "own")
	s.SetTokenValid(false)
	s.SetToken(f.token("fresh"))
	f.wantUsed(s, ServiceAccount, "own")
	if s.Authorization() != "Bearer fresh" {
		t.Errorf("Authorization %q", s.Authorization())
	}
	s.ClearToken()
	s.ClearToken()
	f.wantUsed(s, Bootstrap, "one.conf")
	s.SetTokenValid(true) // without a token
	s.SetTokenValid(false)
	f.wantUsed(s, Bootstrap, "one.conf")
}

// TestHardened: without files an invalid token stays in use; without a token the reason contains
// what to do.
func TestHardened(t *testing.T) {
	f := newFixture(t)
	s := f.hardened()
	f.wantUsed(s, None, "without --hardened")
	s.SetToken(f.token("mine"))
	s.SetTokenValid(false)
	f.wantUsed(s, ServiceAccount, "own")
}

// TestUnmanagedToken: in a command that runs once, a denial switches to the next credentials, and
// after the last to the token again.
func TestUnmanagedToken(t *testing.T) {
	f := newFixture(t)
	admin := f.kubeconfig("admin.conf", fakeapi.User{Token: "1"})
	s := f.open(admin)
	s.SetToken(f.token("mine"))
	s.ReportDenied("own", "host")
	f.wantUsed(s, Bootstrap, "admin.conf")
	s.ReportDenied(admin, "host")
	f.wantUsed(s, ServiceAccount, "own")
}

// TestFilesChangeWhileTheTokenIsUsed: the change closes no connection and is notified.
func TestFilesChangeWhileTheTokenIsUsed(t *testing.T) {
	f := newFixture(t)
	s := f.managed(f.path("admin.conf"))
	s.SetToken(f.token("mine"))
	before := testutil.Must(s.ServerInPool("", f.server.Host))
	f.kubeconfig("admin.conf", fakeapi.User{Token: "1"})
	s.reread()
	if after, _ := s.ServerInPool("", f.server.Host); after != before {
		t.Error("the client was replaced")
	}
	f.wantChange(s)
	files := s.Kubeconfigs()
	if len(files) != 1 || files[0].Source() != f.path("admin.conf") {
		t.Errorf("files %v", files)
	}
}

// TestPodTokenIsNotBootstrap: the token of a pod issues no other token, but is used if there is
// none.
func TestPodTokenIsNotBootstrap(t *testing.T) {
	f := newFixture(t)
	s := f.hardened()
	s.saDir = f.dir
	f.write("ca.crt", string(f.store.CA()))
	f.write("token", "of-the-pod")
	s.reread()
	f.wantUsed(s, ServiceAccount, f.dir)
	if len(s.Kubeconfigs()) != 0 {
		t.Error("the pod's token counts as bootstrap credentials")
	}
	s.SetToken(f.token("mine"))
	f.wantUsed(s, ServiceAccount, "own")
}
