package agent

import (
	"errors"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/election"
	"github.com/kvip/kvip/pkg/metrics"
	"github.com/kvip/kvip/pkg/vip"
	"github.com/kvip/kvip/test/fakeapi"

	"github.com/kvip/kvip/test/testutil"
)

// TestAssemble wires everything and starts nothing; what an earlier agent left for another
// address is gone, its own is still there (E8).
func TestAssemble(t *testing.T) {
	newHost(t)
	foreign := netip.MustParseAddr("10.0.0.200")
	for _, a := range []netip.Addr{vip4, foreign} {
		if err := vip.Netlink(nil).Replace(vip.Address{VIP: a, LinkIndex: 7, LinkName: "eth0"}, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	cfg := config.Default()
	cfg.VIPs, cfg.NodeName = []netip.Addr{vip4, vip6}, "node-a"
	set, err := metrics.New(Build{Version: "test", Commit: "none"}, known(cfg))
	if err != nil {
		t.Fatal(err)
	}
	p := newPages(cfg, Build{}, self, set, discard)
	a, err := assemble(cfg, self, p, testutil.Must(newStore(cfg, set, discard)), set, discard)
	if err != nil {
		t.Fatal(err)
	}
	if p.parts.Load() != a || len(a.beside) != 7 || p.stuck() != "" {
		t.Errorf("%d parts beside the loop, %q", len(a.beside), p.stuck())
	}
	left, err := vip.Netlink(nil).List()
	if err != nil || len(left) != 1 || left[0].VIP != vip4 {
		t.Errorf("on this host: %+v: %v", left, err)
	}
	for _, wrong := range []func(c *config.Config){
		func(c *config.Config) { c.VIPs = nil }, func(c *config.Config) { c.LeaseName = "" }, func(c *config.Config) { c.HealthURL = "ftp://" },
	} {
		bad := cfg
		wrong(&bad)
		if _, err := assemble(bad, self, newPages(bad, Build{}, self, set, discard), testutil.Must(newStore(bad, set, discard)), set, discard); err == nil {
			t.Errorf("assembled %+v", bad)
		}
	}
}

// TestLongestLease: what may be configured is what the election waits for at most (E2).
func TestLongestLease(t *testing.T) {
	if config.MaxLeaseDuration != election.MaxLease {
		t.Errorf("--lease-duration may be %v, followers wait for at most %v", config.MaxLeaseDuration, election.MaxLease)
	}
}

// TestPostEvent posts an Event to the first local address that takes it.
func TestPostEvent(t *testing.T) {
	store, err := fakeapi.NewStore()
	if err != nil {
		t.Fatal(err)
	}
	server, err := store.Serve("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	kubeconfig := filepath.Join(t.TempDir(), "admin.conf")
	if err := store.WriteKubeconfig(kubeconfig, "https://192.0.2.1:1", fakeapi.User{Token: "secret"}); err != nil {
		t.Fatal(err)
	}
	routes := func(kubeconfig string) *agent {
		store := testutil.Must(apiclient.NewStore(apiclient.StoreConfig{Kubeconfigs: []string{kubeconfig}}))
		local := func() []string { return []string{"127.0.0.2:1", server.Host} }
		return &agent{router: testutil.Must(apiclient.NewRouter(apiclient.RouterConfig{
			Store: store, Local: local, LocalFirst: true,
		}))}
	}
	a := routes(kubeconfig)
	ev := &corev1.Event{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "kvip.1"}}
	if err := a.postEvent(t.Context(), ev); err != nil || server.Count("POST", "/namespaces/kube-system/events") != 1 {
		t.Errorf("posted %d: %v", server.Count("POST", "/events"), err)
	}
	server.Be(fakeapi.Forbidden)
	if err := a.postEvent(t.Context(), ev); !apierrors.IsForbidden(err) {
		t.Errorf("a server that refuses it: %v", err)
	}
	a = routes("/none")
	if err := a.postEvent(t.Context(), ev); !errors.Is(err, apiclient.ErrNoCredentials) {
		t.Errorf("without credentials: %v", err)
	}
}
