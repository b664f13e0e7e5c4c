package bgp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/kvip/kvip/pkg/bfd"
	"github.com/kvip/kvip/pkg/boottime"
)

// Config configures a Speaker.
type Config struct {
	// Permit reports whether the agent may send: it has read health and decided lately. Otherwise no
	// message is sent, not even a NOTIFICATION, and sessions end (B6). It is asked before each message
	// and four times a second, by several goroutines, and must return at once. Nil means always.
	Permit func() bool
	// BFD watches paths. Nil: none is watched.
	BFD *bfd.Server
	// Discover finds the address of a peer without one, before each connection. Its error is the
	// Reason of the peer's Status. It must not block. Nil: such a peer has no session.
	Discover func(Discovery) (netip.Addr, error)
	// LinkAddress returns an address of a family on the interface that has the address local. The
	// zero Addr means that there is none; after an error the last one stays. It is asked whenever
	// routes are sent, by several goroutines, and must not block. Nil: there is none.
	LinkAddress func(local netip.Addr, f Family) (netip.Addr, error)
	// OnChange receives each change of a session's state, in the goroutine of the peer. It must not
	// block, and may call Status and Flushed. Nil discards.
	OnChange func(Status)
	// Restarted reports that an earlier agent left with graceful restart: peers keep the routes
	// until this one has sent its own, which it does after the first SetRoutes (B9).
	Restarted bool
	// Clock is the clock; nil means boottime.Now.
	Clock boottime.Clock
	// Log is the logger; nil discards.
	Log *slog.Logger
}

// Speaker keeps a session to each peer, and announces to each the routes that it is given. Make it
// with New. It is safe for concurrent use.
type Speaker struct {
	cfg Config

	mu     sync.Mutex
	ctx    context.Context // of Run; nil before
	began  time.Duration   // when Run did
	peers  map[string]*peer
	routes map[string][]Route // nil before SetRoutes

	closed  bool // no peer starts any more
	running sync.WaitGroup
}

// New returns a Speaker without peers. It starts nothing.
func New(cfg Config) (*Speaker, error) {
	if cfg.Permit == nil {
		cfg.Permit = func() bool { return true }
	}
	if cfg.Discover == nil {
		cfg.Discover = func(Discovery) (netip.Addr, error) {
			return netip.Addr{}, errors.New("peers without an address are not supported here")
		}
	}
	if cfg.LinkAddress == nil {
		cfg.LinkAddress = func(netip.Addr, Family) (netip.Addr, error) { return netip.Addr{}, nil }
	}
	if cfg.OnChange == nil {
		cfg.OnChange = func(Status) {}
	}
	if cfg.Clock == nil {
		cfg.Clock = boottime.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Speaker{cfg: cfg, peers: map[string]*peer{}}, nil
}

// SetPeers sets which peers there are. Sessions of peers that do not change in what their sessions
// consist of go on (B11). It returns what is wrong with configurations, joined; the others take
// effect. A peer whose configuration is wrong has no session. Of two peers with one name the first
// counts, and of more than MaxPeers the first ones.
func (s *Speaker) SetPeers(list []PeerConfig) error {
	var errs []error
	want := map[string]PeerConfig{}
	for _, cfg := range list {
		err := cfg.Validate()
		_, twice := want[cfg.Name]
		switch {
		case err != nil:
		case twice:
			err = fmt.Errorf("configure BGP peer %s: the name is in use", cfg.Name)
		case len(want) == MaxPeers:
			err = fmt.Errorf("configure BGP peer %s: there are %d peers already", cfg.Name, MaxPeers)
		default:
			want[cfg.Name] = cfg
			continue
		}
		errs = append(errs, &PeerError{cfg.Name, err})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, p := range s.peers {
		if _, ok := want[name]; !ok {
			delete(s.peers, name)
			s.remove(p, Stop{Notification: cease(ceaseDeconfig, ""), Why: "the peer is not configured"})
		}
	}
	for name, cfg := range want {
		p := s.peers[name]
		if p != nil && p.config().sameSession(cfg) {
			p.update(cfg)
			continue
		}
		s.peers[name] = s.add(cfg, p)
	}
	return errors.Join(errs...)
}

// PeerError is why a peer has no session.
type PeerError struct {
	Peer string
	Err  error
}

// Error names the peer.
func (e *PeerError) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *PeerError) Unwrap() error { return e.Err }

// add makes a peer, which begins when a former one of its name has left.
func (s *Speaker) add(cfg PeerConfig, former *peer) *peer {
	recent := s.ctx == nil || s.cfg.Clock()-s.began < MaxGracefulRestart
	first := former == nil || former.config().Unusable != "" // as before its password was read
	p := newPeer(cfg, &s.cfg, s.cfg.Restarted && recent && first && cfg.GracefulRestart > 0)
	routes, given := s.routes[cfg.Name]
	p.routes, p.given = routes, p.given || given
	if former != nil {
		s.remove(former, Stop{Notification: cease(ceaseConfig, ""), Why: "the configuration changes"})
		p.former = former.done
	}
	if s.ctx != nil {
		s.start(p)
	}
	return p
}

// start runs a peer.
func (s *Speaker) start(p *peer) {
	ctx, cancel := context.WithCancel(s.ctx)
	p.cancel = cancel
	if s.closed {
		cancel()
		close(p.done)
		return
	}
	s.running.Go(func() {
		defer cancel()
		p.run(ctx)
	})
}

// remove ends a peer.
func (s *Speaker) remove(p *peer, stop Stop) {
	if p.cancel != nil {
		p.end(stop)
		return
	}
	close(p.done)
}

// SetRoutes sets what each peer shall have, by its name. Peers without an entry have no routes; one
// that may have kept those of an earlier agent keeps them until there is an entry (B9).
// The routes of a peer are in the order in which they are sent, those of the control plane first;
// their prefixes differ. The caller must not change the routes afterwards.
func (s *Speaker) SetRoutes(routes map[string][]Route) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.routes = maps.Clone(routes)
	if s.routes == nil {
		s.routes = map[string][]Route{}
	}
	for name, p := range s.peers {
		list, given := s.routes[name]
		p.setRoutes(list, given)
	}
}

// Retry lets all peers without a session try again at once, and finds the next hops again: a
// link has changed (B14).
func (s *Speaker) Retry() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.peers {
		p.retry()
	}
}

// Refresh finds the next hops again: addresses of this host have changed.
func (s *Speaker) Refresh() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.peers {
		p.refresh()
	}
}

// Flushed reports whether the kernel of a peer has acknowledged everything that was to be sent
// (B4), or whether there is no session with it.
func (s *Speaker) Flushed(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.peers[name]
	return !ok || !p.pending()
}

// Status returns the status of all peers, by name.
func (s *Speaker) Status() []Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]Status, 0, len(s.peers))
	for _, name := range slices.Sorted(maps.Keys(s.peers)) {
		list = append(list, s.peers[name].snapshot())
	}
	return list
}

// Run keeps the sessions until ctx ends, and then ends them in order. Call it once.
func (s *Speaker) Run(ctx context.Context) error {
	s.mu.Lock()
	s.ctx, s.began = ctx, s.cfg.Clock()
	for _, p := range s.peers {
		s.start(p)
	}
	s.mu.Unlock()
	<-ctx.Done()
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.running.Wait()
	return nil
}
