package servicelab

import (
	"context"
	"errors"
	"fmt"
	"os"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/kvip/kvip/test/lab/cluster"
	"github.com/kvip/kvip/test/lab/netlab"
)

// Config says how to start a lab. The zero value is usable.
type Config struct {
	// Cluster is how to start the cluster. Its API servers are dual stack in any case.
	Cluster cluster.Config
	// Kvip is the executable under test; empty: cluster.Kvip builds it.
	Kvip string
}

// Lab is a cluster with the definition of IPPool installed.
type Lab struct {
	*cluster.Cluster
	// Kvip is the executable that agents run.
	Kvip string
	// Kube and Dynamic ask the API server of the first node, as an administrator.
	Kube    kubernetes.Interface
	Dynamic dynamic.Interface
	// Router and Behind, a client in networks of its own behind it, are there after AddRouter.
	Router, Behind *netlab.Host

	dir      string // of the executable, if it was built here
	backends []*Backend
}

// Start starts a cluster. It needs root.
func Start(ctx context.Context, cfg Config) (*Lab, error) {
	l := &Lab{Kvip: cfg.Kvip}
	if err := l.start(ctx, cfg.Cluster); err != nil {
		return nil, errors.Join(fmt.Errorf("start lab of Services: %w", err), l.Close())
	}
	return l, nil
}

func (l *Lab) start(ctx context.Context, cfg cluster.Config) (err error) {
	if l.Kvip == "" {
		if l.dir, err = os.MkdirTemp("", "kvip-servicelab-"); err != nil {
			return err
		}
		if l.Kvip, err = cluster.Kvip(l.dir, os.Stderr); err != nil {
			return err
		}
	}
	cfg.API.DualStack = true
	if l.Cluster, err = cluster.Start(ctx, cfg); err != nil {
		return err
	}
	return l.connect(ctx)
}

// Wrap returns a Lab of a cluster that runs already. Its API servers must be dual stack. Close of
// the cluster ends both.
func Wrap(ctx context.Context, c *cluster.Cluster, kvip string) (*Lab, error) {
	l := &Lab{Cluster: c, Kvip: kvip}
	return l, l.connect(ctx)
}

// connect makes the clients, and installs the definitions.
func (l *Lab) connect(ctx context.Context) (err error) {
	if l.Kube, err = l.Cluster.Kube(l.Nodes[0]); err != nil {
		return err
	}
	conf, err := l.RESTConfig(l.Nodes[0])
	if err != nil {
		return err
	}
	if l.Dynamic, err = dynamic.NewForConfig(conf); err != nil {
		return err
	}
	return l.InstallPools(ctx)
}

// SlowClient returns a client like Kube that waits without end, for watches.
func (l *Lab) SlowClient() (kubernetes.Interface, error) {
	conf, err := l.RESTConfig(l.Nodes[0])
	if err != nil {
		return nil, err
	}
	conf.Timeout = 0
	return kubernetes.NewForConfig(conf)
}

// CloseBackends ends the backends alone.
func (l *Lab) CloseBackends() error {
	var errs []error
	for _, b := range l.backends {
		errs = append(errs, b.Close())
	}
	l.backends = nil
	return errors.Join(errs...)
}

// Close ends everything and removes it.
func (l *Lab) Close() error {
	errs := []error{l.CloseBackends()}
	if l.Behind != nil {
		errs = append(errs, l.Behind.Close())
	}
	if l.Cluster != nil {
		errs = append(errs, l.Cluster.Close())
	}
	if l.dir != "" {
		errs = append(errs, os.RemoveAll(l.dir))
	}
	return errors.Join(errs...)
}
