package bgp

import (
	"errors"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kvip/kvip/test/lab/wait"
)

// routesOf returns SetRoutes' argument: the same routes for each peer.
func routesOf(routes []Route, peers ...string) map[string][]Route {
	all := map[string][]Route{}
	for _, p := range peers {
		all[p] = routes
	}
	return all
}

// TestB14RoutesArriveAndChange: the first table, one UPDATE for a change, a withdrawal, and a
// refresh, with the Status that belongs to each.
func TestB14RoutesArriveAndChange(t *testing.T) {
	tor := listen(t, "127.0.0.1")
	s, _ := runSpeaker(t, Config{}, tor.config("tor", nil))
	a, b := route("198.51.100.1/32"), route("198.51.100.2/32")
	s.SetRoutes(routesOf([]Route{a, b}, "tor"))
	session := tor.session(t)
	session.has(t, "198.51.100.1/32", "198.51.100.2/32")
	wait.Eventually(t, patience, "the acknowledgement", func() bool { return s.Flushed("tor") })
	status := statusOf(t, s, "tor")
	if !status.Established() || status.Routes != [families]int{2, 0} || status.PeerAS != 65000 ||
		status.HoldTime != DefaultHoldTime || status.NextHops[IPv4] != status.Local ||
		status.Sessions != 1 || status.Reason != "" || status.Address.String() != "127.0.0.1" {
		t.Errorf("%+v", status)
	}

	before := session.look()
	b.Worse = true
	s.SetRoutes(routesOf([]Route{a, b}, "tor"))
	wait.Eventually(t, patience, "the worse path", func() bool {
		return strings.Contains(session.look().routes[b.Prefix], "ffff0000")
	})
	if after := session.look(); after.updates != before.updates+1 || after.ends != before.ends {
		t.Errorf("%d UPDATEs more and %d ends, want one UPDATE", after.updates-before.updates,
			after.ends-before.ends)
	}
	s.SetRoutes(routesOf([]Route{b}, "tor"))
	session.has(t, "198.51.100.2/32")
	before = session.look()
	session.write(t, wire(5, 0, 1, 0, 1))
	wait.Eventually(t, patience, "the refresh", func() bool {
		return session.look().updates > before.updates
	})
	session.has(t, "198.51.100.2/32")
	if got := statusOf(t, s, "tor").Sessions; got != 1 {
		t.Errorf("%d sessions, want one for all changes", got)
	}
}

// TestB11SessionsOutliveChanges: what is in no OPEN and on no socket ends no session, and what is
// ends the session of that peer alone.
func TestB11SessionsOutliveChanges(t *testing.T) {
	tor1, tor2 := listen(t, "127.0.0.1"), listen(t, "127.0.0.1")
	s, _ := runSpeaker(t, Config{}, tor1.config("tor1", nil), tor2.config("tor2", nil))
	s.SetRoutes(routesOf([]Route{route("198.51.100.1/32"), route("198.51.100.2/32")}, "tor1", "tor2"))
	first, second := tor1.session(t), tor2.session(t)
	first.has(t, "198.51.100.1/32", "198.51.100.2/32")
	second.has(t, "198.51.100.1/32", "198.51.100.2/32")
	fewer := tor1.config("tor1", func(c *PeerConfig) {
		c.MaximumPrefixes, c.Keepalive = 1, time.Second
		c.NextHops[IPv4] = netip.MustParseAddr("192.0.2.1")
	})
	if err := s.SetPeers([]PeerConfig{fewer, tor2.config("tor2", nil)}); err != nil {
		t.Fatal(err)
	}
	first.has(t, "198.51.100.1/32")
	wait.Eventually(t, patience, "the next hop and the refusal", func() bool {
		now := first.look().routes[netip.MustParsePrefix("198.51.100.1/32")]
		return strings.Contains(now, "192.0.2.1") && statusOf(t, s, "tor1").Refused == 1
	})
	longer := tor2.config("tor2", func(c *PeerConfig) { c.HoldTime = 30 * time.Second })
	if err := s.SetPeers([]PeerConfig{fewer, longer}); err != nil {
		t.Fatal(err)
	}
	again := tor2.session(t)
	if second.look().closed == nil {
		t.Error("the peer has two sessions")
	}
	second.over(t, "cease: other configuration change")
	again.has(t, "198.51.100.1/32", "198.51.100.2/32")
	if again.open.HoldTime != 30 {
		t.Errorf("hold time %d", again.open.HoldTime)
	}
	if now := first.look(); now.closed != nil || statusOf(t, s, "tor1").Sessions != 1 {
		t.Errorf("the other session ended: %v", now.closed)
	}
	// A peer that is gone, and the end of all.
	if err := s.SetPeers([]PeerConfig{fewer}); err != nil {
		t.Fatal(err)
	}
	again.over(t, "cease: peer de-configured")
	if list := s.Status(); len(list) != 1 {
		t.Errorf("%d peers are left", len(list))
	}
}

