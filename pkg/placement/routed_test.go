package placement

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// elsewhere is in no network of the nodes that node makes.
var elsewhere = netip.MustParseAddr("203.0.113.80")

// TestB5Routed: all eligible nodes serve a routed address, some worse than others.
func TestB5Routed(t *testing.T) {
	for _, row := range []struct {
		name    string
		addr    Address
		nodes   string
		servers string // name, and the reason why it is worse
		node    string
		reason  Reason
	}{
		{"no node", Address{}, "", "", "", ReasonNoNode},
		{"every node", Address{}, "a b c", "a b c", "a", ReasonRouted},
		{"not the dead", Address{}, "a- b", "b", "b", ReasonRouted},
		{"all dead", Address{}, "a- b-", "", "", ReasonNotAlive},
		{"links do not matter", Address{Link: "eth7"}, "an bo", "a b", "a", ReasonRouted},
		{"a cordoned node is worse", Address{}, "ac b", "a:Cordoned b", "b", ReasonRouted},
		{"an excluded one too", Address{}, "ax b", "a:ExcludedByLabel b", "b", ReasonRouted},
		{"one that is not ready", Address{}, "ar bu", "a:NodeNotReady b:NetworkUnavailable", "a",
			ReasonRouted},
		{"all cordoned", Address{}, "ac bc", "a:Cordoned b:Cordoned", "a", ReasonRouted},
		{"one that cannot carry it is none", Address{}, "af b", "b", "b", ReasonRouted},
		{"none can carry it", Address{}, "af", "", "", ReasonCannotCarry},
		{"local endpoints", local(Endpoints{"a": Ready}), "a b", "a", "a", ReasonRouted},
		{"terminating ones are worse", local(Endpoints{"a": ServingTerminating, "b": Ready}), "a b",
			"a:EndpointTerminating b", "b", ReasonRouted},
		{"no endpoint", local(Endpoints{}), "a b", "", "", ReasonNoLocalEndpoint},
		{"two Services: one of them is enough",
			local(Endpoints{"a": Ready}, Endpoints{"b": ServingTerminating}), "a b c",
			"a b:EndpointTerminating", "a", ReasonRouted},
		{"a Cluster Service beside a Local one",
			Address{Local: []Endpoints{{"a": Ready}}, Cluster: true}, "a b", "a b", "a", ReasonRouted},
	} {
		row.addr.Addr, row.addr.Routed = elsewhere, true
		list := nodes(row.nodes)
		d := Choose(row.addr, list)
		var servers []string
		for _, s := range d.Servers {
			servers = append(servers, strings.TrimSuffix(fmt.Sprintf("%s:%s", s.Node, s.Worse), ":"))
		}
		if got := strings.Join(servers, " "); got != row.servers || d.Node != row.node ||
			d.Reason != row.reason || !d.Routed {
			t.Errorf("%s: %q, %q, %s", row.name, got, d.Node, d.Reason)
		}
		e := Explain(row.addr, list)
		if len(e.Eligible) != len(d.Servers) || len(e.Eligible)+len(e.Rejected) != len(list) ||
			e.Node != d.Node || e.Reason != d.Reason {
			t.Errorf("%s: explained as %+v", row.name, e)
		}
		for _, n := range list {
			link, _, has := d.On(n.Name)
			if has != slices.Contains(e.Eligible, n.Name) || has != (link == Loopback) {
				t.Errorf("%s: on %s: %q, %v", row.name, n.Name, link, has)
			}
		}
	}
}

// TestB7NoRoutedAddressInANetworkOfTheNode: the node would answer its neighbours for it.
func TestB7NoRoutedAddressInANetworkOfTheNode(t *testing.T) {
	list := nodes("a bo")
	e := Explain(Address{Addr: vip, Routed: true}, list)
	if got := fmt.Sprint(e.Eligible, slices.Sorted(maps.Keys(e.Rejected))); got != "[b] [a]" ||
		e.Rejected["a"] != ReasonInSubnet {
		t.Errorf("%s, %s", got, e.Rejected["a"])
	}
	if d := Choose(Address{Addr: vip, Routed: true}, list[:1]); d.Reason != ReasonInSubnet {
		t.Errorf("%+v", d)
	}
}

// TestOn: a decision for one node.
func TestOn(t *testing.T) {
	d := Choose(Address{Addr: vip}, nodes("a"))
	if link, worse, has := d.On("a"); link != "eth0" || worse != "" || !has {
		t.Errorf("%q, %q, %v", link, worse, has)
	}
	for _, d := range []Decision{d, {}, {Routed: true}} {
		if _, _, has := d.On("b"); has {
			t.Errorf("%+v is on b", d)
		}
	}
	if _, _, has := (Decision{}).On(""); has {
		t.Error("no decision is on no node")
	}
}
