package tokenmanager

import (
	"context"
	"log/slog"
	"path/filepath"
	"slices"
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

// waitTimeout bounds every wait of the tests. None measures speed.
const waitTimeout = 30 * time.Second

// fixture is a fake API server, the files of a node, and a Manager.
type fixture struct {
	t       *testing.T
	api     *fakeapi.Store
	server  *fakeapi.Server
	dir     string // of all files
	store   *apiclient.Store
	manager *Manager
	log     *testutil.Log
	hosts   []string
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	t.Parallel()
	api := testutil.Must(fakeapi.NewStore())
	server := testutil.Must(api.Serve("127.0.0.1:0"))
	t.Cleanup(server.Close)
	return &fixture{
		t: t, api: api, server: server, dir: t.TempDir(), log: &testutil.Log{},
		hosts: []string{server.Host},
	}
}

func (f *fixture) state() Directory { return Directory(filepath.Join(f.dir, "state")) }

// tokenFile is the source of the own token's credentials.
func (f *fixture) tokenFile() string { return filepath.Join(string(f.state()), tokenFile) }

// admin is the path of the administrator's kubeconfig.
func (f *fixture) admin() string { return filepath.Join(f.dir, "admin.conf") }

// writeKubeconfig writes the administrator's kubeconfig with a token.
func (f *fixture) writeKubeconfig(token string) {
	f.t.Helper()
	user := fakeapi.User{Token: token}
	ok(f.t, f.api.WriteKubeconfig(f.admin(), "https://vip.invalid:6443", user))
}

// store puts a token of the API server that was issued so long ago into the directory.
func (f *fixture) storeToken(age time.Duration) (text string) {
	f.t.Helper()
	text = f.api.IssueToken(age)
	ok(f.t, f.state().save(text, f.api.CA()))
	return text
}

// config returns the configuration of a Manager, with a Store of these kubeconfigs.
func (f *fixture) config(kubeconfigs ...string) Config {
	f.t.Helper()
	log := slog.New(slog.NewTextHandler(f.log, nil))
	f.store = testutil.Must(apiclient.NewStore(apiclient.StoreConfig{
		Kubeconfigs: kubeconfigs, StateDir: string(f.state()), TokenManaged: true, Log: log,
	}))
	router := testutil.Must(apiclient.NewRouter(apiclient.RouterConfig{
		Store: f.store, Local: func() []string { return slices.Clone(f.hosts) },
	}))
	return Config{
		Dir: f.state(), Store: f.store, Router: router, Objects: objects(), Log: log,
		Namespace: "kube-system", Name: "kvip",
	}
}

// run makes the Manager, as an agent does at its start, and runs it until the test ends.
func (f *fixture) run(kubeconfigs ...string) {
	f.t.Helper()
	f.manager = testutil.Must(New(f.config(kubeconfigs...)))
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	for _, run := range []func(context.Context) error{f.store.Run, f.manager.Run} {
		group.Go(func() { _ = run(ctx) })
	}
	f.t.Cleanup(func() {
		cancel()
		group.Wait()
	})
}

// runIssued runs a Manager with the administrator's kubeconfig until it uses its first token.
func (f *fixture) runIssued() (text string) {
	f.t.Helper()
	f.writeKubeconfig("admin")
	f.run(f.admin())
	text = f.lastIssued()
	f.waitUsed(text)
	f.waitStored(text)
	return text
}

// objects is RBAC with one object of each type.
func objects() []any {
	meta := metav1.ObjectMeta{Namespace: "kube-system", Name: "kvip"}
	cluster := metav1.ObjectMeta{Name: "kvip-health"}
	rules := []rbacv1.PolicyRule{
		{
			APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"},
			ResourceNames: []string{"kvip"}, Verbs: []string{"get", "update"},
		},
		{
			APIGroups: []string{""}, Resources: []string{"serviceaccounts/token"},
			Verbs: []string{"create"},
		},
	}
	health := []rbacv1.PolicyRule{{NonResourceURLs: []string{"/readyz"}, Verbs: []string{"get"}}}
	return []any{
		&corev1.ServiceAccount{ObjectMeta: meta},
		&rbacv1.Role{ObjectMeta: meta, Rules: rules},
		&rbacv1.RoleBinding{ObjectMeta: meta},
		&rbacv1.ClusterRole{ObjectMeta: cluster, Rules: health},
		&rbacv1.ClusterRoleBinding{ObjectMeta: cluster},
	}
}

// until waits for a condition.
func (f *fixture) until(what string, is func() bool) {
	f.t.Helper()
	for end := time.Now().Add(waitTimeout); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			f.t.Fatalf("timed out waiting for %s; problem %q\n%s", what, problemOf(f.manager), f.log)
		}
	}
}

// waitUsed waits until requests use this token.
func (f *fixture) waitUsed(text string) {
	f.t.Helper()
	f.until("the token in use", func() bool { return f.store.Authorization() == "Bearer "+text })
}

// lastIssued waits for a token and returns the last one.
func (f *fixture) lastIssued() string {
	f.t.Helper()
	f.until("a token", func() bool { return len(f.api.IssuedTokens()) > 0 })
	issued := f.api.IssuedTokens()
	return issued[len(issued)-1]
}

// waitStored waits until the directory has this token.
func (f *fixture) waitStored(text string) {
	f.t.Helper()
	f.until("the token in the directory", func() bool {
		got, _, err := f.state().load()
		return err == nil && got.text == text
	})
}

// ping makes a request with the credentials in use, and reports a denial as the router does.
func (f *fixture) ping() error {
	server, err := f.store.ServerInPool("", f.server.Host)
	if err != nil {
		return err
	}
	err = server.Connect(f.t.Context())
	if apiclient.IsDenied(err) {
		f.store.ReportDenied(server.Source, server.Host)
	}
	return err
}

// reviews counts the reviews of permissions. One verification makes four.
func (f *fixture) reviews() int { return f.server.RequestCount("POST", "selfsubjectaccessreviews") }

// problemOf returns the problem that a manager reports.
func problemOf(m *Manager) string {
	_, problem := m.cfg.Health.Status()
	return problem
}
