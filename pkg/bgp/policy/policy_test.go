package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/kvip/kvip/pkg/bgp"
)

var (
	a1 = netip.MustParseAddr("203.0.113.1")
	a2 = netip.MustParseAddr("203.0.113.2")
	v6 = netip.MustParseAddr("2001:db8::1")
)

func ptr(n uint32) *uint32 { return &n }

// named returns peers without selectors.
func named(names ...string) (list []Peer) {
	for _, n := range names {
		list = append(list, Peer{PeerConfig: bgp.PeerConfig{Name: n}})
	}
	return list
}

// shown renders routes: prefix, "!" if it is worse, and attributes that are set.
func shown(routes []bgp.Route) string {
	var list []string
	for _, r := range routes {
		text := r.Prefix.String()
		if r.Worse {
			text += "!"
		}
		if r.ControlPlane {
			text += " first"
		}
		if len(r.Communities) > 0 {
			text += fmt.Sprint(" ", r.Communities)
		}
		if r.LocalPref != nil {
			text += fmt.Sprint(" pref ", *r.LocalPref)
		}
		if r.Prepend > 0 {
			text += fmt.Sprint(" prepend ", r.Prepend)
		}
		list = append(list, text)
	}
	return strings.Join(list, ", ")
}

func TestRoutes(t *testing.T) {
	site := func(value string) []Selector {
		return []Selector{{{Key: "site", Operator: In, Values: []string{value}}}}
	}
	web := Address{Addr: a1, Pool: "p", PoolLabels: map[string]string{"site": "x"},
		Services: []map[string]string{{"app": "web"}, nil}}
	db := Address{Addr: a2, Pool: "q", Services: []map[string]string{nil}, Worse: true}
	vip := Address{Addr: a1, ControlPlane: true}
	for _, row := range []struct {
		name      string
		ads       []Advertisement
		addresses []Address
		want      string // of peer "r"
	}{
		{"no advertisement", nil, []Address{web}, ""},
		{"an empty one has all", []Advertisement{{Name: "a"}}, []Address{db, web},
			"203.0.113.1/32, 203.0.113.2/32!"},
		{"one pool", []Advertisement{{Name: "a", Pools: []string{"q"}}}, []Address{web, db},
			"203.0.113.2/32!"},
		{"a pool by label", []Advertisement{{Name: "a", PoolSelectors: site("x")}}, []Address{web, db},
			"203.0.113.1/32"},
		{"either", []Advertisement{{Name: "a", Pools: []string{"q"}, PoolSelectors: site("x")}},
			[]Address{web, db}, "203.0.113.1/32, 203.0.113.2/32!"},
		{"one of the Services", []Advertisement{{Name: "a", Services: []Selector{
			{{Key: "app", Operator: Exists}},
		}}}, []Address{web, db}, "203.0.113.1/32"},
		{"other nodes", []Advertisement{{Name: "a", Nodes: site("y")}}, []Address{web}, ""},
		{"this node", []Advertisement{{Name: "a", Nodes: site("n")}}, []Address{web},
			"203.0.113.1/32"},
		{"other peers", []Advertisement{{Name: "a", Peers: []string{"s"}}}, []Address{web}, ""},
		{"this peer", []Advertisement{{Name: "a", Peers: []string{"s", "r"}}}, []Address{web},
			"203.0.113.1/32"},
		{"without endpoints", []Advertisement{{Name: "a", WithdrawWithoutEndpoints: true}},
			[]Address{{Addr: a1, WithoutEndpoints: true}, db}, "203.0.113.2/32!"},
		{"the control plane first", []Advertisement{{Name: "a"}},
			[]Address{{Addr: v6, ControlPlane: true}, web}, "2001:db8::1/128 first, 203.0.113.1/32"},
		{"not by a pool", []Advertisement{{Name: "a", Pools: []string{"p"}}}, []Address{vip}, ""},
		{"an aggregate is worse only if all are",
			[]Advertisement{{Name: "a", AggregationLength: [2]int{bgp.IPv4: 24}}}, []Address{web, db},
			"203.0.113.0/24"},
		{"an aggregate of worse ones", []Advertisement{{Name: "a", AggregationLength: [2]int{24, 64}}},
			[]Address{db, {Addr: v6}}, "203.0.113.0/24!, 2001:db8::/64"},
		{"attributes of several", []Advertisement{
			{Name: "b", Attributes: bgp.Attributes{Communities: []uint32{3, 9}, LocalPref: ptr(7),
				Prepend: 2}},
			{Name: "a", Attributes: bgp.Attributes{Communities: []uint32{1, 3}, LocalPref: ptr(5)}},
		}, []Address{web}, "203.0.113.1/32 [1 3 9] pref 5 prepend 2"},
	} {
		node := Node{Name: "n", Labels: map[string]string{"site": "n"}}
		got := Routes(node, named("r"), row.ads, row.addresses)
		if text := shown(got["r"]); text != row.want {
			t.Errorf("%s: %q, want %q", row.name, text, row.want)
		}
	}
}

// TestPeersByObject: an advertisement selects each session of an object, and a node has the peers
// that select it.
func TestPeersByObject(t *testing.T) {
	peers := named("gw/ipv4", "gw/ipv6", "other")
	peers[0].Object, peers[1].Object = "gw", "gw"
	got := Routes(Node{}, peers, []Advertisement{{Name: "a", Peers: []string{"gw"}}},
		[]Address{{Addr: a1}})
	for name, want := range map[string]int{"gw/ipv4": 1, "gw/ipv6": 1, "other": 0} {
		if len(got[name]) != want {
			t.Errorf("%s has %s", name, shown(got[name]))
		}
	}
	peers[2].Nodes = []Selector{{{Key: "rack", Operator: In, Values: []string{"1"}}}}
	for rack, want := range map[string]int{"1": 3, "2": 2} {
		node := Node{Labels: map[string]string{"rack": rack}}
		if list := Peers(node, peers); len(list) != want {
			t.Errorf("rack %s has %d peers", rack, len(list))
		}
	}
}

func TestSelectors(t *testing.T) {
	labels := map[string]string{"a": "1", "b": ""}
	for _, row := range []struct {
		r    Requirement
		want bool
	}{
		{Requirement{"a", In, []string{"0", "1"}}, true},
		{Requirement{"a", In, []string{"0"}}, false},
		{Requirement{"c", In, []string{""}}, false},
		{Requirement{"a", NotIn, []string{"1"}}, false},
		{Requirement{"c", NotIn, []string{"1"}}, true},
		{Requirement{"b", Exists, nil}, true},
		{Requirement{"c", Exists, nil}, false},
		{Requirement{"c", DoesNotExist, nil}, true},
		{Requirement{"a", DoesNotExist, nil}, false},
		{Requirement{"a", "Like", nil}, false},
	} {
		if got := (Selector{row.r}).Matches(labels); got != row.want {
			t.Errorf("%v: %v", row.r, got)
		}
	}
	both := Selector{{"a", Exists, nil}, {"c", Exists, nil}}
	if both.Matches(labels) || !(Selector{}).Matches(nil) {
		t.Error("all requirements must hold, and none selects everything")
	}
	for _, r := range []Requirement{{"a", In, nil}, {"a", NotIn, nil}, {"a", Exists, []string{"1"}},
		{"a", "Like", []string{"1"}}} {
		if r.Check() == nil {
			t.Errorf("%v is valid", r)
		}
	}
	if !slices.Equal([]error{(Requirement{"a", In, []string{"1"}}).Check()}, []error{nil}) {
		t.Error("a valid one is refused")
	}
}
