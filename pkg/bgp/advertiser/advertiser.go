// Package advertiser connects what the parts of an agent announce with the peers that the node has:
// it applies the policy and passes the result to one Speaker. The control plane and Services share
// its sessions, since a router has one session with a node. It decides neither which addresses the
// node serves nor when.
package advertiser

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/kvip/kvip/pkg/bfd"
	"github.com/kvip/kvip/pkg/bgp"
	"github.com/kvip/kvip/pkg/bgp/policy"
	"github.com/kvip/kvip/pkg/bgp/radv"
	"github.com/kvip/kvip/pkg/boottime"
	"github.com/kvip/kvip/pkg/link"
)

// Config configures an Advertiser.
type Config struct {
	// Node is this node. Its labels may change later.
	Node policy.Node
	// Permit reports whether the agent may send (B6). Nil: always.
	Permit func() bool
	// OnChange receives the begin and the end of each session. It must not block. Nil discards.
	OnChange func(bgp.Status)
	// OnLate receives how late timers of BFD were. It must not block. Nil discards.
	OnLate func(time.Duration)
	// Restarted: an earlier agent left with graceful restart (B9).
	Restarted bool
	// Clock is the clock; nil means boottime.Now.
	Clock boottime.Clock
	// Log is the logger; nil discards.
	Log *slog.Logger
}

// Source is one part of an agent that has peers or addresses.
type Source string

// The sources.
const (
	ControlPlane Source = "control plane"
	Services     Source = "Services"
)

// Advertiser announces the addresses of all sources. Make it with New. It is safe for concurrent
// use.
type Advertiser struct {
	cfg     Config
	bfd     *bfd.Server
	speaker *bgp.Speaker
	radv    *radv.Sender // on the links of peers without an address
	watcher *link.Watcher

	mu        sync.Mutex
	node      policy.Node
	peers     map[Source][]policy.Peer
	ads       map[Source][]policy.Advertisement
	addresses map[Source][]policy.Address
	deferred  string // why peers of Services have no sessions, "" if they may
	routers   routers
	sessions  sessions
}

// New connects the components. It starts nothing.
func New(cfg Config) (a *Advertiser, err error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	a = &Advertiser{
		cfg: cfg, node: cfg.Node, peers: map[Source][]policy.Peer{},
		ads: map[Source][]policy.Advertisement{}, addresses: map[Source][]policy.Address{},
		routers: routers{},
		watcher: link.NewWatcher(link.WatchConfig{Log: cfg.Log}),
		radv:    radv.New(radv.Config{Permit: cfg.Permit, Clock: cfg.Clock, Log: cfg.Log}),
	}
	sessions := newSessionLog(cfg.Log)
	onChange := func(s bgp.Status) {
		if sessions.record(s) && cfg.OnChange != nil {
			cfg.OnChange(s)
		}
	}
	a.bfd, err = bfd.New(bfd.Config{
		Permit: cfg.Permit, OnLate: cfg.OnLate, Clock: cfg.Clock, Log: cfg.Log,
	})
	if err != nil {
		return nil, err
	}
	a.speaker, err = bgp.New(bgp.Config{
		Permit: cfg.Permit, BFD: a.bfd, Discover: discover, LinkAddress: LinkAddress,
		OnChange: onChange, Restarted: cfg.Restarted, Clock: cfg.Clock, Log: cfg.Log,
	})
	return a, err
}

// Run runs the sessions until ctx ends. Then it ends them in order.
func (a *Advertiser) Run(ctx context.Context) error {
	detached, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var group errgroup.Group
	group.Go(func() error { return a.bfd.Run(detached) })
	group.Go(func() error { return a.watcher.Run(detached) })
	group.Go(func() error { return a.followLinks(detached) })
	group.Go(func() error { return a.radv.Run(detached) })
	err := a.speaker.Run(ctx) // it ends the sessions of BFD before its own
	stop()
	return errors.Join(err, group.Wait())
}

// SetAddresses sets the addresses that a source announces.
func (a *Advertiser) SetAddresses(s Source, addresses []policy.Address) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.addresses[s] = addresses
	a.announce()
}

// announce passes the routes to the speaker.
func (a *Advertiser) announce() { a.speaker.SetRoutes(a.routes()) }

// routes returns what each peer shall have. Addresses of the control plane go to its own peers,
// which a change of the API's objects does not touch (B13); those of Services go to all. Peers of
// Services alone wait until the addresses of Services are known (B9).
func (a *Advertiser) routes() map[string][]bgp.Route {
	now := a.sessions
	routes := policy.Routes(a.node, now.own, a.ads[ControlPlane], a.addresses[ControlPlane])
	list, known := a.addresses[Services]
	if !known {
		return routes
	}
	for peer, more := range policy.Routes(a.node, slices.Concat(now.exclusive(), now.others),
		a.ads[Services], list) {
		routes[peer] = append(routes[peer], more...)
	}
	for _, one := range now.shared { // which advertisements select by its own name
		peer := []policy.Peer{one.peer}
		more := policy.Routes(a.node, peer, a.ads[Services], list)[one.peer.Name]
		routes[one.own] = append(routes[one.own], more...)
	}
	return routes
}

// Flushed reports whether all peers with a session that receive addresses of a source have
// acknowledged what was to be sent (B4).
func (a *Advertiser) Flushed(s Source) bool {
	a.mu.Lock()
	peers := slices.Clone(a.sessions.own)
	if s == Services {
		peers = append(peers, a.sessions.others...)
	}
	a.mu.Unlock()
	return !slices.ContainsFunc(peers, func(p policy.Peer) bool { return !a.speaker.Flushed(p.Name) })
}

// Status returns the status of all peers, by name.
func (a *Advertiser) Status() []bgp.Status { return a.speaker.Status() }
