package bfd

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kvip/kvip/test/lab/netlab"
	"github.com/kvip/kvip/test/testutil"
)

// steady are timers with which a busy machine ends no session.
var steady = Timers{
	TransmitInterval: 50 * time.Millisecond, ReceiveInterval: 50 * time.Millisecond, Multiplier: 100,
}

// lab has two hosts on a switch, a router there, and a host behind it.
type lab struct {
	*netlab.Lab
	t              *testing.T
	a, b           *netlab.Host
	router, behind *netlab.Host
}

func newLab(t *testing.T) *lab {
	t.Helper()
	testutil.NeedRoot(t)
	l := &lab{t: t}
	var err error
	l.Lab, err = netlab.New(netlab.Config{Dir: t.TempDir()})
	l.must(err)
	t.Cleanup(func() { l.must(l.Close()) })
	for i, h := range []**netlab.Host{&l.a, &l.b, &l.router} {
		*h, err = l.AddHost(netlab.HostConfig{
			Name: []string{"a", "b", "r"}[i], Forward: i == 2,
			Addrs: []netip.Prefix{
				netip.MustParsePrefix(fmt.Sprintf("10.0.0.%d/24", i+1)),
				netip.MustParsePrefix(fmt.Sprintf("fd00::%d/64", i+1)),
			},
		})
		l.must(err)
	}
	return l
}

// addBehind adds a host behind the router, to which host a has routes.
func (l *lab) addBehind() {
	l.t.Helper()
	networks := []netip.Prefix{
		netip.MustParsePrefix("10.1.0.0/24"), netip.MustParsePrefix("fd01::/64"),
	}
	var err error
	l.behind, err = netlab.AddBehind(l.router, "behind", networks...)
	l.must(err)
	l.t.Cleanup(func() { _ = l.behind.Close() })
	for i, p := range networks {
		l.must(l.a.AddRoute(p, l.router.Addrs[i].Addr()))
	}
}

func (l *lab) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

// linkLocal returns the link-local address of a host, with its zone.
func (l *lab) linkLocal(h *netlab.Host) (found netip.Addr) {
	l.t.Helper()
	l.must(h.Do(func() error {
		eth0, err := net.InterfaceByName(netlab.LinkName)
		if err != nil {
			return err
		}
		addrs, err := eth0.Addrs()
		for _, a := range addrs {
			p, _ := netip.ParsePrefix(a.String())
			if p.Addr().Is6() && p.Addr().IsLinkLocalUnicast() {
				found = p.Addr().WithZone(eth0.Name)
			}
		}
		return err
	}))
	if !found.IsValid() {
		l.t.Fatalf("host %s has no link-local address", h.Name)
	}
	return found
}

// node runs a Server on a host.
type node struct {
	*Server
	permit atomic.Bool
	log    testutil.Log
	stop   func() // idempotent

	mu   sync.Mutex
	seen []Status // what OnChange received
}

func (l *lab) run(h *netlab.Host) *node {
	l.t.Helper()
	n := &node{}
	n.permit.Store(true)
	var err error
	n.Server, err = New(Config{
		Permit: n.permit.Load, Log: slog.New(slog.NewTextHandler(&n.log, nil)),
		OnLate: func(late time.Duration) {
			if late < 0 {
				l.t.Errorf("a timer ran %v early", -late)
			}
		},
	})
	l.must(err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := h.Do(func() error { return n.Run(ctx) }); err != nil {
			l.t.Error(err)
		}
	}()
	n.stop = func() { cancel(); <-ended }
	l.t.Cleanup(n.stop)
	return n
}

func (l *lab) add(n *node, cfg SessionConfig) *Session {
	l.t.Helper()
	cfg.OnChange = func(s Status) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.seen = append(n.seen, s)
	}
	one, err := n.Add(cfg)
	l.must(err)
	return one
}

// saw reports whether OnChange received a matching status.
func (n *node) saw(match func(Status) bool) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.ContainsFunc(n.seen, match)
}

func (l *lab) eventually(what string, one *Session, match func(Status) bool) {
	l.t.Helper()
	defer func() {
		if l.t.Failed() {
			l.t.Logf("%+v", one.Status())
		}
	}()
	testutil.Eventually(l.t, what, func() bool { return match(one.Status()) })
}

func isUp(s Status) bool   { return s.State == Up && s.Remote.State == Up }
func isDown(s Status) bool { return s.State == Down }

