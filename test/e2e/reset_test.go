package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/test/kindlab"
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
	node, err := w.Steady(ctx)
	if err != nil {
		t.Fatal(errors.Join(err, w.Stop()))
	}
	began := time.Now()
	other := otherThan(c, node)
	remove(t, ctx, other, node)
	next := moved(t, ctx, w, node)
	nothingLeft(t, c, node)
	join(t, ctx, c, other, node)
	err = c.WaitReady(ctx)
	ended := time.Now()
	if err := errors.Join(err, w.Stop()); err != nil {
		t.Fatal(err)
	}
	judge(t, w, outage{t.Name(), w.Outage(began, ended)}, node, next, began)
}

func otherThan(c *kindlab.Cluster, node *kindlab.Node) *kindlab.Node {
	for _, n := range c.ControlPlanes() {
		if n != node {
			return n
		}
	}
	return nil
}

// remove takes the node out of the cluster.
func remove(t *testing.T, ctx context.Context, by, node *kindlab.Node) {
	t.Helper()
	if out, err := by.Exec(ctx, "kubectl", "drain", node.Name, "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=120s"); err != nil {
		t.Fatalf("drain: %v: %s", err, out)
	}
	if out, err := node.Exec(ctx, "kubeadm", "reset", "--force"); err != nil {
		t.Fatalf("kubeadm reset: %v: %s", err, out)
	}
	// What kubeadm reset does not know of, as docs/kubeadm.md says.
	if _, err := node.Exec(ctx, "rm", "-rf", "/var/lib/kvip"); err != nil {
		t.Fatal(err)
	}
	if _, err := by.Exec(ctx, "kubectl", "delete", "node", node.Name); err != nil {
		t.Fatal(err)
	}
}

// moved waits until another node has the address and answers there.
func moved(t *testing.T, ctx context.Context, w *kindlab.Watch, from *kindlab.Node) *kindlab.Node {
	t.Helper()
	var next *kindlab.Node
	err := kindlab.Eventually(ctx, 50*time.Millisecond, func() (err error) {
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
func nothingLeft(t *testing.T, c *kindlab.Cluster, n *kindlab.Node) {
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
func join(t *testing.T, ctx context.Context, c *kindlab.Cluster, by, node *kindlab.Node) {
	t.Helper()
	if err := c.PlaceManifest(ctx, node); err != nil {
		t.Fatal(err)
	}
	command, err := by.Exec(ctx, "kubeadm", "token", "create", "--print-join-command")
	if err != nil {
		t.Fatal(err)
	}
	if want := "kubeadm join " + c.VIP.String() + ":6443"; !strings.HasPrefix(command, want) {
		t.Errorf("kubeadm tells nodes to join by %q, want %s", command, want)
	}
	uploaded, err := by.Exec(ctx, "kubeadm", "init", "phase", "upload-certs", "--upload-certs")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Fields(uploaded)
	line := fmt.Sprintf("%s --control-plane --certificate-key %s --ignore-preflight-errors all", strings.TrimSpace(command), lines[len(lines)-1])
	if out, err := node.Shell(ctx, line); err != nil {
		t.Fatalf("join: %v: %s", err, out)
	}
}
