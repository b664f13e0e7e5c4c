// Package controlplane keeps the virtual IPs of the control plane on this node while it holds their
// Lease. It turns what the node and the cluster report into events of the election machine, and
// executes the machine's actions in the order that keeps one holder. The rules of the election are
// in pkg/election.
package controlplane

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/arp"
	"github.com/kvip/kvip/pkg/backoff"
	"github.com/kvip/kvip/pkg/boottime"
	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/election"
	"github.com/kvip/kvip/pkg/election/kubelease"
	"github.com/kvip/kvip/pkg/fence"
	"github.com/kvip/kvip/pkg/health"
	"github.com/kvip/kvip/pkg/link"
	"github.com/kvip/kvip/pkg/metrics"
	"github.com/kvip/kvip/pkg/netaddr"
	"github.com/kvip/kvip/pkg/peer"
	"github.com/kvip/kvip/pkg/relay"
	"github.com/kvip/kvip/pkg/reporter"
	"github.com/kvip/kvip/pkg/required"
	"github.com/kvip/kvip/pkg/status"
	"github.com/kvip/kvip/pkg/vip"
)

// Config of a ControlPlane.
type Config struct {
	// Settings are the validated settings of the agent. VIPs must not be empty.
	Settings config.Config
	// Identity of this agent in the Lease. Required.
	Identity string
	// Store of the credentials. It must run until Run has returned. Required.
	Store *apiclient.Store
	// Metrics counts what happens. Nil discards.
	Metrics *metrics.Set
	// Health receives the state of each component. Nil discards.
	Health *reporter.Registry
	// OnFailure receives each failed request to the API server, with the name of the operation, as
	// in "renew". Nil discards.
	OnFailure func(op string, err error)
	// Log is the logger. Nil discards.
	Log *slog.Logger
}

// ControlPlane holds the virtual IPs of the control plane together with the agents of other nodes.
// Make it with New.
type ControlPlane struct {
	cfg       Config
	vips      string // for logs
	owner     *vip.Owner
	announcer *vipAnnouncer
	links     *linkTracker
	relay     *relay.Relay
	router    *apiclient.Router
	lease     *kubelease.Driver
	transport *peer.Transport
	poller    *poller
	directory *kubelease.Directory
	prober    *health.Prober
	listens   *health.ListenCheck
	loop      *loop

	loopHealth *reporter.Reporter

	health  health.Latest
	fenced  atomic.Value // string: the variant of the fence
	started atomic.Bool  // this agent has the locks of the virtual IPs
}

