// Package cluster runs three real control-plane nodes on the hosts of a netlab, each with its own
// etcd member and kube-apiserver as in kubeadm's stacked topology, and injects faults. kubeadm
// itself creates certificates and kubeconfigs.
//
// It starts an agent in a node and has no knowledge of what the agent does. There is no kubelet,
// scheduler or controller manager.
//
// Data is in /dev/shm if that has room: three etcd members on one disk would wait for each other's
// fsync, which three machines do not. fsync itself stays on.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"regexp"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/kvip/kvip/test/lab/netlab"
)

// startTimeout bounds a start or a recovery. A start takes about 10 s on two idle cores, and
// several times that on a busy machine.
const startTimeout = 2 * time.Minute

// Cluster is three control-plane nodes, Config.Workers workers, and a client on one switch.
type Cluster struct {
	Lab     *netlab.Lab
	Nodes   []*Node      // of the control plane
	Workers []*Node      // without etcd and API server
	Client  *netlab.Host // a host that is no node

	cfg     Config
	bin     string
	version string // of Kubernetes, with the v
}

// Start builds the lab, starts all nodes and returns when every API server is ready and the user of
// admin.conf is authorized, as after `kubeadm init`. It needs root.
func Start(ctx context.Context, cfg Config) (*Cluster, error) {
	c := &Cluster{cfg: cfg, bin: cfg.Binaries}
	if err := c.build(); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := c.boot(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("start cluster: %w", err), c.Close())
	}
	return c, nil
}

// build creates the hosts and their certificates.
func (c *Cluster) build() (err error) {
	if c.bin == "" {
		if c.bin, err = Binaries(progressWriter{c}); err != nil {
			return err
		}
	}
	if c.version = regexp.MustCompile(`v1\.\d+\.\d+`).FindString(
		filepath.Base(c.bin)); c.version == "" {
		return fmt.Errorf("find Kubernetes version: directory %s does not name one", c.bin)
	}
	if c.Lab, err = netlab.New(netlab.Config{Dir: dataDir()}); err != nil {
		return err
	}
	for i, name := range nodeNames() {
		h, err := c.Lab.AddHost(netlab.HostConfig{Name: name, Addrs: prefixes(i), Forward: c.cfg.Forward})
		if err != nil {
			return err
		}
		c.Nodes = append(c.Nodes, &Node{Name: name, Host: h, API: c.cfg.API, c: c})
	}
	if c.Client, err = c.Lab.AddHost(netlab.HostConfig{Name: clientName,
		Addrs: prefixes(len(c.Nodes))}); err != nil {
		return err
	}
	if err := c.createCertificates(); err != nil {
		return err
	}
	return c.addWorkers()
}

// boot starts etcd and the API servers of all nodes.
func (c *Cluster) boot(ctx context.Context) error {
	c.progress("starting etcd and kube-apiserver on %d nodes", len(c.Nodes))
	for _, n := range c.Nodes {
		if err := errors.Join(n.StartEtcd(), n.StartAPI()); err != nil {
			return err
		}
	}
	if err := c.WaitReady(ctx); err != nil {
		return err
	}
	if err := c.BindAdmins(ctx); err != nil {
		return err
	}
	return c.waitForEndpoints(ctx)
}

// WaitReady waits until the API server of every node answers /readyz with 200.
func (c *Cluster) WaitReady(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, n := range c.Nodes {
		g.Go(func() error { return n.WaitReady(ctx) })
	}
	return g.Wait()
}

// Node returns the node of that name, or nil.
func (c *Cluster) Node(name string) *Node {
	for _, n := range c.AllNodes() {
		if n.Name == name {
			return n
		}
	}
	return nil
}

// Hosts returns the hosts of the nodes, without the client.
func (c *Cluster) Hosts() []*netlab.Host {
	var hosts []*netlab.Host
	for _, n := range c.Nodes {
		hosts = append(hosts, n.Host)
	}
	return hosts
}

// Others returns the hosts of the other nodes.
func (c *Cluster) Others(n *Node) []*netlab.Host {
	var hosts []*netlab.Host
	for _, other := range c.Nodes {
		if other != n {
			hosts = append(hosts, other.Host)
		}
	}
	return hosts
}

// LimitAPIs limits all API servers together to a number of cores, until undo is called.
func (c *Cluster) LimitAPIs(cores float64) (undo func() error, err error) {
	var procs []*netlab.Process
	for _, n := range c.Nodes {
		n.mu.Lock()
		procs = append(procs, n.api)
		n.mu.Unlock()
	}
	return netlab.LimitCPU(cores, procs...)
}

// Sample starts a Sampler of the addresses on the control-plane nodes.
func (c *Cluster) Sample(vips ...netip.Addr) (*netlab.Sampler, error) {
	return c.Lab.Sample(vips, c.Hosts()...)
}

// Close ends and removes everything.
func (c *Cluster) Close() error {
	if c.Lab == nil {
		return nil
	}
	return c.Lab.Close()
}

// dataDir returns /dev/shm if that has 2 GiB of room, else an empty path for the default.
func dataDir() string {
	const shm = "/dev/shm"
	var st syscall.Statfs_t
	if err := syscall.Statfs(shm, &st); err == nil && st.Bavail*uint64(st.Bsize) > 2<<30 {
		return shm
	}
	return ""
}

func (c *Cluster) progress(format string, args ...any) {
	if c.cfg.Progress != nil {
		_, _ = fmt.Fprintf(c.cfg.Progress, format+"\n", args...)
	}
}

// progressWriter writes the output of a build to Config.Progress.
type progressWriter struct{ c *Cluster }

func (w progressWriter) Write(b []byte) (int, error) {
	if w.c.cfg.Progress == nil {
		return len(b), nil
	}
	return w.c.cfg.Progress.Write(b)
}
