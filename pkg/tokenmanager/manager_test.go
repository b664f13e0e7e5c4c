package tokenmanager

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/test/fakeapi"
	"github.com/kvip/kvip/test/testutil"
)

// TestBootstrap waits for the kubeconfig, applies all of RBAC, issues a token, and uses it.
func TestBootstrap(t *testing.T) {
	f := newFixture(t)
	f.run(f.admin())
	kind, reason := f.store.InUse()
	if kind != apiclient.None || !strings.Contains(reason, "admin.conf") {
		t.Errorf("before there is a kubeconfig: %s %s", kind, reason)
	}
	f.writeKubeconfig("admin")
	text := f.lastIssued()
	f.waitUsed(text)
	f.waitStored(text)
	got := f.api.AppliedPaths()
	if len(got) != 5 || !strings.HasSuffix(got[0], "/serviceaccounts/kvip") ||
		!strings.HasSuffix(got[4], "/clusterrolebindings/kvip-health") {
		t.Errorf("applied %q", got)
	}
	ok(t, f.ping())
	if problemOf(f.manager) != "" || f.manager.Expires().IsZero() || len(f.api.IssuedTokens()) != 1 {
		t.Errorf("problem %q, expires %v, %d tokens",
			problemOf(f.manager), f.manager.Expires(), len(f.api.IssuedTokens()))
	}
	for _, r := range f.server.Requests() {
		if r.Token == text && strings.Contains(r.Path, "/token") {
			t.Error("the token was renewed at once")
		}
	}
	if n := f.log.Count("level=WARN"); n != 0 {
		t.Errorf("%d warnings:\n%s", n, f.log)
	}
}

// TestRestart uses the stored token from the first request on, and not the administrator's.
func TestRestart(t *testing.T) {
	f := newFixture(t)
	f.writeKubeconfig("admin")
	text := f.storeToken(0)
	f.run(f.admin())
	if f.store.Authorization() != "Bearer "+text {
		t.Error("other credentials than the stored token are used first")
	}
	f.until("the verification", func() bool { return f.reviews() == 4 })
	ok(t, f.ping())
	for _, r := range f.server.Requests() {
		if r.Token == "admin" {
			t.Errorf("as administrator: %s %s", r.Method, r.Path)
		}
	}
}

// TestRenewal uses the token's own permission: a hardened pod has no other credentials.
func TestRenewal(t *testing.T) {
	f := newFixture(t)
	f.api.SetTokenLifetime(24 * time.Hour)
	f.storeToken(48 * time.Hour)
	f.run()
	f.until("a second token", func() bool { return len(f.api.IssuedTokens()) == 2 })
	f.waitUsed(f.lastIssued())
	f.waitStored(f.lastIssued())
	if len(f.api.AppliedPaths()) != 0 {
		t.Error("RBAC was applied with kvip's own permissions")
	}
}

// TestDeniedToken: a token that is rejected or lost its permissions is replaced with the bootstrap
// credentials, which are used in the meantime.
func TestDeniedToken(t *testing.T) {
	for name, deny := range map[string]func(f *fixture, text string){
		"401": func(f *fixture, text string) { f.server.RejectUser(text) },
		"403": func(f *fixture, _ string) { f.api.RevokeRights() },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			first := f.runIssued()
			time.Sleep(verifiedFor)
			deny(f, first)
			f.until("the verification", func() bool {
				_ = f.ping()
				return f.log.Count("own token is refused") == 1
			})
			f.until("another token", func() bool { return f.lastIssued() != first })
			f.waitUsed(f.lastIssued())
			f.waitStored(f.lastIssued())
			ok(t, f.ping())
		})
	}
}

// TestStartingServer denies every request, which does not concern the token.
func TestStartingServer(t *testing.T) {
	f := newFixture(t)
	text := f.runIssued()
	time.Sleep(verifiedFor)
	f.server.SetMode(fakeapi.Hang) // /readyz does not answer either
	f.store.ReportDenied(f.tokenFile(), f.server.Host)
	f.until("a review", func() bool { return f.reviews() > 4 })
	if f.store.Authorization() != "Bearer "+text {
		t.Error("other credentials are used")
	}
	f.server.SetMode(fakeapi.Serving)
	ok(t, f.ping())
	if len(f.api.IssuedTokens()) != 1 {
		t.Error("another token was requested")
	}
}

// TestUnknownReadiness: repeated denials count if the API server denies anonymous requests too.
func TestUnknownReadiness(t *testing.T) {
	f := newFixture(t)
	f.writeKubeconfig("admin")
	first := f.storeToken(0)
	f.server.RejectUser("")
	f.server.RejectUser(first)
	f.run(f.admin())
	f.until("another token", func() bool { return len(f.api.IssuedTokens()) == 2 })
	f.waitUsed(f.lastIssued())
}

