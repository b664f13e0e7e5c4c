package agent

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/arp"
	"github.com/kvip/kvip/pkg/backoff"
	"github.com/kvip/kvip/pkg/boottime"
	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/heartbeat"
	"github.com/kvip/kvip/pkg/ipam"
	"github.com/kvip/kvip/pkg/link"
	"github.com/kvip/kvip/pkg/manifest"
	"github.com/kvip/kvip/pkg/metrics"
	"github.com/kvip/kvip/pkg/nftfilter"
	"github.com/kvip/kvip/pkg/reporter"
	"github.com/kvip/kvip/pkg/svc"
	"github.com/kvip/kvip/pkg/svc/allocator"
	"github.com/kvip/kvip/pkg/svc/bgppeers"
	"github.com/kvip/kvip/pkg/svc/speaker"
	"github.com/kvip/kvip/pkg/vip"
)

const (
	// releaseTimeout limits the hand-over of all addresses when this agent leaves for good (S6).
	releaseTimeout = 5 * time.Second
	// drainTimeout limits the request that decides whether it leaves for good.
	drainTimeout = 2 * time.Second
)

// servicesLoop is the component whose heartbeats show that the Services' part decides.
const servicesLoop = "Services loop"

// services is the Services' part of an agent.
type services struct {
	cfg     config.Config
	id      string
	log     *slog.Logger
	store   *apiclient.Store
	metrics *metrics.Set
	health  *reporter.Reporter
	started atomic.Bool // this agent has the lock of the Services

	leases    *apiclient.Router // for requests that must not wait
	bulk      *apiclient.Router
	watcher   *link.Watcher
	cache     *svc.Cache
	nodeLease *speaker.NodeLease
	elector   *allocator.LeaderElector
	announcer *arp.Announcer
	speaker   *speaker.Speaker
	allocator *allocator.Allocator
	heartbeat *heartbeat.Heartbeat
	routes    *routes
	peers     *bgppeers.Follower
}

// newServices connects the components, each to those before it. It starts nothing.
func newServices(a *agent) (*services, error) {
	s := &services{
		cfg: a.cfg, id: a.id, log: a.log, store: a.credentials.store, metrics: a.metrics,
		health:  a.servicesHealth.Component(servicesLoop),
		watcher: link.NewWatcher(link.WatchConfig{Log: a.log}), routes: a.routes,
	}
	s.health.Stopped("starting")
	var err error
	if s.leases, err = s.newRouter("services-lease"); err != nil {
		return nil, err
	}
	if s.bulk, err = s.newRouter("services"); err != nil {
		return nil, err
	}
	s.cache, err = svc.NewCache(svc.CacheConfig{
		Reader: svc.Reader{
			Class: s.cfg.ServiceClass, ClassOnly: s.cfg.ClassOnly, KubeVIP: s.cfg.KubeVIP,
		},
		Namespace: s.cfg.Namespace, Lease: s.cfg.ServicesName, Router: s.bulk, Log: s.log,
		OnFailure: s.onFailure,
	})
	if err != nil {
		return nil, err
	}
	s.nodeLease, err = speaker.NewNodeLease(speaker.NodeLeaseConfig{
		Node: s.cfg.NodeName, Identity: s.id, Namespace: s.cfg.Namespace,
		Name:  svc.NodeLease(s.cfg.ServicesName, s.cfg.NodeName),
		Cache: s.cache, Router: s.leases, Clock: boottime.Now, Log: s.log,
		OnFailure: a.onLeaseFailure, Health: a.servicesHealth.Component("node Lease"),
	})
	if err != nil {
		return nil, err
	}
	s.elector, err = allocator.NewLeaderElector(allocator.LeaderElectorConfig{
		Namespace: s.cfg.Namespace, Name: s.cfg.ServicesName, Identity: s.id, Cache: s.cache,
		Router: s.leases, Clock: boottime.Now, Log: s.log, OnFailure: s.onFailure,
		Health:   a.servicesHealth.Component("allocator leader election"),
		Duration: func() time.Duration { _, d := s.nodeLease.Timing(); return d },
		Interval: func() time.Duration { i, _ := s.nodeLease.Timing(); return i },
		Eligible: func() bool { return s.cache.HasSyncedPools() && s.nodeLease.View().Fresh },
	})
	if err != nil {
		return nil, err
	}
	if err := s.newSpeaker(); err != nil {
		return nil, err
	}
	s.peers, err = bgppeers.New(bgppeers.Config{
		Node: s.cfg.NodeName, RouterID: s.routes.routerID, Cache: s.cache, Routes: s.routes.Advertiser,
		Log: s.log,
	})
	if err != nil {
		return nil, err
	}
	return s, s.newAllocator(a.servicesHealth.Component("allocator"))
}

