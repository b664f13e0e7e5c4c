package advertiser

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/kvip/kvip/pkg/bgp"
	"github.com/kvip/kvip/pkg/bgp/policy"
)

// sessions is which sessions a node has: one with a router.
type sessions struct {
	// own are the peers of the control plane, others those of Services, without a session of their
	// own where they are in shared: it names the peer of the control plane with the same router.
	own, others []policy.Peer
	shared      map[string]string
}

// routers has the addresses of routers that were discovered.
type routers map[bgp.Discovery]netip.Addr

// newSessions returns the sessions of the peers of a node. deferred is why those of Services have
// none, "" if they may. A second peer of one source with the same router has none.
func newSessions(own, others []policy.Peer, r routers, deferred string) sessions {
	s := sessions{shared: map[string]string{}}
	for _, p := range own {
		s.own = append(s.own, r.single(p, s.own))
	}
	for _, p := range others {
		i := r.index(p, s.own)
		switch p = r.single(p, s.others); {
		case p.Unusable != "":
		case i >= 0:
			s.shared[p.Name] = s.own[i].Name
		default:
			p.Unusable = deferred
		}
		s.others = append(s.others, p)
	}
	return s
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

// index returns the index of the peer with the same router, -1 if there is none.
func (r routers) index(p policy.Peer, list []policy.Peer) int {
	return slices.IndexFunc(list, func(other policy.Peer) bool {
		return r.found(p).SamePeer(r.found(other))
	})
}

// single returns p, without a session if another peer of the list has the router's.
func (r routers) single(p policy.Peer, list []policy.Peer) policy.Peer {
	if i := r.index(p, list); i >= 0 && p.Unusable == "" && list[i].Unusable == "" {
		p.Unusable = fmt.Sprintf("%s is the same router, which has one session with a node: remove "+
			"one of them", list[i].Name)
	}
	return p
}

// found returns the session of a peer with the address that was discovered.
func (r routers) found(p policy.Peer) bgp.PeerConfig {
	if router, ok := r[p.Discover]; ok {
		p.Address, p.Discover = router, bgp.Discovery{}
	}
	return p.PeerConfig
}

// configs returns what the speaker needs: a shared session once.
func (s sessions) configs() []bgp.PeerConfig {
	var list []bgp.PeerConfig
	for _, p := range slices.Concat(s.own, s.others) {
		if _, shared := s.shared[p.Name]; !shared {
			list = append(list, p.PeerConfig)
		}
	}
	return list
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

// SetPeers sets the peers of a source, and its advertisements. It returns what is wrong with peers,
// joined; the others take effect.
func (a *Advertiser) SetPeers(s Source, peers []policy.Peer, ads []policy.Advertisement) error {
	found := newRouters(peers)
	a.mu.Lock()
	defer a.mu.Unlock()
	maps.Copy(a.routers, found)
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

// Defer ends the sessions with peers of Services, for a reason that their status shows. "" lets
// them have sessions again.
func (a *Advertiser) Defer(reason string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.deferred == reason {
		return nil
	}
	a.deferred = reason
	return a.apply()
}

// apply passes peers and routes to the speaker.
func (a *Advertiser) apply() error {
	a.sessions = newSessions(policy.Peers(a.node, a.peers[ControlPlane]),
		policy.Peers(a.node, a.peers[Services]), a.routers, a.deferred)
	configs := a.sessions.configs()
	a.announce()
	a.radv.SetLinks(links(configs))
	return a.speaker.SetPeers(configs)
}

// rediscover applies the peers again if a router has another address.
func (a *Advertiser) rediscover() {
	a.mu.Lock()
	peers := slices.Concat(a.peers[ControlPlane], a.peers[Services])
	a.mu.Unlock()
	found := newRouters(peers)
	a.mu.Lock()
	defer a.mu.Unlock()
	if maps.Equal(found, a.routers) {
		return
	}
	a.routers = found
	if err := a.apply(); err != nil {
		a.cfg.Log.Debug("a peer has no session", "err", err) // SetPeers has returned it
	}
}
