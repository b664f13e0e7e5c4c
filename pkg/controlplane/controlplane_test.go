package controlplane

import (
	"context"
	"errors"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/election"
	"github.com/kvip/kvip/pkg/health"
	"github.com/kvip/kvip/pkg/reporter"
	"github.com/kvip/kvip/pkg/status"
	"github.com/kvip/kvip/pkg/vip"
	"github.com/kvip/kvip/test/fakeapi"
	"github.com/kvip/kvip/test/testutil"
)

func TestIsDuplicate(t *testing.T) {
	for holder, want := range map[string]bool{"": false, self: false, other: false,
		"node-a_boot_9": true, "node-a": true, "node": false} {
		if got := isDuplicate(holder, self); got != want {
			t.Errorf("%q: %v", holder, got)
		}
	}
}

// leftover makes a machine on a host with addresses that an earlier agent left.
func leftover(r *testLoop, marks ...vip.Marked) (*election.Machine, error) {
	for _, m := range marks {
		r.kernel.PutMarked(m)
	}
	c := &ControlPlane{
		cfg: Config{Settings: r.cfg, Identity: self, Log: discard}, owner: r.owner, loop: r.l,
	}
	return c.newMachine()
}

func mark(addr netip.Addr, left time.Duration) vip.Marked {
	return vip.Marked{Address: vip.Address{Addr: addr, LinkIndex: 7, LinkName: "eth0"}, ValidLft: left}
}

// TestE8Leftovers are kept until the lease has been read. An address that is not configured is
// deleted at once, and so is one without a lifetime.
func TestE8Leftovers(t *testing.T) {
	foreign := netip.MustParseAddr("10.0.0.200")
	for _, c := range []struct {
		name  string
		marks []vip.Marked
		stay  []netip.Addr
	}{
		{"None", nil, nil},
		{"Finite", []vip.Marked{mark(vip4, 3*time.Second), mark(vip6, 2*time.Second)},
			[]netip.Addr{vip4, vip6}},
		{"OfAnotherConfiguration", []vip.Marked{mark(foreign, 3*time.Second)}, nil},
		{"WithoutEnd", []vip.Marked{mark(vip4, vip.Forever)}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newTestLoop(t)
				m, err := leftover(r, c.marks...)
				if err != nil {
					t.Fatal(err)
				}
				if r.l.prepares != (len(c.stay) == 0) {
					t.Errorf("the fence is built before it is needed: %v", r.l.prepares)
				}
				m.Step(election.Tick{}, r.l.now())
				for _, a := range []netip.Addr{vip4, vip6, foreign} {
					if r.kernel.Has(a) != slices.Contains(c.stay, a) {
						t.Errorf("%s is present: %v", a, r.kernel.Has(a))
					}
				}
			})
		})
	}
}

// TestE8NetlinkFailsAtTheStart is an error.
func TestE8NetlinkFailsAtTheStart(t *testing.T) {
	for _, op := range []vip.Op{vip.OpList, vip.OpDelete} {
		synctest.Test(t, func(t *testing.T) {
			r := newTestLoop(t)
			r.kernel.Fail(op, errNetlink)
			if _, err := leftover(r, mark(vip4, vip.Forever)); err == nil ||
				!strings.Contains(err.Error(), errNetlink.Error()) {
				t.Errorf("%s: %v", op, err)
			}
		})
	}
}

// TestE8Restart: this agent holds the lease and its address is still present. One renewal adopts
// it, without a gap and without a probe. Under another holder's lease the address is deleted.
func TestE8Restart(t *testing.T) {
	for holder, did := range map[string]string{self: "replace announce", other: "stop delete"} {
		synctest.Test(t, func(t *testing.T) {
			r := newTestLoop(t)
			var err error
			if r.l.machine, err = leftover(r, mark(vip4, 3*time.Second),
				mark(vip6, 3*time.Second)); err != nil {
				t.Fatal(err)
			}
			r.start()
			defer r.end()
			r.did("")
			r.edit(func(l *election.Record) {
				*l = election.Record{Exists: true, Version: l.Version, Holder: holder, Term: 4,
					Duration: lease, Seq: 3}
			})
			r.pass(time.Second / 2)
			r.did(did)
			if r.hasAddress() != (holder == self) {
				t.Errorf("held by %s: the address is present: %v", holder, r.hasAddress())
			}
		})
	}
}