// TestStopSaysWhy: each peer receives a Cease with a text before Run returns.
func TestStopSaysWhy(t *testing.T) {
	tor := listen(t, "127.0.0.1")
	var states atomic.Pointer[[]State]
	states.Store(new([]State))
	var s *Speaker
	s, stop := runSpeaker(t, Config{OnChange: func(now Status) {
		list := append(*states.Load(), now.State)
		states.Store(&list)
	}}, tor.config("tor", nil))
	session := tor.session(t)
	session.has(t)
	stop()
	session.over(t, "cease: administrative shutdown (kvip stops)")
	want := []State{Connect, OpenSent, OpenConfirm, Established, Idle}
	got := *states.Load()
	if len(got) < 4 || got[0] != want[0] || got[len(got)-1] != Idle || got[len(got)-2] != Established {
		t.Errorf("states %v, want %v", got, want)
	}
	if status := statusOf(t, s, "tor"); status.State != Idle || status.Reason != "kvip stops" {
		t.Errorf("%+v", status)
	}
	// Changes after the end lead to nothing.
	if err := s.SetPeers([]PeerConfig{tor.config("other", nil)}); err != nil {
		t.Fatal(err)
	}
	s.SetRoutes(nil)
	if err := s.SetPeers(nil); err != nil || !s.Flushed("tor") {
		t.Errorf("%v, or something is to be sent", err)
	}
}

// TestB6NotPermittedSaysNothing: the connection is closed without a byte, nothing makes the speaker
// send, and the session comes back with the permission.
func TestB6NotPermittedSaysNothing(t *testing.T) {
	for name, change := range map[string]bool{"idle": false, "routes change": true} {
		t.Run(name, func(t *testing.T) {
			tor := listen(t, "127.0.0.1")
			var forbidden atomic.Bool
			s, _ := runSpeaker(t, Config{Permit: func() bool { return !forbidden.Load() }}, slowPeer(tor))
			s.SetRoutes(routesOf([]Route{route("198.51.100.1/32")}, "tor"))
			session := tor.session(t)
			session.has(t, "198.51.100.1/32")
			before := session.look()
			forbidden.Store(true)
			if change { // else the next thing to do is a KEEPALIVE after 30 s
				s.SetRoutes(routesOf([]Route{route("198.51.100.2/32")}, "tor"))
			}
			session.over(t, "")
			if now := session.look(); now.updates != before.updates || now.keepalives != before.keepalives {
				t.Errorf("%d UPDATEs and %d KEEPALIVEs without permission", now.updates-before.updates,
					now.keepalives-before.keepalives)
			}
			reason(t, s, "tor", "has not decided lately")
			s.SetRoutes(routesOf([]Route{route("198.51.100.2/32")}, "tor"))
			forbidden.Store(false)
			tor.session(t).has(t, "198.51.100.2/32")
		})
	}
}

// TestB6EachMessageNeedsPermission: it is withdrawn between the question at the begin of a turn and
// the message.
func TestB6EachMessageNeedsPermission(t *testing.T) {
	tor := listen(t, "127.0.0.1")
	var left atomic.Int64 // how often the answer is yes
	left.Store(1 << 40)
	s, _ := runSpeaker(t, Config{Permit: func() bool { return left.Add(-1) >= 0 }},
		tor.config("tor", nil))
	session := tor.session(t)
	session.has(t)
	left.Store(1)
	s.SetRoutes(routesOf([]Route{route("198.51.100.1/32")}, "tor"))
	session.over(t, "")
	if now := session.look(); now.updates != 0 {
		t.Errorf("%d UPDATEs without permission", now.updates)
	}
}

// TestB6NotPermittedWhileThePeerDoesNotRead: a write that waits for the peer ends, too.
func TestB6NotPermittedWhileThePeerDoesNotRead(t *testing.T) {
	tor := listen(t, "127.0.0.1", smallBuffer)
	var forbidden atomic.Bool
	s, _ := runSpeaker(t, Config{Permit: func() bool { return !forbidden.Load() }}, slowPeer(tor))
	s.SetRoutes(routesOf(manyRoutes(tooMany), "tor"))
	tor.handshake(t)
	blocked(t, s)
	forbidden.Store(true)
	reason(t, s, "tor", "has not decided lately")
}

