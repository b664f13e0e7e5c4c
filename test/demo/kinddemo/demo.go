package kinddemo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/kvip/kvip/pkg/status"
	"github.com/kvip/kvip/test/demo/kindenv"
	"github.com/kvip/kvip/test/demo/screen"
	"github.com/kvip/kvip/test/failover"
	"github.com/kvip/kvip/test/lab/kindcluster"
	"github.com/kvip/kvip/test/lab/wait"
)

const (
	serveWithin = time.Minute            // for the address to answer
	readyWithin = 6 * time.Minute        // for a node to be Ready again
	retryEvery  = time.Second            // until a command succeeds
	pollEvery   = 50 * time.Millisecond  // at who has the address
	requestsEnd = 600 * time.Millisecond // longer than a request may be open
)

// demo is the cluster and what happens to it.
type demo struct {
	*kindenv.Env
	watch  *kindcluster.Watch
	result result
}

// run shows the holder, kills it and starts it again.
func (d *demo) run(ctx context.Context) (err error) {
	if err := d.Prepare(ctx); err != nil {
		return err
	}
	if err := d.create(ctx); err != nil {
		return err
	}
	if d.watch, err = d.Cluster.Watch(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.watch.Stop()) }()
	for _, act := range []func(context.Context) error{d.showHolder, d.showKubectl, d.killHolder,
		d.startNode} {
		if err := act(ctx); err != nil {
			return err
		}
	}
	d.Out.Say("\n%s", d.result.summary())
	d.Out.Say("\n%s", nextSteps(d.Place(), d.Dir(), d.Cluster.VIP, d.result.holder))
	return nil
}

// create makes the files and the cluster.
func (d *demo) create(ctx context.Context) error {
	d.Cfg.Workers = workers
	d.Cfg.Running = func(*kindcluster.Cluster) error {
		d.Out.Say("  every control plane has kvip's manifest before kubeadm runs; its image follows")
		return nil
	}
	if err := d.New(ctx); err != nil {
		return err
	}
	d.Out.Say("the address is %s: free, and in the network that Docker gives to kind", d.Cluster.VIP)
	d.Out.Say("kvip kubeadm init and join have written the static pod and kubeadm's settings;\n"+
		"kind gets them in %s/kind.yaml", d.Dir())
	d.Out.Say("creating the cluster %s of three control planes and two workers, in one to three "+
		"minutes:", clusterName)
	took, err := d.Up(ctx)
	if err != nil {
		return err
	}
	d.Out.Say("  all nodes are Ready, and every API server and every kvip is ready (%.0f s)",
		took.Seconds())
	return nil
}

// kvipStatus runs `kvip status` in the static pod of a node, through the address.
func (d *demo) kvipStatus(ctx context.Context, n *kindcluster.Node, args ...string) (out string,
	err error) {
	ctx, cancel := context.WithTimeout(ctx, serveWithin)
	defer cancel()
	err = kindcluster.Eventually(ctx, retryEvery, func() (err error) {
		out, err = d.Cluster.Kubectl(ctx,
			append([]string{"-n", "kube-system", "exec", "kvip-" + n.Name, "--", "/kvip", "status"},
				args...)...)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("ask kvip on %s: %w", n.Name, err)
	}
	return out, nil
}

// showHolder shows the holder, and since when.
func (d *demo) showHolder(ctx context.Context) error {
	holder, err := d.steady(ctx)
	if err != nil {
		return err
	}
	text, err := d.kvipStatus(ctx, holder)
	if err != nil {
		return err
	}
	d.Out.Say("\nwhich node holds the VIP?\n$ kubectl -n kube-system exec kvip-%s -- /kvip status\n%s",
		holder.Name, kindenv.Indent(text))
	text, err = d.kvipStatus(ctx, holder, "-o", "json")
	if err != nil {
		return err
	}
	var report status.Report
	if err := json.Unmarshal([]byte(text), &report); err != nil {
		return fmt.Errorf("read kvip's status: %w", err)
	}
	d.Out.Say("%s", holds(d.Cluster.VIP, report, time.Now()))
	return nil
}

// steady waits until one node has the address and answers there.
func (d *demo) steady(ctx context.Context) (*kindcluster.Node, error) {
	ctx, cancel := context.WithTimeout(ctx, serveWithin)
	defer cancel()
	n, err := d.watch.Steady(ctx)
	if err != nil {
		return nil, fmt.Errorf("wait for an answer from https://%s:6443: %w", d.Cluster.VIP, err)
	}
	return n, nil
}

// showKubectl lists the nodes through the VIP.
func (d *demo) showKubectl(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, serveWithin)
	defer cancel()
	var text string
	err := kindcluster.Eventually(ctx, retryEvery, func() (err error) {
		text, err = d.Cluster.Kubectl(ctx, "get", "nodes")
		return err
	})
	if err != nil {
		return fmt.Errorf("kubectl through the address: %w", err)
	}
	d.Out.Say("\nthe cluster, seen from outside its nodes through https://%s:6443:\n$ kubectl get "+
		"nodes\n%s", d.Cluster.VIP, kindenv.Indent(text))
	return nil
}

