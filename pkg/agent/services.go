package agent

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/arp"
	"github.com/kvip/kvip/pkg/boottime"
	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/ipam"
	"github.com/kvip/kvip/pkg/link"
	"github.com/kvip/kvip/pkg/metrics"
	"github.com/kvip/kvip/pkg/nftfilter"
	"github.com/kvip/kvip/pkg/svc"
	"github.com/kvip/kvip/pkg/svc/allocator"
	"github.com/kvip/kvip/pkg/svc/ledger"
	"github.com/kvip/kvip/pkg/svc/speaker"
	"github.com/kvip/kvip/pkg/vip"
)

// leaveTimeout bounds the hand-over of all addresses when this agent ends for good (S6).
const leaveTimeout = 5 * time.Second

// services is the Services part of this agent.
type services struct {
	cfg       config.Config
	log       *slog.Logger
	leases    *apiclient.Router // for what must not wait
	bulk      *apiclient.Router
	catalogue *svc.Cache
	heart     *speaker.NodeLease
	keeper    *allocator.LeaderElector
	allocator *allocator.Allocator
	announcer *arp.Announcer
	watcher   *link.Watcher
	serve     *speaker.Speaker
	beside    []func(context.Context) error // each runs until its context ends
}

// runServices serves Services until ctx ends.
func runServices(ctx context.Context, cfg config.Config, id string, pages *pages, store *apiclient.Store, set *metrics.Set, log *slog.Logger) error {
	unlock := lockServices(ctx, pages, log)
	defer unlock()
	if ctx.Err() != nil {
		return nil
	}
	s, err := newServices(cfg, id, store, set, log)
	if err != nil {
		return err
	}
	pages.services.Store(s)
	warnOfForwarding(log)
	log.Info("kvip serves Services", "node", cfg.NodeName, "lease", cfg.Namespace+"/"+cfg.ServicesName, "identity", id)
	if len(cfg.VIPs) == 0 { // else the control plane's part keeps the credentials up to date
		s.beside = append(s.beside, store.Run)
	}
	return s.run(ctx)
}

// warnOfForwarding tells of a node that cannot pass connections on to pods on other nodes.
func warnOfForwarding(log *slog.Logger) {
	if forwards, err := link.Forwards(true); err == nil && !forwards {
		log.Warn("this node does not forward IPv4 packets: connections to an address here that go to a pod on another node time out",
			"reason", "sysctl net.ipv4.ip_forward is 0")
	}
}

// newServices wires the parts. Nothing runs yet.
func newServices(cfg config.Config, id string, store *apiclient.Store, set *metrics.Set, log *slog.Logger) (*services, error) {
	failed := func(verb, resource string, err error) {
		set.APIError(metrics.Request{Verb: verb, Resource: resource}, errorCode(err))
	}
	s := &services{cfg: cfg, log: log, watcher: link.NewWatcher(link.WatchConfig{Log: log})}
	var err error
	if s.leases, err = router(cfg, store, "services-lease"); err != nil {
		return nil, err
	}
	if s.bulk, err = router(cfg, store, "services"); err != nil {
		return nil, err
	}
	s.catalogue = svc.NewCache(svc.CacheConfig{
		Reader:    svc.Reader{Class: cfg.ServiceClass, ClassOnly: cfg.ClassOnly, KubeVIP: cfg.KubeVIP},
		Namespace: cfg.Namespace, Lease: cfg.ServicesName, Router: s.bulk, Log: log,
		OnFailure: failed,
	})
	s.heart, err = speaker.NewNodeLease(speaker.NodeLeaseConfig{
		Node: cfg.NodeName, Identity: id, Namespace: cfg.Namespace, Name: svc.NodeLease(cfg.ServicesName, cfg.NodeName),
		Cache: s.catalogue, Router: s.leases, Clock: boottime.Now, Log: log,
		OnFailure: func(op string, err error) { set.APIError(requestOf(op), errorCode(err)) },
	})
	if err != nil {
		return nil, err
	}
	s.keeper = allocator.NewLeaderElector(allocator.LeaderElectorConfig{
		Namespace: cfg.Namespace, Name: cfg.ServicesName, Identity: id, Cache: s.catalogue, Router: s.leases, Clock: boottime.Now, Log: log,
		Duration:  func() time.Duration { _, d := s.heart.Timing(); return d },
		Interval:  func() time.Duration { i, _ := s.heart.Timing(); return i },
		Eligible:  func() bool { return s.catalogue.HasSyncedPools() && s.heart.View().Fresh },
		OnFailure: failed,
	})
	if err := s.own(set); err != nil {
		return nil, err
	}
	s.allocator = allocator.New(allocator.Config{
		Cache: s.catalogue, Elector: s.keeper, Router: s.bulk, Clock: boottime.Now, Log: log,
		Store: ledger.New(ledger.Config{
			Name: cfg.ServicesName, Namespace: cfg.Namespace, Identity: id, Log: log,
			Leases: func() (ledger.Leases, error) { return s.ledgerClient(failed) }, Known: s.catalogue.Lease,
		}),
		KubeVIP: cfg.KubeVIP, ControlPlane: cfg.VIPs, Port: cfg.Port, Placement: s.serve.Placement, PlacementVersion: s.serve.PlacementVersion, Node: cfg.NodeName,
		OnStats: func(f allocator.Stats) {
			set.Allocator(f.Refused != nil) // nil in the zero value alone
			set.Allocation(f.Services, f.Refused, poolMetrics(f.Pools))
		},
		OnFailure: failed,
	})
	return s, nil
}