// TestUnusableDirectory: the token is used from memory, and stored when the directory is usable.
func TestUnusableDirectory(t *testing.T) {
	f := newFixture(t)
	f.writeKubeconfig("admin")
	ok(t, os.WriteFile(string(f.state()), nil, 0o600))
	f.run(f.admin())
	f.waitUsed(f.lastIssued())
	f.until("the problem", func() bool {
		return strings.Contains(problemOf(f.manager), "it is a file")
	})
	ok(t, os.Remove(string(f.state())))
	f.waitStored(f.lastIssued())
	f.until("the end of the problem", func() bool { return problemOf(f.manager) == "" })
	if f.log.Count("level=WARN") != 1 || f.log.Count("maintained again") != 1 {
		t.Errorf("beginning and end are not logged once:\n%s", f.log)
	}
}

// TestBootstrapWithoutPermissions retries after pauses and reports the reason.
func TestBootstrapWithoutPermissions(t *testing.T) {
	f := newFixture(t)
	f.writeKubeconfig("admin")
	f.server.RejectUser("admin")
	f.run(f.admin())
	f.until("the problem", func() bool { return strings.Contains(problemOf(f.manager), "admin.conf") })
	f.writeKubeconfig("admin2")
	f.waitUsed(f.lastIssued())
	if n := f.server.RequestCount("PATCH", "/serviceaccounts/kvip"); n > 6 {
		t.Errorf("%d attempts", n)
	}
}

// TestHardenedWithoutToken reports what is missing, and uses a token that appears.
func TestHardenedWithoutToken(t *testing.T) {
	f := newFixture(t)
	f.run()
	_, err := f.store.ServerInPool("", f.server.Host)
	if err == nil || !strings.Contains(err.Error(), "without --hardened") {
		t.Errorf("%v", err)
	}
	f.waitUsed(f.storeToken(0))
}

// TestClocksDiffer by more than a third of the lifetime: the token is not renewed repeatedly.
func TestClocksDiffer(t *testing.T) {
	f := newFixture(t)
	f.writeKubeconfig("admin")
	f.api.SetClockLag(50 * time.Minute)
	f.run(f.admin())
	f.waitStored(f.lastIssued())
	if n := len(f.api.IssuedTokens()); n != 1 {
		t.Errorf("%d tokens", n)
	}
}

// TestClocksDifferTooMuch for any token to be valid: that is a failure with a pause.
func TestClocksDifferTooMuch(t *testing.T) {
	f := newFixture(t)
	f.writeKubeconfig("admin")
	f.api.SetClockLag(2 * time.Hour)
	f.run(f.admin())
	f.until("the problem", func() bool {
		return strings.Contains(problemOf(f.manager), "set the clocks right")
	})
	if kind, source := f.store.InUse(); kind != apiclient.Bootstrap {
		t.Errorf("in use: %s %s", kind, source)
	}
}

// TestExpiredToken is not used.
func TestExpiredToken(t *testing.T) {
	f := newFixture(t)
	f.writeKubeconfig("admin")
	f.api.SetTokenLifetime(-time.Minute)
	f.storeToken(time.Hour)
	f.api.SetTokenLifetime(time.Hour)
	f.run(f.admin())
	f.until("another token", func() bool { return len(f.api.IssuedTokens()) == 2 })
	f.waitUsed(f.lastIssued())
	if f.log.Count("has expired") != 1 {
		t.Error("the expiry is not logged")
	}
}

// TestTokenExpiresInUse: the token is removed from the Store, and another one issued.
func TestTokenExpiresInUse(t *testing.T) {
	f := newFixture(t)
	f.writeKubeconfig("admin")
	f.storeToken(0)
	var expiries []bool
	cfg := f.config(f.admin())
	cfg.OnExpiry = func(at time.Time) { expiries = append(expiries, at.IsZero()) }
	m := testutil.Must(New(cfg))
	m.s.expires = time.Now().Add(-time.Second)
	m.refresh()
	if kind, _ := f.store.InUse(); kind != apiclient.Bootstrap || m.s.token || !m.Expires().IsZero() {
		t.Errorf("credentials %s, token %v, expires %v", kind, m.s.token, m.Expires())
	}
	if what, _ := next(m.s); what != issue {
		t.Errorf("step %d", what)
	}
	if fmt.Sprint(expiries) != "[false true]" {
		t.Errorf("expiries were reported as zero: %v", expiries)
	}
}

// TestReplacedCA: the CA is taken over from the kubeconfig, and the token stays in use.
func TestReplacedCA(t *testing.T) {
	f := newFixture(t)
	f.writeKubeconfig("admin")
	other := testutil.Must(fakeapi.NewStore())
	text := f.api.IssueToken(0)
	ok(t, f.state().save(text, other.CA()))
	f.run(f.admin())
	f.until("the CA to be stored", func() bool {
		_, got, err := f.state().load()
		return err == nil && bytes.Equal(got, f.api.CA())
	})
	ok(t, f.ping())
	f.waitUsed(text)
}

// TestPeers: peers follow if the node's own API server is not reachable.
func TestPeers(t *testing.T) {
	f := newFixture(t)
	f.writeKubeconfig("admin")
	f.hosts = []string{"127.0.0.1:1", f.server.Host}
	f.run(f.admin())
	f.waitUsed(f.lastIssued())
}

