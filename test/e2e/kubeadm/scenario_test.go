package kubeadm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"

	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/test/failover"
	"github.com/kvip/kvip/test/lab/kindcluster"
	"github.com/kvip/kvip/test/testutil"
)

// wellWithin bounds how long the cluster may take to be well: kubelets and controllers are slow
// to notice that they are, and the machine may be busy.
const wellWithin = 4 * time.Minute

// cluster returns the cluster in good health, and sees to it that the test leaves it so.
func cluster(t *testing.T) *kindcluster.Cluster {
	t.Helper()
	testutil.NeedRoot(t)
	if shared.why != nil {
		testutil.Unavailable(t, shared.why.Error())
	}
	waitHealthy(t)
	t.Cleanup(func() {
		if t.Failed() {
			evidence(t.Name())
		}
	})
	return shared.Cluster
}

// waitHealthy waits until everything is as it should be: nodes Ready under their own addresses, API
// servers and kvips ready, one holder that answers, the right files, and kubectl through the
// address from outside.
func waitHealthy(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), wellWithin)
	defer cancel()
	if err := shared.WaitReady(ctx); err != nil {
		t.Fatalf("the cluster is not well: %v", err)
	}
	steadyHolder(ctx, t)
	if _, err := shared.Kubeconfig(ctx); err != nil {
		t.Fatal(err)
	}
	if err := allReady(ctx, shared.Cluster); err != nil {
		t.Fatalf("kubectl through the address: %v", err)
	}
}

// allReady waits until kubectl, through the address, shows all nodes as Ready: the first report of
// a kubelet that was restarted may take that back for a moment.
func allReady(ctx context.Context, c *kindcluster.Cluster) error {
	return kindcluster.Eventually(ctx, time.Second, func() error {
		out, err := c.Kubectl(ctx, "get", "nodes", "--no-headers")
		if err == nil && strings.Count(out, " Ready ") != len(c.Nodes) {
			err = errors.New("not all nodes are Ready:\n" + out)
		}
		return err
	})
}

// steadyHolder waits until one node has the address and answers there, and returns it.
func steadyHolder(ctx context.Context, t *testing.T) *kindcluster.Node {
	t.Helper()
	w, err := shared.Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	holder, err := w.Steady(ctx)
	if err := errors.Join(err, w.Stop()); err != nil {
		t.Fatal(err)
	}
	return holder
}