// TestB9RestartKeepsRoutes: an agent that leaves with graceful restart sends no NOTIFICATION, and
// its successor sends no End-of-RIB before it has routes. The R bit is in the first OPEN only.
func TestB9RestartKeepsRoutes(t *testing.T) {
	tor := listen(t, "127.0.0.1")
	cfg := tor.config("tor", func(c *PeerConfig) { c.GracefulRestart = 10 * time.Second })
	s, stop := runSpeaker(t, Config{}, cfg)
	s.SetRoutes(routesOf([]Route{route("198.51.100.1/32")}, "tor"))
	session := tor.session(t)
	if session.restarting {
		t.Error("the R bit is set without a restart")
	}
	session.has(t, "198.51.100.1/32")
	stop()
	session.over(t, "")

	s, stop = runSpeaker(t, Config{Restarted: true}, cfg)
	session = tor.session(t)
	if !session.restarting {
		t.Error("the R bit is not set after a restart")
	}
	wait.Eventually(t, patience, "the session", func() bool {
		return statusOf(t, s, "tor").Established()
	})
	session.write(t, wire(2, 0, 0, 0, 0)) // one turn more
	wait.Eventually(t, patience, "another turn", func() bool {
		return statusOf(t, s, "tor").UpdatesIgnored == 1
	})
	if now := session.look(); now.ends+now.updates != 0 {
		t.Errorf("%d ends and %d UPDATEs before there are routes", now.ends, now.updates)
	}
	s.SetRoutes(routesOf([]Route{route("198.51.100.1/32")}, "tor"))
	session.has(t, "198.51.100.1/32")
	_ = session.conn.Close()
	if tor.session(t).restarting {
		t.Error("the R bit is set after a lost connection")
	}
	stop()
}

// TestB9HardReset: a peer that is removed must not keep the routes.
func TestB9HardReset(t *testing.T) {
	tor := listen(t, "127.0.0.1")
	s, _ := runSpeaker(t, Config{}, tor.config("tor", func(c *PeerConfig) {
		c.GracefulRestart = 10 * time.Second
	}))
	session := tor.session(t)
	session.has(t)
	if err := s.SetPeers(nil); err != nil {
		t.Fatal(err)
	}
	session.over(t, "cease: hard reset: cease: peer de-configured")
}

// TestB12UnusablePeerHasNoSession, until it is usable.
func TestB12UnusablePeerHasNoSession(t *testing.T) {
	tor := listen(t, "127.0.0.1")
	s, stop := runSpeaker(t, Config{}, tor.config("tor", func(c *PeerConfig) {
		c.Unusable = "Secret kube-system/tor: not found"
	}))
	reason(t, s, "tor", "not found")
	if err := s.SetPeers([]PeerConfig{tor.config("tor", nil)}); err != nil {
		t.Fatal(err)
	}
	session := tor.session(t)
	session.has(t)
	if err := s.SetPeers([]PeerConfig{tor.config("tor", func(c *PeerConfig) {
		c.Unusable = "Secret kube-system/tor: no key password"
	})}); err != nil {
		t.Fatal(err)
	}
	session.over(t, "cease: other configuration change")
	reason(t, s, "tor", "no key")
	stop() // an unusable peer does not hold up the end
}

// TestDiscovery: the address is asked for before each connection.
func TestDiscovery(t *testing.T) {
	tor := listen(t, "127.0.0.1")
	var known atomic.Bool
	find := func(d Discovery) (netip.Addr, error) {
		if d.Interface != "eth0" || !known.Load() {
			return netip.Addr{}, errors.New("no router on eth0")
		}
		return netip.MustParseAddr("::ffff:127.0.0.1"), nil
	}
	s, _ := runSpeaker(t, Config{Discover: find}, tor.config("tor", func(c *PeerConfig) {
		c.Address, c.Discover.Interface = netip.Addr{}, "eth0"
	}), tor.config("other", func(c *PeerConfig) {
		c.Address, c.Discover.Gateway = netip.Addr{}, true
	}))
	reason(t, s, "tor", "no router on eth0")
	known.Store(true)
	tor.session(t).has(t)
	if got := statusOf(t, s, "tor").Address.String(); got != "127.0.0.1" {
		t.Errorf("address %s", got)
	}
	reason(t, s, "other", "no router on eth0")
}

