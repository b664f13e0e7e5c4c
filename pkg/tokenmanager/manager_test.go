package tokenmanager

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/test/fakeapi"
	"github.com/kvip/kvip/test/testutil"
)

// patience bounds every wait; none is about how fast anything is.
const patience = 30 * time.Second

// lab is a fake API server, a node's files, and a Keeper that does not run yet.
type lab struct {
	t      *testing.T
	api    *fakeapi.Store
	server *fakeapi.Server
	dir    string // of everything
	store  *apiclient.Store
	keeper *Manager
	log    *testutil.Log
	hosts  []string
}

func newLab(t *testing.T) *lab {
	t.Helper()
	t.Parallel()
	api, err := fakeapi.NewStore()
	ok(t, err)
	server, err := api.Serve("127.0.0.1:0")
	ok(t, err)
	t.Cleanup(server.Close)
	return &lab{t: t, api: api, server: server, dir: t.TempDir(), log: &testutil.Log{}, hosts: []string{server.Host}}
}

func (l *lab) state() Directory { return Directory(filepath.Join(l.dir, "state")) }

// kubeconfig writes the administrator's.
func (l *lab) kubeconfig() {
	l.t.Helper()
	ok(l.t, l.api.WriteKubeconfig(l.admin(), "https://vip.invalid:6443", fakeapi.User{Token: "admin"}))
}

func (l *lab) admin() string { return filepath.Join(l.dir, "admin.conf") }

// keep makes the Keeper, as at the start of an agent, and runs it until the test ends.
func (l *lab) keep(kubeconfigs ...string) {
	l.t.Helper()
	log := slog.New(slog.NewTextHandler(l.log, nil))
	l.store = testutil.Must(apiclient.NewStore(apiclient.StoreConfig{Kubeconfigs: kubeconfigs, StateDir: string(l.state()), TokenManaged: true, Log: log}))
	var err error
	l.keeper, err = New(Config{
		Dir: l.state(), Store: l.store, Namespace: "kube-system", Name: "kvip", Objects: objects(), Log: log,
		Router: testutil.Must(apiclient.NewRouter(apiclient.RouterConfig{
			Store: l.store, Local: func() []string { return slices.Clone(l.hosts) },
		})),
	})
	ok(l.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	for _, run := range []func(context.Context) error{l.store.Run, l.keeper.Run} {
		group.Go(func() { _ = run(ctx) })
	}
	l.t.Cleanup(func() { // Run returns when told
		cancel()
		group.Wait()
	})
}

// objects is RBAC of every kind.
func objects() []any {
	meta := metav1.ObjectMeta{Namespace: "kube-system", Name: "kvip"}
	rules := []rbacv1.PolicyRule{
		{APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, ResourceNames: []string{"kvip"}, Verbs: []string{"get", "update"}},
		{APIGroups: []string{""}, Resources: []string{"serviceaccounts/token"}, Verbs: []string{"create"}},
	}
	health := []rbacv1.PolicyRule{{NonResourceURLs: []string{"/readyz"}, Verbs: []string{"get"}}}
	return []any{
		&corev1.ServiceAccount{ObjectMeta: meta}, &rbacv1.Role{ObjectMeta: meta, Rules: rules}, &rbacv1.RoleBinding{ObjectMeta: meta},
		&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "kvip-health"}, Rules: health}, &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "kvip-health"}},
	}
}

func (l *lab) until(what string, is func() bool) {
	l.t.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			l.t.Fatalf("waited in vain for %s; problem %q\n%s", what, l.keeper.Problem(), l.log.String())
		}
	}
}

// uses waits until requests are made with that token.
func (l *lab) uses(text string) {
	l.t.Helper()
	l.until("the token in use", func() bool { return l.store.Authorization() == "Bearer "+text })
}

// last is the token that was given last.
func (l *lab) last() string {
	l.t.Helper()
	l.until("a token", func() bool { return len(l.api.Given()) > 0 })
	given := l.api.Given()
	return given[len(given)-1]
}

// stored waits until that token is in the directory.
func (l *lab) stored(text string) {
	l.t.Helper()
	l.until("the token to be stored", func() bool { got, _, err := l.state().load(); return err == nil && got.text == text })
}

// ask makes a request with the credentials in use, as the lease driver does.
func (l *lab) ask() error {
	server, err := l.store.Server(l.server.Host)
	if err != nil {
		return err
	}
	err = server.Connect(l.t.Context())
	if apiclient.IsDenied(err) {
		l.store.ReportDenied(server.Source, server.Host)
	}
	return err
}