// TestContradiction: an API server that confirms all permissions of the token and denies it
// nevertheless is not asked about it each time.
func TestContradiction(t *testing.T) {
	f := newFixture(t)
	f.runIssued()
	before := f.reviews()
	for range 200 {
		f.store.ReportDenied(f.tokenFile(), f.server.Host)
		time.Sleep(time.Millisecond)
	}
	if n := f.reviews() - before; n > 4 {
		t.Errorf("%d more reviews", n)
	}
	if len(f.api.IssuedTokens()) != 1 {
		t.Error("another token was requested")
	}
}

// TestRunEndsInTheMiddle of an attempt at an API server that never answers.
func TestRunEndsInTheMiddle(t *testing.T) {
	f := newFixture(t)
	f.writeKubeconfig("admin")
	f.server.SetMode(fakeapi.Hang)
	f.run(f.admin())
	f.until("the attempt", func() bool { return f.server.RequestCount("PATCH", "") == 1 })
}

// TestConclude lists what each outcome of a verification means for the token.
func TestConclude(t *testing.T) {
	denied := fmt.Errorf("%w: it may not get leases", errDenied)
	inconclusive := fmt.Errorf("%w: %w", errInconclusive, denied)
	down := &net.OpError{Op: "dial", Err: errors.New("refused")}
	for _, c := range []struct {
		name             string
		outcomes         []error
		pause            time.Duration // before the last outcome
		denied, verified bool
		deniedBy         string
	}{
		{"confirmed", []error{nil}, 0, false, true, ""},
		{"denied by a ready server", []error{denied}, 0, true, false, ""},
		{"denied, then confirmed", []error{denied, nil}, 0, false, true, ""},
		{"denied, then unreachable", []error{denied, down}, 0, true, false, ""},
		{"unreachable", []error{down}, 0, false, false, ""},
		{"inconclusive once", []error{inconclusive}, 0, false, false, "host"},
		{"inconclusive twice in a short time", []error{inconclusive, inconclusive}, 0, false, false,
			"host"},
		{"inconclusive for long", []error{inconclusive, inconclusive}, inconclusiveTimeout, true, false,
			""},
		{"inconclusive, unreachable, inconclusive", []error{inconclusive, down, inconclusive},
			inconclusiveTimeout, false, false, ""},
		{"inconclusive, confirmed, inconclusive", []error{inconclusive, nil, inconclusive},
			inconclusiveTimeout, false, true, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t)
			f.storeToken(0)
			f.writeKubeconfig("admin")
			m := testutil.Must(New(f.config(f.admin())))
			m.deniedBy = "host"
			for i, err := range c.outcomes {
				if i == len(c.outcomes)-1 && !m.inconclusiveSince.IsZero() {
					m.inconclusiveSince = m.inconclusiveSince.Add(-c.pause)
				}
				m.conclude(err)
			}
			kind, _ := f.store.InUse()
			if m.denied != c.denied || m.s.verified != c.verified || m.deniedBy != c.deniedBy ||
				(kind == apiclient.Bootstrap) != c.denied {
				t.Errorf("denied %v, verified %v, deniedBy %q, %s in use",
					m.denied, m.s.verified, m.deniedBy, kind)
			}
		})
	}
}

// TestRecord: failures are counted until a success, and a missing directory is not a problem.
func TestRecord(t *testing.T) {
	f := newFixture(t)
	m := testutil.Must(New(f.config()))
	m.s.verified, m.s.stored = true, true
	for _, c := range []struct {
		err         error
		failures    int
		unreachable bool
		problem     string
	}{
		{errors.New("disk full"), 1, false, "disk full"},
		{&net.OpError{Op: "dial", Err: errors.New("refused")}, 2, true, "dial: refused"},
		{os.ErrNotExist, 3, true, ""},
		{apierrors.NewUnauthorized("no"), 4, false, "no"},
		{nil, 0, false, ""},
	} {
		m.recordStep(c.err)
		if m.s.failures != c.failures || m.s.unreachable != c.unreachable || problemOf(m) != c.problem {
			t.Errorf("after %v: %d failures, unreachable %v, problem %q",
				c.err, m.s.failures, m.s.unreachable, problemOf(m))
		}
	}
}

func TestNewValidates(t *testing.T) {
	f := newFixture(t)
	for name, change := range map[string]func(*Config){
		"Pod":       func(c *Config) { c.Objects = []any{&corev1.Pod{}} },
		"Dir":       func(c *Config) { c.Dir = "" },
		"Store":     func(c *Config) { c.Store = nil },
		"Router":    func(c *Config) { c.Router = nil },
		"Namespace": func(c *Config) { c.Namespace = "" },
		"Name":      func(c *Config) { c.Name = "" },
		"Objects":   func(c *Config) { c.Objects = nil },
	} {
		cfg := f.config()
		change(&cfg)
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	cfg := f.config()
	cfg.Log, cfg.OnExpiry = nil, nil
	if _, err := New(cfg); err != nil {
		t.Error(err)
	}
}