// newSpeaker makes what owns, filters and announces addresses on this host. It uses the elector.
func (s *services) newSpeaker() error {
	owner, err := vip.NewServiceOwner(vip.ServiceOwnerConfig{
		Clock: boottime.Now, Log: s.log, Known: s.knownAddresses,
	})
	if err != nil {
		return err
	}
	filter, err := nftfilter.New(nftfilter.Config{
		Timeout: speaker.FilterTimeout(vip.DefaultServiceLifetime), Log: s.log,
	})
	if err != nil {
		return err
	}
	s.announcer, err = arp.New(arp.Config{
		Pacing: arp.ServicePacing(), Log: s.log, Clock: boottime.Now,
		Sent: func(_ netip.Addr, kind string) { s.metrics.ServiceAnnounced(kind) },
	})
	if err != nil {
		return err
	}
	s.heartbeat, err = heartbeat.New(heartbeat.Config{
		Node: s.cfg.NodeName, Silent: s.nodeLease.Silent, Clock: boottime.Now, Log: s.log,
	})
	if err != nil {
		return err
	}
	s.speaker, err = speaker.New(speaker.Config{
		Heartbeat: s.heartbeat,
		Node:      s.cfg.NodeName, Cache: s.cache, NodeLease: s.nodeLease, Clock: boottime.Now,
		Log: s.log, Addresses: owner, Filter: filter, Announcer: s.announcer, Routes: s.routes.Advertiser,
		Networks: link.Networks, LinkEvents: s.watcher.Events(), HostControlPlane: vip.HostVIPs,
		ForeignHolder: s.elector.ForeignHolder, Interface: s.cfg.ServicesInterface,
		Fallback: isFallback(s.cfg.ServicesFallback), ControlPlane: s.cfg.VIPs,
		StatusPort: portOf(s.cfg.MetricsAddress), Metrics: s.metrics, Health: s.health,
	})
	return err
}

// newAllocator makes what allocates addresses while this node is the leader. It uses the speaker.
func (s *services) newAllocator(health *reporter.Reporter) (err error) {
	s.allocator, err = allocator.New(allocator.Config{
		Cache: s.cache, Elector: s.elector, Router: s.bulk, Clock: boottime.Now, Log: s.log,
		KubeVIP: s.cfg.KubeVIP, ControlPlane: s.cfg.VIPs, Port: s.cfg.Port, Node: s.cfg.NodeName,
		Placement: s.speaker.Placement, PlacementVersion: s.speaker.PlacementVersion,
		OnStats: s.recordStats, OnFailure: s.onFailure, Health: health,
	})
	return err
}

// recordStats sets the metrics of the allocator.
func (s *services) recordStats(stats allocator.Stats) {
	pools := make([]metrics.Pool, len(stats.Pools))
	for i, p := range stats.Pools {
		pools[i] = metrics.Pool{
			Name: p.Pool, Family: strings.ToLower(p.Family.String()), Used: float64(p.Used),
			Size: p.Size,
		}
	}
	s.metrics.Allocator(stats.Refused != nil) // nil in the zero value alone
	s.metrics.Allocation(stats.Services, stats.Refused, pools)
}

// onFailure counts a failed request.
func (s *services) onFailure(verb, resource string, err error) {
	s.metrics.APIError(metrics.Request{Verb: verb, Resource: resource}, errorCode(err))
}

// newRouter makes a router to the API servers: one on this node, the in-cluster address, the
// others. A pod for Services alone most likely has no API server on its node, and tries the
// in-cluster address first (E11).
func (s *services) newRouter(pool string) (*apiclient.Router, error) {
	local := []string{net.JoinHostPort("127.0.0.1", strconv.Itoa(s.cfg.Port))}
	inCluster := apiclient.InCluster()
	if len(s.cfg.VIPs) == 0 && len(s.cfg.Kubeconfigs) == 0 && inCluster != "" {
		local = nil
	}
	return apiclient.NewRouter(apiclient.RouterConfig{
		Store: s.store, ConnectionPool: pool, Local: func() []string { return local },
		InCluster: inCluster,
	})
}

// knownAddresses returns the addresses in the ledger, with whether Services alone use them. On
// kernels that keep no mark, such an address on this host is from an earlier agent.
func (s *services) knownAddresses() map[netip.Addr]bool {
	known := map[netip.Addr]bool{}
	for addr, entries := range s.cache.Ledger() {
		known[addr] = !ipam.WithControlPlane(entries)
	}
	return known
}

// isFallback returns a function that reports whether a link is that of --services-fallback. It
// returns nil for an empty name.
func isFallback(name string) func(link.Network) bool {
	if name == "" {
		return nil
	}
	return func(n link.Network) bool {
		return n.Name == name || slices.Contains(n.Names, name) || name == config.DefaultRoute &&
			n.Default
	}
}

