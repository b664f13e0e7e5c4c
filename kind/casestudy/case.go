// Package casestudy is the case study of Services in kind: an application in three pods behind one
// address that kvip gives and announces, and what happens to it. Each scenario makes one thing happen,
// watches it from outside the cluster, and judges what was seen. The demonstration and the tests share
// it; how a cluster is made and broken is kindlab's.
package casestudy

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/kvip/kvip/test/kindlab"
)

const (
	workers  = 3
	replicas = 3 // as kind/echo/echo.yaml has it
	poolSize = 8

	namespace = "default"
	service   = "echo"          // also the value of the pods' label app
	kvipPods  = "kvip-services" // the DaemonSet, in kube-system

	// examplePool stands in kind/echo/echo.yaml where free addresses belong.
	examplePool = "172.18.255.200-172.18.255.207"

	askEvery = time.Second / 2 // until the cluster is as it should be
)

// Settings completes the configuration of a cluster for the case study. Root is the project's
// directory; the application's image comes from kind/prepare.sh, as the rest of the configuration does.
func Settings(cfg kindlab.Config, root string) (kindlab.Config, error) {
	archive := os.Getenv("KVIP_ECHO_ARCHIVE")
	if archive == "" {
		return cfg, errors.New("nothing is prepared for the case study: KVIP_ECHO_ARCHIVE comes from kind/prepare.sh ... services")
	}
	cfg.Template = filepath.Join(root, "kind", "services.yaml")
	cfg.Plain, cfg.ControlPlanes, cfg.Workers = true, 1, workers
	cfg.Images = []string{cfg.KvipArchive, archive}
	return cfg, nil
}

// Case is the application in a running cluster.
type Case struct {
	Cluster *kindlab.Cluster
	Address netip.Addr // of its Service

	// Watching is told, if it is set, when a scenario begins to watch; it returns what to call at the end.
	Watching func(*Watch) (end func())
}

// Install puts kvip and the application into a cluster that Settings described, and waits until the
// Service answers at its address. Root is the project's directory.
func Install(ctx context.Context, c *kindlab.Cluster, root string) (*Case, error) {
	s := &Case{Cluster: c}
	for _, args := range [][]string{
		{"manifest", "crd"},
		{"manifest", "rbac", "--services"},
		{"manifest", "daemonset", "--services", "--image", c.KvipImage()},
	} {
		manifest, err := c.Kvip(ctx, args...)
		if err != nil {
			return nil, err
		}
		if err := c.Apply(ctx, manifest); err != nil {
			return nil, fmt.Errorf("apply kvip %s: %w", strings.Join(args, " "), err)
		}
	}
	manifest, err := application(ctx, c, root)
	if err != nil {
		return nil, err
	}
	// The API server serves a new kind a moment after it took its definition.
	if err := kindlab.Eventually(ctx, askEvery, func() error { return c.Apply(ctx, manifest) }); err != nil {
		return nil, fmt.Errorf("apply the application: %w", err)
	}
	return s, s.Well(ctx)
}

// application returns the manifest of the application with a pool of free addresses.
func application(ctx context.Context, c *kindlab.Cluster, root string) (string, error) {
	first, last, err := c.FreeRange(ctx, poolSize)
	if err != nil {
		return "", err
	}
	path := filepath.Join(root, "kind", "echo", "echo.yaml")
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	if n := strings.Count(string(text), examplePool); n != 1 {
		return "", fmt.Errorf("read %s: it has %s %d times, and must have it once", path, examplePool, n)
	}
	return strings.Replace(string(text), examplePool, first.String()+"-"+last.String(), 1), nil
}

// Well waits until everything is as it should be: nodes Ready and none cordoned, a kvip on every
// worker, all pods ready and known as endpoints, and an address of the Service at which they answer.
func (s *Case) Well(ctx context.Context) error {
	if err := s.Cluster.WaitReady(ctx); err != nil {
		return err
	}
	return kindlab.Eventually(ctx, askEvery, func() (err error) {
		if err := s.complete(ctx); err != nil {
			return err
		}
		if s.Address, err = s.address(ctx); err != nil {
			return err
		}
		return s.answers(ctx)
	})
}

// answersInARow makes it unlikely that an answer was luck while one of three pods does not.
const answersInARow = 20

// answers asks the application a few times from outside, at an easy pace.
func (s *Case) answers(ctx context.Context) error {
	host, err := s.Cluster.Outside()
	if err != nil {
		return err
	}
	defer host.Release()
	ask := newAsker(host, s.target(), 2*time.Second)
	for id := range answersInARow {
		if r := ask.ask(ctx, fmt.Sprint(id)); !r.OK() {
			return fmt.Errorf("http://%s: request %d of %d: %s", s.Address, id+1, answersInARow, r.Result)
		}
	}
	return nil
}

func (s *Case) target() netip.AddrPort { return netip.AddrPortFrom(s.Address, 80) }
