package interop

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/bfd"
	"github.com/kvip/kvip/pkg/bgp"
	"github.com/kvip/kvip/test/lab/netlab"
	"github.com/kvip/kvip/test/lab/routerlab"
)

// timersOf returns timers of both sides.
func timersOf(interval time.Duration, multiplier int) (*bgp.BFDConfig, *routerlab.BFD) {
	return &bgp.BFDConfig{Timers: bfd.Timers{
		TransmitInterval: interval, ReceiveInterval: interval, Multiplier: multiplier,
	}}, &routerlab.BFD{Interval: interval, Multiplier: multiplier}
}

// watched is a session of TestBFD.
type watched struct {
	name     string
	source   netip.Addr
	address  netip.Addr // of the router
	interval time.Duration
	multihop bool
}

// birdMinTTL accepts packets of BIRD, which sends them with TTL 64 over several hops.
const birdMinTTL = 63

// bfdLab has a router, a node beside it, and one behind a hop.
type bfdLab struct {
	*netlab.Lab
	near, far *node
	hosts     []*netlab.Host // of near, and of the router
	router    *router
	sessions  []watched
}

// newBFDLab starts sessions whose hold time is too long to be why one of them ends.
func newBFDLab(t *testing.T, kind routerlab.Kind) *bfdLab {
	t.Helper()
	l := &bfdLab{Lab: newLab(t)}
	single4, single6 := own(singleNumber)
	quick, _ := own(dualNumber)
	far4, _ := behindAddr(2)
	ipv4, ipv6 := own(routerNumber(kind))
	const steady, fast = 300 * time.Millisecond, 50 * time.Millisecond
	l.sessions = []watched{
		{"IPv4", single4, ipv4, steady, false}, {"IPv6", single6, ipv6, steady, false},
		{"IPv4, 50 ms", quick, ipv4, fast, false}, {"multihop", far4, ipv4, steady, true},
	}
	host := addHost(t, l.Lab, "node", false, singleNumber)
	addAddrs(t, host, quick)
	hop := addHost(t, l.Lab, "hop", true, 100)
	routerHost := addHost(t, l.Lab, strings.ToLower(string(kind)), true, routerNumber(kind))
	farHost := behind(t, l.Lab, hop, routerHost)
	l.hosts = []*netlab.Host{host, routerHost}
	l.router = startRoutersIn(t, map[routerlab.Kind]*netlab.Host{kind: routerHost},
		func(routerlab.Kind) (cfg routerlab.Config) {
			for _, s := range l.sessions {
				_, timers := timersOf(s.interval, 3)
				neighbor := routerlab.Neighbor{Addr: s.source, AS: nodeAS, IPv4: s.source.Is4(),
					IPv6: s.source.Is6(), BFD: timers}
				if s.multihop {
					neighbor.Multihop = 2
				}
				cfg.Neighbors = append(cfg.Neighbors, neighbor)
			}
			return cfg
		})[kind]
	l.near, l.far = startNode(t, host, settings{}), startNode(t, farHost, settings{})
	for _, s := range l.sessions {
		l.nodeOf(s).setPeers(t, l.config(s, s.interval))
		l.nodeOf(s).setRoutes(t, s.name, route(s.prefix()))
	}
	return l
}

// prefix returns the one that the session announces.
func (s watched) prefix() netip.Prefix {
	if s.source.Is4() {
		return vip4
	}
	return vip6
}

func (l *bfdLab) nodeOf(s watched) *node {
	if s.multihop {
		return l.far
	}
	return l.near
}

// config returns the configuration of a session with timers.
func (l *bfdLab) config(s watched, interval time.Duration) bgp.PeerConfig {
	cfg := from(s.source, peerOf(s.name, s.address))
	cfg.BFD, _ = timersOf(interval, 3)
	if s.multihop {
		cfg.Multihop = 2
		if l.router.kind == routerlab.BIRD {
			cfg.BFD.MinTTL = birdMinTTL
		}
	}
	return cfg
}

// up waits until a session carries its route, and both sides report BFD up.
func (l *bfdLab) up(t *testing.T, s watched) bgp.Status {
	t.Helper()
	status := l.nodeOf(s).waitFor(t, s.name, "session with BFD", func(got bgp.Status) bool {
		return got.Established() && got.BFD != nil && got.BFD.State == bfd.Up &&
			got.BFD.Remote.State == bfd.Up
	})
	l.router.has(t, s.prefix(), s.source, anyPath)
	eventually(t, "BFD of the router with "+s.name, func() error {
		info, err := l.router.Session(s.source)
		if err == nil && info.BFD != "Up" {
			err = fmt.Errorf("it is %+v", info)
		}
		return err
	})
	return status
}

// allUp waits for all sessions.
func (l *bfdLab) allUp(t *testing.T) {
	t.Helper()
	for _, s := range l.sessions {
		l.up(t, s)
	}
}