// TestFamilies: a session over IPv6 carries both, with next hops of RFC 8950 or of the link, and a
// family without one is not announced.
func TestFamilies(t *testing.T) {
	tor := listen(t, "::1")
	var link atomic.Pointer[netip.Addr]
	link.Store(&netip.Addr{})
	s, _ := runSpeaker(t, Config{LinkAddress: func(local netip.Addr, f Family) (netip.Addr, error) {
		if f == IPv6 || local != addr("::1") {
			return netip.Addr{}, nil
		}
		return *link.Load(), nil
	}}, tor.config("tor", func(c *PeerConfig) { c.Families = []Family{IPv6, IPv4} }))
	routes := routesOf([]Route{route("198.51.100.1/32"), route("2001:db8::1/128")}, "tor")
	s.SetRoutes(routes)
	session := tor.session(t)
	session.has(t, "198.51.100.1/32", "2001:db8::1/128")
	hop := func(want string) {
		t.Helper()
		wait.Eventually(t, patience, "next hop "+want, func() bool {
			now := session.look().routes
			return strings.Contains(now[netip.MustParsePrefix("198.51.100.1/32")], "next hop "+want)
		})
	}
	hop("::1") // the fake peer knows RFC 8950
	address := netip.MustParseAddr("192.0.2.1")
	link.Store(&address)
	s.SetRoutes(routes)
	hop("192.0.2.1")
	s.SetRoutes(routesOf([]Route{route("2001:db8::1/128")}, "tor"))
	session.has(t, "2001:db8::1/128")

	only4 := listen(t, "127.0.0.1")
	if err := s.SetPeers([]PeerConfig{only4.config("only4", nil)}); err != nil {
		t.Fatal(err)
	}
	s.SetRoutes(routesOf(routes["tor"], "only4"))
	only4.session(t).has(t, "198.51.100.1/32")
	wait.Eventually(t, patience, "the count", func() bool {
		return statusOf(t, s, "only4").Unreachable == 1
	})
}

// TestOneBadRouteEndsNoSession: it is counted, and the others are announced.
func TestOneBadRouteEndsNoSession(t *testing.T) {
	tor := listen(t, "127.0.0.1")
	s, _ := runSpeaker(t, Config{}, tor.config("tor", nil))
	large := route("198.51.100.9/32")
	large.Communities = make([]uint32, 5000)
	s.SetRoutes(routesOf([]Route{{}, large, route("198.51.100.1/24"), route("198.51.100.1/32"),
		route("198.51.100.1/32")}, "tor"))
	tor.session(t).has(t, "198.51.100.1/32")
	wait.Eventually(t, patience, "the count", func() bool {
		return statusOf(t, s, "tor").Invalid == 4
	})
}

// TestSetPeersRefuses: what is wrong is returned, and the others take effect.
func TestSetPeersRefuses(t *testing.T) {
	tor := listen(t, "127.0.0.1")
	s, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	bad := tor.config("bad", func(c *PeerConfig) { c.LocalAS = 0 })
	good := tor.config("good", nil)
	err = s.SetPeers([]PeerConfig{bad, good, good})
	if err == nil || !strings.Contains(err.Error(), "bad: LocalAS") ||
		!strings.Contains(err.Error(), "good: the name is in use") || len(s.Status()) != 1 {
		t.Errorf("%v with %d peers", err, len(s.Status()))
	}
	var many []PeerConfig
	for i := range MaxPeers + 1 {
		many = append(many, tor.config(strings.Repeat("x", i+1), nil))
	}
	if err := s.SetPeers(many); err == nil || len(s.Status()) != MaxPeers {
		t.Errorf("%v with %d peers", err, len(s.Status()))
	}
	changed := tor.config("good", func(c *PeerConfig) { c.HoldTime = time.Minute })
	for _, list := range [][]PeerConfig{{good}, {changed}, {}, {good}} { // before Run
		if err := s.SetPeers(list); err != nil {
			t.Error(err)
		}
	}
	if !s.Flushed("good") || !s.Flushed("unknown") {
		t.Error("a peer without a session is waited for")
	}
}

// TestB9RestartWithoutAPasswordAtFirst: a peer whose Secret is read later receives the restart bit
// as well, or it drops the routes that it kept.
func TestB9RestartWithoutAPasswordAtFirst(t *testing.T) {
	s, err := New(Config{Restarted: true})
	if err != nil {
		t.Fatal(err)
	}
	waiting := testPeer()
	waiting.GracefulRestart, waiting.Unusable = MaxGracefulRestart, "no password yet"
	usable := waiting
	usable.Unusable = ""
	changed := usable
	changed.HoldTime = time.Minute
	for i, want := range []bool{true, true, false} {
		cfg := []PeerConfig{waiting, usable, changed}[i]
		if err := s.SetPeers([]PeerConfig{cfg}); err != nil {
			t.Fatal(err)
		}
		if got := s.peers[cfg.Name].restarting; got != want {
			t.Errorf("step %d: restarting %v, want %v", i, got, want)
		}
	}
}
