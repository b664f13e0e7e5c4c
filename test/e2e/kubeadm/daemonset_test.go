package kubeadm

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/test/doctest"
	"github.com/kvip/kvip/test/lab/kindcluster"
)

// owned lists what kvip has in a cluster, one object per line.
const owned = `kubectl get serviceaccounts,roles,rolebindings,daemonsets,leases -A -o name | grep -e kvip -e second || true
kubectl get clusterroles,clusterrolebindings -o name | grep kvip || true
kubectl -n kube-system get pods -l app.kubernetes.io/component=daemonset -o name`

// A DaemonSet serves a second address beside the static pods, on the same nodes and with a lease of
// its own. When it is taken away, its address and its objects are gone and the static pods have not
// noticed.
func TestDaemonSetBesideStaticPod(t *testing.T) {
	c := cluster(t)
	ctx, cancel := context.WithTimeout(t.Context(), wellWithin)
	defer cancel()
	first := c.Nodes[0]
	doctest.Install(ctx, t, first)
	t.Cleanup(func() { doctest.Uninstall(t, first) })
	second, err := engine(ctx, t).FreeAddress(ctx)
	if err != nil {
		t.Fatal(err)
	}
	before := objects(ctx, t, first)
	w, err := c.Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if w != nil {
			_ = w.Stop()
		}
	}()
	began := time.Now()
	g := doctest.Runner{
		Root:   root(),
		Places: map[string]*kindcluster.Node{"first": first},
		Words:  strings.NewReplacer("192.0.2.20", second.String()),
	}
	g.Run(ctx, t, kubeadmPage, "second")
	serves(ctx, t, c, second)
	for _, n := range c.ControlPlanes() {
		// a probe runs `kvip healthz` at times
		agents := exec(t, n, "pgrep", "-f", "-a", "^/kvip manager ")
		if strings.Count(agents, "\n") != 2 {
			t.Errorf("%s does not run the static pod's kvip and the DaemonSet's, but\n%s", n, agents)
		}
	}
	g.Run(ctx, t, kubeadmPage, "second removed")
	gone(ctx, t, c, second)
	if after := objects(ctx, t, first); after != before {
		t.Errorf("objects of kvip's were\n%s\nand are\n%s", before, after)
	}
	if err := w.Stop(); err != nil {
		t.Fatal(err)
	}
	holding, silent := w.Window(began, time.Time{}), w.Outage(began, time.Now())
	w = nil
	holders := map[string]bool{}
	for _, c := range holding.Timeline { // a busy machine may delay the holder for a moment
		for _, h := range c.Holders {
			holders[h] = true
		}
	}
	if len(holders) != 1 || holding.TwoHolders > 0 {
		t.Errorf("the static pods' address moved: %v", holding.Timeline)
	}
	t.Logf("the static pods' address was silent for %v at most", silent)
	waitHealthy(t)
}

// engine returns the engine of the tests.
func engine(ctx context.Context, t *testing.T) *kindcluster.Engine {
	t.Helper()
	cfg, err := kindcluster.FromEnv(ctx, root())
	if err != nil {
		t.Fatal(err)
	}
	return cfg.Engine
}

// objects lists what kvip has in a cluster.
func objects(ctx context.Context, t *testing.T, n *kindcluster.Node) string {
	t.Helper()
	out, err := n.Shell(ctx, owned)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// serves waits until one control plane has an address and every node gets an answer from there.
func serves(ctx context.Context, t *testing.T, c *kindcluster.Cluster,
	vip netip.Addr) *kindcluster.Node {
	t.Helper()
	var has []*kindcluster.Node
	err := kindcluster.Eventually(ctx, time.Second/2, func() error {
		has = nil
		for _, n := range c.ControlPlanes() {
			if out := exec(t, n, "ip", "address", "show", "to", vip.String()); strings.Contains(out,
				vip.String()) {
				has = append(has, n)
			}
		}
		if len(has) != 1 {
			return fmt.Errorf("%s is on %v", vip, has)
		}
		return answers(ctx, c, vip)
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s is on %s", vip, has[0])
	return has[0]
}

// answers asks an address for the API from outside the nodes.
func answers(ctx context.Context, c *kindcluster.Cluster, vip netip.Addr) error {
	host, err := c.Outside()
	if err != nil {
		return err
	}
	defer host.Close()
	client := http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{
		DialContext: host.Dial, DisableKeepAlives: true,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+
		netip.AddrPortFrom(vip, 6443).String()+"/livez", nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	return response.Body.Close()
}

// gone fails if a control plane has an address, or anybody answers there.
func gone(ctx context.Context, t *testing.T, c *kindcluster.Cluster, vip netip.Addr) {
	t.Helper()
	for _, n := range c.ControlPlanes() {
		if out := exec(t, n, "ip", "address"); strings.Contains(out, vip.String()+"/") {
			t.Errorf("%s is still on %s:\n%s", vip, n, out)
		}
	}
	if err := answers(ctx, c, vip); err == nil {
		t.Errorf("a host answers at %s", vip)
	}
}
