package apiclient

import (
	"strings"
	"testing"

	"github.com/kvip/kvip/test/fakeapi"

	"github.com/kvip/kvip/test/testutil"
)

// judged makes a Store of those kubeconfigs whose own token somebody judges.
func (f *fixture) judged(kubeconfigs ...string) *Store {
	s := f.open(kubeconfigs...)
	s.cfg.StateDir, s.cfg.TokenManaged = f.path("state"), true
	return s
}

func (f *fixture) own(text string) Credentials { return TokenCredentials("own", text, f.store.CA()) }

func (f *fixture) in(s *Store, kind Kind, source string) {
	f.t.Helper()
	gotKind, got := s.InUse()
	if gotKind != kind || !strings.Contains(got, source) {
		f.t.Errorf("in use: %s %q, want %s %q", gotKind, got, kind, source)
	}
}

// The own token comes before every file, on the connection that it was tried on, and whoever holds a
// connection of the old credentials is told.
func TestAdopt(t *testing.T) {
	f := newFixture(t)
	s := f.judged(f.kubeconfig("admin.conf", fakeapi.User{CommonName: "admin"}))
	if err := f.warm(s); err != nil {
		t.Fatal(err)
	}
	old, _ := s.Server(f.server.Host)
	f.in(s, Bootstrap, "admin.conf")
	own := f.own("mine")
	client, err := own.Server(f.server.Host)
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.SetToken(own, client)
	f.in(s, ServiceAccount, "own")
	select {
	case <-old.Retired():
	default:
		t.Error("the old connection is not told")
	}
	if got, _ := s.Server(f.server.Host); got != client || got.Kind != ServiceAccount {
		t.Error("a new connection was made")
	}
	if err := f.warm(s); err != nil {
		t.Fatal(err)
	}
	requests := f.server.Requests()
	last := requests[len(requests)-1]
	if last.Token != "mine" || last.Subject != "" || last.Client != requests[len(requests)-2].Client {
		t.Errorf("asked as %q %q on %s", last.Token, last.Subject, last.Client)
	}
	if s.Authorization() != "Bearer mine" {
		t.Errorf("Authorization %q", s.Authorization())
	}
	config, err := s.TLS()
	if err != nil || len(config.Certificates) != 0 || config.GetClientCertificate != nil {
		t.Errorf("the own token's TLS has the administrator's certificate: %v", err)
	}
	if n := f.log.Count("credentials in use"); n != 1 {
		t.Errorf("told %d times", n)
	}
}

// A refusal of the own token changes nothing before it was judged; then the files serve, until it is
// trusted again or replaced.
func TestJudgedToken(t *testing.T) {
	f := newFixture(t)
	one, two := f.kubeconfig("one.conf", fakeapi.User{Token: "1"}), f.kubeconfig("two.conf", fakeapi.User{Token: "2"})
	s := f.judged(one, two)
	s.SetToken(f.own("mine"))
	s.ReportDenied("own", "10.0.0.1:6443")
	f.in(s, ServiceAccount, "own")
	select {
	case <-s.Changes():
	default:
		t.Error("nobody is told of the refusal")
	}
	if s.TakeSuspicion() != "10.0.0.1:6443" || s.TakeSuspicion() != "" {
		t.Error("the doubt is not told once")
	}
	s.SetTokenValid(false)
	s.SetTokenValid(false)
	f.in(s, Bootstrap, "one.conf")
	s.ReportDenied(one, "host")
	f.in(s, Bootstrap, "two.conf")
	s.ReportDenied(two, "host")
	f.in(s, Bootstrap, "one.conf") // and not the token that is known to be refused
	s.SetTokenValid(true)
	f.in(s, ServiceAccount, "own")
	s.SetTokenValid(false)
	s.SetToken(f.own("fresh"))
	f.in(s, ServiceAccount, "own")
	if s.Authorization() != "Bearer fresh" {
		t.Errorf("Authorization %q", s.Authorization())
	}
	s.ClearToken()
	s.ClearToken()
	f.in(s, Bootstrap, "one.conf")
	if s.token != nil {
		t.Error("a forgotten token is there")
	}
	s.SetTokenValid(true) // of nothing
	s.SetTokenValid(false)
	f.in(s, Bootstrap, "one.conf")
}

// Without files the refused token is all there is, and without either the reason says what to do.
func TestHardened(t *testing.T) {
	f := newFixture(t)
	s := testutil.Must(NewStore(StoreConfig{StateDir: f.path("state"), TokenManaged: true, Log: f.open().cfg.Log}))
	f.in(s, None, "without --hardened")
	s.SetToken(f.own("mine"))
	s.SetTokenValid(false)
	f.in(s, ServiceAccount, "own")
}

// Nobody judges for a command that runs once: the next credentials are used at once, and round.
func TestTokenThatNobodyJudges(t *testing.T) {
	f := newFixture(t)
	admin := f.kubeconfig("admin.conf", fakeapi.User{Token: "1"})
	s := f.open(admin)
	s.SetToken(f.own("mine"))
	s.ReportDenied("own", "host")
	f.in(s, Bootstrap, "admin.conf")
	s.ReportDenied(admin, "host")
	f.in(s, ServiceAccount, "own")
}

// A kubeconfig that changes breaks no connection of the own token, and wakes who watches.
func TestFilesChangeUnderTheOwnToken(t *testing.T) {
	f := newFixture(t)
	s := f.judged(f.path("admin.conf"))
	s.SetToken(f.own("mine"))
	before, err := s.Server(f.server.Host)
	if err != nil {
		t.Fatal(err)
	}
	f.kubeconfig("admin.conf", fakeapi.User{Token: "1"})
	s.reread()
	if after, _ := s.Server(f.server.Host); after != before {
		t.Error("the connection was given up")
	}
	select {
	case <-s.Changes():
	default:
		t.Error("nobody is told of the file")
	}
	if files := s.Kubeconfigs(); len(files) != 1 || files[0].Source() != f.path("admin.conf") {
		t.Errorf("files %v", files)
	}
}

// A token that the kubelet renews gets no other token, but is used where there is none.
func TestPodsTokenIsNoBootstrap(t *testing.T) {
	f := newFixture(t)
	s := testutil.Must(NewStore(StoreConfig{StateDir: f.path("state"), TokenManaged: true, Log: f.open().cfg.Log}))
	s.saDir = f.dir
	f.write("ca.crt", string(f.store.CA()))
	f.write("token", "of-the-pod")
	s.reread()
	f.in(s, ServiceAccount, f.dir)
	if len(s.Kubeconfigs()) != 0 {
		t.Error("it is offered for bootstrap")
	}
}

// Anonymous trusts the same servers and has no rights.
func TestAnonymous(t *testing.T) {
	f := newFixture(t)
	client, err := f.own("mine").Anonymous().Server(f.server.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := f.server.Requests(); got[0].Token != "" || got[0].Subject != "" {
		t.Errorf("asked as %q %q", got[0].Token, got[0].Subject)
	}
}