// exec runs a command inside a node; a failure ends the test.
func exec(t *testing.T, n *kindcluster.Node, args ...string) string {
	t.Helper()
	out, err := n.Exec(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// scenario is one thing that happens to the node that has the address.
type scenario struct {
	// do makes it happen to the holder.
	do func(t *testing.T, w *kindcluster.Watch, holder *kindcluster.Node) error
	// undo ends it; the address has moved by then, unless stays is set.
	undo func(t *testing.T, holder *kindcluster.Node) error
	// stays allows the VIP to stay where it is.
	stays bool
}

// outage is a line of the record that the benchmarks' documentation shows.
type outage struct {
	name string
	took time.Duration
}

// runScenario runs a story: exactly one holder before, never two at any time, the address answers
// from one healthy node afterwards, and the cluster gets well again.
func runScenario(t *testing.T, s scenario) {
	c := cluster(t)
	ctx, cancel := context.WithTimeout(t.Context(), wellWithin)
	defer cancel()
	w, err := c.Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if w != nil {
			_ = w.Stop()
		}
	}()
	holder, err := w.Steady(ctx)
	if err != nil {
		t.Fatal(err)
	}
	readySince, err := c.ReadySince(ctx)
	if err := errors.Join(err, leadElsewhere(ctx, c, holder), settled(ctx, c)); err != nil {
		t.Fatal(err)
	}
	logLateness(ctx, t, holder)
	start := time.Now()
	if s.undo != nil {
		undo := s.undo
		defer func() { // a failure below must not spoil the tests that follow
			if s.undo != nil {
				t.Log("undone after the failure:", undo(t, holder))
			}
		}()
	}
	if err := s.do(t, w, holder); err != nil {
		t.Fatal(err)
	}
	next := follow(ctx, t, w, s, holder, start)
	end := time.Now()
	if s.undo != nil {
		if err := s.undo(t, holder); err != nil {
			t.Fatal(err)
		}
		s.undo = nil
	}
	returned := watchReturn(ctx, t)
	if err := w.Stop(); err != nil {
		t.Fatal(err)
	}
	judge(t, w, outage{t.Name(), w.Outage(start, end)}, holder, next, start)
	w = nil
	waitHealthy(t)
	returned()
	checkStayedReady(t, holder, readySince)
}

// leadElsewhere makes another node's member the leader of etcd: what kvip does is asked here, not
// how long etcd elects.
func leadElsewhere(ctx context.Context, c *kindcluster.Cluster, holder *kindcluster.Node) error {
	nodes := c.ControlPlanes()
	return c.LeadEtcd(ctx, nodes[(slices.Index(nodes, holder)+1)%len(nodes)])
}

// settled waits until the agents of all control planes are voters of mode fast.
func settled(ctx context.Context, c *kindcluster.Cluster) error {
	return kindcluster.Eventually(ctx, 200*time.Millisecond, func() error {
		text, err := c.Nodes[0].Kubectl(ctx, "-n", config.DefaultNamespace, "get", "lease",
			config.DefaultLeaseName, "-o", "json")
		if err != nil {
			return err
		}
		var lease coordinationv1.Lease
		if err := json.Unmarshal([]byte(text), &lease); err != nil {
			return err
		}
		for _, n := range c.ControlPlanes() {
			_, page, err := n.Get(ctx, "http://127.0.0.1:2113/status")
			if err == nil {
				err = failover.CheckFast(&lease, []byte(page))
			}
			if err != nil {
				return fmt.Errorf("node %s: %w", n, err)
			}
		}
		return nil
	})
}

// logLateness logs how often the holder's agent ran late: after that its fail-over takes longer.
func logLateness(ctx context.Context, t *testing.T, holder *kindcluster.Node) {
	t.Helper()
	_, page, err := holder.Get(ctx, "http://127.0.0.1:2112/metrics")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(page) {
		if strings.HasPrefix(line, "kvip_late_wakeups_total ") ||
			strings.HasPrefix(line, "kvip_blinks_total ") {
			t.Logf("%s: %s", holder, strings.TrimSpace(line))
		}
	}
}

// watchReturn watches what comes back and may want the address back: a node that was started has a
// new network, which no older watch sees. It returns the end of it, which fails for two holders.
func watchReturn(ctx context.Context, t *testing.T) (end func()) {
	t.Helper()
	w, err := shared.Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	stop := sync.OnceValue(w.Stop)
	t.Cleanup(func() { _ = stop() })
	return func() {
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if h := w.Window(w.Start, time.Time{}); h.TwoHolders > 0 || h.Samples == 0 {
			t.Errorf("two holders in %d of %d samples while the node came back: %v", h.TwoHolders, h.Samples,
				h.Timeline)
		}
	}
}

// checkStayedReady fails for every node but the broken one that was not Ready all the time.
func checkStayedReady(t *testing.T, broken *kindcluster.Node, before map[string]string) {
	t.Helper()
	after, err := shared.ReadySince(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, since := range before {
		if name != broken.Name && (after[name] != since || !strings.HasPrefix(since, "True")) {
			t.Errorf("the kubelet of %s did not stay Ready: %s before, %s after", name, since, after[name])
		}
	}
}

// follow waits until the address answers steadily from where it should be.
func follow(ctx context.Context, t *testing.T, w *kindcluster.Watch, s scenario,
	holder *kindcluster.Node, start time.Time) *kindcluster.Node {
	t.Helper()
	var next *kindcluster.Node
	err := kindcluster.Eventually(ctx, 20*time.Millisecond, func() (err error) {
		steady, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
		defer cancel()
		if next, err = w.Steady(steady); err != nil {
			return err
		}
		if next == holder && !s.stays {
			return fmt.Errorf("the address is still on %s", holder)
		}
		if s.stays && time.Since(start) < 15*time.Second {
			return errors.New("let it happen")
		}
		return nil
	})
	if err != nil {
		t.Fatalf("the address did not come back: %v", err)
	}
	return next
}

// judge checks what the watch saw and records how long the address was silent.
func judge(t *testing.T, w *kindcluster.Watch, o outage, from, to *kindcluster.Node,
	start time.Time) {
	t.Helper()
	holding := w.Window(start, time.Time{})
	if holding.TwoHolders > 0 {
		t.Errorf("two holders in %d of %d samples: %v", holding.TwoHolders, holding.Samples,
			holding.Timeline)
	}
	t.Logf("%s -> %s, silent for %s, %d samples, never two holders", from, to, failover.Figure(o.took),
		holding.Samples)
	path := filepath.Join(root(), "test", "artifacts", "kind-outages.csv")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	fmt.Fprintf(file, "%s,%d\n", o.name, o.took.Milliseconds())
}
