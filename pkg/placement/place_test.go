package placement

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// lan is the subnet of all nodes that node makes, vip an address on it.
var (
	lan = netip.MustParsePrefix("192.0.2.0/24")
	vip = netip.MustParseAddr("192.0.2.80")
)

// node is alive, with eth0 on lan, but for its marks: "-" dead, "c" cordoned, "x" excluded, "o" off the lan,
// "n" without a link, "r" not ready, "u" without a network, "f" one that cannot carry addresses.
func node(name, marks string) Node {
	n := Node{
		Name: name, Alive: !strings.Contains(marks, "-"),
		Cordoned: strings.Contains(marks, "c"), Excluded: strings.Contains(marks, "x"),
		NotReady: strings.Contains(marks, "r"), NoNetwork: strings.Contains(marks, "u"),
		Links: []Link{{Name: "eth0", Subnets: []netip.Prefix{lan}}},
	}
	if strings.Contains(marks, "o") {
		n.Links = []Link{{Name: "eth1", Subnets: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}}}
	}
	if strings.Contains(marks, "f") {
		n.Unavailable = "broken by the test"
	}
	if strings.Contains(marks, "n") {
		n.Links = nil
	}
	return n
}

func ptr(s string) *string { return &s }

func TestChoose(t *testing.T) {
	for name, c := range map[string]struct {
		addr     Address
		nodes    []Node
		eligible string // the nodes, joined
		reason   Reason // of the decision, if it is not Chosen or OnlyNode by their number
		rejected map[string]Reason
	}{
		"no node":     {Address{}, nil, "", ReasonNoNode, nil},
		"three nodes": {Address{}, []Node{node("a", ""), node("b", ""), node("c", "")}, "a b c", "", nil},
		"the dead are not eligible": {Address{}, []Node{node("a", "-"), node("b", ""), node("c", "-")}, "b", "",
			map[string]Reason{"a": ReasonNotAlive, "c": ReasonNotAlive}},
		"all dead": {Address{}, []Node{node("a", "-"), node("b", "-")}, "", ReasonNotAlive,
			map[string]Reason{"a": ReasonNotAlive, "b": ReasonNotAlive}},
		"links and subnets": {Address{}, []Node{node("a", "o"), node("b", ""), node("c", "n")}, "b", "",
			map[string]Reason{"a": ReasonNoSubnet, "c": ReasonNoLink}},
		"the closest one gives the reason": {Address{}, []Node{node("a", "o"), node("b", "-"), node("c", "n")}, "", ReasonNoSubnet,
			map[string]Reason{"a": ReasonNoSubnet, "b": ReasonNotAlive, "c": ReasonNoLink}},
		"without a link": {Address{}, []Node{node("b", "-"), node("c", "n")}, "", ReasonNoLink,
			map[string]Reason{"b": ReasonNotAlive, "c": ReasonNoLink}},

		"S7: a cordoned node only if no other is left": {Address{}, []Node{node("a", "c"), node("b", ""), node("c", "x")}, "b", "",
			map[string]Reason{"a": ReasonCordoned, "c": ReasonExcluded}},
		"S7: excluded before cordoned": {Address{}, []Node{node("a", "c"), node("b", "-"), node("c", "x")}, "c", "",
			map[string]Reason{"a": ReasonCordoned, "b": ReasonNotAlive}},
		"S7: cordoned before both": {Address{}, []Node{node("a", "c"), node("b", "cx"), node("c", "-x")}, "a", "",
			map[string]Reason{"b": ReasonExcluded, "c": ReasonNotAlive}},
		"S7: cordoned and excluded before none": {Address{}, []Node{node("a", "cx"), node("b", "o")}, "a", "",
			map[string]Reason{"b": ReasonNoSubnet}},
		"S7: all cordoned": {Address{}, []Node{node("a", "c"), node("b", "c")}, "a b", "", nil},

		"a link by name": {Address{Link: "eth1"}, []Node{node("a", ""), node("b", "o")}, "b", "",
			map[string]Reason{"a": ReasonNoLink}},
		"a link by pattern needs no subnet": {Address{Link: "eth*"}, []Node{node("a", ""), node("b", "o"), node("c", "n")}, "a b", "",
			map[string]Reason{"c": ReasonNoLink}},
		"no such link":             {Address{Link: "wg?"}, []Node{node("a", "")}, "", ReasonNoLink, map[string]Reason{"a": ReasonNoLink}},
		"a pattern that is broken": {Address{Link: "eth["}, []Node{node("a", "")}, "", ReasonNoLink, map[string]Reason{"a": ReasonNoLink}},

		"a host": {Address{Host: "b"}, []Node{node("a", ""), node("b", "c")}, "b", "", map[string]Reason{"a": ReasonWrongHost}},
		"a dead host": {Address{Host: "b"}, []Node{node("a", ""), node("b", "-")}, "", ReasonNotAlive,
			map[string]Reason{"a": ReasonWrongHost, "b": ReasonNotAlive}},
		"an unknown host": {Address{Host: "z"}, []Node{node("a", "")}, "", ReasonHostUnknown, map[string]Reason{"a": ReasonWrongHost}},

		"local endpoints": {local(Endpoints{"a": Ready, "c": Ready}), []Node{node("a", ""), node("b", ""), node("c", "")}, "a c", "",
			map[string]Reason{"b": ReasonNoLocalEndpoint}},
		"local endpoints on dead nodes only": {local(Endpoints{"a": Ready}), []Node{node("a", "-"), node("b", "")}, "", ReasonNoLocalEndpoint,
			map[string]Reason{"a": ReasonNotAlive, "b": ReasonNoLocalEndpoint}},
		"no endpoint anywhere": {local(Endpoints{"a": 0}), []Node{node("a", ""), node("b", "")}, "", ReasonNoLocalEndpoint,
			map[string]Reason{"a": ReasonNoLocalEndpoint, "b": ReasonNoLocalEndpoint}},
		"no endpoint anywhere, and a Cluster Service": {Address{Local: []Endpoints{{}}, Cluster: true}, []Node{node("a", ""), node("b", "")}, "a b", "", nil},
		"terminating ones where no node has a ready one": {local(Endpoints{"a": ServingTerminating}),
			[]Node{node("a", ""), node("b", "")}, "a", "", map[string]Reason{"b": ReasonNoLocalEndpoint}},
		"no terminating ones where a node has a ready one": {local(Endpoints{"a": ServingTerminating, "b": Ready}),
			[]Node{node("a", ""), node("b", "")}, "b", "", map[string]Reason{"a": ReasonTerminating}},
		"a ready one that nobody can reach does not count": {local(Endpoints{"a": ServingTerminating, "b": Ready}),
			[]Node{node("a", ""), node("b", "-")}, "a", "", map[string]Reason{"b": ReasonNotAlive}},
		"a ready one on a cordoned node is better than a terminating one": {local(Endpoints{"a": ServingTerminating, "b": Ready}),
			[]Node{node("a", ""), node("b", "cx")}, "b", "", map[string]Reason{"a": ReasonTerminating}},
		"two Services, one node serves both": {local(Endpoints{"a": Ready, "b": Ready}, Endpoints{"b": Ready, "c": Ready}),
			[]Node{node("a", ""), node("b", ""), node("c", "")}, "b", "",
			map[string]Reason{"a": ReasonNoLocalEndpoint, "c": ReasonNoLocalEndpoint}},
		"two Services, no node serves both: the older one's": {local(Endpoints{"a": Ready}, Endpoints{"b": Ready}),
			[]Node{node("a", ""), node("b", "")}, "a", "", map[string]Reason{"b": ReasonNoLocalEndpoint}},
		"two Services, the older one's node is dead: the newer one's": {local(Endpoints{"a": Ready}, Endpoints{"b": Ready}),
			[]Node{node("a", "-"), node("b", ""), node("c", "")}, "b", "", map[string]Reason{"a": ReasonNotAlive, "c": ReasonNoLocalEndpoint}},
		"two Services, a Cluster one and one elsewhere": {Address{Local: []Endpoints{{"elsewhere": Ready}}, Cluster: true},
			[]Node{node("a", ""), node("b", "")}, "a b", "", nil},
		"two Services, a Cluster one and one on a node": {Address{Local: []Endpoints{{"b": Ready}}, Cluster: true},
			[]Node{node("a", ""), node("b", "")}, "b", "", map[string]Reason{"a": ReasonNoLocalEndpoint}},

		"S2: not ready and without a network: only if no other is left": {Address{}, []Node{node("a", "r"), node("b", "u"), node("c", "cx")}, "c", "",
			map[string]Reason{"a": ReasonNotReady, "b": ReasonNoNetwork}},
		"none is ready": {Address{}, []Node{node("a", "r"), node("b", "ru"), node("c", "r")}, "a c", "", map[string]Reason{"b": ReasonNoNetwork}},
		"an endpoint counts more than a ready node": {local(Endpoints{"a": Ready}), []Node{node("a", "r"), node("b", "")}, "a", "",
			map[string]Reason{"b": ReasonNoLocalEndpoint}},
		"one that cannot carry it after all others": {Address{}, []Node{node("a", "f"), node("b", "rucx"), node("c", "-")}, "b", "",
			map[string]Reason{"a": ReasonCannotCarry, "c": ReasonNotAlive}},
		"none can carry it": {Address{}, []Node{node("a", "f"), node("b", "fc")}, "a", ReasonCannotCarry, map[string]Reason{"b": ReasonCordoned}},
		"two Services, one without endpoints": {local(Endpoints{"a": Ready}, Endpoints{}),
			[]Node{node("a", ""), node("b", "")}, "a", "", map[string]Reason{"b": ReasonNoLocalEndpoint}},
		"two Services, the fewest terminating": {local(Endpoints{"a": Ready, "b": ServingTerminating}, Endpoints{"a": ServingTerminating, "b": ServingTerminating}),
			[]Node{node("a", "cx"), node("b", "")}, "a", "", map[string]Reason{"b": ReasonTerminating}},

		"with the control-plane VIP": {Address{Holder: ptr("b")}, []Node{node("a", ""), node("b", "-c")}, "b", ReasonHolder,
			map[string]Reason{"a": ReasonNotHolder}},
		"with the control-plane VIP held by nobody": {Address{Holder: ptr("")}, []Node{node("a", "")}, "", ReasonNotHeld,
			map[string]Reason{"a": ReasonNotHolder}},
	} {
		t.Run(name, func(t *testing.T) {
			c.addr.Addr = vip
			e := Explain(c.addr, c.nodes)
			if got := strings.Join(e.Eligible, " "); got != c.eligible {
				t.Errorf("eligible are %q, want %q", got, c.eligible)
			}
			if !maps.Equal(e.Rejected, c.rejected) {
				t.Errorf("rejected are %v, want %v", e.Rejected, c.rejected)
			}
			if want := reasonFor(c.reason, len(e.Eligible)); e.Reason != want {
				t.Errorf("the reason is %s, want %s", e.Reason, want)
			}
			if chosen := slices.Contains(e.Eligible, e.Node); chosen != (c.eligible != "") || (e.Node == "") == chosen {
				t.Errorf("%q was chosen", e.Node)
			}
		})
	}
}

