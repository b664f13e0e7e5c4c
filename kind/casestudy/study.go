// Package casestudy is the case study of Services in kind: an application in three pods behind one
// address that kvip gives and announces, and what happens to it. Each scenario makes one thing
// happen, watches it from outside the cluster, and judges what was seen. The demonstration and the
// tests share it; how a cluster is made and broken is kindcluster's.
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

	"github.com/kvip/kvip/test/lab/kindcluster"
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

	// steadyRequests, one each 10 ms, are longer than a planned move takes to begin and to end (S3).
	steadyRequests = 300
)

// Settings completes the configuration of a cluster for the case study. Root is the project's
// directory; the application's image comes from kind/prepare.sh, as the rest of the configuration
// does.
func Settings(cfg kindcluster.Config, root string) (kindcluster.Config, error) {
	archive := os.Getenv("KVIP_ECHO_ARCHIVE")
	if archive == "" {
		return cfg, errors.New(
			"nothing is prepared for the case study: KVIP_ECHO_ARCHIVE comes from kind/prepare.sh ... " +
				"services")
	}
	cfg.Template = filepath.Join(root, "kind", "services.yaml")
	cfg.Plain, cfg.ControlPlanes, cfg.Workers = true, 1, workers
	cfg.Images = []string{cfg.KvipArchive, archive}
	return cfg, nil
}

// Study is the application in a running cluster.
type Study struct {
	Cluster *kindcluster.Cluster
	Address netip.Addr // of its Service

	// Watching, if not nil, is called when a scenario begins to watch. The returned function is
	// called at the end.
	Watching func(*Watch) (end func())
}

// Install puts kvip and the application into a cluster that Settings described, and waits until the
// Service answers at its address. Root is the project's directory.
func Install(ctx context.Context, c *kindcluster.Cluster, root string) (*Study, error) {
	s := &Study{Cluster: c}
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
	if err := kindcluster.Eventually(ctx, askEvery,
		func() error { return c.Apply(ctx, manifest) }); err != nil {
		return nil, fmt.Errorf("apply the application: %w", err)
	}
	return s, s.WaitReady(ctx)
}

// application returns the manifest of the application with a pool of free addresses.
func application(ctx context.Context, c *kindcluster.Cluster, root string) (string, error) {
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

// WaitReady waits until everything is as it should be: nodes Ready and none cordoned, a kvip on
// every worker, all pods ready and known as endpoints, and an address of the Service that stays
// where it is and at which they answer.
func (s *Study) WaitReady(ctx context.Context) error {
	if err := s.Cluster.WaitReady(ctx); err != nil {
		return err
	}
	return kindcluster.Eventually(ctx, askEvery, func() (err error) {
		if err := s.complete(ctx); err != nil {
			return err
		}
		if s.Address, err = s.address(ctx); err != nil {
			return err
		}
		return s.steady(ctx)
	})
}

// steady watches the application for a while from outside. When all is well, the address may still
// move once: back to a node that can have it again, which resets what is open then.
func (s *Study) steady(ctx context.Context) (err error) {
	w, err := s.watch(ctx, patience)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.end()) }()
	if err := w.decided(ctx, time.Now(), steadyRequests); err != nil {
		return err
	}
	reqs := w.Requests(time.Time{})
	if bad := firstFailures(reqs, reqs[0].Start); len(bad) > 0 {
		return fmt.Errorf("http://%s does not always answer: %v", s.Address, bad)
	}
	seen := w.Intervals()
	if last := seen[len(seen)-1]; last.To.Sub(last.From) < (steadyRequests-20)*every {
		return fmt.Errorf("the address %s moves", s.Address)
	}
	return nil
}

func (s *Study) target() netip.AddrPort { return netip.AddrPortFrom(s.Address, 80) }
