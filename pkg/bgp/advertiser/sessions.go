package advertiser

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/kvip/kvip/pkg/bgp"
	"github.com/kvip/kvip/pkg/bgp/policy"
)

// sessions is which sessions a node has: one with a router.
type sessions struct {
	// own are the peers of the control plane, others those of Services that have sessions of their
	// own.
	own, others []policy.Peer
	shared      []sharing
	failed      []error // what is wrong with peers of Services
}

// sharing is a peer of Services whose router is a peer of the control plane, which has the session.
type sharing struct {
	peer policy.Peer
	own  string // the name of the session
}

// routers has the addresses of routers that were discovered.
type routers map[bgp.Discovery]netip.Addr

// newSessions returns the sessions of the peers of a node. deferred is why those of Services have
// none, "" if they may. A second peer of one source with the same router has none.
func newSessions(own, others []policy.Peer, r routers, deferred string) (s sessions) {
	for _, p := range own {
		s.own = append(s.own, r.single(p, s.own))
	}
	for _, p := range others {
		if same := r.same(p, s.own); len(same) == 0 {
			p = r.single(p, s.others)
		} else if own := preferred(same).Name; !s.shares(own) {
			s.shared = append(s.shared, sharing{p, own})
			continue
		} else {
			p.Unusable = cmp.Or(p.Unusable, sameRouter(own))
		}
		if slices.ContainsFunc(own, func(o policy.Peer) bool { return o.Name == p.Name }) {
			s.failed = append(s.failed, fmt.Errorf("configure BGP peer %s: a peer of the control plane "+
				"with another router has this name: rename one of them", p.Name))
			continue
		}
		p.Unusable = cmp.Or(p.Unusable, deferred)
		s.others = append(s.others, p)
	}
	return s
}

// preferred returns a peer that may have a session, if there is one, of a list that is not empty.
func preferred(list []policy.Peer) policy.Peer {
	i := slices.IndexFunc(list, func(p policy.Peer) bool { return p.Unusable == "" })
	return list[max(i, 0)]
}

// same returns the peers of a list with the same router as p.
func (r routers) same(p policy.Peer, list []policy.Peer) (same []policy.Peer) {
	for _, other := range list {
		if r.found(p).SamePeer(r.found(other)) {
			same = append(same, other)
		}
	}
	return same
}

// single returns p, without a session if another peer of the list has the router's.
func (r routers) single(p policy.Peer, list []policy.Peer) policy.Peer {
	if same := r.same(p, list); len(same) > 0 && p.Unusable == "" {
		if other := preferred(same); other.Unusable == "" {
			p.Unusable = sameRouter(other.Name)
		}
	}
	return p
}

// sameRouter is why a second peer with one router has no session.
func sameRouter(first string) string {
	return first + " is the same router, which has one session with a node: remove one of them"
}

// found returns the session of a peer with the address that was discovered.
func (r routers) found(p policy.Peer) bgp.PeerConfig {
	if router, ok := r[p.Discover]; ok {
		p.Address, p.Discover = router, bgp.Discovery{}
	}
	return p.PeerConfig
}

// configs returns what the speaker needs, the sessions of the control plane first.
func (s sessions) configs() (list []bgp.PeerConfig) {
	for _, p := range slices.Concat(s.own, s.others) {
		list = append(list, p.PeerConfig)
	}
	return list
}

// exclusive returns the peers of the control plane whose sessions no peer of Services shares.
func (s sessions) exclusive() (list []policy.Peer) {
	for _, p := range s.own {
		if !s.shares(p.Name) {
			list = append(list, p)
		}
	}
	return list
}

// shares reports whether a peer of Services has the session of one of the control plane.
func (s sessions) shares(own string) bool {
	return slices.ContainsFunc(s.shared, func(one sharing) bool { return one.own == own })
}

// newRouters discovers the routers of peers, as far as they can be found now.
func newRouters(peers []policy.Peer) routers {
	r := routers{}
	for _, p := range peers {
		if !p.Discover.Enabled() {
			continue
		}
		if router, err := discover(p.Discover); err == nil {
			r[p.Discover] = router.Unmap()
		}
	}
	return r
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

// SetPeers sets the peers of a source, and its advertisements. It returns what is wrong with these
// peers, joined; the others take effect.
func (a *Advertiser) SetPeers(s Source, peers []policy.Peer, ads []policy.Advertisement) error {
	found := newRouters(peers)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.peers[s], a.ads[s] = peers, ads
	a.keepRouters(found)
	return a.apply(s)
}

// SetLabels sets the labels of the node. It returns what is wrong with peers of Services.
func (a *Advertiser) SetLabels(labels map[string]string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if maps.Equal(a.node.Labels, labels) {
		return nil
	}
	a.node.Labels = labels
	return a.apply(Services)
}

// Defer ends the sessions with peers of Services, for a reason that their status shows. "" lets
// them have sessions again. It returns what is wrong with peers of Services.
func (a *Advertiser) Defer(reason string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.deferred == reason {
		return nil
	}
	a.deferred = reason
	return a.apply(Services)
}

// keepRouters keeps the address of each router that peers need, as found now or before: a default
// route that is away for a moment changes no session.
func (a *Advertiser) keepRouters(found routers) (changed bool) {
	now := routers{}
	for _, p := range slices.Concat(a.peers[ControlPlane], a.peers[Services]) {
		if addr := cmp.Or(found[p.Discover], a.routers[p.Discover]); addr.IsValid() {
			now[p.Discover] = addr
		}
	}
	changed = !maps.Equal(now, a.routers)
	a.routers = now
	return changed
}

// apply passes peers and routes to the speaker. It returns what is wrong with peers of one source.
func (a *Advertiser) apply(s Source) error {
	a.sessions = newSessions(policy.Peers(a.node, a.peers[ControlPlane]),
		policy.Peers(a.node, a.peers[Services]), a.routers, a.deferred)
	configs := a.sessions.configs()
	a.announce()
	a.radv.SetLinks(links(configs))
	return a.sessions.errorsOf(s, a.speaker.SetPeers(configs))
}

// errorsOf returns those of the speaker's errors that concern peers of one source, and for Services
// those peers that have no session at all.
func (s sessions) errorsOf(source Source, all error) error {
	var errs []error
	peers := s.own
	if source == Services {
		errs, peers = slices.Clone(s.failed), s.others
	}
	joined, _ := all.(interface{ Unwrap() []error })
	if joined == nil {
		return errors.Join(errs...)
	}
	for _, err := range joined.Unwrap() {
		var one *bgp.PeerError
		if errors.As(err, &one) && slices.ContainsFunc(peers, func(p policy.Peer) bool {
			return p.Name == one.Peer
		}) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// rediscover applies the peers again if a router has another address.
func (a *Advertiser) rediscover() {
	a.mu.Lock()
	peers := slices.Concat(a.peers[ControlPlane], a.peers[Services])
	a.mu.Unlock()
	found := newRouters(peers)
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.keepRouters(found) {
		return
	}
	if err := a.apply(Services); err != nil {
		a.cfg.Log.Debug("a peer has no session", "err", err) // SetPeers has returned it
	}
}