func local(services ...Endpoints) Address { return Address{Local: services} }

func reasonFor(given Reason, eligible int) Reason {
	switch {
	case given != "":
		return given
	case eligible == 1:
		return ReasonOnlyNode
	}
	return ReasonChosen
}

// The control-plane VIP may be held where no agent for Services runs.
func TestHolderOutsideTheServices(t *testing.T) {
	e := Explain(Address{Addr: vip, Holder: ptr("cp")}, []Node{node("a", "")})
	if e.Node != "cp" || e.Link != "" || e.Reason != ReasonHolder || len(e.Eligible) != 0 {
		t.Errorf("%+v", e)
	}
	if e := Explain(Address{Addr: vip, Holder: ptr("a")}, []Node{node("a", "")}); e.Node != "a" || e.Link != "eth0" {
		t.Errorf("%+v", e)
	}
}

func TestLink(t *testing.T) {
	link := func(name string, subnets ...string) Link {
		l := Link{Name: name}
		for _, s := range subnets {
			l.Subnets = append(l.Subnets, netip.MustParsePrefix(s))
		}
		return l
	}
	for name, c := range map[string]struct {
		addr, pattern string
		links         []Link
		want          string
	}{
		"on the subnet":            {"192.0.2.1", "", []Link{link("eth1", "10.0.0.0/8"), link("eth0", "192.0.2.0/24")}, "eth0"},
		"the longest subnet":       {"192.0.2.1", "", []Link{link("a", "192.0.0.0/16"), link("z", "192.0.2.0/24", "192.0.0.0/8")}, "z"},
		"the first by name":        {"192.0.2.1", "", []Link{link("b", "192.0.2.0/24"), link("a", "192.0.2.0/24")}, "a"},
		"IPv6":                     {"2001:db8::1", "", []Link{link("a", "192.0.2.0/24"), link("b", "192.0.2.0/24", "2001:db8::/64")}, "b"},
		"IPv4 in IPv6":             {"::ffff:192.0.2.1", "", []Link{link("a", "192.0.2.0/24")}, "a"},
		"a default route, as such": {"192.0.2.1", "", []Link{link("a", "0.0.0.0/0")}, "a"},
		"not by its own presence":  {"192.0.2.1", "", []Link{link("a", "192.0.2.1/32")}, ""},
		"not by IPv6 presence":     {"2001:db8::1", "", []Link{link("a", "2001:db8::1/128")}, ""},
		"allowed and on a subnet":  {"192.0.2.1", "eth*", []Link{link("eth0"), link("eth1", "192.0.2.0/24"), link("br0", "192.0.2.0/30")}, "eth1"},
		"allowed, by name":         {"192.0.2.1", "eth*", []Link{link("eth2"), link("eth1")}, "eth1"},
		"a name that is a pattern": {"192.0.2.1", "eth[", []Link{link("eth0"), link("eth[")}, "eth["},
		"by another name":          {"192.0.2.1", "lan0", []Link{link("eth1"), {Name: "eth0", Names: []string{"lan0"}}}, "eth0"},
		"none by another name":     {"192.0.2.1", "lan1", []Link{{Name: "eth0", Names: []string{"lan0"}}}, ""},
		"selected by its node":     {"198.51.100.1", "", []Link{link("eth0"), {Name: "eth1", Selected: true}}, "eth1"},
		"not selected by its node": {"192.0.2.1", "", []Link{link("eth0", "192.0.2.0/24"), {Name: "eth1", Selected: true}}, "eth1"},
		"named, not selected":      {"192.0.2.1", "eth0", []Link{link("eth0"), {Name: "eth1", Selected: true}}, "eth0"},
		"a VLAN":                   {"192.0.2.1", "bond0.*", []Link{link("bond0"), link("bond0.7")}, "bond0.7"},
	} {
		t.Run(name, func(t *testing.T) {
			a := Address{Addr: netip.MustParseAddr(c.addr), Link: c.pattern}
			if d := Choose(a, []Node{{Name: "n", Alive: true, Links: c.links, Selected: slices.ContainsFunc(c.links, func(l Link) bool { return l.Selected })}}); d.Link != c.want || (d.Node == "") != (c.want == "") {
				t.Errorf("%+v, want %q", d, c.want)
			}
		})
	}
}

