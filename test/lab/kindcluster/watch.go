package kindcluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/kvip/kvip/test/lab/netlab"
)

// steadyFor is how long requests must have been answered by one node to call it steady.
const steadyFor = 300 * time.Millisecond

// Watch sees who has the address and what a client outside the nodes gets there, until Stop.
type Watch struct {
	*netlab.Client
	Start time.Time

	cluster *Cluster
	sampler *netlab.Sampler // nil without root, who alone may look into the nodes' networks
	hosts   []*netlab.Host

	mu   sync.Mutex
	dead map[string]bool
}

// Watch starts watching the control-plane nodes that run now: a node that is started later has a
// new network, and needs a new Watch. Without root it sees who answers, but not who has the
// address.
func (c *Cluster) Watch(ctx context.Context) (w *Watch, err error) {
	w = &Watch{cluster: c, Start: time.Now(), dead: map[string]bool{}}
	defer func() {
		if err != nil {
			w, err = nil, errors.Join(err, w.stopSampler())
		}
	}()
	var nodes []*netlab.Host
	for _, n := range c.ControlPlanes() {
		host, err := n.host(ctx)
		if err != nil {
			continue // it is down, and holds nothing, or not to be looked into
		}
		w.hosts, nodes = append(w.hosts, host), append(nodes, host)
	}
	client, err := c.cfg.Engine.Host()
	if err != nil {
		return w, err
	}
	w.hosts = append(w.hosts, client)
	if Root() {
		w.sampler, err = netlab.SampleAdopted([]netip.Addr{c.VIP}, w.isDead, client, nodes...)
		if err != nil {
			return w, err
		}
	}
	// The certificate identifies the server; kubectl verifies it.
	w.Client, err = netlab.StartClient(netlab.ClientConfig{
		Host: client, Target: netip.AddrPortFrom(c.VIP, 6443), TLS: &tls.Config{InsecureSkipVerify: true},
	})
	return w, err
}

// MarkDead notes that a node was switched off: an address that is left in it is not reachable.
func (w *Watch) MarkDead(n *Node) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dead[n.Name] = true
}

func (w *Watch) isDead(h *netlab.Host) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.dead[h.Name]
}

// Stop ends it. What it saw stays readable.
func (w *Watch) Stop() error {
	w.Client.Stop()
	return w.stopSampler()
}

func (w *Watch) stopSampler() error {
	if w.sampler == nil {
		return w.release()
	}
	return errors.Join(w.sampler.Stop(), w.release())
}

func (w *Watch) release() (err error) {
	for _, h := range w.hosts {
		err = errors.Join(err, h.Close())
	}
	w.hosts = nil
	return err
}

// Root reports whether this process may read the nodes' networks.
func Root() bool { return os.Geteuid() == 0 }

// Window returns who had the address from one instant to another; without root, nothing.
func (w *Watch) Window(from, to time.Time) netlab.HolderReport {
	if w.sampler == nil {
		return netlab.HolderReport{}
	}
	return w.sampler.Window(from, to)
}

// Holder returns the one node that has the address now, or nil; without root, the node that has
// answered all requests lately.
func (w *Watch) Holder() *Node {
	if w.sampler == nil {
		return w.cluster.Node(w.Server())
	}
	var alive []*Node
	for _, h := range w.sampler.Holders(w.cluster.VIP) {
		if !w.isDead(h) {
			alive = append(alive, w.cluster.Node(h.Name))
		}
	}
	if len(alive) != 1 {
		return nil
	}
	return alive[0]
}

// Server returns the node whose API server has answered all requests lately, or "".
func (w *Watch) Server() string {
	now := time.Now()
	name, answered := "", 0
	for _, r := range w.Requests(now.Add(-steadyFor)) {
		if !r.OK() || name != "" && r.Server != name {
			return ""
		}
		name = r.Server
		answered++
	}
	if answered < 10 {
		return ""
	}
	return name
}

// Steady waits until one node has the address and answers there, and returns it.
func (w *Watch) Steady(ctx context.Context) (*Node, error) {
	var holder *Node
	err := Eventually(ctx, 20*time.Millisecond, func() error {
		holder = w.Holder()
		if server := w.Server(); holder == nil || server != holder.Name {
			return fmt.Errorf("the address %s is not served steadily: holder %v, answers from %q",
				w.cluster.VIP, holder, server)
		}
		return nil
	})
	return holder, err
}

// String is the node's name.
func (n *Node) String() string {
	if n == nil {
		return "no node"
	}
	return n.Name
}

// WaitReady waits until every node is Ready under its own address, and every control-plane node's
// API server and kvip are ready.
func (c *Cluster) WaitReady(ctx context.Context) error {
	return Eventually(ctx, time.Second, func() error {
		for _, n := range c.ControlPlanes() {
			if err := n.Ready(ctx, !c.cfg.Plain); err != nil {
				return err
			}
		}
		return c.nodesReady(ctx)
	})
}

// ReadySince returns since when each node has been Ready, or not, as the API has it.
func (c *Cluster) ReadySince(ctx context.Context) (map[string]string, error) {
	out, err := c.Kubectl(ctx, "get", "nodes", "--no-headers", "-o",
		`custom-columns=N:.metadata.name,R:.status.conditions[?(@.type=="Ready")].status,T:.status.conditions[?(@.type=="Ready")].lastTransitionTime`)
	since := map[string]string{}
	for line := range strings.Lines(out) {
		if name, rest, ok := strings.Cut(line, " "); ok {
			since[name] = strings.Join(strings.Fields(rest), " since ")
		}
	}
	return since, err
}

// nodesReady asks for the nodes' condition and their address, which must be their own.
func (c *Cluster) nodesReady(ctx context.Context) error {
	out, err := c.Nodes[0].Kubectl(ctx, "get", "nodes", "--no-headers", "-o",
		`custom-columns=N:.metadata.name,R:.status.conditions[?(@.type=="Ready")].status,A:.status.addresses[?(@.type=="InternalIP")].address`)
	if err != nil {
		return err
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != len(c.Nodes) {
		return fmt.Errorf("%d of %d nodes are registered", len(lines), len(c.Nodes))
	}
	for _, line := range lines {
		f := strings.Fields(line)
		if len(f) != 3 || f[1] != "True" {
			return fmt.Errorf("node not ready: %s", line)
		}
		if n := c.Node(f[0]); n == nil || !strings.Contains(","+f[2]+",", ","+n.Addr.String()+",") ||
			strings.Contains(f[2], c.VIP.String()) {
			return fmt.Errorf("node %s has the wrong address: %s", f[0], f[2])
		}
	}
	return nil
}
