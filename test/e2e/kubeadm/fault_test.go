package kubeadm

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/kvip/kvip/test/lab/kindcluster"
)

const manifests = "/etc/kubernetes/manifests/"

// away moves a static pod's manifest out of the kubelet's sight, and back puts it there again.
func away(pod string) func(*testing.T, *kindcluster.Watch, *kindcluster.Node) error {
	return func(t *testing.T, _ *kindcluster.Watch, n *kindcluster.Node) error {
		_, err := n.Exec(t.Context(), "mv", manifests+pod+".yaml", "/etc/kubernetes/"+pod+".yaml")
		return err
	}
}

func back(pod string) func(*testing.T, *kindcluster.Node) error {
	return func(t *testing.T, n *kindcluster.Node) error {
		_, err := n.Exec(t.Context(), "mv", "/etc/kubernetes/"+pod+".yaml", manifests+pod+".yaml")
		return err
	}
}

func TestAPIServerKilled(t *testing.T) {
	runScenario(t, scenario{do: func(t *testing.T, _ *kindcluster.Watch, n *kindcluster.Node) error {
		return n.Kill(t.Context(), "kube-apiserver")
	}})
}

func TestAPIServerManifestMovedAway(t *testing.T) {
	runScenario(t, scenario{do: away("kube-apiserver"), undo: back("kube-apiserver")})
}

// etcd goes in an orderly way, for as long as an administrator likes: its API server answers no
// longer for the data, so the address moves.
func TestEtcdStopped(t *testing.T) {
	runScenario(t, scenario{do: away("etcd"), undo: back("etcd")})
}

func TestNodeKilled(t *testing.T) {
	runScenario(t, scenario{
		do: func(t *testing.T, w *kindcluster.Watch, n *kindcluster.Node) error {
			err := n.Docker(t.Context(), "kill")
			w.MarkDead(n) // until now it counts as a holder
			return err
		},
		undo: start,
	})
}

// start starts a node that is down, with the address that it had.
func start(t *testing.T, n *kindcluster.Node) error { return shared.Start(t.Context(), n) }

// A paused node's kernel goes on answering for what is on its network: only the fence, the finite
// lifetime of the address, takes it away, and a thawed kvip must not put it back.
func TestNodePaused(t *testing.T) {
	runScenario(t, scenario{
		do: func(t *testing.T, _ *kindcluster.Watch, n *kindcluster.Node) error {
			return n.Docker(t.Context(), "pause")
		},
		undo: func(t *testing.T, n *kindcluster.Node) error { return n.Docker(t.Context(), "unpause") },
	})
}

// The container of kvip is deleted by hand; the kubelet creates another.
func TestKvipContainerDeleted(t *testing.T) {
	runScenario(t, scenario{stays: true,
		do: func(t *testing.T, _ *kindcluster.Watch, n *kindcluster.Node) error {
			id, err := n.Container(t.Context(), "kvip")
			if err != nil || id == "" {
				return errors.Join(err, fmt.Errorf("find the container of kvip on %s: %q", n, id))
			}
			_, err = n.Shell(t.Context(), "ctr -n k8s.io tasks kill -s SIGKILL "+id+
				"; sleep 0.5; ctr -n k8s.io tasks delete "+id+" || true; ctr -n k8s.io containers delete "+id+
				" || true")
			return err
		}})
}

// Power fails in the whole room: all nodes stop at once and start at once, with the addresses that
// they had.
func TestAllNodesRestarted(t *testing.T) {
	c := cluster(t)
	ctx, cancel := context.WithTimeout(t.Context(), wellWithin)
	defer cancel()
	began := time.Now()
	if err := c.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	var w *kindcluster.Watch
	err := kindcluster.Eventually(ctx, 100*time.Millisecond, func() (err error) {
		w, err = c.Watch(ctx)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	holder, err := w.Steady(ctx)
	if err := errors.Join(err, w.Stop()); err != nil {
		t.Fatal(err)
	}
	judge(t, w, outage{t.Name(), time.Since(began)}, nil, holder, began)
	waitHealthy(t)
}
