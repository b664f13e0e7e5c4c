// Package agent connects the components of `kvip manager` and runs them: the control plane's part,
// the Services' part and the HTTP server. Its only rule is the order of start and shutdown.
package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/controlplane"
	"github.com/kvip/kvip/pkg/election"
	"github.com/kvip/kvip/pkg/httpapi"
	"github.com/kvip/kvip/pkg/link"
	"github.com/kvip/kvip/pkg/metrics"
	"github.com/kvip/kvip/pkg/reporter"
	"github.com/kvip/kvip/pkg/status"
	"github.com/kvip/kvip/pkg/svc"
)

// Build names the program in the log, on /metrics and /status.
type Build = metrics.Build

// agent has the parts of one process and what they share.
type agent struct {
	cfg     config.Config
	build   Build
	id      string
	log     *slog.Logger
	metrics *metrics.Set

	credentials    *credentials
	control        controlPlane // nil without virtual IPs
	services       *services    // nil without Services
	routes         *routes      // nil if nothing is announced by BGP
	controlHealth  *reporter.Registry
	servicesHealth *reporter.Registry
}

// Run runs `kvip manager` until ctx ends, and returns nil after an orderly shutdown. It returns an
// error if waiting cannot help. cfg must be validated.
func Run(ctx context.Context, cfg config.Config, build Build, log *slog.Logger) error {
	log.Info("kvip is starting", "version", build.Version, "commit", build.Commit, "node",
		cfg.NodeName)
	a, err := newAgent(cfg, build, log)
	if err != nil {
		return err
	}
	server, err := httpapi.New(httpapi.Config{
		HealthAddress: cfg.HealthAddress, MetricsAddress: cfg.MetricsAddress,
		Stuck: a.stuck, NotReady: a.notReady, Credentials: a.credentials.describe, Status: a.status,
		Services: a.servicesPage, Metrics: a.metrics, Log: log,
	})
	if err != nil {
		return err
	}
	detached, stop := context.WithCancel(context.WithoutCancel(ctx))
	var pages sync.WaitGroup
	pages.Go(func() { server.Run(detached) }) // until both parts have left
	defer pages.Wait()
	defer stop()
	return a.run(ctx)
}

// newAgent connects the parts. It starts nothing, and changes nothing on this host.
func newAgent(cfg config.Config, build Build, log *slog.Logger) (*agent, error) {
	a := &agent{
		cfg: cfg, build: build, log: log,
		controlHealth: reporter.NewRegistry(nil), servicesHealth: reporter.NewRegistry(nil),
	}
	var err error
	if a.id, err = identity(cfg.NodeName); err != nil {
		return nil, err
	}
	if a.metrics, err = metrics.New(build, knownLabels(cfg)); err != nil {
		return nil, err
	}
	health := a.servicesHealth
	if len(cfg.VIPs) > 0 {
		health = a.controlHealth
	}
	a.credentials, err = newCredentials(cfg, a.metrics, health.Component("token manager"), log)
	if err != nil {
		return nil, err
	}
	if cfg.ByBGP() || cfg.Services {
		if a.routes, err = newRoutes(a); err != nil {
			return nil, err
		}
	}
	var router *apiclient.Router // for the token manager
	if len(cfg.VIPs) > 0 {
		if a.control, err = newControlPlane(a); err != nil {
			return nil, err
		}
		router = a.control.Router()
	}
	if cfg.Services {
		if a.services, err = newServices(a); err != nil {
			return nil, err
		}
		if router == nil {
			router = a.services.leases
		}
	}
	if a.routes != nil {
		a.connectReports(router)
	}
	if err := a.credentials.manageToken(cfg, router, log); err != nil {
		return nil, err
	}
	return a, nil
}