// killHolder switches the holder's node off and waits until another node serves.
func (d *demo) killHolder(ctx context.Context) error {
	victim, err := d.steady(ctx)
	if err != nil {
		return err
	}
	d.Out.Say("\na client requests https://%s:6443/readyz a hundred times a second; now the holder "+
		"is switched off\n$ docker kill %s",
		d.Cluster.VIP, victim.Name)
	stop := d.Out.Live(ctx, d.status)
	defer stop()
	r := failover.Result{Victim: victim.Name, Start: time.Now()}
	d.watch.MarkDead(victim)
	if err := victim.Docker(ctx, "kill"); err != nil {
		return err
	}
	heir, err := d.heir(ctx, victim)
	if err != nil {
		return err
	}
	r.End, r.Back = time.Now(), true
	if err := wait.Pause(ctx, requestsEnd); err != nil {
		return err
	}
	stop()
	r.Outage, r.Holding = d.watch.Outage(r.Start, r.End), d.watch.Window(r.Start, r.End)
	for _, line := range screen.Timeline(r, d.watch.Requests(r.Start)) {
		d.Out.Say("  %s", line)
	}
	d.result = result{failover: r, vip: d.Cluster.VIP, heir: heir.Name}
	if err := d.showKubectl(ctx); err != nil {
		return err
	}
	d.Out.Say("  (%s counts as Ready until Kubernetes has missed it for 40 s)", victim.Name)
	return d.result.judge()
}

// heir waits until another node than the victim serves. Without a terminal, it prints the status
// each second.
func (d *demo) heir(ctx context.Context, victim *kindcluster.Node) (heir *kindcluster.Node,
	err error) {
	ctx, cancel := context.WithTimeout(ctx, serveWithin)
	defer cancel()
	reported := time.Now()
	err = kindcluster.Eventually(ctx, pollEvery, func() error {
		if now := time.Now(); !d.Out.Terminal() && now.Sub(reported) >= time.Second {
			d.Out.Say("  %s", d.status())
			reported = now
		}
		heir = d.watch.Holder()
		if heir == nil || heir == victim || d.watch.Server() != heir.Name {
			return fmt.Errorf("no other node answers at %s", d.Cluster.VIP)
		}
		return nil
	})
	return heir, err
}

// startNode starts the killed node, and waits until it is Ready. The VIP must not move.
func (d *demo) startNode(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	victim := d.Cluster.Node(d.result.failover.Victim)
	d.Out.Say("\nthe node is switched on\n$ docker start %s", victim.Name)
	began := time.Now()
	if err := d.Cluster.Start(ctx, victim); err != nil {
		return err
	}
	if err := d.watchAgain(ctx); err != nil {
		return err
	}
	stop := d.Out.Live(ctx, d.status)
	defer stop()
	if err := d.Cluster.WaitReady(ctx); err != nil {
		return fmt.Errorf("wait until %s is Ready again: %w", victim.Name, err)
	}
	d.result.ready = time.Since(began)
	holder, err := d.steady(ctx)
	if err != nil {
		return err
	}
	stop()
	d.result.holder, d.result.after = holder.Name, d.watch.Window(d.watch.Start, time.Time{})
	d.Out.Say("  %s is Ready again after %.0f s; the address is on %s", victim.Name,
		d.result.ready.Seconds(), holder.Name)
	return d.result.judge()
}

// watchAgain starts a new watch, which sees the new network of a restarted node.
func (d *demo) watchAgain(ctx context.Context) error {
	var w *kindcluster.Watch
	err := kindcluster.Eventually(ctx, pollEvery, func() (err error) {
		w, err = d.Cluster.Watch(ctx)
		return err
	})
	if err != nil {
		return err
	}
	err = d.watch.Stop()
	d.watch = w
	return err
}

// status returns the live line.
func (d *demo) status() string {
	var names, holders []string
	for _, n := range d.Cluster.ControlPlanes() {
		names = append(names, short(n.Name))
	}
	if n := d.watch.Holder(); n != nil {
		holders = []string{short(n.Name)}
	}
	now := time.Now()
	requests := d.watch.Requests(now.Add(-screen.StripFor))
	for i := range requests {
		requests[i].Server = short(requests[i].Server)
	}
	return screen.StatusLine(names, holders, requests, now)
}
