package anycast

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/bgp/advertiser"
	"github.com/kvip/kvip/pkg/bgp/static"
	"github.com/kvip/kvip/pkg/boottime"
	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/fence"
	"github.com/kvip/kvip/pkg/health"
	"github.com/kvip/kvip/pkg/link"
	"github.com/kvip/kvip/pkg/metrics"
	"github.com/kvip/kvip/pkg/netaddr"
	"github.com/kvip/kvip/pkg/reporter"
	"github.com/kvip/kvip/pkg/required"
	"github.com/kvip/kvip/pkg/status"
	"github.com/kvip/kvip/pkg/vip"
)

// Config of an Agent.
type Config struct {
	// Settings are the validated settings of the agent. VIPs must not be empty.
	Settings config.Config
	// Store of the credentials. It must run until Run has returned. Required.
	Store *apiclient.Store
	// Advertiser announces the addresses. Run does not run it. Required.
	Advertiser *advertiser.Advertiser
	// RouterID is the BGP identifier of this node. Required.
	RouterID netip.Addr
	// Metrics counts what happens. Nil discards.
	Metrics *metrics.Set
	// Health receives the state of each component. Required.
	Health *reporter.Registry
	// Log is the logger. Nil discards.
	Log *slog.Logger
}

// Agent has the addresses of the control plane on this node, and announces them, while the API
// server here serves. Make it with New.
type Agent struct {
	cfg     Config
	vips    string // for logs
	owner   *vip.Owner
	router  *apiclient.Router
	prober  *health.Prober
	listens *health.ListenCheck
	watcher *link.Watcher
	source  *static.Source
	hosts   atomic.Pointer[[]string] // where the own API server may listen
	// there are the addresses that are on the loopback interface, as was read back last, and
	// thereUntil when the first of them ends.
	there      []netip.Addr
	thereUntil time.Duration
	route      Action // the last one of Announce, AnnounceWorse and Withdraw
	problem    string // of the last write

	// holdTime is the longest of the peers, in nanoseconds.
	holdTime atomic.Int64
	machine  *Machine
	events   chan Event
	// confirmation withholds the heartbeat of the loop after a pause.
	confirmation confirmation
	peersErr     error  // of the peers that were read last
	closed       func() // ends the sessions, and returns when they have ended

	loopHealth, probeHealth, peerHealth *reporter.Reporter

	health  health.Latest
	status  atomic.Pointer[Status]
	started atomic.Bool
}

// maxStamp is the age at which neither the loop nor the health probe counts as running (B6).
const maxStamp = 2 * time.Second

// Components that must make progress for the agent to send, by the names of their reporters.
const (
	LoopComponent  = "anycast loop"
	ProbeComponent = "health probe"
)

// Permit returns the function that reports whether an agent may send: loop and health probe have
// made progress within maxStamp (B6, E12). Until the first heartbeat of both there is nothing to
// send.
func Permit(registry *reporter.Registry, now boottime.Clock) func() bool {
	loop, probe := registry.Component(LoopComponent), registry.Component(ProbeComponent)
	return func() bool {
		oldest := min(loop.LastHeartbeat(), probe.LastHeartbeat())
		return oldest > 0 && now()-oldest <= maxStamp
	}
}

// New validates the configuration and connects the components. It starts nothing, and changes
// nothing on this host.
func New(cfg Config) (*Agent, error) {
	if err := required.Fields("anycast agent", map[string]bool{
		"Settings.VIPs": len(cfg.Settings.VIPs) == 0, "Store": cfg.Store == nil,
		"Advertiser": cfg.Advertiser == nil, "RouterID": !cfg.RouterID.IsValid(),
		"Health": cfg.Health == nil,
	}); err != nil {
		return nil, err
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := cfg.Settings
	a := &Agent{
		cfg: cfg, vips: netaddr.Join(s.VIPs, ","), events: make(chan Event, 8),
		watcher:     link.NewWatcher(link.WatchConfig{Log: cfg.Log}),
		source:      static.New(s, cfg.RouterID),
		loopHealth:  cfg.Health.Component(LoopComponent),
		probeHealth: cfg.Health.Component(ProbeComponent),
		peerHealth:  cfg.Health.Component("BGP peers"),
	}
	a.loopHealth.Stopped("starting")
	a.hosts.Store(&[]string{net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port))})
	var err error
	if a.owner, err = vip.New(vip.Config{VIPs: s.VIPs, Log: cfg.Log}); err != nil {
		return nil, err
	}
	inCluster := ""
	if len(s.Kubeconfigs) == 0 {
		inCluster = apiclient.InCluster()
	}
	a.router, err = apiclient.NewRouter(apiclient.RouterConfig{
		Store: cfg.Store, Local: a.servers, InCluster: inCluster, LocalFirst: true, Log: cfg.Log,
	})
	if err != nil {
		return nil, err
	}
	a.prober, err = health.New(health.Config{
		URLs: a.serverURLs, URL: s.HealthURL, TLS: cfg.Store.TLS,
		Authorization: cfg.Store.Authorization, Clock: boottime.Now, Log: cfg.Log,
		Reporter: a.probeHealth, OnState: a.onHealth,
	})
	a.listens = health.NewListenCheck(health.ListenConfig{
		VIPs: s.VIPs, Port: uint16(s.Port), Log: cfg.Log, Reporter: cfg.Health.Component("listen check"),
	})
	return a, err
}

