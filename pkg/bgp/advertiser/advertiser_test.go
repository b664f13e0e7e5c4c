package advertiser

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/kvip/kvip/pkg/bgp"
	"github.com/kvip/kvip/pkg/bgp/policy"
)

// peer returns a peer at an address of 192.0.2.0/24.
func peer(name string, host byte) policy.Peer {
	return policy.Peer{PeerConfig: bgp.PeerConfig{
		Name: name, LocalAS: 65010, PeerAS: 65000, RouterID: netip.MustParseAddr("192.0.2.99"),
		Address: netip.AddrFrom4([4]byte{192, 0, 2, host}),
	}, Object: name}
}

var all = []policy.Advertisement{{Name: "all"}}

func newTestAdvertiser(t *testing.T) *Advertiser {
	t.Helper()
	a, err := New(Config{Node: policy.Node{Name: "n", Labels: map[string]string{"rack": "1"}}})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// sessionNames returns the names of the sessions.
func sessionNames(a *Advertiser) (names []string) {
	for _, s := range a.Status() {
		names = append(names, s.Name)
	}
	return names
}

// given renders the routes that the speaker was given.
func given(a *Advertiser) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	text := ""
	for _, peer := range slices.Sorted(keys(a.routes())) {
		text += peer + ":"
		for _, r := range a.routes()[peer] {
			text += fmt.Sprintf(" %v", r.Prefix.Addr())
		}
		text += "; "
	}
	return text
}

func keys(m map[string][]bgp.Route) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// TestOneSessionWithARouter: the control plane and Services share the session with a router, and
// the routes of Services are those that its object selects (B13).
func TestOneSessionWithARouter(t *testing.T) {
	a := newTestAdvertiser(t)
	vip := policy.Address{Addr: netip.MustParseAddr("198.51.100.1"), ControlPlane: true}
	web := policy.Address{Addr: netip.MustParseAddr("203.0.113.1"), Pool: "p"}
	if err := a.SetPeers(ControlPlane, []policy.Peer{peer("192.0.2.1", 1), peer("192.0.2.3", 3)},
		all); err != nil {
		t.Fatal(err)
	}
	ads := []policy.Advertisement{{Name: "a", Peers: []string{"r1", "r2"}}}
	if err := a.SetPeers(Services, []policy.Peer{peer("r1", 1), peer("r2", 2)}, ads); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(sessionNames(a)); got != "[192.0.2.1 192.0.2.3 r2]" {
		t.Errorf("sessions %s", got)
	}
	a.SetAddresses(ControlPlane, []policy.Address{vip})
	a.SetAddresses(Services, []policy.Address{web})
	const want = "192.0.2.1: 198.51.100.1 203.0.113.1; 192.0.2.3: 198.51.100.1; r2: 203.0.113.1; "
	if got := given(a); got != want {
		t.Errorf("routes %q, want %q", got, want)
	}
}

// TestRoutersThatAreDescribedTwice: a router has one session with a node, whether it is found by
// its address or as the gateway. The control plane's configuration wins (B13).
func TestRoutersThatAreDescribedTwice(t *testing.T) {
	gateway := peer("gateway", 0)
	gateway.Address, gateway.Discover = netip.Addr{}, bgp.Discovery{Gateway: true}
	found := routers{gateway.Discover: netip.MustParseAddr("192.0.2.1")}
	withSource := peer("source", 1)
	withSource.Source = netip.MustParseAddr("192.0.2.99")
	others := []policy.Peer{peer("r1", 1), peer("r2", 2), peer("again", 2), withSource}
	noPassword := peer("rack1", 1)
	noPassword.Unusable = "no password"
	for name, c := range map[string]struct {
		own, others []policy.Peer
		found       routers
		deferred    string
		want        string // those without a session have !, and shared ones = and the session
	}{
		"the gateway is another router": {[]policy.Peer{gateway}, others, routers{}, "",
			"gateway r1 r2 again! source!"},
		"the gateway is known": {[]policy.Peer{gateway}, others, found, "",
			"gateway r2 again! source! r1=gateway"},
		"twice by flags": {[]policy.Peer{gateway, peer("192.0.2.1", 1)}, others, found, "",
			"gateway 192.0.2.1! r2 again! source! r1=gateway"},
		"deferred": {nil, others, found, "later", "r1! r2! again! source!"},
		"one file for both": {[]policy.Peer{peer("rack1", 1)}, []policy.Peer{peer("rack1", 1)}, nil, "",
			"rack1 rack1=rack1"},
		"the name of another router": {[]policy.Peer{peer("rack1", 1), peer("rack2", 2)},
			[]policy.Peer{peer("rack1", 2)}, nil, "", "rack1 rack2 rack1=rack2"},
		"the name of a third router": {[]policy.Peer{peer("rack1", 1)}, []policy.Peer{peer("rack1", 3)},
			nil, "", "rack1 and errors"},
		"three of one router, without a password": {nil,
			[]policy.Peer{noPassword, peer("b", 1), peer("c", 1)}, nil, "", "rack1! b c!"},
		"the usable one is shared": {[]policy.Peer{noPassword, peer("b", 1)},
			[]policy.Peer{peer("r1", 1)}, nil, "", "rack1! b r1=b"},
	} {
		s := newSessions(c.own, c.others, c.found, c.deferred)
		var got []string
		for _, cfg := range s.configs() {
			got = append(got, cfg.Name)
			if cfg.Unusable != "" {
				got[len(got)-1] += "!"
			}
		}
		for _, one := range s.shared {
			got = append(got, one.peer.Name+"="+one.own)
		}
		if len(s.failed) > 0 {
			got = append(got, "and errors")
		}
		if text := strings.Join(got, " "); text != c.want {
			t.Errorf("%s: %s, want %s", name, text, c.want)
		}
	}
}