// pair starts a session between hosts a and b over IPv4 and waits until it is up.
func (l *lab) pair(timers Timers) (na, nb *node, sa, sb *Session) {
	l.t.Helper()
	na, nb = l.run(l.a), l.run(l.b)
	sa = l.add(na, SessionConfig{Peer: l.b.Addr(true), Timers: timers})
	sb = l.add(nb, SessionConfig{Peer: l.a.Addr(true), Timers: timers})
	l.eventually("session of a", sa, isUp)
	l.eventually("session of b", sb, isUp)
	return na, nb, sa, sb
}

// TestB8SessionsComeUp over one hop and several, in both families.
func TestB8SessionsComeUp(t *testing.T) {
	l := newLab(t)
	l.addBehind()
	na, nb, nc := l.run(l.a), l.run(l.b), l.run(l.behind)
	for _, c := range []struct {
		name        string
		peer        *node
		from, to    netip.Addr
		multihop    bool
		withoutFrom bool
	}{
		{"IPv4", nb, l.a.Addr(true), l.b.Addr(true), false, false},
		{"IPv6, route's choice", nb, l.a.Addr(false), l.b.Addr(false), false, true},
		{"link-local", nb, l.linkLocal(l.a), l.linkLocal(l.b), false, false},
		{"multihop IPv4, route's choice", nc, l.a.Addr(true), l.behind.Addr(true), true, true},
		{"multihop IPv6", nc, l.a.Addr(false), l.behind.Addr(false), true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := SessionConfig{Peer: c.to, Local: c.from, Multihop: c.multihop, Timers: steady}
			if c.withoutFrom {
				cfg.Local = netip.Addr{}
			}
			sa := l.add(na, cfg)
			sb := l.add(c.peer, SessionConfig{Peer: c.from, Multihop: c.multihop, Timers: steady})
			for _, one := range []*Session{sa, sb} {
				l.eventually("session", one, func(s Status) bool {
					return isUp(s) && s.TransmitInterval == 50*time.Millisecond && s.DetectionTime == 5*time.Second
				})
			}
			s := sa.Status()
			if s.Local != c.from.WithZone("") || s.Problem != "" || s.Diagnostic != NoDiagnostic ||
				s.Remote.Discriminator != sb.discriminator || s.Sent == 0 || s.Received == 0 || s.Since == 0 {
				t.Errorf("%+v", s)
			}
			if port := sa.sender.port; port < minSource {
				t.Errorf("sends from port %d", port)
			}
			sa.Close()
			sb.Close()
		})
	}
	if !na.saw(func(s Status) bool { return s.State == Up }) { // the peer may be Init then
		t.Error("OnChange did not receive Up")
	}
	if !strings.Contains(na.log.String(), "BFD session changed") {
		t.Errorf("log: %s", na.log.String())
	}
}

// TestB8LowTTLIsDropped: a packet that was routed does not come from the link, and one of a
// multihop session that was routed too often is not of the peer.
func TestB8LowTTLIsDropped(t *testing.T) {
	l := newLab(t)
	l.addBehind()
	na, nc := l.run(l.a), l.run(l.behind)
	for i := range l.a.Addrs {
		a, c := l.a.Addrs[i].Addr(), l.behind.Addrs[i].Addr()
		for _, cfg := range []SessionConfig{{}, {Multihop: true, MinTTL: 255}} {
			cfg.Peer = c
			sa := l.add(na, cfg)
			cfg.Peer = a
			l.add(nc, cfg)
			l.eventually("packets dropped", sa, func(s Status) bool { return s.Dropped[DroppedTTL] > 0 })
			if s := sa.Status(); s.State != Down || s.Received != 0 {
				t.Errorf("%+v", s)
			}
		}
	}
}

// TestPortTaken: the port of another BFD program is not shared. The status names the reason, and
// the session comes up when the port is free.
func TestPortTaken(t *testing.T) {
	l := newLab(t)
	var other net.PacketConn
	l.must(l.a.Do(func() (err error) {
		other, err = net.ListenPacket("udp4", ":3784")
		return err
	}))
	defer other.Close()
	na, nb := l.run(l.a), l.run(l.b)
	sa := l.add(na, SessionConfig{Peer: l.b.Addr(true), Timers: steady})
	sb := l.add(nb, SessionConfig{Peer: l.a.Addr(true), Timers: steady})
	l.eventually("problem", sa, func(s Status) bool {
		return strings.Contains(s.Problem, "UDP port 3784 is taken by another program")
	})
	l.must(other.Close())
	l.eventually("session of a", sa, isUp)
	l.eventually("session of b", sb, isUp)
	if s := sa.Status(); s.Problem != "" {
		t.Errorf("problem %q", s.Problem)
	}
	l.must(l.a.Do(func() error {
		if c, err := net.ListenPacket("udp4", ":3784"); err == nil {
			return fmt.Errorf("another program shares the port: %w", c.Close())
		}
		return nil
	}))
	sa.Close()
	testutil.Eventually(t, "the port to be free", func() bool {
		return l.a.Do(func() error {
			c, err := net.ListenPacket("udp4", ":3784")
			if err == nil {
				err = c.Close()
			}
			return err
		}) == nil
	})
}