// servers returns where the node's own API server may listen, as host:port.
func (a *Agent) servers() []string { return slices.Clone(*a.hosts.Load()) }

// serverURLs returns the base URLs of servers.
func (a *Agent) serverURLs() []string { return apiclient.BaseURLs(*a.hosts.Load()) }

// onHealth passes on the state of the API server, at every change and every 0.5 s.
func (a *Agent) onHealth(s health.State) {
	a.health.Store(s)
	a.cfg.Metrics.Health(s.Code)
	select {
	case a.events <- observed{Health{s.Verdict, s.Code == health.CodeShutdown}, s.Observed}:
	default: // the loop is behind; the next call reports it
	}
}

// Run has the addresses and announces them until ctx ends, and returns nil after an orderly
// shutdown. openSessions starts the sessions, once this is the only agent here with these
// addresses. Its result ends them in order, and returns when they have ended. Call Run once.
func (a *Agent) Run(ctx context.Context, openSessions func(ctx context.Context) func()) error {
	s := a.cfg.Settings
	unlock := vip.LockAll(ctx, s.VIPs, a.cfg.Log, a.loopHealth.Stopped)
	defer unlock()
	lock := vip.AwaitLock(ctx, vip.LockBGP, a.cfg.Log, func(err error) {
		a.loopHealth.Stopped(err.Error())
	})
	if lock == nil || ctx.Err() != nil {
		return nil
	}
	defer func() { _ = lock.Close() }() // it ends with the process as well
	a.closed = openSessions(ctx)
	defer a.closed()
	if err := a.owner.Prune(true); err != nil {
		return fmt.Errorf("remove addresses of earlier agents: %w", err)
	}
	if _, err := fence.Cleanup(s.VIPs); err != nil { // the kernel may have no nftables
		a.cfg.Log.Warn("cannot look for the fence of an agent with --announce=arp", "err", err)
	}
	left, err := a.owner.Present()
	if err != nil {
		return fmt.Errorf("list addresses of earlier agents: %w", err)
	}
	if err := a.followPeers(true); err != nil {
		return err
	}
	a.machine = NewMachine(len(left) > 0, boottime.Now())
	a.started.Store(true)
	a.cfg.Log.Info("kvip started", "vip", a.vips, "node", s.NodeName, "announce", "bgp",
		"reason", fmt.Sprintf("router ID %s", a.cfg.RouterID))
	detached, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var group errgroup.Group
	for _, run := range []func(context.Context) error{
		a.listens.Run, a.watcher.Run, a.prober.Run, a.followHost,
	} {
		group.Go(func() error { return run(detached) })
	}
	a.loop(ctx)
	stop()
	err = group.Wait()
	a.cfg.Log.Info("kvip stopped", "vip", a.vips, "node", s.NodeName)
	return err
}

// hostPeriod is how often files of peers and addresses of the node are read.
const hostPeriod = 2 * time.Second

// followHost reads files and the node's addresses until ctx ends.
func (a *Agent) followHost(ctx context.Context) error {
	period := time.NewTicker(hostPeriod)
	defer period.Stop()
	for {
		a.refreshHosts()
		select {
		case <-ctx.Done():
			return nil
		case <-period.C:
			_ = a.followPeers(false) // it was reported
		}
	}
}

// refreshHosts reads where the own API server may listen.
func (a *Agent) refreshHosts() {
	networks, err := link.Networks()
	if err != nil {
		a.cfg.Log.Debug("cannot list the node's addresses", "err", err)
		return
	}
	port := strconv.Itoa(a.cfg.Settings.Port)
	hosts := []string{net.JoinHostPort("127.0.0.1", port)}
	for _, n := range networks {
		for _, addr := range n.Addresses {
			if !slices.Contains(a.cfg.Settings.VIPs, addr) {
				hosts = append(hosts, net.JoinHostPort(addr.String(), port))
			}
		}
	}
	a.hosts.Store(&hosts)
}

// followPeers reads the peers again. At the start an error ends the agent; later the last peers
// stand.
func (a *Agent) followPeers(start bool) error {
	peers, changed, err := a.source.Read()
	a.holdTime.Store(int64(a.source.HoldTime()))
	if err == nil && (changed || start) {
		a.peersErr = a.cfg.Advertiser.SetPeers(advertiser.ControlPlane, peers.Peers,
			peers.Advertisements)
	}
	err = cmp.Or(err, a.peersErr)
	_, before := a.peerHealth.Status()
	if err != nil {
		if before != err.Error() && !start {
			a.cfg.Log.Warn("cannot use the BGP peers; the last ones stand", "err", err)
		}
		a.peerHealth.Impaired(err.Error())
		return err
	}
	a.peerHealth.OK()
	return nil
}

// Router returns the router to the API servers.
func (a *Agent) Router() *apiclient.Router { return a.router }

// WithoutAPIServer reports whether no API server was seen on this node since the start.
func (a *Agent) WithoutAPIServer() bool { return a.started.Load() && !a.health.Seen() }

// AddStatus adds what the page /status shows of the control plane.
func (a *Agent) AddStatus(s *status.Agent) {
	if h := a.health.Load(); h != nil {
		s.Health, s.HealthWhy, s.Warning = h.Verdict.String(), h.Reason, h.Warning
	}
	if now := a.status.Load(); now != nil {
		s.State, s.Reason, s.Owned = string(now.State), string(now.Reason), now.Owned
	}
}