// TestB13NamesOfPeers: an object of the API ends no session of the control plane and takes no
// routes of another peer, whatever its name is, and its errors are not those of the control plane.
func TestB13NamesOfPeers(t *testing.T) {
	a := newTestAdvertiser(t)
	third := peer("rack1", 3)
	swapped := peer("rack1", 2)
	swapped.Object = "object"
	for _, peers := range [][]policy.Peer{{third}, {swapped}} {
		if err := a.SetPeers(Services, peers, []policy.Advertisement{{
			Name: "a", Peers: []string{"object", "rack1"},
		}}); err != nil {
			t.Errorf("before there are others: %v", err)
		}
		if err := a.SetPeers(ControlPlane, []policy.Peer{peer("rack1", 1), peer("rack2", 2)},
			all); err != nil {
			t.Errorf("an error of Services: %v", err)
		}
		if got := fmt.Sprint(sessionNames(a)); got != "[rack1 rack2]" {
			t.Errorf("sessions %s", got)
		}
		if err := a.SetPeers(ControlPlane, nil, nil); err != nil {
			t.Error(err)
		}
	}
	if err := a.SetPeers(ControlPlane, []policy.Peer{peer("rack1", 1), peer("rack2", 2)},
		all); err != nil {
		t.Error(err)
	}
	a.SetAddresses(ControlPlane, []policy.Address{{
		Addr: netip.MustParseAddr("198.51.100.1"), ControlPlane: true,
	}})
	a.SetAddresses(Services, []policy.Address{{Addr: netip.MustParseAddr("203.0.113.1"), Pool: "p"}})
	if got, want := given(a), "rack1: 198.51.100.1 203.0.113.1; "+
		"rack2: 198.51.100.1 203.0.113.1; "; got != want {
		t.Errorf("routes %q, want %q", got, want)
	}
	err := a.SetPeers(Services, []policy.Peer{third}, all)
	if err == nil || !strings.Contains(err.Error(), "rename one of them") {
		t.Errorf("a name in use: %v", err)
	}
}

// TestLostRouter: a router that is not found for a moment stays the same.
func TestLostRouter(t *testing.T) {
	a := newTestAdvertiser(t)
	gateway := bgp.Discovery{Gateway: true}
	a.peers[Services] = []policy.Peer{{PeerConfig: bgp.PeerConfig{Discover: gateway}}}
	first, second := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	for i, step := range []struct {
		found   routers
		want    netip.Addr
		changed bool
	}{
		{routers{}, netip.Addr{}, false}, {routers{gateway: first}, first, true},
		{routers{}, first, false}, {routers{gateway: second}, second, true},
	} {
		if changed := a.keepRouters(step.found); changed != step.changed ||
			a.routers[gateway] != step.want {
			t.Errorf("step %d: %v, changed %v", i, a.routers, changed)
		}
	}
	a.peers[Services] = nil
	if !a.keepRouters(routers{}) || len(a.routers) != 0 {
		t.Errorf("a router that no peer needs is kept: %v", a.routers)
	}
}

// TestDefer: sessions of Services end, and come back.
func TestDefer(t *testing.T) {
	a := newTestAdvertiser(t)
	if err := a.SetPeers(Services, []policy.Peer{peer("r1", 1)}, all); err != nil {
		t.Fatal(err)
	}
	for _, reason := range []string{"another agent has them", ""} {
		if err := a.Defer(reason); err != nil {
			t.Fatal(err)
		}
		if got := a.Status(); len(got) != 1 || got[0].Reason != reason {
			t.Errorf("deferred %q: %+v", reason, got)
		}
	}
}

// TestB9ServicesWaitForTheirAddresses: a peer that may have kept routes is given none before the
// addresses are known.
func TestB9ServicesWaitForTheirAddresses(t *testing.T) {
	a := newTestAdvertiser(t)
	if err := a.SetPeers(Services, []policy.Peer{peer("r1", 1)}, all); err != nil {
		t.Fatal(err)
	}
	if got := given(a); got != "" {
		t.Errorf("before: %q", got)
	}
	a.SetAddresses(Services, nil)
	if got := given(a); got != "r1:; " {
		t.Errorf("without addresses: %q", got)
	}
}

// TestPeersOfOtherNodes have no session, until a label changes.
func TestPeersOfOtherNodes(t *testing.T) {
	a := newTestAdvertiser(t)
	mine, other := peer("r1", 1), peer("r2", 1)
	mine.Nodes = []policy.Selector{{{Key: "rack", Operator: policy.In, Values: []string{"1"}}}}
	other.Nodes = []policy.Selector{{{Key: "rack", Operator: policy.In, Values: []string{"2"}}}}
	if err := a.SetPeers(Services, []policy.Peer{mine, other}, all); err != nil {
		t.Fatal(err)
	}
	for _, rack := range []string{"1", "2", "1"} {
		if err := a.SetLabels(map[string]string{"rack": rack}); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(sessionNames(a)); got != "[r"+rack+"]" {
			t.Errorf("rack %s: %s", rack, got)
		}
	}
}

// TestOneBadPeerHoldsUpNoOther: it is reported.
func TestOneBadPeerHoldsUpNoOther(t *testing.T) {
	a := newTestAdvertiser(t)
	bad := peer("bad", 2)
	bad.LocalAS = 0
	err := a.SetPeers(Services, []policy.Peer{bad, peer("r1", 1)}, all)
	if got := fmt.Sprint(sessionNames(a)); err == nil || got != "[r1]" {
		t.Errorf("%s, %v", got, err)
	}
}