// portOf returns the port of an address as in "127.0.0.1:2113", 0 if it has none.
func portOf(address string) int {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return 0
	}
	number, _ := strconv.Atoi(port)
	return number
}

// run serves Services until ctx ends. Then it keeps what a restart needs, or hands over all
// addresses (S6).
func (s *services) run(ctx context.Context) error {
	lock := s.waitForLock(ctx)
	if lock == nil {
		return nil
	}
	defer func() {
		if err := lock.Close(); err != nil {
			s.log.Debug("cannot close a lock", "err", err)
		}
	}()
	s.started.Store(true)
	s.health.Stopped("starting") // until the first reconcile
	if forwards, err := link.Forwards(true); err == nil && !forwards {
		s.log.Warn("this node does not forward IPv4 packets: "+
			"connections to an address here time out if their pod is on another node",
			"reason", "sysctl net.ipv4.ip_forward is 0")
	}
	s.log.Info("kvip serves Services", "node", s.cfg.NodeName,
		"lease", s.cfg.Namespace+"/"+s.cfg.ServicesName, "identity", s.id)
	return s.runComponents(ctx)
}

// waitForLock waits until this is the only agent for Services in this network namespace. It returns
// nil if ctx ends first.
func (s *services) waitForLock(ctx context.Context) io.Closer {
	return vip.AwaitLock(ctx, vip.LockServices, s.log, func(err error) {
		s.health.Stopped(err.Error())
	})
}

// runComponents runs the components that decide until ctx ends, and those that they need until all
// is handed over.
func (s *services) runComponents(ctx context.Context) (err error) {
	detached := context.WithoutCancel(ctx)
	needed, stop := context.WithCancel(detached)
	defer stop()
	var supporting, deciding errgroup.Group
	if !s.cfg.ByBGP() { // else the control plane ends the sessions, after the Services have left
		s.routes.giveWay(vip.BGPLocked)
		end := s.routes.start(ctx)
		defer func() { err = errors.Join(err, end()) }()
		supporting.Go(func() error { return s.routes.followLock(needed) })
	}
	for _, run := range []func(context.Context) error{
		s.cache.Run, s.announcer.Run, s.watcher.Run, s.followServers, s.peers.Run,
	} {
		supporting.Go(func() error { return run(needed) })
	}
	for _, run := range []func(context.Context) error{
		s.nodeLease.Run, s.elector.Run, s.allocator.Run, s.speaker.Run, s.heartbeat.Run,
	} {
		deciding.Go(func() error { return run(ctx) })
	}
	err = deciding.Wait()
	if s.leavesForGood(detached) {
		limited, cancel := context.WithTimeout(detached, releaseTimeout)
		defer cancel()
		if err := s.speaker.Release(limited); err != nil {
			s.log.Warn("hand-over incomplete; the remaining addresses expire",
				"node", s.cfg.NodeName, "err", err)
		}
	}
	stop()
	return errors.Join(err, supporting.Wait())
}

// leavesForGood reports whether this agent does not come back: its DaemonSet is gone or does not
// select this node any more, or the node is cordoned, as before a drain, and the other nodes have
// all its addresses. Otherwise it is being restarted, and its addresses stay for their lifetimes
// (S6).
func (s *services) leavesForGood(ctx context.Context) bool {
	node := s.cache.Node(s.cfg.NodeName)
	if node != nil && node.Cordoned && s.speaker.HandOver(ctx) {
		s.log.Info("handed the Services' addresses over", "node", s.cfg.NodeName,
			"reason", "the node is cordoned")
		return true
	}
	if s.cfg.DaemonSet == "" {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	var stopped string
	err := s.leases.Do(ctx, func(ctx context.Context, server *apiclient.Server) (err error) {
		stopped, err = svc.DaemonSetStopped(ctx, server, manifest.ServiceAccountNamespace,
			s.cfg.DaemonSet, node)
		return err
	})
	if err != nil {
		s.log.Warn("cannot read the DaemonSet; addresses stay, as at a restart",
			"node", s.cfg.NodeName, "err", err)
		return false
	}
	if stopped != "" {
		s.log.Info("handing the Services' addresses over", "node", s.cfg.NodeName,
			"reason", "the DaemonSet "+s.cfg.DaemonSet+" "+stopped)
	}
	return stopped != ""
}

// followServers passes the API servers that the cluster lists to the routers, until ctx ends.
func (s *services) followServers(ctx context.Context) error {
	changed := s.cache.Subscribe()
	var known []string
	for {
		if servers := s.cache.Servers(); !slices.Equal(servers, known) {
			known = servers
			s.leases.SetPeers(servers)
			s.bulk.SetPeers(servers)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
			if !backoff.Sleep(ctx, time.Second) {
				return nil
			}
		}
	}
}