// TestBootstrap waits for the kubeconfig, applies all of RBAC, gets a token, and uses it.
func TestBootstrap(t *testing.T) {
	l := newLab(t)
	l.keep(l.admin())
	if kind, why := l.store.InUse(); kind != apiclient.None || !strings.Contains(why, "admin.conf") {
		t.Errorf("before there is a kubeconfig: %s %s", kind, why)
	}
	l.kubeconfig()
	text := l.last()
	l.uses(text)
	l.stored(text)
	if got := l.api.Applied(); len(got) != 5 || !strings.HasSuffix(got[0], "/serviceaccounts/kvip") || !strings.HasSuffix(got[4], "/clusterrolebindings/kvip-health") {
		t.Errorf("applied %q", got)
	}
	ok(t, l.ask())
	if l.keeper.Problem() != "" || l.keeper.Expires().IsZero() || len(l.api.Given()) != 1 {
		t.Errorf("problem %q, expires %v, %d tokens", l.keeper.Problem(), l.keeper.Expires(), len(l.api.Given()))
	}
	for _, r := range l.server.Requests() {
		if r.Token == text && strings.Contains(r.Path, "/token") {
			t.Error("the token was renewed at once")
		}
	}
	if n := l.log.Count("level=WARN"); n != 0 {
		t.Errorf("%d warnings:\n%s", n, l.log.String())
	}
}

// TestRestart uses the stored token from the first request on, and asks the administrator's
// credentials for nothing.
func TestRestart(t *testing.T) {
	l := newLab(t)
	l.kubeconfig()
	text := l.api.Give(0)
	ok(t, l.state().save(text, l.api.CA()))
	l.keep(l.admin())
	if l.store.Authorization() != "Bearer "+text {
		t.Error("another credential than the stored token is used first")
	}
	l.until("the token to be verified", func() bool { return l.server.Count("POST", "selfsubjectaccessreviews") == 4 })
	ok(t, l.ask())
	for _, r := range l.server.Requests() {
		if r.Token == "admin" {
			t.Errorf("as administrator: %s %s", r.Method, r.Path)
		}
	}
}

// TestRenewal by the token's own right, hardened: there are no other credentials.
func TestRenewal(t *testing.T) {
	l := newLab(t)
	l.api.LetTokensLast(24 * time.Hour)
	old := l.api.Give(48 * time.Hour)
	ok(t, l.state().save(old, l.api.CA()))
	l.keep()
	l.until("a second token", func() bool { return len(l.api.Given()) == 2 })
	l.uses(l.last())
	l.stored(l.last())
	if len(l.api.Applied()) != 0 {
		t.Error("RBAC was applied with kvip's own rights")
	}
}

// TestRefusedToken is replaced with the bootstrap credentials, which are used until then; so is
// one whose rights are gone.
func TestRefusedToken(t *testing.T) {
	for name, refuse := range map[string]func(l *lab, text string){
		"401": func(l *lab, text string) { l.server.Refuse(text) },
		"403": func(l *lab, _ string) { l.api.Revoke() },
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			l.kubeconfig()
			l.keep(l.admin())
			first := l.last()
			l.uses(first)
			time.Sleep(verifiedFor) // until then an API server's word is believed
			refuse(l, first)
			l.until("the refusal to be looked into", func() bool { _ = l.ask(); return l.log.Count("own token is refused") == 1 })
			l.until("another token", func() bool { return l.last() != first })
			l.uses(l.last())
			l.stored(l.last())
			ok(t, l.ask())
		})
	}
}

// TestStartingServer refuses everybody: that says nothing of the token, and no other credentials
// are used.
func TestStartingServer(t *testing.T) {
	l := newLab(t)
	l.kubeconfig()
	l.keep(l.admin())
	text := l.last()
	l.uses(text)
	l.stored(text)
	time.Sleep(verifiedFor)
	l.server.Be(fakeapi.Silent) // not even /readyz is answered
	l.store.ReportDenied(filepath.Join(string(l.state()), tokenFile), l.server.Host)
	l.until("the server to be asked", func() bool { return l.server.Count("POST", "selfsubjectaccessreviews") > 4 })
	if l.store.Authorization() != "Bearer "+text {
		t.Error("other credentials are used")
	}
	l.server.Be(fakeapi.Serves)
	ok(t, l.ask())
	if len(l.api.Given()) != 1 {
		t.Error("another token was requested")
	}
}

// TestNobodyTells: an API server that refuses anonymous questions too is believed when it goes on
// refusing.
func TestNobodyTells(t *testing.T) {
	l := newLab(t)
	l.kubeconfig()
	first := l.api.Give(0)
	ok(t, l.state().save(first, l.api.CA()))
	l.server.Refuse("")
	l.server.Refuse(first)
	l.keep(l.admin())
	l.until("another token", func() bool { return len(l.api.Given()) == 2 })
	l.uses(l.last())
}

// TestDirectoryThatCannotBeUsed costs nothing but the next start: the token is used from memory.
func TestDirectoryThatCannotBeUsed(t *testing.T) {
	l := newLab(t)
	l.kubeconfig()
	ok(t, os.WriteFile(string(l.state()), nil, 0o600))
	l.keep(l.admin())
	l.uses(l.last())
	l.until("the problem", func() bool { return strings.Contains(l.keeper.Problem(), "it is a file") })
	ok(t, os.Remove(string(l.state())))
	l.stored(l.last())
	l.until("the end of the problem", func() bool { return l.keeper.Problem() == "" })
	if l.log.Count("level=WARN") != 1 {
		t.Errorf("told not once:\n%s", l.log.String())
	}
}