// S2: what a node cannot carry goes to another; where no other is left, the decision says why it is not there.
func TestAnAddressThatANodeCannotCarry(t *testing.T) {
	nodes := []Node{node("a", ""), node("b", "")}
	first := Choose(Address{Addr: vip}, nodes)
	for i := range nodes {
		if nodes[i].Name == first.Node {
			nodes[i].FailedAddresses = map[netip.Addr]string{vip: "the kernel refuses it"}
		}
	}
	second := Choose(Address{Addr: vip}, nodes)
	if second.Node == first.Node || second.Reason != ReasonOnlyNode {
		t.Errorf("%+v after %+v", second, first)
	}
	if other := Choose(Address{Addr: vip.Next()}, nodes); other.Reason != ReasonChosen {
		t.Errorf("another address: %+v", other)
	}
	for i := range nodes {
		nodes[i].FailedAddresses = map[netip.Addr]string{vip: "the kernel refuses it"}
	}
	if d := Choose(Address{Addr: vip}, nodes); d.Node != first.Node || d.Reason != ReasonCannotCarry || nodes[0].FailureFor(vip) != "the kernel refuses it" {
		t.Errorf("%+v", d)
	}
}

// S2: a link for addresses that are in no subnet of its node takes none of the others, and leaves one that is in a subnet of
// another node to that.
func TestALinkForAddressesInNoSubnet(t *testing.T) {
	on := func(name, subnet string) Link {
		return Link{Name: name, Subnets: []netip.Prefix{netip.MustParsePrefix(subnet)}}
	}
	links := []Link{on("eth0", "192.0.2.0/24"), {Name: "eth1", Selected: true, Subnets: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}}
	for addr, want := range map[string]string{"203.0.113.5": "eth1", "192.0.2.7": "eth0", "10.0.0.7": "eth1", "2001:db8::7": "eth1"} {
		d := Choose(Address{Addr: netip.MustParseAddr(addr)}, []Node{{Name: "n", Alive: true, Links: links}})
		if d.Link != want || d.Reason != ReasonOnlyNode || !d.Announced() {
			t.Errorf("%s: %+v, want %s", addr, d, want)
		}
	}
	other := Node{Name: "m", Alive: true, Excluded: true, Cordoned: true, Links: []Link{on("eth9", "198.51.100.0/24")}}
	for i := range 32 {
		addr := netip.AddrFrom4([4]byte{198, 51, 100, byte(i + 1)})
		if d := Choose(Address{Addr: addr}, []Node{{Name: "n", Alive: true, Links: links}, other}); d.Node != "m" || d.Link != "eth9" {
			t.Errorf("%s: %+v, want the node whose subnet has it", addr, d)
		}
	}
	a := Address{Addr: netip.MustParseAddr("198.51.100.7")}
	if e := Explain(a, []Node{{Name: "n", Alive: true, Links: links}, other}); e.Rejected["n"] != ReasonNoSubnet {
		t.Errorf("explained: %+v, want %s against n", e, ReasonNoSubnet)
	}
}

// S2: that no node has a subnet with the address does not hide why a node cannot carry it.
func TestAnAddressInNoSubnetThatANodeCannotCarry(t *testing.T) {
	n := Node{Name: "n", Alive: true, Links: []Link{{Name: "eth0", Selected: true}}}
	m := n
	m.Name, m.Unavailable = "m", "no packet filter"
	a := Address{Addr: vip}
	if d := Choose(a, []Node{n, m}); d.Node != "n" || d.Reason != ReasonOnlyNode {
		t.Errorf("one node can carry it: %+v", d)
	}
	if d := Choose(a, []Node{m}); d.Node != "m" || d.Reason != ReasonCannotCarry {
		t.Errorf("none can: %+v", d)
	}
	if e := Explain(a, []Node{n, m}); e.Rejected["m"] != ReasonCannotCarry {
		t.Errorf("explained: %+v", e)
	}
}

// A node whose configuration selects no link that it has carries nothing that names none.
func TestNoLinkIsSelected(t *testing.T) {
	n := node("a", "")
	n.Selected = true
	if d := Choose(Address{Addr: vip}, []Node{n}); d.Node != "" || d.Reason != ReasonNoLink {
		t.Errorf("%+v", d)
	}
}
