package bgpdemo

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

// exampleRouters are the routers' addresses in kind/bgp/services.yaml.
var exampleRouters = []string{"172.18.0.2", "172.18.0.3"}

// install installs kvip for Services and the application, and waits until both routers use both
// workers.
func (d *demo) install(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, installWithin)
	defer cancel()
	d.Out.Say("\nkvip manifest crd, rbac --services and daemonset --services are applied, then " +
		"kind/bgp/services.yaml:\na pool of addresses by BGP, both routers as BGPPeers, and a Service " +
		"with externalTrafficPolicy: Local")
	began := time.Now()
	for _, args := range [][]string{
		{"manifest", "crd"},
		{"manifest", "rbac", "--services"},
		{"manifest", "daemonset", "--services", "--image", d.Cluster.KvipImage()},
	} {
		manifest, err := d.Cluster.Kvip(ctx, args...)
		if err != nil {
			return err
		}
		if err := d.Cluster.Apply(ctx, manifest); err != nil {
			return fmt.Errorf("apply kvip %s: %w", strings.Join(args, " "), err)
		}
	}
	manifest, err := d.application()
	if err != nil {
		return err
	}
	// The API server serves a new kind a moment after it took its definition.
	if err := kindcluster.Eventually(ctx, pollEvery,
		func() error { return d.Cluster.Apply(ctx, manifest) }); err != nil {
		return fmt.Errorf("apply the application: %w", err)
	}
	err = kindcluster.Eventually(ctx, pollEvery, func() (err error) {
		if d.service, err = d.serviceAddress(ctx); err != nil {
			return err
		}
		return d.fabric.spread(ctx, d.service, d.workers())
	})
	if err != nil {
		return fmt.Errorf("wait for the Service: %w", err)
	}
	d.Out.Say("  http://%s is announced by both workers (%.0f s)", d.service,
		time.Since(began).Seconds())
	return nil
}

// application returns the objects of kind/bgp/services.yaml for these routers, and the pods of
// kind/echo/echo.yaml.
func (d *demo) application() (string, error) {
	objects, err := os.ReadFile(filepath.Join(d.root, "kind", "bgp", "services.yaml"))
	if err != nil {
		return "", err
	}
	echo, err := os.ReadFile(filepath.Join(d.root, "kind", "echo", "echo.yaml"))
	if err != nil {
		return "", err
	}
	var routers []netip.Addr
	for _, m := range d.fabric.routers {
		routers = append(routers, m.inside)
	}
	return application(string(objects), string(echo), routers)
}

// application replaces the addresses of the routers, and adds the Deployment of the application.
func application(objects, echo string, routers []netip.Addr) (string, error) {
	var replace []string
	for i, example := range exampleRouters {
		example, own := "peerAddress: "+example+",", "peerAddress: "+routers[i].String()+","
		if n := strings.Count(objects, example); n != 1 {
			return "", fmt.Errorf("%q is %d times in services.yaml, and must be there once", example, n)
		}
		replace = append(replace, example, own)
	}
	for document := range strings.SplitSeq(echo, "---\n") {
		if strings.Contains(document, "\nkind: Deployment\n") ||
			strings.HasPrefix(document, "kind: Deployment\n") {
			return strings.NewReplacer(replace...).Replace(objects) + "---\n" + document, nil
		}
	}
	return "", errors.New("echo.yaml has no Deployment")
}

// serviceAddress returns the address in the status of the Service.
func (d *demo) serviceAddress(ctx context.Context) (netip.Addr, error) {
	out, err := d.Cluster.Nodes[0].Kubectl(ctx, "get", "service", "echo", "-o",
		"jsonpath={.status.loadBalancer.ingress[0].ip}")
	if err != nil {
		return netip.Addr{}, err
	}
	if strings.TrimSpace(out) == "" {
		return netip.Addr{}, errors.New("the Service has no address yet")
	}
	return netip.ParseAddr(strings.TrimSpace(out))
}