// TestBootstrapWithoutRights tries again and again, with a pause, and says why.
func TestBootstrapWithoutRights(t *testing.T) {
	l := newLab(t)
	l.kubeconfig()
	l.server.Refuse("admin")
	l.keep(l.admin())
	l.until("the problem", func() bool { return strings.Contains(l.keeper.Problem(), "admin.conf") })
	ok(t, l.api.WriteKubeconfig(l.admin(), "https://vip.invalid:6443", fakeapi.User{Token: "admin2"}))
	l.uses(l.last())
	if n := l.server.Count("PATCH", "/serviceaccounts/kvip"); n > 6 {
		t.Errorf("asked %d times", n)
	}
}

// TestHardenedWithoutToken says what is missing, and takes a token that somebody puts there.
func TestHardenedWithoutToken(t *testing.T) {
	l := newLab(t)
	l.keep()
	if _, err := l.store.Server(l.server.Host); err == nil || !strings.Contains(err.Error(), "without --hardened") {
		t.Errorf("%v", err)
	}
	text := l.api.Give(0)
	ok(t, l.state().save(text, l.api.CA()))
	l.uses(text)
}

// TestClocksDiffer by more than a third of a token's lifetime: it is not renewed again and again.
func TestClocksDiffer(t *testing.T) {
	l := newLab(t)
	l.kubeconfig()
	l.api.LetClockLag(50 * time.Minute)
	l.keep(l.admin())
	l.stored(l.last())
	if n := len(l.api.Given()); n != 1 {
		t.Errorf("%d tokens", n)
	}
}

// TestClocksDifferTooMuch for any token to be valid: that is a failure, with a pause after it.
func TestClocksDifferTooMuch(t *testing.T) {
	l := newLab(t)
	l.kubeconfig()
	l.api.LetClockLag(2 * time.Hour)
	l.keep(l.admin())
	l.until("the problem", func() bool { return strings.Contains(l.keeper.Problem(), "set the clocks right") })
	if kind, source := l.store.InUse(); kind != apiclient.Bootstrap {
		t.Errorf("in use: %s %s", kind, source)
	}
}

// TestExpiredToken is not used.
func TestExpiredToken(t *testing.T) {
	l := newLab(t)
	l.kubeconfig()
	l.api.LetTokensLast(-time.Minute)
	ok(t, l.state().save(l.api.Give(time.Hour), l.api.CA()))
	l.api.LetTokensLast(time.Hour)
	l.keep(l.admin())
	l.until("another token", func() bool { return len(l.api.Given()) == 2 })
	l.uses(l.last())
	if l.log.Count("has expired") != 1 {
		t.Error("not told")
	}
}

// TestReplacedCA is taken over from the kubeconfig, together with the token.
func TestReplacedCA(t *testing.T) {
	l := newLab(t)
	l.kubeconfig()
	other, err := fakeapi.NewStore()
	ok(t, err)
	text := l.api.Give(0)
	ok(t, l.state().save(text, other.CA()))
	l.keep(l.admin())
	l.until("the CA to be stored", func() bool { _, got, err := l.state().load(); return err == nil && bytes.Equal(got, l.api.CA()) })
	ok(t, l.ask())
	l.uses(text)
}

// TestPeers are asked when nobody listens on the node itself.
func TestPeers(t *testing.T) {
	l := newLab(t)
	l.kubeconfig()
	l.hosts = []string{"127.0.0.1:1", l.server.Host}
	l.keep(l.admin())
	l.uses(l.last())
}

func TestUnknownObjectsAreRefused(t *testing.T) {
	if _, err := New(Config{Objects: []any{&corev1.Pod{}}}); err == nil || !strings.Contains(err.Error(), "Pod") {
		t.Errorf("%v", err)
	}
}

// TestContradiction: an API server that says the token has all rights, and refuses it all the same, is
// not asked about it each time.
func TestContradiction(t *testing.T) {
	l := newLab(t)
	l.kubeconfig()
	l.keep(l.admin())
	l.uses(l.last())
	before := l.server.Count("POST", "selfsubjectaccessreviews")
	for range 200 {
		l.store.ReportDenied(filepath.Join(string(l.state()), tokenFile), l.server.Host)
		time.Sleep(time.Millisecond)
	}
	if n := l.server.Count("POST", "selfsubjectaccessreviews") - before; n > 4 {
		t.Errorf("asked %d more times", n)
	}
	if len(l.api.Given()) != 1 {
		t.Error("another token was requested")
	}
}

// TestRunEndsInTheMiddle of an attempt at an API server that never answers.
func TestRunEndsInTheMiddle(t *testing.T) {
	l := newLab(t)
	l.kubeconfig()
	l.server.Be(fakeapi.Silent)
	l.keep(l.admin())
	l.until("the attempt", func() bool { return l.server.Count("PATCH", "") == 1 })
}
