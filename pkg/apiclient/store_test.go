package apiclient

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kvip/kvip/test/fakeapi"
)

// TestMissingFilesMeanNotYet: a missing kubeconfig is not a problem, and is used later.
func TestMissingFilesMeanNotYet(t *testing.T) {
	f := newFixture(t)
	s := f.open(f.path("super-admin.conf"), f.path("admin.conf"))
	_, err := s.ServerInPool("", f.server.Host)
	if !errors.Is(err, ErrNoCredentials) || !strings.Contains(err.Error(), f.path("admin.conf")) {
		t.Errorf("Server: %v, want ErrNoCredentials with the files", err)
	}
	if _, err := s.TLS(); !errors.Is(err, ErrNoCredentials) {
		t.Errorf("TLS: %v, want ErrNoCredentials", err)
	}
	if got := s.Authorization(); got != "" {
		t.Errorf("Authorization %q", got)
	}
	if got := source(s); !strings.Contains(got, "no credentials yet") {
		t.Errorf("Source %q", got)
	}
	if n := f.log.Count("WARN"); n != 0 {
		t.Errorf("%d warnings about files that are not written yet", n)
	}
	f.kubeconfig("admin.conf", fakeapi.User{Token: "t"})
	s.reread()
	if err := f.connect(s); err != nil {
		t.Errorf("after the file was written: %v", err)
	}
	if got := source(s); got != f.path("admin.conf") {
		t.Errorf("Source %q", got)
	}
}

// TestChangedCredentialsAreReread: a new certificate or token is used once it was re-read, on a new
// connection. An unchanged file closes no connection.
func TestChangedCredentialsAreReread(t *testing.T) {
	f := newFixture(t)
	path := f.kubeconfig("admin.conf", fakeapi.User{Token: "old"})
	s := f.open(path)
	if err := f.connect(s); err != nil {
		t.Fatal(err)
	}
	before, _ := s.ServerInPool("", f.server.Host)
	s.reread()
	if after, _ := s.ServerInPool("", f.server.Host); after != before {
		t.Error("the same files made a new connection")
	}
	f.kubeconfig("admin.conf", fakeapi.User{Token: "new"})
	s.reread()
	if err := f.connect(s); err != nil {
		t.Fatal(err)
	}
	got := f.server.Requests()
	if got[0].Token != "old" || got[1].Token != "new" || got[0].Client == got[1].Client {
		t.Errorf("requested with %q and then %q, from %s and %s",
			got[0].Token, got[1].Token, got[0].Client, got[1].Client)
	}
	if s.Authorization() != "Bearer new" {
		t.Errorf("Authorization %q", s.Authorization())
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	s.reread()
	if _, err := s.ServerInPool("", f.server.Host); !errors.Is(err, ErrNoCredentials) {
		t.Errorf("after the file was removed: %v", err)
	}
}

func TestRenewedClientCertificate(t *testing.T) {
	f := newFixture(t)
	s := f.open(f.kubeconfig("admin.conf", fakeapi.User{CommonName: "first"}))
	if err := f.connect(s); err != nil {
		t.Fatal(err)
	}
	f.kubeconfig("admin.conf", fakeapi.User{CommonName: "second"})
	s.reread()
	if err := f.connect(s); err != nil {
		t.Fatal(err)
	}
	if got := f.server.Requests(); got[0].Subject != "first" || got[1].Subject != "second" {
		t.Errorf("requested as %q and then as %q", got[0].Subject, got[1].Subject)
	}
}

// TestBrokenFileIsReportedOnce: a broken file is logged once, and the others are used.
func TestBrokenFileIsReportedOnce(t *testing.T) {
	f := newFixture(t)
	broken := f.write("broken.conf", "garbage: [")
	s := f.open(broken, f.kubeconfig("admin.conf", fakeapi.User{Token: "t"}))
	s.reread()
	s.reread()
	if n := f.log.Count("broken.conf"); n != 1 {
		t.Errorf("the broken file was reported %d times, want once", n)
	}
	if err := f.connect(s); err != nil {
		t.Errorf("with the other file: %v", err)
	}
	f.kubeconfig("broken.conf", fakeapi.User{Token: "mended"})
	s.reread()
	if got := source(s); got != f.path("broken.conf") {
		t.Errorf("after it was mended the source is %q, want the first again", got)
	}
}

// TestHalfWrittenFile: a file that is being written changes nothing. One that stays broken does.
func TestHalfWrittenFile(t *testing.T) {
	f := newFixture(t)
	path := f.kubeconfig("admin.conf", fakeapi.User{Token: "t"})
	s := f.open(path)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		size    int
		settled bool
		kind    Kind
	}{
		{len(whole), true, Bootstrap}, {0, false, Bootstrap}, {len(whole) / 2, false, Bootstrap},
		{len(whole), true, Bootstrap}, {0, false, Bootstrap}, {0, true, None},
		{len(whole), true, Bootstrap},
	} {
		f.write("admin.conf", string(whole[:step.size]))
		s.reread()
		if kind, _ := s.InUse(); kind != step.kind || s.settled() != step.settled {
			t.Errorf("%d bytes: %v, settled %v; want %+v", step.size, kind, s.settled(), step)
		}
	}
}

