package kindcluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/kvip/kvip/test/lab/wait"
)

// Config describes a cluster. All fields but Workers, Log and Running are required.
type Config struct {
	Engine *Engine
	Name   string // of the cluster; it begins the names of the nodes
	Dir    string // for the files that are made; created if need be
	// Template is a kind configuration such as kind/ha.yaml. Its patches and mounts are replaced.
	Template      string
	ControlPlanes int    // how many of the template's control planes to make; 0: all
	Workers       int    // how many of the template's workers to make
	Image         string // node image
	// Plain makes a cluster as kubeadm does that has heard of no virtual address: the API server of
	// the one control plane is the endpoint, and kvip is not in it, though its image is loaded.
	Plain bool
	// LocalImage means that the node image was built by kind/node, and so brings its own pods'
	// network instead of kind's.
	LocalImage  bool
	Kind        string // path of the kind command
	Kvip        string // path of the kvip command
	KvipImage   string // name of kvip's image, as the manifest has it
	KvipArchive string // the image itself, for the control planes
	// Images are archives of further images, for every node.
	Images  []string
	Network string // manifest of the pods' network's rights, for local images
	Log     io.Writer
	// Patches are further patches of kubeadm's configuration, and Files (by their path) are written
	// to each control-plane node before kubeadm runs.
	Patches []string
	Files   map[string]string
	// Announce chooses the virtual address and further flags of kvip kubeadm, once the nodes' network
	// exists. Nil: a free address of that network, announced by ARP.
	Announce func(context.Context) (vip netip.Addr, flags []string, err error)
	// Running is called when the nodes' containers run, before any Kubernetes does.
	Running func(*Cluster) error
}

// Cluster is a running kind cluster with kvip's address before its control planes.
type Cluster struct {
	VIP   netip.Addr
	Nodes []*Node

	cfg         Config
	madeNetwork bool
}

// New chooses the virtual address and writes the cluster's files, but starts nothing.
func New(ctx context.Context, cfg Config) (*Cluster, error) {
	c := &Cluster{cfg: cfg}
	if c.cfg.Log == nil {
		c.cfg.Log = io.Discard
	}
	if err := os.MkdirAll(cfg.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("make directory for the cluster's files: %w", err)
	}
	var err error
	if c.madeNetwork, err = cfg.Engine.ensureNetwork(ctx); err != nil {
		return nil, err
	}
	var flags []string
	if cfg.Announce != nil {
		c.VIP, flags, err = cfg.Announce(ctx)
	} else {
		c.VIP, err = cfg.Engine.FreeAddress(ctx)
	}
	if err != nil {
		return nil, err
	}
	return c, c.prepare(ctx, flags)
}

// Up creates the cluster and waits until all its nodes and kvips are ready. While kind works, the
// manifest and the image of kvip are put into each node as soon as that is possible: kubeadm init
// waits for the address.
func (c *Cluster) Up(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	var seedErr error
	wg.Go(func() {
		if seedErr = c.seedNodes(ctx); seedErr != nil {
			cancel()
		}
	})
	err := c.create(ctx)
	if err != nil {
		cancel()
	}
	wg.Wait()
	if seedErr != nil && !errors.Is(seedErr, context.Canceled) {
		return fmt.Errorf("put kvip into the nodes: %w", seedErr)
	}
	if err != nil {
		return err
	}
	return c.network(ctx)
}

// create runs kind.
func (c *Cluster) create(ctx context.Context) error {
	cmd := c.cfg.Engine.Command(ctx, c.cfg.Kind, "create", "cluster", "--config", c.file("kind.yaml"),
		"--image", c.cfg.Image,
		"--kubeconfig", c.file("kind.kubeconfig"), "--retain")
	cmd.Stdout, cmd.Stderr = c.cfg.Log, c.cfg.Log
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("kind create cluster: %w", err)
	}
	return nil
}

// seedNodes waits for each node's container and gives it what it needs.
func (c *Cluster) seedNodes(ctx context.Context) error {
	for _, n := range c.Nodes {
		if err := Eventually(ctx, time.Second/4,
			func() error { return c.installImage(ctx, n) }); err != nil {
			return err
		}
	}
	if c.cfg.Running != nil {
		if err := c.cfg.Running(c); err != nil {
			return err
		}
	}
	for _, n := range c.Nodes {
		if n.ControlPlane {
			if err := c.Load(ctx, n); err != nil {
				return err
			}
		}
		for _, archive := range c.cfg.Images {
			if err := c.load(ctx, n, archive); err != nil {
				return err
			}
		}
	}
	return nil
}