// TestBFD takes the sessions of one lab through failures, one after the other.
func TestBFD(t *testing.T) {
	t.Parallel()
	for _, kind := range installers {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			l := newBFDLab(t, kind)
			l.allUp(t)
			l.testTimers(t)
			l.testCable(t)
			l.testFrozen(t)
			l.testPermit(t)
			l.testRouterWithoutBFD(t)
		})
	}
}

// testTimers changes timers, by Poll Sequences and without another session (B8).
func (l *bfdLab) testTimers(t *testing.T) {
	s := l.sessions[0]
	before := l.up(t, s)
	const slower = 500 * time.Millisecond
	l.near.setPeers(t, l.config(s, slower))
	l.near.waitFor(t, s.name, "other timers", func(got bgp.Status) bool {
		return got.BFD != nil && got.BFD.TransmitInterval == slower
	})
	l.near.setPeers(t, l.config(s, s.interval))
	after := l.near.waitFor(t, s.name, "the first timers", func(got bgp.Status) bool {
		return got.BFD != nil && got.BFD.TransmitInterval == s.interval
	})
	if after.Sessions != before.Sessions+after.BFD.Detections-before.BFD.Detections {
		t.Errorf("timers changed the session: %s, and before %s", describe(after), describe(before))
	}
}

// testCable cuts the node's cable. Both sides end the sessions by BFD.
func (l *bfdLab) testCable(t *testing.T) {
	l.near.forget(t)
	must(t, l.hosts[0].Unplug())
	for _, s := range l.sessions {
		if !s.multihop {
			l.near.ended(t, s.name, "BFD is down: control detection time expired")
			l.router.hasNot(t, s.prefix(), s.source)
		}
	}
	must(t, l.hosts[0].Plug())
	l.allUp(t)
}

// testFrozen freezes the agent. The router ends the sessions by BFD.
func (l *bfdLab) testFrozen(t *testing.T) {
	must(t, l.near.process.Freeze())
	for _, s := range l.sessions {
		if !s.multihop {
			l.router.hasNot(t, s.prefix(), s.source)
		}
	}
	must(t, l.near.process.Thaw())
	l.allUp(t)
}

// testPermit takes the permission to send from the agent (B6). It ends its sessions without a
// message, and sends no packet of BFD until it may again.
func (l *bfdLab) testPermit(t *testing.T) {
	l.near.forget(t)
	l.near.permit(t, false)
	silent := map[string]uint64{}
	for _, s := range l.sessions {
		if s.multihop {
			continue
		}
		l.near.waitFor(t, s.name, "no session", func(got bgp.Status) bool {
			return got.State == bgp.Idle && got.Reason != ""
		})
		l.router.hasNot(t, s.prefix(), s.source)
		got, err := l.near.status(s.name)
		must(t, err)
		if got.BFD == nil {
			t.Fatalf("%s: %s", s.name, describe(got))
		}
		silent[s.name] = got.BFD.Sent
		attempts := l.near.history(t, s.name).Attempts
		l.near.waitFor(t, s.name, "withheld packets", func(now bgp.Status) bool {
			return now.BFD.Withheld >= got.BFD.Withheld+2
		})
		if now := l.near.history(t, s.name).Attempts; now != attempts {
			t.Errorf("%s: the agent tried to connect", s.name)
		}
	}
	for _, s := range l.sessions {
		if got, err := l.near.status(s.name); !s.multihop && (err != nil ||
			got.BFD.Sent != silent[s.name] || got.State != bgp.Idle) {
			t.Errorf("%s was not silent: %s, %v", s.name, describe(got), err)
		}
	}
	l.near.permit(t, true)
	l.allUp(t)
}

// testRouterWithoutBFD turns BFD off in the router: the node has at most one other session for
// that, which works without (B8).
func (l *bfdLab) testRouterWithoutBFD(t *testing.T) {
	for _, s := range l.sessions {
		l.up(t, s)
	}
	s := l.sessions[0]
	before := l.up(t, s)
	must(t, l.router.SetBFD(s.source, false))
	l.near.waitFor(t, s.name, "the end of BFD", func(got bgp.Status) bool {
		return got.BFD != nil && got.BFD.State != bfd.Up
	})
	l.near.established(t, s.name)
	l.router.has(t, s.prefix(), s.source, anyPath)
	l.router.inState(t, s.source, true)
	after := l.near.established(t, s.name)
	if after.Sessions > before.Sessions+1 {
		t.Errorf("the session was reset more than once: %s, and before %s", describe(after),
			describe(before))
	}
	// The route changes over a session without BFD.
	l.near.setRoutes(t, s.name, attributed(s.prefix(), 50))
	l.router.has(t, s.prefix(), s.source, func(got routerlab.Route) error {
		if got.MED != 50 {
			return errors.New("it has no MED")
		}
		return nil
	})
	must(t, l.router.SetBFD(s.source, true))
	l.up(t, s)
}
