package agent

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/nftfilter"
	"github.com/kvip/kvip/pkg/vip"
	"github.com/kvip/kvip/test/fakeapi/fakecluster"
	"github.com/kvip/kvip/test/testutil"
)

// inOwnNetwork runs the calling test again as a process in a network namespace of its own, with
// lo and eth0 of 10.0.0.1/24: the agent's goroutines run on any thread of the process. It reports
// whether this is that process.
func inOwnNetwork(t *testing.T) bool {
	t.Helper()
	testutil.NeedRoot(t)
	const marker = "KVIP_TEST_IN_OWN_NETWORK"
	if os.Getenv(marker) != "" {
		for _, args := range []string{
			"link set lo up", "link add eth0 type veth peer name peer0", "link set eth0 up",
			"link set peer0 up", "addr add 10.0.0.1/24 dev eth0",
		} {
			testutil.IP(t, args)
		}
		return true
	}
	again := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$",
		"-test.timeout=2m")
	again.Env = append(os.Environ(), marker+"=1")
	again.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if output, err := again.CombinedOutput(); err != nil {
		t.Errorf("in a network of its own: %v\n%s", err, output)
	}
	return false
}

// startServices starts an agent for Services on node n1 of the cluster. The function that it
// returns ends the agent, and returns when it has ended.
func startServices(t *testing.T, e *fakecluster.Env) (a *agent, stop func()) {
	t.Helper()
	a = agentOf(e)
	a.services = testutil.Must(newServices(a))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.run(ctx) }()
	return a, func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("an orderly shutdown returned %v", err)
		}
	}
}

// TestS6RunServesServices from the first request to the shutdown: a restart leaves the address on
// the link, and an agent that leaves for good removes it.
func TestS6RunServesServices(t *testing.T) {
	if !inOwnNetwork(t) {
		return
	}
	e := fakecluster.New(t)
	e.Put(daemonSet, map[string]any{})
	e.PutNode("n1", "10.0.0.1")
	e.PutPool("p", "10.0.0.100")
	e.PutService("a/web")
	e.PutSlice("a/web", "n1")
	onLink := func() bool {
		return strings.Contains(testutil.IP(t, "-oneline addr show dev eth0"), " 10.0.0.100/32 ")
	}
	a, stop := startServices(t, e)
	e.Eventually("the agent is ready", func() bool { return a.notReady() == "" })
	e.Eventually("the address is on the link", onLink)
	e.Eventually("/services shows the address", func() bool {
		code, page := get(t, a.servicesPage())
		return code == http.StatusOK && strings.Contains(page, "10.0.0.100")
	})
	if stuck := a.stuck(); stuck != "" {
		t.Errorf("stuck: %s", stuck)
	}
	stop()
	if !onLink() {
		t.Error("a restart removed the address")
	}
	if installed, err := nftfilter.Installed(); err != nil || !installed {
		t.Errorf("a restart removed the packet filter: %v", err)
	}

	a, stop = startServices(t, e)
	e.Eventually("the restarted agent is ready", func() bool { return a.notReady() == "" })
	e.Store.Delete(daemonSet)
	stop()
	if onLink() {
		t.Errorf("an agent that left for good has the address:\n%s", e.Log)
	}
	if removed, err := Cleanup(nil); err != nil || slices.Contains(removed, filterTable) {
		t.Errorf("the agent left %q, %v", removed, err)
	}
}

// bothJobs returns an agent for the control plane and Services that cannot reach an API server,
// and its log.
func bothJobs(t *testing.T, change func(c *config.Config)) (*agent, *testutil.Log) {
	t.Helper()
	a := testAgent(t, func(c *config.Config) {
		c.VIPs, c.Services, c.StateDir = []netip.Addr{vip4}, true, t.TempDir()
		change(c)
	})
	log := &testutil.Log{}
	a.log = slog.New(slog.NewTextHandler(log, nil))
	a.services.log = a.log
	return a, log
}

// runWithin returns the result of an agent that ends by itself or with ctx.
func runWithin(ctx context.Context, t *testing.T, a *agent) error {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- a.run(ctx) }()
	select {
	case err := <-done:
		return err
	case <-time.After(time.Minute):
		t.Fatal("timed out waiting for the agent to end")
		return nil
	}
}

// TestRunEndsBothPartsIfOneFails: a control plane's part without its link ends the Services' part,
// and the agent returns why.
func TestRunEndsBothPartsIfOneFails(t *testing.T) {
	if !inOwnNetwork(t) {
		return
	}
	a, log := bothJobs(t, func(c *config.Config) {
		c.Interface, c.InterfaceWait = "eth9", 200*time.Millisecond
	})
	if err := runWithin(t.Context(), t, a); err == nil || !strings.Contains(err.Error(), "eth9") {
		t.Errorf("the agent ended with %v", err)
	}
	if log.Count("kvip serves Services") != 1 {
		t.Errorf("the Services' part did not run:\n%s", log)
	}
	lock, err := vip.LockServices()
	if err != nil {
		t.Fatalf("the Services' part still has its lock: %v", err)
	}
	_ = lock.Close()
}

// TestRunEndsWithoutAnAPIServer: a node whose API server is down can be shut down in order.
func TestRunEndsWithoutAnAPIServer(t *testing.T) {
	if !inOwnNetwork(t) {
		return
	}
	a, log := bothJobs(t, func(*config.Config) {})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer cancel()
		for range 2000 {
			if a.servicesPage() != nil && a.status().State != "starting" {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	if err := runWithin(ctx, t, a); err != nil {
		t.Errorf("an orderly shutdown returned %v", err)
	}
	if a.notReady() == "" {
		t.Error("ready without an API server")
	}
	if a.servicesPage() == nil || a.status().State == "starting" {
		t.Errorf("not both parts ran: state %s\n%s", a.status().State, log)
	}
	if addresses := testutil.IP(t, "-oneline addr show"); strings.Contains(addresses, "10.0.0.100") {
		t.Errorf("the virtual IP is on the link without a Lease:\n%s", addresses)
	}
}
