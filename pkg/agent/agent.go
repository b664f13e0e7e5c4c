package agent

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"golang.org/x/sync/errgroup"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/arp"
	"github.com/kvip/kvip/pkg/boottime"
	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/election"
	"github.com/kvip/kvip/pkg/election/kubelease"
	"github.com/kvip/kvip/pkg/health"
	"github.com/kvip/kvip/pkg/metrics"
	"github.com/kvip/kvip/pkg/tokenmanager"
	"github.com/kvip/kvip/pkg/vip"
)

// Build names the program for the log, /metrics and /status.
type Build = metrics.Build

// agent is the loop and everything that runs beside it.
type agent struct {
	cfg     config.Config
	log     *slog.Logger
	store   *apiclient.Store
	router  *apiclient.Router
	loop    *loop
	lease   reporter
	network *network
	pages   *pages
	metrics *metrics.Set
	ports   *listeners
	keeper  *tokenmanager.Manager         // nil without a state directory
	beside  []func(context.Context) error // each runs until its context ends
}

// reporter says how the lease driver fares; *kubelease.Driver.
type reporter interface {
	Heartbeat() time.Duration
	Problem() string
	Peers() []string
}

// Run is `kvip manager`: it returns nil after an orderly shutdown, which begins when ctx
// ends, and an error only for what waiting cannot mend. The Services part ends before the
// control plane's.
func Run(ctx context.Context, cfg config.Config, build Build, log *slog.Logger) error {
	log.Info("kvip is starting", "version", build.Version, "commit", build.Commit, "node", cfg.NodeName)
	set, err := metrics.New(build, known(cfg))
	if err != nil {
		return err
	}
	id, err := identity(cfg.NodeName)
	if err != nil {
		return err
	}
	pages := newPages(cfg, build, id, set, log)
	stopPages := pages.serve(ctx)
	defer stopPages()
	store, err := newStore(cfg, set, log)
	if err != nil {
		return err
	}
	if len(cfg.VIPs) == 0 {
		return runServices(ctx, cfg, id, pages, store, set, log)
	}
	ctx, cancel := context.WithCancel(ctx)
	control, stopControl := context.WithCancel(context.WithoutCancel(ctx))
	var group errgroup.Group
	group.Go(func() error {
		defer cancel()
		return runControlPlane(control, cfg, id, pages, store, set, log)
	})
	group.Go(func() error {
		defer stopControl()
		if cfg.Services {
			return runServices(ctx, cfg, id, pages, store, set, log)
		}
		<-ctx.Done()
		return nil
	})
	return group.Wait()
}

// runControlPlane keeps the virtual IPs of the control plane.
func runControlPlane(ctx context.Context, cfg config.Config, id string, pages *pages, store *apiclient.Store, set *metrics.Set, log *slog.Logger) error {
	if err := waitForLink(ctx, cfg); err != nil {
		return err
	}
	unlock := lockAll(ctx, cfg, pages, log)
	defer unlock()
	if ctx.Err() != nil {
		return nil
	}
	a, err := assemble(cfg, id, pages, store, set, log)
	if err != nil {
		return err
	}
	log.Info("kvip started", "vip", vips(cfg.VIPs), "node", cfg.NodeName, "lease", cfg.Namespace+"/"+cfg.LeaseName, "identity", id)
	return a.run(ctx)
}

func newStore(cfg config.Config, set *metrics.Set, log *slog.Logger) (*apiclient.Store, error) {
	return apiclient.NewStore(apiclient.StoreConfig{
		Kubeconfigs: cfg.Kubeconfigs, StateDir: cfg.StateDir, TokenManaged: cfg.StateDir != "" && len(cfg.VIPs) > 0, Log: log,
		OnChange: func(kind apiclient.Kind, _ string) { set.Credentials(string(kind)) },
	})
}

