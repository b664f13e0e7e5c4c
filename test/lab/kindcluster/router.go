package kindcluster

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/kvip/kvip/test/lab/netlab"
)

// behind is the network behind a Router. No container is in it.
var behind = netip.MustParsePrefix("198.51.100.0/24")

// Router is a container in the nodes' network, and the only way to a client in a network of its
// own.
type Router struct {
	*netlab.Host
	Client *netlab.Host

	cluster *Cluster
	name    string
}

// AddRouter starts a router and a client behind it, and gives each node a route to the client.
// Remove it when done. It needs root.
func (c *Cluster) AddRouter(ctx context.Context) (r *Router, err error) {
	r = &Router{cluster: c, name: c.cfg.Name + "-router"}
	if _, err := c.cfg.Engine.Docker(ctx, "run", "--detach", "--name", r.name, "--network",
		NetworkName, "--entrypoint", "sleep", c.cfg.Image, "infinity"); err != nil {
		return nil, fmt.Errorf("start router: %w", err)
	}
	if err := r.connect(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("connect router: %w", err), r.Remove())
	}
	return r, nil
}

func (r *Router) connect(ctx context.Context) (err error) {
	container := &Node{Name: r.name, engine: r.cluster.cfg.Engine}
	out, err := container.engine.Docker(ctx, "inspect", "-f",
		"{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", r.name)
	if err != nil {
		return err
	}
	if container.Addr, err = netip.ParseAddr(strings.TrimSpace(out)); err != nil {
		return err
	}
	if r.Host, err = container.host(ctx); err != nil {
		return err
	}
	if r.Client, err = netlab.AddBehind(r.Host, "behind", behind); err != nil {
		return err
	}
	for _, n := range r.cluster.Nodes {
		if err := r.from(ctx, n, (*netlab.Host).AddRoute); err != nil {
			return err
		}
	}
	return nil
}

// from changes a node's route to the client.
func (r *Router) from(ctx context.Context, n *Node,
	change func(h *netlab.Host, to netip.Prefix, via netip.Addr) error) error {
	h, err := n.host(ctx)
	if err != nil {
		return err
	}
	return errors.Join(change(h, behind, r.Host.Addr(true)), h.Close())
}

// Remove takes away the router, the client and the routes.
func (r *Router) Remove() (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if r.Client != nil {
		for _, n := range r.cluster.Nodes {
			err = errors.Join(err, r.from(ctx, n, (*netlab.Host).DelRoute))
		}
		err = errors.Join(err, r.Client.Close())
	}
	if r.Host != nil {
		err = errors.Join(err, r.Host.Close())
	}
	_, e := r.cluster.cfg.Engine.Docker(ctx, "rm", "--force", "--volumes", r.name)
	return errors.Join(err, e)
}