// newControlPlane is a ControlPlane on a new host, with credentials as configured.
func newControlPlane(t *testing.T, change func(c *config.Config)) (*ControlPlane, error) {
	t.Helper()
	cfg := config.Default()
	cfg.VIPs, cfg.NodeName = []netip.Addr{vip4, vip6}, "node-a"
	change(&cfg)
	store, err := apiclient.NewStore(apiclient.StoreConfig{
		Kubeconfigs: cfg.Kubeconfigs, StateDir: cfg.StateDir, TokenManaged: cfg.StateDir != "",
	})
	if err != nil {
		t.Fatal(err)
	}
	return New(Config{
		Settings: cfg, Identity: self, Health: reporter.NewRegistry(nil), Store: store,
	})
}

// TestNew connects everything and changes nothing. Run removes an address of another configuration
// that an earlier agent left; its own address is kept (E8).
func TestNew(t *testing.T) {
	testutil.NewHost(t)
	foreign := netip.MustParseAddr("10.0.0.200")
	kernel := vip.Netlink()
	for _, a := range []netip.Addr{vip4, foreign} {
		address := vip.Address{Addr: a, LinkIndex: 7, LinkName: "eth0"}
		earlier := vip.Change{Address: address, Valid: time.Minute, Proto: vip.ControlPlaneProto}
		if err := kernel.Apply([]vip.Change{earlier})[0]; err != nil {
			t.Fatal(err)
		}
	}
	present := func() (all []string) {
		t.Helper()
		list, err := vip.ControlPlaneAddresses(kernel, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range list {
			all = append(all, m.Addr.String())
		}
		return all
	}
	c, err := newControlPlane(t, func(*config.Config) {})
	if err != nil || len(present()) != 2 {
		t.Fatalf("%v: %v", present(), err)
	}
	if c.cfg.Health.Stuck() != "" || c.cfg.Health.NotReady() != "starting: the link is not there yet" {
		t.Errorf("stuck %q, not ready %q", c.cfg.Health.Stuck(), c.cfg.Health.NotReady())
	}
	if _, err := c.newMachine(); err != nil || !slices.Equal(present(), []string{vip4.String()}) {
		t.Errorf("%v: %v", present(), err)
	}
	for name, change := range map[string]func(c *config.Config){
		"no VIPs":    func(c *config.Config) { c.VIPs = nil },
		"no lease":   func(c *config.Config) { c.LeaseName = "" },
		"health URL": func(c *config.Config) { c.HealthURL = "ftp://" },
	} {
		if _, err := newControlPlane(t, change); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	_, err = newControlPlane(t, func(c *config.Config) { c.VIPs = nil })
	if err == nil || err.Error() != "configure control plane: Settings.VIPs is required" {
		t.Errorf("no VIPs: %v", err)
	}
	if _, err := New(Config{Settings: c.cfg.Settings}); err == nil {
		t.Error("accepted without identity and credentials")
	}
}

// TestRunEndsInOrder: what runs beside the loop ends after the lease was released. It needs neither
// API server nor capability, so the loop stays in standby.
func TestRunEndsInOrder(t *testing.T) {
	ns := testutil.NewHost(t)
	c, err := newControlPlane(t, func(c *config.Config) { c.Kubeconfigs = []string{"/none"} })
	if err != nil {
		t.Fatal(err)
	}
	if c.WithoutAPIServer() {
		t.Error("the API server is judged before the start")
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- ns.Do(func() error { return c.Run(ctx) }) }()
	var s status.Agent
	for end := time.Now().Add(20 * time.Second); s.Link != "eth0" || s.Reason == ""; {
		if time.Now().After(end) {
			t.Fatalf("timed out waiting for the first step: %+v", s)
		}
		time.Sleep(10 * time.Millisecond)
		c.AddStatus(&s)
	}
	if !c.WithoutAPIServer() {
		t.Error("an API server was seen")
	}
	if c.cfg.Health.NotReady() == "" || c.cfg.Health.Stuck() != "" {
		t.Errorf("not ready %q, stuck %q", c.cfg.Health.NotReady(), c.cfg.Health.Stuck())
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestE8Lock admits one agent for an address in a network namespace. The second one reports why it
// waits, continues when the first ends, and stops waiting with its context.
func TestE8Lock(t *testing.T) {
	testutil.NewHost(t)
	c, err := newControlPlane(t, func(*config.Config) {})
	if err != nil {
		t.Fatal(err)
	}
	lock := func(ctx context.Context) (unlock func()) {
		return vip.LockAll(ctx, c.cfg.Settings.VIPs, c.cfg.Log, c.loopHealth.Stopped)
	}
	unlock := lock(t.Context())
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	lock(ended)()
	if got := c.cfg.Health.NotReady(); !strings.Contains(got,
		"another kvip on this host serves the address") {
		t.Errorf("without the locks: %q", got)
	}
	unlock()
	lock(t.Context())()
}

// TestLongestLease: the longest configurable lease is what the election waits for (E2).
func TestLongestLease(t *testing.T) {
	if config.MaxLeaseDuration != election.MaxLease {
		t.Errorf("--lease-duration may be %v, followers wait for at most %v",
			config.MaxLeaseDuration, election.MaxLease)
	}
}

// TestCreateEvent uses the first local API server that accepts the Event.
func TestCreateEvent(t *testing.T) {
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
	user := fakeapi.User{Token: "secret"}
	if err := store.WriteKubeconfig(kubeconfig, "https://192.0.2.1:1", user); err != nil {
		t.Fatal(err)
	}
	newControl := func(path string) *ControlPlane {
		credentials := testutil.Must(apiclient.NewStore(apiclient.StoreConfig{
			Kubeconfigs: []string{path},
		}))
		return &ControlPlane{router: testutil.Must(apiclient.NewRouter(apiclient.RouterConfig{
			Store: credentials, LocalFirst: true,
			Local: func() []string { return []string{"127.0.0.2:1", server.Host} },
		}))}
	}
	c := newControl(kubeconfig)
	ev := &corev1.Event{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "kvip.1"}}
	err = c.createEvent(t.Context(), ev)
	if n := server.RequestCount("POST", "/namespaces/kube-system/events"); err != nil || n != 1 {
		t.Errorf("created %d: %v", n, err)
	}
	server.SetMode(fakeapi.Forbidden)
	if err := c.createEvent(t.Context(), ev); !apierrors.IsForbidden(err) {
		t.Errorf("a server that refuses it: %v", err)
	}
	c = newControl("/none")
	if err := c.createEvent(t.Context(), ev); !errors.Is(err, apiclient.ErrNoCredentials) {
		t.Errorf("without credentials: %v", err)
	}
}

// TestOnHealth passes on states without waiting for the loop.
func TestOnHealth(t *testing.T) {
	testutil.NewHost(t)
	c, err := newControlPlane(t, func(*config.Config) {})
	if err != nil {
		t.Fatal(err)
	}
	c.loop.messages = newFakeMessenger()
	for _, verdict := range []election.Verdict{
		election.Unknown, election.Dead, election.Healthy, election.NotReady,
	} {
		c.onHealth(health.State{Verdict: verdict, Code: "code", Reason: "etcd failed"})
		if got := (<-c.loop.inbox)(); got != (election.Health{Verdict: verdict}) {
			t.Errorf("%v became %v", verdict, got)
		}
		if seen := verdict == election.Healthy || verdict == election.NotReady; c.health.Seen() != seen {
			t.Errorf("%v: API server seen %v", verdict, c.health.Seen())
		}
	}
	for range 2 * cap(c.loop.inbox) {
		c.onHealth(health.State{Verdict: election.NotReady, Reason: "etcd failed"})
	}
	var s status.Agent
	if c.AddStatus(&s); s.Health != "not-ready" || s.HealthWhy != "etcd failed" {
		t.Errorf("%+v", s)
	}
}
