package kindcluster

import (
	"context"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/kvip/kvip/test/lab/netlab"
)

// Apply applies a manifest, as the administrator on the first node does.
func (c *Cluster) Apply(ctx context.Context, manifest string) error {
	cmd := c.Nodes[0].Command(ctx, "kubectl", "--kubeconfig", "/etc/kubernetes/admin.conf", "apply",
		"-f", "-")
	cmd.Stdin = strings.NewReader(manifest)
	_, err := run(cmd)
	return err
}

// Kvip runs the kvip command outside the nodes, as for the manifests that it prints.
func (c *Cluster) Kvip(ctx context.Context, args ...string) (string, error) {
	return run(c.cfg.Engine.Command(ctx, c.cfg.Kvip, args...))
}

// KvipImage returns the name of kvip's image in the nodes.
func (c *Cluster) KvipImage() string { return c.cfg.KvipImage }

// Kubeconfig writes the administrator's kubeconfig, whose server is the virtual address, and
// returns its path.
func (c *Cluster) Kubeconfig(ctx context.Context) (string, error) {
	text, err := c.Nodes[0].Exec(ctx, "cat", "/etc/kubernetes/admin.conf")
	if err != nil {
		return "", err
	}
	path := c.file("kubeconfig")
	return path, os.WriteFile(path, []byte(text), 0o600)
}

// Kubectl runs kubectl outside the nodes, through the virtual address: in a container of its own
// in the nodes' network, so that the machine needs no kubectl.
func (c *Cluster) Kubectl(ctx context.Context, args ...string) (string, error) {
	path, err := filepath.Abs(c.file("kubeconfig"))
	if err != nil {
		return "", err
	}
	docker := append([]string{
		"run", "--rm", "--network", NetworkName, "--volume", path + ":/kubeconfig:ro",
		"--entrypoint", "kubectl", c.cfg.Image, "--kubeconfig", "/kubeconfig",
		"--request-timeout", "10s",
	}, args...)
	return run(c.cfg.Engine.Command(ctx, "docker", docker...))
}

// Outside returns the host of the nodes' network, where clients outside the nodes live. It is to be
// released.
func (c *Cluster) Outside() (*netlab.Host, error) { return c.cfg.Engine.Host() }

// OutsideCommand is a command of a client there.
func (c *Cluster) OutsideCommand(ctx context.Context, name string, args ...string) *exec.Cmd {
	return c.cfg.Engine.Command(ctx, name, args...)
}

// FreeRange returns the ends of a range of addresses of the nodes' network that are free.
func (c *Cluster) FreeRange(ctx context.Context, size int) (first, last netip.Addr, err error) {
	return c.cfg.Engine.FreeRange(ctx, size)
}