// E11: denied credentials are replaced by the next ones. A denial counts once, and only for the
// credentials of the request.
func TestDeniedCredentialsRotate(t *testing.T) {
	f := newFixture(t)
	one := f.kubeconfig("one.conf", fakeapi.User{Token: "1"})
	two := f.kubeconfig("two.conf", fakeapi.User{Token: "2"})
	s := f.open(one, two)
	for _, c := range []struct{ denied, want string }{
		{"unknown.conf", one}, {one, two}, {one, two}, {two, one}, {one, two},
	} {
		if s.ReportDenied(c.denied, "host"); source(s) != c.want {
			t.Fatalf("after a denial of %s the source is %s, want %s", c.denied, source(s), c.want)
		}
	}
	if n := f.log.Count("refuses"); n != 2 {
		t.Errorf("%d messages for two files that were denied repeatedly, want 2", n)
	}
	f.kubeconfig("two.conf", fakeapi.User{Token: "3"})
	s.reread()
	if source(s) != one {
		t.Errorf("after a change the source is %s, want the first again", source(s))
	}
	alone := f.open(one)
	if alone.ReportDenied(one, "host"); source(alone) != one {
		t.Error("the only credentials are not used any more")
	}
	f.open(f.path("nothing.conf")).ReportDenied(one, "host") // there are no credentials
}

// TestServiceAccount: a pod uses the token that the kubelet mounts and renews.
func TestServiceAccount(t *testing.T) {
	f := newFixture(t)
	s := f.open()
	s.saDir = f.dir
	s.reread()
	_, err := s.ServerInPool("", f.server.Host)
	if !errors.Is(err, ErrNoCredentials) || !strings.Contains(err.Error(), "ServiceAccount") {
		t.Errorf("without a token: %v", err)
	}
	f.write("ca.crt", string(f.store.CA()))
	for _, token := range []string{"first", "second"} {
		f.write("token", token)
		s.reread()
		if err := f.connect(s); err != nil {
			t.Fatal(err)
		}
	}
	if got := f.server.Requests(); got[0].Token != "first" || got[1].Token != "second" {
		t.Errorf("requested with %q and then %q", got[0].Token, got[1].Token)
	}
}

// TestRun re-reads the files, and closes all clients when its context ends.
func TestRun(t *testing.T) {
	f := newFixture(t)
	s := f.open(f.path("admin.conf"))
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		f.kubeconfig("admin.conf", fakeapi.User{Token: "t"})
		time.Sleep(2 * rereadInterval)
		synctest.Wait()
		if _, err := s.ServerInPool("", f.server.Host); err != nil {
			t.Errorf("the new file was not read: %v", err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	if len(s.clients) != 0 {
		t.Errorf("%d clients are kept after Run", len(s.clients))
	}
}

// TestConcurrentUse makes requests while files change (-race).
func TestConcurrentUse(t *testing.T) {
	f := newFixture(t)
	one := f.kubeconfig("one.conf", fakeapi.User{Token: "1"})
	two := f.kubeconfig("two.conf", fakeapi.User{Token: "2"})
	s := f.open(one, two)
	var group sync.WaitGroup
	for _, do := range []func(){
		func() { _ = f.connect(s) },
		func() { s.ReportDenied(source(s), "host") },
		s.reread,
		func() { _, _ = s.TLS() }, func() { _ = s.Authorization() },
	} {
		group.Go(func() {
			for range 20 {
				do()
			}
		})
	}
	group.Wait()
	if err := f.connect(s); err != nil {
		t.Error(err)
	}
}

func TestNewStoreValidates(t *testing.T) {
	for _, cfg := range []StoreConfig{{TokenManaged: true}, {Kubeconfigs: []string{"/a", ""}}} {
		if _, err := NewStore(cfg); err == nil {
			t.Errorf("NewStore(%+v) succeeded", cfg)
		}
	}
}

// TestOnChange is called for each change of the credentials in use, and not for others.
func TestOnChange(t *testing.T) {
	f := newFixture(t)
	s := f.open(f.path("admin.conf"))
	var changes []Kind
	s.cfg.OnChange = func(kind Kind, _ string) { changes = append(changes, kind) }
	s.reread()
	s.reread()
	f.kubeconfig("admin.conf", fakeapi.User{Token: "1"})
	s.reread()
	s.SetToken(f.token("mine"))
	s.SetToken(f.token("renewed"))
	s.ClearToken()
	want := []Kind{None, Bootstrap, ServiceAccount, Bootstrap}
	if !slices.Equal(changes, want) {
		t.Errorf("changes %v, want %v", changes, want)
	}
}
