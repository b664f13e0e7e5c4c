// Package advertiser connects what the parts of an agent announce with the peers that the node has:
// it applies the policy and passes the result to one Speaker. The control plane and Services share
// its sessions, since a router has one session with a node. It decides neither which addresses the
// node serves nor when.
package advertiser

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/kvip/kvip/pkg/backoff"
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
	// own and others are the peers of this node. shared has peers of Services that are peers of the
	// control plane as well, and the names of those.
	own, others []policy.Peer
	shared      map[string]string
}

// New connects the components. It starts nothing.
func New(cfg Config) (a *Advertiser, err error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	a = &Advertiser{
		cfg: cfg, node: cfg.Node, peers: map[Source][]policy.Peer{},
		ads: map[Source][]policy.Advertisement{}, addresses: map[Source][]policy.Address{},
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

// discover finds the address of a peer.
func discover(d bgp.Discovery) (netip.Addr, error) {
	if d.Gateway {
		return link.Gateway(d.Family == bgp.IPv4)
	}
	return link.Router(d.Interface)
}

// LinkAddress returns an address of a family on the link that has another one.
func LinkAddress(local netip.Addr, f bgp.Family) netip.Addr {
	networks, err := link.Networks()
	if err != nil {
		return netip.Addr{}
	}
	for _, n := range networks {
		if n.Name != local.Zone() && !slices.Contains(n.Addresses, local) {
			continue
		}
		for _, a := range n.Addresses {
			if bgp.FamilyOf(a) == f {
				return a
			}
		}
	}
	return netip.Addr{}
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

// retryInterval is the shortest time between two retries because of links.
const retryInterval = time.Second

// followLinks lets peers try again when a link changes (B14), and finds next hops again when
// addresses change, until ctx ends.
func (a *Advertiser) followLinks(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case ev := <-a.watcher.Events():
			switch {
			case ev.Kind == link.LinkChanged:
				a.speaker.Retry()
			case ev.Link == "lo": // the addresses that are announced
				continue
			default: // that of a next hop may be there now
				a.speaker.Refresh()
			}
			if !backoff.Sleep(ctx, retryInterval) {
				return nil
			}
		}
	}
}

// SetPeers sets the peers of a source, and its advertisements. It returns what is wrong with peers,
// joined; the others take effect.
func (a *Advertiser) SetPeers(s Source, peers []policy.Peer, ads []policy.Advertisement) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.peers[s], a.ads[s] = peers, ads
	return a.apply()
}

// SetLabels sets the labels of the node.
func (a *Advertiser) SetLabels(labels map[string]string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if maps.Equal(a.node.Labels, labels) {
		return nil
	}
	a.node.Labels = labels
	return a.apply()
}

// apply passes peers and routes to the speaker. A peer of Services that is one of the control plane
// as well shares its session: a router has one with a node.
func (a *Advertiser) apply() error {
	a.own, a.others, a.shared = policy.Peers(a.node, a.peers[ControlPlane]), nil, map[string]string{}
	configs := configsOf(a.own)
	for _, p := range policy.Peers(a.node, a.peers[Services]) {
		i := slices.IndexFunc(a.own, func(own policy.Peer) bool { return own.SamePeer(p.PeerConfig) })
		a.others = append(a.others, p)
		if i >= 0 {
			a.shared[p.Name] = a.own[i].Name
			continue
		}
		configs = append(configs, p.PeerConfig)
	}
	a.announce()
	a.radv.SetLinks(links(configs))
	return a.speaker.SetPeers(configs)
}

// links returns the links on which peers are discovered.
func links(peers []bgp.PeerConfig) (list []string) {
	for _, p := range peers {
		if p.Discover.Interface != "" && p.Unusable == "" {
			list = append(list, p.Discover.Interface)
		}
	}
	return list
}

// configsOf returns the sessions of peers.
func configsOf(peers []policy.Peer) []bgp.PeerConfig {
	list := make([]bgp.PeerConfig, len(peers))
	for i, p := range peers {
		list[i] = p.PeerConfig
	}
	return list
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
	routes := policy.Routes(a.node, a.own, a.ads[ControlPlane], a.addresses[ControlPlane])
	if list, known := a.addresses[Services]; known {
		shared := slices.Collect(maps.Values(a.shared)) // they receive what their other name does
		peers := slices.DeleteFunc(slices.Clone(a.own), func(own policy.Peer) bool {
			return slices.Contains(shared, own.Name)
		})
		peers = append(peers, a.others...)
		for peer, more := range policy.Routes(a.node, peers, a.ads[Services], list) {
			name := cmp.Or(a.shared[peer], peer)
			routes[name] = append(routes[name], more...)
		}
	}
	return routes
}

// Flushed reports whether all peers with a session have acknowledged what was to be sent (B4).
func (a *Advertiser) Flushed() bool { return a.speaker.Flushed() }

// Status returns the status of all peers, by name.
func (a *Advertiser) Status() []bgp.Status { return a.speaker.Status() }