// New validates the configuration and connects the components. It starts nothing, and changes
// nothing on this host.
func New(cfg Config) (*ControlPlane, error) {
	if err := required.Fields("control plane", map[string]bool{
		"Settings.VIPs": len(cfg.Settings.VIPs) == 0, "Identity": cfg.Identity == "",
		"Store": cfg.Store == nil,
	}); err != nil {
		return nil, err
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.OnFailure == nil {
		cfg.OnFailure = func(string, error) {}
	}
	c := &ControlPlane{
		cfg: cfg, vips: netaddr.Join(cfg.Settings.VIPs, ","),
		loopHealth: cfg.Health.Component("election loop"), // the first reason of "not ready"
	}
	c.loopHealth.Stopped("starting: the link is not there yet")
	for _, connect := range []func() error{
		c.newAddresses, c.newLease, c.newPeers, c.newLoop,
	} {
		if err := connect(); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// newAddresses makes what owns and announces the addresses.
func (c *ControlPlane) newAddresses() (err error) {
	vips := c.cfg.Settings.VIPs
	c.owner, err = vip.New(vip.Config{
		VIPs: vips, Clock: boottime.Now, Log: c.cfg.Log,
	})
	if err != nil {
		return err
	}
	c.announcer, err = newVIPAnnouncer(vips, arp.Config{
		Log: c.cfg.Log, Clock: boottime.Now, Sent: c.cfg.Metrics.Announced,
	})
	if err != nil {
		return err
	}
	c.links = newLinkTracker(c.cfg.Settings, c.cfg.Log, c.announcer)
	c.relay, err = relay.New(relay.Config{
		VIPs: vips, Log: c.cfg.Log,
		Own: func() ([]relay.Flow, error) { return ownFlows(c.owner) },
	})
	return err
}

// newLease makes the router to the API servers and the driver of the Lease.
func (c *ControlPlane) newLease() (err error) {
	s := c.cfg.Settings
	inCluster := ""
	if len(s.Kubeconfigs) == 0 {
		inCluster = apiclient.InCluster()
	}
	c.router, err = apiclient.NewRouter(apiclient.RouterConfig{
		Store: c.cfg.Store, Local: c.links.servers, InCluster: inCluster, LocalFirst: true,
		Log: c.cfg.Log,
	})
	if err != nil {
		return err
	}
	addresses := make([]netip.AddrPort, len(s.VIPs))
	for i, a := range s.VIPs {
		addresses[i] = netip.AddrPortFrom(a, uint16(s.Port))
	}
	c.lease, err = kubelease.New(kubelease.Config{
		Namespace: s.Namespace, Name: s.LeaseName, Router: c.router, Clock: boottime.Now,
		Log: c.cfg.Log, OnFailure: c.cfg.OnFailure, Addresses: addresses, Health: c.cfg.Health,
	})
	return err
}

// newPeers makes what reaches the other agents (F10).
func (c *ControlPlane) newPeers() (err error) {
	s := c.cfg.Settings
	c.directory, err = kubelease.NewDirectory(kubelease.DirectoryConfig{
		Namespace: s.Namespace, Lease: s.LeaseName, Router: c.router, Log: c.cfg.Log,
		OnFailure: c.cfg.OnFailure,
	})
	if err != nil {
		return err
	}
	c.transport, err = peer.New(peer.Config{
		ID: c.cfg.Identity, Log: c.cfg.Log,
		Dropped: func(why peer.Dropped) { c.cfg.Metrics.MessageDropped(string(why)) },
	})
	return err
}

// newLoop makes the loop and what reports to it.
func (c *ControlPlane) newLoop() (err error) {
	s := c.cfg.Settings
	probe := c.cfg.Health.Component("health probe")
	c.prober, err = health.New(health.Config{
		URLs: c.serverURLs, URL: s.HealthURL, TLS: c.cfg.Store.TLS,
		Authorization: c.cfg.Store.Authorization, Clock: boottime.Now, Log: c.cfg.Log,
		Reporter: probe, OnState: c.onHealth,
	})
	if err != nil {
		return err
	}
	c.listens = health.NewListenCheck(health.ListenConfig{
		VIPs: s.VIPs, Port: uint16(s.Port), Log: c.cfg.Log,
		Reporter: c.cfg.Health.Component("listen check"),
	})
	c.loop = &loop{
		vips: s.VIPs, log: c.cfg.Log, metrics: c.cfg.Metrics, lease: c.lease, owner: c.owner,
		relay: c.relay, addresses: link.Addresses,
		announcer: c.announcer, conflicts: c.announcer, links: c.links, now: boottime.Now,
		allowFast: c.directory.AllowFast, inbox: make(chan func() election.Event, inboxSize),
		recorder: recorder{
			cfg: s, id: c.cfg.Identity, vips: c.vips, log: c.cfg.Log, metrics: c.cfg.Metrics,
			link: c.links.link, createEvent: c.createEvent, onFailure: c.cfg.OnFailure,
			health: c.loopHealth, probe: probe,
		},
	}
	c.links.status, c.links.onShared = c.loop.status.Load, c.reportFence
	return nil
}

// Run holds and releases the virtual IPs until ctx ends, and returns nil after an orderly shutdown.
// It returns an error if waiting cannot help. Call it once.
func (c *ControlPlane) Run(ctx context.Context) error {
	if err := waitForLink(ctx, c.cfg.Settings); err != nil {
		return err
	}
	unlock := vip.LockAll(ctx, c.cfg.Settings.VIPs, c.cfg.Log, c.loopHealth.Stopped)
	defer unlock()
	if ctx.Err() != nil {
		return nil
	}
	closeFence := c.openFence()
	defer closeFence()
	var err error
	if c.poller, err = newPoller(c.cfg.Identity, c.transport, c.cfg.Log); err != nil {
		return err
	}
	defer c.poller.close()
	c.loop.messages = c.poller
	if c.loop.machine, err = c.newMachine(); err != nil {
		return err
	}
	c.loopHealth.Stopped("starting")
	c.loopHealth.Heartbeat()
	c.started.Store(true)
	s := c.cfg.Settings
	c.cfg.Log.Info("kvip started", "vip", c.vips, "node", s.NodeName,
		"lease", s.Namespace+"/"+s.LeaseName, "identity", c.cfg.Identity)
	detached, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var group errgroup.Group
	for _, run := range []func(context.Context) error{
		c.listens.Run, c.links.watcher.Run, c.links.run, c.announcer.Run, c.lease.Run, c.prober.Run,
		c.directory.Run, c.followPeers,
	} {
		group.Go(func() error { return run(detached) })
	}
	onThread(c.cfg.Log, func() { c.loop.run(ctx) }) // until the lease is released in order
	c.loop.endRelay()
	stop()
	err = group.Wait()
	c.cfg.Log.Info("kvip stopped", "vip", c.vips, "node", s.NodeName)
	return err
}

// waitForLink waits for the link at most as long as configured (--interface-wait).
func waitForLink(ctx context.Context, s config.Config) (err error) {
	if s.InterfaceWait < 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.InterfaceWait)
	defer cancel()
	const period = 100 * time.Millisecond
	backoff.Backoff{Min: period, Max: period}.Retry(ctx, func(int) error {
		_, err = link.Select(s.Interface, s.VIPs)
		return err
	})
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("wait for link (--interface-wait %v): %w", s.InterfaceWait, err)
	}
	return nil
}

// openFence finds out which fence the kernel gives, and uses it (F9).
func (c *ControlPlane) openFence() (closeFence func()) {
	s := c.cfg.Settings
	f, variant, err := fence.New(fence.Config{
		VIPs: s.VIPs, Longest: s.LeaseDuration, Clock: boottime.Now, Log: c.cfg.Log,
	})
	c.fenced.Store(string(variant))
	c.cfg.Metrics.Fence(string(variant))
	if err != nil {
		c.cfg.Log.Warn("the kernel cannot fence the VIP; the lifetime of its address does",
			"vip", c.vips, "err", err)
		return func() {}
	}
	c.owner.UseFence(f)
	c.loop.fence = f
	return f.Close
}

// reportFence reports which fence ends the addresses, when another link begins or ends to answer
// for them as well: the fence is on one.
func (c *ControlPlane) reportFence(shared error) {
	c.cfg.Metrics.Fence(c.effectiveFence())
	if shared != nil {
		c.cfg.Log.Warn("the fence does not cover all links of this host; the lifetime of its address"+
			" ends the VIP, and the mode is slow", "vip", c.vips, "err", shared)
	}
}

// effectiveFence returns the variant of the fence that ends the addresses.
func (c *ControlPlane) effectiveFence() string {
	if c.links.sharedBy() != nil {
		return string(fence.Lifetimes)
	}
	variant, _ := c.fenced.Load().(string)
	return variant
}

// window returns W, 0 if this agent never takes part in mode fast.
func (c *ControlPlane) window() time.Duration {
	if c.slowOnly() != "" {
		return 0
	}
	return c.cfg.Settings.FailoverTimeout
}

// slowOnly returns why this agent never takes part in mode fast, or "".
func (c *ControlPlane) slowOnly() string {
	variant, _ := c.fenced.Load().(string)
	switch s := c.cfg.Settings; {
	case s.FailoverTimeout == 0:
		return "--failover-timeout is 0"
	case variant != string(fence.Full):
		return "the kernel's fence is " + variant
	}
	return ""
}

// reconnectEvery spaces the attempts to reach agents to which no socket could be opened.
const reconnectEvery = 5 * time.Second

// followPeers passes on which agents there are and the address of this one, until ctx ends.
func (c *ControlPlane) followPeers(ctx context.Context) error {
	again := time.NewTicker(reconnectEvery)
	defer again.Stop()
	for {
		select {
		case l := <-c.directory.Listings():
			c.loop.post(ctx, func() election.Event { return c.poller.setListing(l) })
		case addr := <-c.links.nodeAddresses:
			if c.window() == 0 {
				continue
			}
			local := netip.AddrPort{}
			if addr.IsValid() {
				local = netip.AddrPortFrom(addr, uint16(c.cfg.Settings.PeerPort))
				c.directory.Publish(c.transport.Self(local))
			}
			c.loop.post(ctx, func() election.Event { return c.poller.setLocal(local) })
		case <-again.C: // another program may have had the port
			c.loop.post(ctx, c.poller.retry)
		case <-ctx.Done():
			return nil
		}
	}
}

// newMachine handles what an earlier agent left on this host, before the machine starts (E8).
func (c *ControlPlane) newMachine() (*election.Machine, error) {
	if err := c.owner.Prune(true); err != nil {
		return nil, fmt.Errorf("remove addresses of earlier agents: %w", err)
	}
	left, err := c.owner.Present()
	if err != nil {
		return nil, fmt.Errorf("list addresses of earlier agents: %w", err)
	}
	permanent := func(m vip.Marked) bool { return m.ValidLft == vip.Forever }
	if slices.ContainsFunc(left, permanent) {
		// No fence ends it: only an address with a lifetime may wait for the lease.
		if err := c.owner.Delete(); err != nil {
			return nil, fmt.Errorf("remove addresses of earlier agents: %w", err)
		}
	}
	s := c.cfg.Settings
	leftover, err := c.owner.Shorten(vip.ValidLifetime(election.Deadline(0, s.LeaseDuration), 0))
	if err != nil {
		return nil, fmt.Errorf("shorten the lifetime of addresses of earlier agents: %w", err)
	}
	c.loop.prepares = leftover == 0
	drain, shutdownDrain := moveDrain, s.DrainTimeout
	if s.DrainTimeout == 0 || c.window() == 0 { // without a fence, or no agent receives the goodbye
		drain, shutdownDrain = 0, 0
	}
	return election.New(election.Config{
		ID: c.cfg.Identity, Lease: s.LeaseDuration, Renew: s.RenewInterval,
		FirstSeq: uint64(time.Now().UnixNano()), LeftoverLifetime: leftover,
		Window: c.window(), EverFast: true, Drain: drain, ShutdownDrain: shutdownDrain,
	})
}

// onHealth passes on the state of the API server, at every change and every 0.5 s.
func (c *ControlPlane) onHealth(s health.State) {
	c.health.Store(s)
	c.cfg.Metrics.Health(s.Code)
	ev := election.Health{
		Verdict: s.Verdict, Slow: s.Slow(), Leaving: s.Code == health.CodeShutdown,
		Latency: s.Latency, LastProbeFailed: s.LastProbeFailed,
	}
	c.loop.offer(ev) // if the loop is behind, the next call reports it
}

// serverURLs returns the base URLs at which the node's own API server may listen.
func (c *ControlPlane) serverURLs() []string {
	return apiclient.BaseURLs(c.links.servers())
}

// createEvent creates an Event through the router.
func (c *ControlPlane) createEvent(ctx context.Context, ev *corev1.Event) error {
	err := c.router.Do(ctx, func(ctx context.Context, server *apiclient.Server) error {
		_, err := server.Core.Events(ev.Namespace).Create(ctx, ev, metav1.CreateOptions{})
		return err
	})
	if err != nil {
		return fmt.Errorf("create event: %w", err)
	}
	return nil
}

// Router returns the router to the API servers. It follows them while Run runs.
func (c *ControlPlane) Router() *apiclient.Router { return c.router }

// WithoutAPIServer reports whether no API server was seen on this node since the start: then this
// agent serves Services alone.
func (c *ControlPlane) WithoutAPIServer() bool { return c.started.Load() && !c.health.Seen() }

// AddStatus adds what the page /status shows of the control plane.
func (c *ControlPlane) AddStatus(s *status.Agent) {
	if h := c.health.Load(); h != nil {
		s.Health, s.HealthWhy, s.Warning = h.Verdict.String(), h.Reason, h.Warning
	}
	s.Slow = election.SlowStarting
	if !c.started.Load() {
		return
	}
	s.Link, s.Peers = c.links.link().Name, c.lease.Peers()
	if now := c.loop.status.Load(); now != nil {
		s.State, s.Reason = string(now.State), string(now.Reason)
		s.Owned, s.Draining, s.Term = now.Owned, now.Draining, now.Term
		s.Fence = c.effectiveFence()
		shared := ""
		if err := c.links.sharedBy(); err != nil {
			shared = err.Error()
		}
		s.Slow, s.Agents = cmp.Or(c.slowOnly(), shared, now.Slow), now.Agents
	}
}
