package kubeadm

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/test/doctest"
	"github.com/kvip/kvip/test/lab/kindcluster"
	"github.com/kvip/kvip/test/testutil"
)

// moveWithin bounds the test that moves a cluster, creation included.
const moveWithin = 8 * time.Minute

// A cluster that was made without a virtual address first gets a DaemonSet, which is removed again,
// and then moves to the address as its endpoint, both by the words of the page. Afterwards
// everybody uses the address, and control planes can join.
func TestMoveToVirtualIP(t *testing.T) {
	testutil.NeedRoot(t)
	if shared.why != nil {
		testutil.Unavailable(t, shared.why.Error())
	}
	ctx, cancel := context.WithTimeout(t.Context(), moveWithin)
	defer cancel()
	c := plainCluster(ctx, t)
	first, worker := c.Nodes[0], c.Nodes[1]
	doctest.Install(ctx, t, first)
	g := doctest.Runner{
		Root:   root(),
		Places: map[string]*kindcluster.Node{"first": first, "worker": worker},
		Words:  strings.NewReplacer("192.0.2.10", c.VIP.String(), "192.0.2.11", first.Addr.String()),
	}
	daemonSetAlone(ctx, t, c, &g)
	misleadKubelet(ctx, t, first)
	out := g.Run(ctx, t, kubeadmPage, "move")
	if strings.Contains(out, "lladdr") {
		t.Errorf("the address was not free")
	}
	if want := "kubeadm join " + c.VIP.String() + ":6443"; !strings.Contains(out, want) {
		t.Errorf("a control plane would not be joined by %q", want)
	}
	moved := checkMoved(ctx, t, c)
	g.Run(ctx, t, kubeadmPage, "renew")
	if again := checkMoved(ctx, t, c); again == moved {
		t.Error("kubeadm certs renew did not renew the certificate")
	}
}

// plainCluster makes a cluster of one control plane and one worker without kvip, and sees to it
// that it goes away.
func plainCluster(ctx context.Context, t *testing.T) *kindcluster.Cluster {
	t.Helper()
	cfg, err := kindcluster.FromEnv(ctx, root())
	if err != nil {
		t.Fatal(err)
	}
	cfg.Name, cfg.Dir, cfg.Log = "move", t.TempDir(), os.Stderr
	cfg.Plain, cfg.ControlPlanes, cfg.Workers = true, 1, 1
	if old, err := kindcluster.Exists(ctx, cfg); err != nil || old {
		if err := errors.Join(err, kindcluster.DeleteExisting(ctx, cfg)); err != nil {
			t.Fatal(err)
		}
	}
	c, err := kindcluster.New(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if os.Getenv("KVIP_KEEP") != "" {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := c.Delete(ctx); err != nil {
			t.Error(err)
		}
	})
	if err := c.Up(ctx); err != nil {
		t.Fatal(err)
	}
	return c
}

// daemonSetAlone runs and removes the DaemonSet in a cluster without static pods: nothing is left.
func daemonSetAlone(ctx context.Context, t *testing.T, c *kindcluster.Cluster, g *doctest.Runner) {
	t.Helper()
	g.Run(ctx, t, kubeadmPage, "daemonset")
	serves(ctx, t, c, c.VIP)
	g.Run(ctx, t, kubeadmPage, "daemonset removed")
	gone(ctx, t, c, c.VIP)
	if left := objects(ctx, t, c.Nodes[0]); left != "" {
		t.Errorf("the DaemonSet left\n%s", left)
	}
}

// misleadKubelet makes the node one as Debian installs them, where kind's are more careful: the
// kubelet looks for the node's address by itself, and the host name leads to the loopback.
func misleadKubelet(ctx context.Context, t *testing.T, n *kindcluster.Node) {
	t.Helper()
	if _, err := n.Shell(ctx, `sed -i 's/--node-ip=[^ "]*//' /var/lib/kubelet/kubeadm-flags.env
		sed "/$(hostname)/d" /etc/hosts > /tmp/hosts
		echo "127.0.1.1 $(hostname)" >> /tmp/hosts
		cat /tmp/hosts > /etc/hosts; rm /tmp/hosts`); err != nil {
		t.Fatal(err)
	}
}

// checkMoved fails if a component does not use the VIP, or the cluster is not well with it. It
// returns the serial number of the API server's certificate.
func checkMoved(ctx context.Context, t *testing.T, c *kindcluster.Cluster) string {
	t.Helper()
	first, worker := c.Nodes[0], c.Nodes[1]
	if err := kindcluster.Eventually(ctx, time.Second,
		func() error { return errors.Join(first.Ready(ctx, true), c.WaitReady(ctx)) }); err != nil {
		t.Fatalf("the cluster is not well: %v", err)
	}
	// From outside, with the certificate verified, as kubectl always does.
	path, err := c.Kubeconfig(ctx)
	if err != nil {
		t.Fatal(err)
	}
	endpoint := "server: https://" + netip.AddrPortFrom(c.VIP, 6443).String()
	if text, err := os.ReadFile(path); err != nil || !strings.Contains(string(text), endpoint) {
		t.Errorf("admin.conf does not have %q: %v", endpoint, err)
	}
	if err := allReady(ctx, c); err != nil {
		t.Errorf("kubectl through the address: %v", err)
	}
	for _, place := range []struct {
		n    *kindcluster.Node
		line string
	}{
		{worker, "cat /etc/kubernetes/kubelet.conf"},
		{first, "kubectl -n kube-public get configmap cluster-info -o yaml"},
		{first, "kubectl -n kube-system get configmap kube-proxy -o yaml"},
	} {
		if out, err := place.n.Shell(ctx, place.line); err != nil || !strings.Contains(out, endpoint) {
			t.Errorf("%s on %s does not show %q: %v:\n%s", place.line, place.n, endpoint, err, out)
		}
	}
	if err := talks(ctx, worker, c.VIP); err != nil {
		t.Error(err)
	}
	serial, err := first.Shell(ctx,
		"openssl x509 -in /etc/kubernetes/pki/apiserver.crt -noout -serial")
	if err != nil {
		t.Fatal(err)
	}
	return serial
}

// talks waits until the kubelet has a connection to the address.
func talks(ctx context.Context, n *kindcluster.Node, vip netip.Addr) error {
	return kindcluster.Eventually(ctx, time.Second, func() error {
		out, err := n.Shell(ctx, fmt.Sprintf("ss -Htnp state established dst %s", vip))
		if err == nil && !strings.Contains(out, "kubelet") {
			err = fmt.Errorf("the kubelet of %s does not talk to %s: %s", n, vip, out)
		}
		return err
	})
}