// own makes what owns and announces addresses on this host.
func (s *services) own(set *metrics.Set) error {
	roster, err := vip.NewServiceOwner(vip.ServiceOwnerConfig{Clock: boottime.Now, Log: s.log, Known: s.known})
	if err != nil {
		return err
	}
	table, err := nftfilter.New(nftfilter.Config{Timeout: speaker.FilterTimeout(vip.DefaultServiceLifetime), Log: s.log})
	if err != nil {
		return err
	}
	s.announcer, err = arp.New(arp.Config{
		Pacing: arp.ServicePacing(), Log: s.log, Clock: boottime.Now,
		Sent: func(_ netip.Addr, kind string) { set.ServiceAnnounced(kind) },
	})
	if err != nil {
		return err
	}
	s.serve, err = speaker.New(speaker.Config{
		Node: s.cfg.NodeName, Cache: s.catalogue, NodeLease: s.heart, Clock: boottime.Now, Log: s.log,
		Addresses: roster, Filter: table, Announcer: s.announcer, Networks: link.Networks, LinkEvents: s.watcher.Events(),
		HostControlPlane: controlPlaneHere, ForeignHolder: s.keeper.ForeignHolder, Interface: s.cfg.ServicesInterface,
		Fallback:     fallback(s.cfg.ServicesFallback),
		ControlPlane: s.cfg.VIPs, StatusPort: portOf(s.cfg.MetricsAddress), Metrics: set,
	})
	return err
}

// known returns the addresses of Services alone: on kernels that keep no mark, such an address on this host is an
// earlier agent's.
func (s *services) known() map[netip.Addr]bool {
	known := map[netip.Addr]bool{}
	for addr, holders := range s.catalogue.Ledger() {
		known[addr] = !ipam.WithControlPlane(holders)
	}
	return known
}

// fallback returns what tells the link of --services-fallback from others, nil if that is empty.
func fallback(name string) func(link.Network) bool {
	if name == "" {
		return nil
	}
	return func(n link.Network) bool {
		return n.Name == name || slices.Contains(n.Names, name) || name == config.DefaultRoute && n.Default
	}
}

// router finds API servers for the Services part: one on this node, the in-cluster address, the others. A
// pod for Services alone has most likely none on its node, and asks the in-cluster address first (E11).
func router(cfg config.Config, store *apiclient.Store, pool string) (*apiclient.Router, error) {
	local, inCluster := []string{net.JoinHostPort("127.0.0.1", strconv.Itoa(cfg.Port))}, apiclient.InCluster()
	if len(cfg.VIPs) == 0 && len(cfg.Kubeconfigs) == 0 && inCluster != "" {
		local = nil
	}
	return apiclient.NewRouter(apiclient.RouterConfig{Store: store, ConnectionPool: pool, Local: func() []string { return local }, InCluster: inCluster})
}

// controlPlaneHere returns the control plane's virtual IPs on this host, whichever kvip put them there.
func controlPlaneHere() ([]netip.Addr, error) {
	marked, err := vip.Netlink(nil).List()
	if err != nil {
		return nil, err
	}
	var all []netip.Addr
	for _, m := range marked {
		all = append(all, m.VIP)
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all), nil
}

func portOf(address string) int {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return 0
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return 0
	}
	return number
}

// run serves until ctx ends, and then leaves what a restart needs, or hands everything over (S6).
func (s *services) run(ctx context.Context) error {
	detached := context.WithoutCancel(ctx)
	back, stopBack := context.WithCancel(detached)
	defer stopBack()
	var rear, front errgroup.Group
	for _, part := range append(s.beside, s.catalogue.Run, s.announcer.Run, s.watcher.Run, s.followServers) {
		rear.Go(func() error { return part(back) })
	}
	for _, part := range []func(context.Context) error{s.heart.Run, s.keeper.Run, s.allocator.Run, s.serve.Run} {
		front.Go(func() error { return part(ctx) })
	}
	err := front.Wait()
	if s.isOver(detached) {
		limited, cancel := context.WithTimeout(detached, leaveTimeout)
		defer cancel()
		if err := s.serve.Release(limited); err != nil {
			s.log.Warn("could not hand everything over; it ends by itself", "node", s.cfg.NodeName, "reason", err)
		}
	}
	stopBack()
	if rearErr := rear.Wait(); err == nil {
		err = rearErr
	}
	return err
}

// followServers tells the routers of all API servers, as the cluster lists them.
func (s *services) followServers(ctx context.Context) error {
	changed := s.catalogue.Subscribe()
	var known []string
	for {
		if servers := s.catalogue.Servers(); !slices.Equal(servers, known) {
			known = servers
			s.leases.SetPeers(servers)
			s.bulk.SetPeers(servers)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
			if !pause(ctx, time.Second) {
				return nil
			}
		}
	}
}

// poolMetrics are the figures of pools as metrics have them.
func poolMetrics(figures []allocator.PoolStats) []metrics.Pool {
	all := make([]metrics.Pool, len(figures))
	for i, f := range figures {
		all[i] = metrics.Pool{Name: f.Pool, Family: strings.ToLower(f.Family.String()), Used: float64(f.Used), Size: f.Size}
	}
	return all
}