// TestB6NothingIsSentUnlessPermitted: the peer detects it, and the session starts again when
// packets are permitted again.
func TestB6NothingIsSentUnlessPermitted(t *testing.T) {
	l := newLab(t)
	na, nb, sa, sb := l.pair(Timers{})
	na.permit.Store(false)
	l.eventually("detection by the peer", sb, func(s Status) bool { return s.Detections > 0 })
	l.eventually("the end of the session", sa, func(s Status) bool {
		return isDown(s) && s.Withheld > 0
	})
	if s := sb.Status(); s.LastDown != DetectionTimeExpired.String() {
		t.Errorf("%+v", s)
	}
	na.permit.Store(true)
	l.eventually("session of a", sa, isUp)
	l.eventually("session of b", sb, isUp)
	if !nb.saw(func(s Status) bool { return s.Diagnostic == DetectionTimeExpired }) {
		t.Error("OnChange did not receive the detection")
	}
	if log := na.log.String(); !strings.Contains(log, "BFD is not permitted") ||
		!strings.Contains(log, "BFD is permitted again") {
		t.Errorf("log: %s", log)
	}
}

// TestB8StopIsNoFailure: the peer sees AdminDown, not silence, and the session ends.
func TestB8StopIsNoFailure(t *testing.T) {
	l := newLab(t)
	na, nb, sa, sb := l.pair(steady)
	if err := sa.SetTimers(Timers{Multiplier: 2}); err != nil {
		t.Error(err)
	}
	sa.Stop(AdministrativelyDown)
	if s := sa.Status(); s.State != AdminDown || s.Diagnostic != AdministrativelyDown {
		t.Errorf("%+v", s)
	}
	testutil.Eventually(t, "AdminDown at the peer", func() bool {
		return nb.saw(func(s Status) bool {
			return isDown(s) && s.Remote.State == AdminDown && s.Diagnostic == NeighborSignaledDown &&
				s.Remote.Diagnostic == AdministrativelyDown && s.Detections == 0
		})
	})
	<-sa.Done()
	if !na.saw(func(s Status) bool { return s.State == AdminDown }) {
		t.Error("OnChange did not receive AdminDown")
	}
	// A session that follows is another one.
	next := l.add(na, SessionConfig{Peer: l.b.Addr(true), Timers: steady})
	l.eventually("next session", next, isUp)
	l.eventually("session of b", sb, isUp)
}

// TestB8TimersChangeWithinTheSession in both directions, by a Poll Sequence.
func TestB8TimersChangeWithinTheSession(t *testing.T) {
	l := newLab(t)
	_, _, sa, sb := l.pair(steady)
	for _, interval := range []time.Duration{500 * time.Millisecond, 20 * time.Millisecond} {
		timers := Timers{TransmitInterval: interval, ReceiveInterval: interval, Multiplier: 200}
		l.must(sa.SetTimers(timers))
		l.must(sb.SetTimers(timers))
		for _, one := range []*Session{sa, sb} {
			l.eventually("timers", one, func(s Status) bool {
				return s.TransmitInterval == interval && s.DetectionTime == 200*interval
			})
			if s := one.Status(); s.State != Up || s.LastDown != "" {
				t.Errorf("%+v", s)
			}
		}
	}
}

// TestB8SilenceIsDetected by both ends, and a process that starts again finds its peer.
func TestB8SilenceIsDetected(t *testing.T) {
	l := newLab(t)
	na, _, sa, sb := l.pair(Timers{})
	l.must(l.Partition(l.a, l.b))
	for _, one := range []*Session{sa, sb} {
		l.eventually("detection", one, func(s Status) bool { return isDown(s) && s.Detections > 0 })
	}
	l.must(l.Heal())
	l.eventually("session of a", sa, isUp)
	l.eventually("session of b", sb, isUp)

	na.stop()
	<-sa.Done()
	next := l.add(l.run(l.a), SessionConfig{Peer: l.b.Addr(true)})
	l.eventually("next session of a", next, isUp)
	l.eventually("session of b", sb, func(s Status) bool {
		return isUp(s) && s.Remote.Discriminator == next.discriminator
	})
}