// assemble wires the parts. Nothing runs yet.
func assemble(cfg config.Config, id string, pages *pages, store *apiclient.Store, set *metrics.Set, log *slog.Logger) (*agent, error) {
	a := &agent{cfg: cfg, log: log, pages: pages, store: store, metrics: set}
	owner, err := vip.New(vip.Config{VIPs: cfg.VIPs, Kernel: vip.Netlink(cfg.VIPs), Clock: boottime.Now, Log: log})
	if err != nil {
		return nil, err
	}
	speaker, err := newVIPAnnouncer(cfg.VIPs, arp.Config{Log: log, Clock: boottime.Now, Sent: set.Announced})
	if err != nil {
		return nil, err
	}
	a.network = newNetwork(cfg, log, speaker)
	a.router, err = apiclient.NewRouter(apiclient.RouterConfig{
		Store: a.store, Local: a.network.local, InCluster: inCluster(cfg), LocalFirst: true, Log: log,
	})
	if err != nil {
		return nil, err
	}
	lease, err := kubelease.New(kubelease.Config{
		Namespace: cfg.Namespace, Name: cfg.LeaseName, Router: a.router, Clock: boottime.Now, Log: log,
		OnFailure: func(op string, err error) { set.APIError(requestOf(op), errorCode(err)) },
		Addresses: withPort(cfg.VIPs, cfg.Port),
	})
	if err != nil {
		return nil, err
	}
	a.lease = lease
	if err := a.keepRights(); err != nil {
		return nil, err
	}
	machine, err := newMachine(cfg, id, owner)
	if err != nil {
		return nil, err
	}
	a.loop = &loop{
		cfg: cfg, id: id, log: log, metrics: set, machine: machine, lease: lease, owner: owner, announce: speaker, listen: speaker,
		network: a.network, in: make(chan election.Event, 64), now: boottime.Now, post: a.postEvent,
	}
	a.network.status = a.loop.status.Load
	prober, err := health.New(health.Config{
		URLs: func() []string { return baseURLs(a.network.local()) }, URL: cfg.HealthURL,
		TLS: a.store.TLS, Authorization: a.store.Authorization, Clock: boottime.Now, Log: log, OnState: a.onHealth,
	})
	if err != nil {
		return nil, err
	}
	a.ports = &listeners{vips: cfg.VIPs, port: uint16(cfg.Port), log: log}
	a.beside = []func(context.Context) error{a.ports.run, a.store.Run, a.network.watcher.Run, a.network.run, speaker.Run, lease.Run, prober.Run}
	if a.keeper != nil {
		a.beside = append(a.beside, a.keeper.Run)
	}
	pages.watch(a)
	return a, nil
}

// inCluster is where a pod with a ServiceAccount finds the Service kubernetes (Kubernetes
// documentation, "Accessing the Kubernetes API from a Pod"); "" elsewhere.
func inCluster(cfg config.Config) string {
	if len(cfg.Kubeconfigs) > 0 {
		return ""
	}
	return apiclient.InCluster()
}

// newMachine looks what an earlier agent left on this host before it starts (E8).
func newMachine(cfg config.Config, id string, owner *vip.Owner) (*election.Machine, error) {
	if err := owner.Prune(true); err != nil {
		return nil, fmt.Errorf("remove addresses of earlier agents: %w", err)
	}
	left, err := owner.Present()
	if err != nil {
		return nil, fmt.Errorf("look for addresses of earlier agents: %w", err)
	}
	if slices.ContainsFunc(left, func(m vip.Marked) bool { return m.ValidLft == vip.Forever }) {
		// No fence ends it: only a finite lifetime may wait for the lease.
		if err := owner.Delete(); err != nil {
			return nil, fmt.Errorf("remove addresses of earlier agents: %w", err)
		}
	}
	leftover, err := owner.Shorten(vip.ValidLifetime(election.Deadline(0, cfg.LeaseDuration), 0))
	if err != nil {
		return nil, fmt.Errorf("shorten the lifetime of addresses of earlier agents: %w", err)
	}
	return election.New(election.Config{
		ID: id, Lease: cfg.LeaseDuration, Renew: cfg.RenewInterval,
		FirstSeq: uint64(time.Now().UnixNano()), LeftoverLifetime: leftover,
	})
}

// run keeps everything going until the loop has left in order, and then ends the rest.
func (a *agent) run(ctx context.Context) error {
	rest, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var group errgroup.Group
	for _, part := range a.beside {
		group.Go(func() error { return part(rest) })
	}
	a.loop.run(ctx)
	stop()
	err := group.Wait()
	a.log.Info("kvip stopped", "vip", vips(a.cfg.VIPs), "node", a.cfg.NodeName)
	return err
}

// onHealth passes the verdict on; it is called about once a second even without a change.
func (a *agent) onHealth(s health.State) {
	a.pages.health(s)
	a.metrics.Health(s.Code)
	select {
	case a.loop.in <- election.Health{Verdict: s.Verdict, Slow: s.Slow(), Latency: s.Latency, LastProbeFailed: s.LastProbeFailed}:
	default: // the loop is behind; the next sign of life tells it
	}
}

func (a *agent) postEvent(ctx context.Context, ev *corev1.Event) error {
	err := a.router.Do(ctx, func(ctx context.Context, server *apiclient.Server) error {
		_, err := server.Core.Events(ev.Namespace).Create(ctx, ev, metav1.CreateOptions{})
		return err
	})
	if err != nil {
		return fmt.Errorf("create event: %w", err)
	}
	return nil
}

// withPort joins each of the addresses with a port.
func withPort(addresses []netip.Addr, port int) []netip.AddrPort {
	all := make([]netip.AddrPort, len(addresses))
	for i, a := range addresses {
		all[i] = netip.AddrPortFrom(a, uint16(port))
	}
	return all
}