// connectReports gives what reports sessions its access to the API: that of the Services, if there
// are some.
func (a *agent) connectReports(router *apiclient.Router) {
	if a.services == nil {
		a.routes.reports.connect(router, nil)
		return
	}
	node := func() *svc.Node { return a.services.cache.Node(a.cfg.NodeName) }
	a.routes.reports.connect(a.services.bulk, node)
}

// newControlPlane connects the part of the control plane.
func newControlPlane(a *agent) (controlPlane, error) {
	if a.cfg.ByBGP() {
		return newBGPControlPlane(a)
	}
	return controlplane.New(controlplane.Config{
		Settings: a.cfg, Identity: a.id, Store: a.credentials.store, Metrics: a.metrics,
		Health: a.controlHealth, OnFailure: a.onLeaseFailure, Log: a.log,
	})
}

// identity returns the name of this agent in Leases: node name, boot and network namespace. It
// differs between nodes with the same name or kernel, and is the same after a restart (E8).
func identity(node string) (string, error) {
	boot, err := link.BootID()
	if err != nil {
		return "", fmt.Errorf("make identity of %s: %w", node, err)
	}
	inode, err := link.NetnsInode()
	if err != nil {
		return "", fmt.Errorf("make identity of %s: %w", node, err)
	}
	return fmt.Sprintf("%s_%.13s_%d", node, boot, inode), nil
}

// run runs the parts until ctx ends, and the credentials until both have left.
func (a *agent) run(ctx context.Context) error {
	detached, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var background errgroup.Group
	background.Go(func() error { return a.credentials.run(detached) })
	if a.routes != nil {
		background.Go(func() error { return a.routes.reports.run(detached) })
	}
	err := a.runParts(ctx)
	stop()
	return errors.Join(err, background.Wait())
}

// runParts runs the parts until ctx ends. The Services' part ends before the control plane's, and
// each part ends the other one if it fails.
func (a *agent) runParts(ctx context.Context) error {
	if a.control == nil {
		return a.services.run(ctx)
	}
	ctx, cancel := context.WithCancel(ctx)
	control, stopControl := context.WithCancel(context.WithoutCancel(ctx))
	var group errgroup.Group
	group.Go(func() error {
		defer cancel()
		return a.control.Run(control)
	})
	group.Go(func() error {
		defer stopControl()
		if a.services != nil {
			return a.services.run(ctx)
		}
		<-ctx.Done()
		return nil
	})
	return group.Wait()
}

// onLeaseFailure counts a failed request of a Lease's driver.
func (a *agent) onLeaseFailure(op string, err error) {
	a.metrics.APIError(requestOf(op), errorCode(err))
}

// stuck names a component without progress, or returns "" (E12).
func (a *agent) stuck() string {
	if stuck := a.controlHealth.Stuck(); stuck != "" {
		return stuck
	}
	return a.servicesHealth.Stuck()
}

// notReady returns why this agent could neither hold nor take over addresses now, or "". On a node
// without an API server the Services' part alone decides.
func (a *agent) notReady() string {
	if a.control != nil && !(a.services != nil && a.control.WithoutAPIServer()) {
		if reason := a.controlHealth.NotReady(); reason != "" {
			return reason
		}
	}
	return a.servicesHealth.NotReady()
}

// servicesPage returns the page /services, nil without Services.
func (a *agent) servicesPage() http.Handler {
	if a.services == nil || !a.services.started.Load() {
		return nil
	}
	return a.services.speaker
}

// status returns the page /status.
func (a *agent) status() status.Agent {
	s := status.Agent{
		Node: a.cfg.NodeName, Identity: a.id, Version: a.build.Version, State: "starting",
		Health: election.Unknown.String(), NotReady: a.notReady(),
	}
	for _, addr := range a.cfg.VIPs {
		s.VIPs = append(s.VIPs, addr.String())
	}
	a.credentials.addStatus(&s)
	if a.control != nil {
		a.control.AddStatus(&s)
	}
	if a.routes != nil && !a.cfg.ByBGP() {
		a.routes.reports.addStatus(&s, false)
	}
	return s
}
