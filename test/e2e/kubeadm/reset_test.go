package kubeadm

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kvip/kvip/test/doctest"
	"github.com/kvip/kvip/test/lab/kindcluster"
)

// The node that has the address is drained, reset and joined again, as an administrator replaces a
// node. Nothing of kvip's stays on it in between, and the address never has two holders.
func TestNodeResetAndRejoined(t *testing.T) {
	c := cluster(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*wellWithin)
	defer cancel()
	w, err := c.Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	stop := sync.OnceValue(w.Stop)
	t.Cleanup(func() { _ = stop() })
	node, err := w.Steady(ctx)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	other := otherThan(c, node)
	remove(ctx, t, other, node)
	next := moved(ctx, t, w, node)
	nothingLeft(t, c, node)
	join(ctx, t, c, other, node)
	err = c.WaitReady(ctx)
	ended := time.Now()
	if err := errors.Join(err, stop()); err != nil {
		t.Fatal(err)
	}
	judge(t, w, outage{t.Name(), w.Outage(began, ended)}, node, next, began)
}

func otherThan(c *kindcluster.Cluster, node *kindcluster.Node) *kindcluster.Node {
	for _, n := range c.ControlPlanes() {
		if n != node {
			return n
		}
	}
	return nil
}

// remove takes the node out of the cluster, as docs/kubeadm.md says.
func remove(ctx context.Context, t *testing.T, by, node *kindcluster.Node) {
	t.Helper()
	replacing(by, node).Run(ctx, t, kubeadmPage, "replace")
}

// replacing are the page's words for the node that is replaced and the one that knows of it.
func replacing(by, node *kindcluster.Node) *doctest.Runner {
	return &doctest.Runner{Root: root(),
		Places: map[string]*kindcluster.Node{"other": by, "node": node},
		Words:  strings.NewReplacer("cp2", node.Name)}
}

// moved waits until another node has the address and answers there.
func moved(ctx context.Context, t *testing.T, w *kindcluster.Watch,
	from *kindcluster.Node) *kindcluster.Node {
	t.Helper()
	var next *kindcluster.Node
	err := kindcluster.Eventually(ctx, 50*time.Millisecond, func() (err error) {
		next, err = w.Steady(ctx)
		if err == nil && next == from {
			return fmt.Errorf("the address is still on %s", from)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return next
}

// nothingLeft fails for whatever of kvip's is still on a node that was reset.
func nothingLeft(t *testing.T, c *kindcluster.Cluster, n *kindcluster.Node) {
	t.Helper()
	if out := exec(t, n, "ip", "address"); strings.Contains(out, c.VIP.String()+"/") {
		t.Errorf("the address is still on %s:\n%s", n, out)
	}
	if out := exec(t, n, "ctr", "-n", "k8s.io", "tasks", "ls", "-q"); strings.TrimSpace(out) != "" {
		t.Errorf("containers still run on %s: %s", n, out)
	}
	for _, line := range []string{
		"pgrep -x kvip || true",                               // processes
		"ss -Htn src " + c.VIP.String() + " || true",          // sockets of the address
		"ls -d /var/lib/kvip 2>/dev/null || true",             // the token
		"ls -A /etc/kubernetes/manifests 2>/dev/null || true", // what the kubelet would start
	} {
		out, err := n.Shell(t.Context(), line)
		if err != nil || strings.TrimSpace(out) != "" {
			t.Errorf("left on %s, by %q: %s %v", n, line, out, err)
		}
	}
}

// join makes the node a control plane again: the manifest first, then kubeadm join.
func join(ctx context.Context, t *testing.T, c *kindcluster.Cluster, by, node *kindcluster.Node) {
	t.Helper()
	if err := c.PlaceManifest(ctx, node); err != nil {
		t.Fatal(err)
	}
	said := strings.Split(strings.TrimSpace(replacing(by, node).Run(ctx, t, kubeadmPage, "rejoin")),
		"\n")
	command, key := strings.TrimSpace(said[0]), said[len(said)-1]
	if want := "kubeadm join " + c.VIP.String() + ":6443"; !strings.HasPrefix(command, want) {
		t.Errorf("kubeadm makes nodes join by %q, want %s", command, want)
	}
	line := fmt.Sprintf("%s --control-plane --certificate-key %s --ignore-preflight-errors all",
		command, key)
	if out, err := node.Shell(ctx, line); err != nil {
		t.Fatalf("join: %v: %s", err, out)
	}
}