// installImage copies the manifest into a control-plane node as soon as its container runs.
func (c *Cluster) installImage(ctx context.Context, n *Node) error {
	out, err := c.cfg.Engine.Docker(ctx, "inspect", "-f",
		"{{.State.Running}} {{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", n.Name)
	if err != nil {
		return err
	}
	state, addr, _ := strings.Cut(strings.TrimSpace(out), " ")
	if state != "true" {
		return fmt.Errorf("node %s does not run", n.Name)
	}
	if n.Addr, err = netip.ParseAddr(addr); err != nil || !n.ControlPlane || c.cfg.Plain {
		return err
	}
	for path, text := range c.cfg.Files {
		if err := n.Write(ctx, path, strings.NewReader(text)); err != nil {
			return err
		}
	}
	return c.PlaceManifest(ctx, n)
}

// PlaceManifest copies the manifest into a node, as an administrator does.
func (c *Cluster) PlaceManifest(ctx context.Context, n *Node) error {
	manifest, err := os.Open(c.file("manifests/kvip.yaml"))
	if err != nil {
		return err
	}
	defer manifest.Close()
	return n.Write(ctx, "/etc/kubernetes/manifests/kvip.yaml", manifest)
}

// Load puts kvip's image into a node as soon as its containerd answers.
func (c *Cluster) Load(ctx context.Context,
	n *Node) error {
	return c.load(ctx, n, c.cfg.KvipArchive)
}

func (c *Cluster) load(ctx context.Context, n *Node, path string) error {
	return Eventually(ctx, time.Second/2, func() error {
		archive, err := os.Open(path)
		if err != nil {
			return err
		}
		defer archive.Close()
		cmd := n.Command(ctx, "ctr", "--namespace", "k8s.io", "images", "import", "-")
		cmd.Stdin = archive
		_, err = run(cmd)
		return err
	})
}

// network gives the nodes of a local image the right to see each other, and waits for the nodes.
func (c *Cluster) network(ctx context.Context) error {
	if c.cfg.LocalImage {
		manifest, err := os.ReadFile(c.cfg.Network)
		if err != nil {
			return err
		}
		if err := c.Apply(ctx, string(manifest)); err != nil {
			return err
		}
	}
	return c.WaitReady(ctx)
}

// Exists reports whether a cluster of the configuration's name is in the engine.
func Exists(ctx context.Context, cfg Config) (bool, error) {
	out, err := cfg.Engine.Docker(ctx, "ps", "-aq", "--filter", "label=io.x-k8s.kind.cluster="+
		cfg.Name)
	return strings.TrimSpace(out) != "", err
}

// DeleteExisting removes what an earlier process made: the cluster of the configuration's name and
// its files.
func DeleteExisting(ctx context.Context,
	cfg Config) error {
	return (&Cluster{cfg: cfg}).Delete(ctx)
}

// Delete removes the cluster, its network if New made it, and its files.
func (c *Cluster) Delete(ctx context.Context) error {
	defer c.cfg.Engine.thaw(ctx)()
	_, err := run(c.cfg.Engine.Command(ctx, c.cfg.Kind, "delete", "cluster", "--name", c.cfg.Name,
		"--kubeconfig", c.file("kind.kubeconfig")))
	if c.madeNetwork {
		err = errors.Join(err, c.cfg.Engine.removeNetwork(ctx))
	}
	for _, name := range []string{"kubeadm.yaml", "kind.yaml", "manifests/kvip.yaml", "manifests",
		"kind.kubeconfig", "kubeconfig"} {
		if e := os.Remove(c.file(name)); e != nil && !os.IsNotExist(e) {
			err = errors.Join(err, e)
		}
	}
	return err
}

// ControlPlanes returns the control-plane nodes.
func (c *Cluster) ControlPlanes() (nodes []*Node) {
	for _, n := range c.Nodes {
		if n.ControlPlane {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

// Node returns the node of that name, or nil.
func (c *Cluster) Node(name string) *Node {
	for _, n := range c.Nodes {
		if n.Name == name {
			return n
		}
	}
	return nil
}

// Eventually calls f until it succeeds or ctx ends, and then returns f's last error. A command that
// does not exist ends it at once.
func Eventually(ctx context.Context, every time.Duration, f func() error) error {
	return wait.Until(ctx, "", every, func() error {
		err := f()
		if errors.As(err, new(*exec.Error)) {
			return wait.Permanent(err)
		}
		return err
	})
}
