package kubeadm

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/test/lab/kindcluster"
	"github.com/kvip/kvip/test/lab/netlab"
)

// initWatch is what was seen while the cluster came into being.
type initWatch struct {
	dir      string
	watch    *kindcluster.Watch
	requests []netlab.Request
	holding  netlab.HolderReport
}

// observe begins to watch when the nodes' containers run, before any Kubernetes does.
func (b *initWatch) observe(c *kindcluster.Cluster) (err error) {
	b.watch, err = c.Watch(context.Background())
	return err
}

func (b *initWatch) finish(context.Context) error {
	if b.watch == nil {
		return nil
	}
	err := b.watch.Stop()
	b.requests, b.holding = b.watch.Requests(b.watch.Start), b.watch.Window(b.watch.Start, time.Time{})
	return err
}

// kubeadm init and two joins went through the address, which was the endpoint from the first
// second; kind fails if one of them does not exit with 0.
func TestBootstrap(t *testing.T) {
	c := cluster(t)
	if n := c.ControlPlanes(); len(n) != 3 {
		t.Fatalf("%d control planes", len(n))
	}
	// Kubelets of control planes talk to their own API server, those of workers to the address.
	first, worker := c.Nodes[0], c.Nodes[len(c.Nodes)-1]
	for file, n := range map[string]*kindcluster.Node{"/etc/kubernetes/admin.conf": first,
		"/etc/kubernetes/kubelet.conf": worker} {
		if text := exec(t, n, "cat", file); !strings.Contains(text, "server: https://"+c.VIP.String()+
			":6443") {
			t.Errorf("%s of %s does not have the address as its server:\n%s", file, n, text)
		}
	}
	config := exec(t, first, "kubectl", "-n", "kube-system", "get", "configmap", "kubeadm-config",
		"-o", "yaml")
	if !strings.Contains(config, "controlPlaneEndpoint: "+c.VIP.String()+":6443") {
		t.Errorf("kubeadm does not know the address as its endpoint:\n%s", config)
	}
}

// The manifest was placed before kubeadm init, and no byte of it has changed since.
func TestManifestIsNeverEdited(t *testing.T) {
	c := cluster(t)
	manifest, err := c.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("%x", sha256.Sum256(manifest))
	for _, n := range c.ControlPlanes() {
		if got, _, _ := strings.Cut(exec(t, n, "sha256sum", "/etc/kubernetes/manifests/kvip.yaml"),
			" "); got != want {
			t.Errorf("%s: the manifest is %s, want %s", n, got, want)
		}
	}
}

// While the nodes were born, at most one had the address, and only that one answered.
func TestNeverTwoHoldersDuringTheJoins(t *testing.T) {
	c := cluster(t)
	if shared.holding.TwoHoldersAny > 0 {
		t.Errorf("two holders in %d of %d samples: %v", shared.holding.TwoHoldersAny,
			shared.holding.Samples, shared.holding.Timeline)
	}
	answered := 0
	for _, r := range shared.requests {
		if r.OK() {
			answered++
		}
		if r.Server != "" && c.Node(r.Server) == nil {
			t.Errorf("a request at %s was answered by %q, which is no node", r.Start.Format(time.TimeOnly),
				r.Server)
		}
	}
	if answered < 1000 {
		t.Errorf("%d of %d requests were answered during the joins", answered, len(shared.requests))
	}
	checkServers(t, shared.requests, shared.holding.Timeline)
}

// checkServers fails for each answer from a node that was not the holder shortly before, or while,
// it answered. A holder that leaves in order serves until the next one holds, and answers no ARP
// requests meanwhile: that takes longer on a busy machine.
func checkServers(t *testing.T, requests []netlab.Request, timeline []netlab.Change) {
	t.Helper()
	const slack = 50 * time.Millisecond // ten looks of the sampler
	held := slices.DeleteFunc(slices.Clone(timeline),
		func(c netlab.Change) bool { return len(c.Holders) == 0 })
	for _, r := range requests {
		if r.Server == "" {
			continue
		}
		from, to, holder := r.Start.Add(-slack), r.Start.Add(r.Took+slack), false
		for i, change := range held {
			until := to
			if i+1 < len(held) {
				until = held[i+1].At
			}
			if change.At.Before(to) && !until.Before(from) && change.Holders[0] == r.Server {
				holder = true
			}
		}
		if !holder {
			t.Errorf("%s answered at %s, and was not the holder: %v", r.Server,
				r.Start.Format("15:04:05.000"), timeline)
			return
		}
	}
}
