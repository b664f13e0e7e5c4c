package apiclient

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kvip/kvip/test/fakeapi"
)

// A node whose kubeconfig is not written yet waits for it.
func TestMissingFilesMeanNotYet(t *testing.T) {
	f := newFixture(t)
	s := f.open(f.path("super-admin.conf"), f.path("admin.conf"))
	if _, err := s.Server(f.server.Host); !errors.Is(err, ErrNoCredentials) || !strings.Contains(err.Error(), f.path("admin.conf")) {
		t.Errorf("Server: %v, want ErrNotYet that names the files", err)
	}
	if _, err := s.TLS(); !errors.Is(err, ErrNoCredentials) {
		t.Errorf("TLS: %v, want ErrNotYet", err)
	}
	if got := s.Authorization(); got != "" {
		t.Errorf("Authorization %q", got)
	}
	if got := s.Source(); !strings.Contains(got, "no credentials yet") {
		t.Errorf("Source %q", got)
	}
	if n := f.log.Count("WARN"); n != 0 {
		t.Errorf("%d warnings about files that are not written yet", n)
	}
	f.kubeconfig("admin.conf", fakeapi.User{Token: "t"})
	s.reread()
	if err := f.warm(s); err != nil {
		t.Errorf("after the file was written: %v", err)
	}
	if got := s.Source(); got != f.path("admin.conf") {
		t.Errorf("Source %q", got)
	}
}

// A renewed certificate or token is used as soon as it was re-read, on a new connection;
// a file that did not change breaks no connection.
func TestChangedCredentialsAreReread(t *testing.T) {
	f := newFixture(t)
	path := f.kubeconfig("admin.conf", fakeapi.User{Token: "old"})
	s := f.open(path)
	if err := f.warm(s); err != nil {
		t.Fatal(err)
	}
	before, _ := s.Server(f.server.Host)
	s.reread()
	if after, _ := s.Server(f.server.Host); after != before {
		t.Error("the same files made a new connection")
	}
	f.kubeconfig("admin.conf", fakeapi.User{Token: "new"})
	s.reread()
	if err := f.warm(s); err != nil {
		t.Fatal(err)
	}
	got := f.server.Requests()
	if got[0].Token != "old" || got[1].Token != "new" || got[0].Client == got[1].Client {
		t.Errorf("asked with %q and then %q, from %s and %s", got[0].Token, got[1].Token, got[0].Client, got[1].Client)
	}
	if s.Authorization() != "Bearer new" {
		t.Errorf("Authorization %q", s.Authorization())
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	s.reread()
	if _, err := s.Server(f.server.Host); !errors.Is(err, ErrNoCredentials) {
		t.Errorf("after the file was removed: %v", err)
	}
}

func TestRenewedClientCertificate(t *testing.T) {
	f := newFixture(t)
	s := f.open(f.kubeconfig("admin.conf", fakeapi.User{CommonName: "first"}))
	if err := f.warm(s); err != nil {
		t.Fatal(err)
	}
	f.kubeconfig("admin.conf", fakeapi.User{CommonName: "second"})
	s.reread()
	if err := f.warm(s); err != nil {
		t.Fatal(err)
	}
	if got := f.server.Requests(); got[0].Subject != "first" || got[1].Subject != "second" {
		t.Errorf("asked as %q and then as %q", got[0].Subject, got[1].Subject)
	}
}

// A file that cannot be used is reported once, and the others are used.
func TestBrokenFileIsReportedOnce(t *testing.T) {
	f := newFixture(t)
	s := f.open(f.write("broken.conf", "garbage: ["), f.kubeconfig("admin.conf", fakeapi.User{Token: "t"}))
	s.reread()
	s.reread()
	if n := f.log.Count("broken.conf"); n != 1 {
		t.Errorf("the broken file was reported %d times, want once", n)
	}
	if err := f.warm(s); err != nil {
		t.Errorf("with the other file: %v", err)
	}
	f.kubeconfig("broken.conf", fakeapi.User{Token: "mended"})
	s.reread()
	if got := s.Source(); got != f.path("broken.conf") {
		t.Errorf("after it was mended the source is %q, want the first again", got)
	}
}

// E11: credentials that an API server refuses make room for the next; each refusal counts
// once, and only for the credentials that it was about.
func TestRefusedRotates(t *testing.T) {
	f := newFixture(t)
	one, two := f.kubeconfig("one.conf", fakeapi.User{Token: "1"}), f.kubeconfig("two.conf", fakeapi.User{Token: "2"})
	s := f.open(one, two)
	for _, c := range []struct{ refused, want string }{
		{"unknown.conf", one}, {one, two}, {one, two}, {two, one}, {one, two},
	} {
		if s.ReportDenied(c.refused, "host"); s.Source() != c.want {
			t.Fatalf("after a refusal of %s the source is %s, want %s", c.refused, s.Source(), c.want)
		}
	}
	if n := f.log.Count("refuses"); n != 2 {
		t.Errorf("%d reports for two files that were refused again and again, want 2", n)
	}
	f.kubeconfig("two.conf", fakeapi.User{Token: "3"})
	s.reread()
	if s.Source() != one {
		t.Errorf("after a change the source is %s, want the first again", s.Source())
	}
	alone := f.open(one)
	if alone.ReportDenied(one, "host"); alone.Source() != one {
		t.Error("the only credentials were given up")
	}
	f.open(f.path("nothing.conf")).ReportDenied(one, "host") // there is nothing to refuse
}

// In a pod the ServiceAccount's token and CA are used, and the kubelet renews the token.
func TestServiceAccount(t *testing.T) {
	f := newFixture(t)
	s := f.open()
	s.saDir = f.dir
	s.reread()
	if _, err := s.Server(f.server.Host); !errors.Is(err, ErrNoCredentials) || !strings.Contains(err.Error(), "ServiceAccount") {
		t.Errorf("without a token: %v", err)
	}
	f.write("ca.crt", string(f.store.CA()))
	for _, token := range []string{"first", "second"} {
		f.write("token", token)
		s.reread()
		if err := f.warm(s); err != nil {
			t.Fatal(err)
		}
	}
	if got := f.server.Requests(); got[0].Token != "first" || got[1].Token != "second" {
		t.Errorf("asked with %q and then %q", got[0].Token, got[1].Token)
	}
}

// Run looks at the files again and again, and returns when told, with nothing kept open.
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
		if _, err := s.Server(f.server.Host); err != nil {
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

// The prober, the watch and the writes ask at once, while files change (-race).
func TestConcurrentUse(t *testing.T) {
	f := newFixture(t)
	one, two := f.kubeconfig("one.conf", fakeapi.User{Token: "1"}), f.kubeconfig("two.conf", fakeapi.User{Token: "2"})
	s := f.open(one, two)
	var group sync.WaitGroup
	for _, do := range []func(){
		func() { _ = f.warm(s) }, func() { s.ReportDenied(s.Source(), "host") }, s.reread,
		func() { _, _ = s.TLS() }, func() { _ = s.Authorization() },
	} {
		group.Go(func() {
			for range 20 {
				do()
			}
		})
	}
	group.Wait()
	if err := f.warm(s); err != nil {
		t.Error(err)
	}
}
