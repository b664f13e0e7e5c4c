package placement

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// lan is the subnet of the nodes that node makes, vip an address on it.
var (
	lan = netip.MustParsePrefix("192.0.2.0/24")
	vip = netip.MustParseAddr("192.0.2.80")
)

// node returns a node that is alive, with eth0 on lan, but for its marks: "-" dead, "c" cordoned,
// "x" excluded, "o" off the lan, "n" without a link, "r" not ready, "u" without a network,
// "f" unable to carry addresses.
func node(name, marks string) Node {
	has := func(mark string) bool { return strings.Contains(marks, mark) }
	n := Node{
		Name: name, Alive: !has("-"), Cordoned: has("c"), Excluded: has("x"),
		NotReady: has("r"), NoNetwork: has("u"), Links: []Link{link("eth0", lan.String())},
	}
	if has("o") {
		n.Links = []Link{link("eth1", "198.51.100.0/24")}
	}
	if has("f") {
		n.Unavailable = "injected by the test"
	}
	if has("n") {
		n.Links = nil
	}
	return n
}

// nodes returns nodes, each a letter for its name and its marks: "a b- co".
func nodes(text string) (list []Node) {
	for _, one := range strings.Fields(text) {
		list = append(list, node(one[:1], one[1:]))
	}
	return list
}

func link(name string, subnets ...string) Link {
	l := Link{Name: name}
	for _, s := range subnets {
		l.Subnets = append(l.Subnets, netip.MustParsePrefix(s))
	}
	return l
}

func selected(l Link) Link {
	l.Selected = true
	return l
}

func ptr(s string) *string { return &s }

func local(services ...Endpoints) Address { return Address{Local: services} }

// choice is a case of TestChoose. Rejected has "node:reason" of each node that is not eligible;
// reason is that of the decision, if it does not follow from the number of eligible nodes.
type choice struct {
	name     string
	addr     Address
	nodes    string
	eligible string
	reason   Reason
	rejected string
}

var choices = []choice{
	{"no node", Address{}, "", "", ReasonNoNode, ""},
	{"three nodes", Address{}, "a b c", "a b c", "", ""},
	{"the dead are not eligible", Address{}, "a- b c-", "b", "", "a:NotAlive c:NotAlive"},
	{"all dead", Address{}, "a- b-", "", ReasonNotAlive, "a:NotAlive b:NotAlive"},
	{"links and subnets", Address{}, "ao b cn", "b", "", "a:NoSubnet c:NoLink"},
	{"the closest one gives the reason", Address{}, "ao b- cn", "", ReasonNoSubnet,
		"a:NoSubnet b:NotAlive c:NoLink"},
	{"without a link", Address{}, "b- cn", "", ReasonNoLink, "b:NotAlive c:NoLink"},
	{"S7: a cordoned node only if no other is left", Address{}, "ac b cx", "b", "",
		"a:Cordoned c:ExcludedByLabel"},
	{"S7: excluded before cordoned", Address{}, "ac b- cx", "c", "", "a:Cordoned b:NotAlive"},
	{"S7: cordoned before both", Address{}, "ac bcx c-x", "a", "", "b:ExcludedByLabel c:NotAlive"},
	{"S7: cordoned and excluded before none", Address{}, "acx bo", "a", "", "b:NoSubnet"},
	{"S7: all cordoned", Address{}, "ac bc", "a b", "", ""},
	{"all excluded", Address{}, "ax bx", "a b", "", ""},

	{"a link by name", Address{Link: "eth1"}, "a bo", "b", "", "a:NoLink"},
	{"a link by pattern needs no subnet", Address{Link: "eth*"}, "a bo cn", "a b", "", "c:NoLink"},
	{"no such link", Address{Link: "wg?"}, "a", "", ReasonNoLink, "a:NoLink"},
	{"a malformed pattern", Address{Link: "eth["}, "a", "", ReasonNoLink, "a:NoLink"},

	{"local endpoints", local(Endpoints{"a": Ready, "c": Ready}), "a b c", "a c", "",
		"b:NoLocalEndpoint"},
	{"local endpoints on dead nodes only", local(Endpoints{"a": Ready}), "a- b", "",
		ReasonNoLocalEndpoint, "a:NotAlive b:NoLocalEndpoint"},
	{"no endpoint anywhere", local(Endpoints{"a": 0}), "a b", "", ReasonNoLocalEndpoint,
		"a:NoLocalEndpoint b:NoLocalEndpoint"},
	{"no endpoint anywhere, and a Cluster Service",
		Address{Local: []Endpoints{{}}, Cluster: true}, "a b", "a b", "", ""},
	{"terminating ones if no node has a ready one", local(Endpoints{"a": ServingTerminating}),
		"a b", "a", "", "b:NoLocalEndpoint"},
	{"no terminating ones if a node has a ready one",
		local(Endpoints{"a": ServingTerminating, "b": Ready}), "a b", "b", "",
		"a:EndpointTerminating"},
	{"a ready one on a dead node does not count",
		local(Endpoints{"a": ServingTerminating, "b": Ready}), "a b-", "a", "", "b:NotAlive"},
	{"a ready one on a cordoned node is better than a terminating one",
		local(Endpoints{"a": ServingTerminating, "b": Ready}), "a bcx", "b", "",
		"a:EndpointTerminating"},
	{"two Services, one node serves both",
		local(Endpoints{"a": Ready, "b": Ready}, Endpoints{"b": Ready, "c": Ready}), "a b c", "b", "",
		"a:NoLocalEndpoint c:NoLocalEndpoint"},
	{"two Services, no node serves both: the older one's",
		local(Endpoints{"a": Ready}, Endpoints{"b": Ready}), "a b", "a", "", "b:NoLocalEndpoint"},
	{"two Services, the older one's node is dead: the newer one's",
		local(Endpoints{"a": Ready}, Endpoints{"b": Ready}), "a- b c", "b", "",
		"a:NotAlive c:NoLocalEndpoint"},
	{"two Services, a Cluster one and one elsewhere",
		Address{Local: []Endpoints{{"elsewhere": Ready}}, Cluster: true}, "a b", "a b", "", ""},
	{"two Services, a Cluster one and one on a node",
		Address{Local: []Endpoints{{"b": Ready}}, Cluster: true}, "a b", "b", "",
		"a:NoLocalEndpoint"},
	{"two Services, one without endpoints", local(Endpoints{"a": Ready}, Endpoints{}),
		"a b", "a", "", "b:NoLocalEndpoint"},
	{"two Services, the fewest terminating",
		local(Endpoints{"a": Ready, "b": ServingTerminating},
			Endpoints{"a": ServingTerminating, "b": ServingTerminating}),
		"acx b", "a", "", "b:EndpointTerminating"},

	{"S2: not ready and without a network only if no other is left", Address{}, "ar bu ccx", "c", "",
		"a:NodeNotReady b:NetworkUnavailable"},
	{"none is ready", Address{}, "ar bru cr", "a c", "", "b:NetworkUnavailable"},
	{"an endpoint counts more than a ready node", local(Endpoints{"a": Ready}), "ar b", "a", "",
		"b:NoLocalEndpoint"},
	{"one that cannot carry it after all others", Address{}, "af brucx c-", "b", "",
		"a:CannotCarry c:NotAlive"},
	{"none can carry it", Address{}, "af bfc", "a", ReasonCannotCarry, "b:Cordoned"},

	{"with the control-plane VIP", Address{Holder: ptr("b")}, "a b-c", "b", ReasonHolder,
		"a:NotHolder"},
	{"with the control-plane VIP without a holder", Address{Holder: ptr("")}, "a", "",
		ReasonNotHeld, "a:NotHolder"},
}

func TestChoose(t *testing.T) {
	for _, c := range choices {
		t.Run(c.name, func(t *testing.T) {
			c.addr.Addr = vip
			e := Explain(c.addr, nodes(c.nodes))
			if got := strings.Join(e.Eligible, " "); got != c.eligible {
				t.Errorf("eligible are %q, want %q", got, c.eligible)
			}
			var rejected []string
			for _, name := range slices.Sorted(maps.Keys(e.Rejected)) {
				rejected = append(rejected, fmt.Sprintf("%s:%s", name, e.Rejected[name]))
			}
			if got := strings.Join(rejected, " "); got != c.rejected {
				t.Errorf("rejected are %q, want %q", got, c.rejected)
			}
			if want := c.wantReason(len(e.Eligible)); e.Reason != want {
				t.Errorf("the reason is %s, want %s", e.Reason, want)
			}
			chosen := slices.Contains(e.Eligible, e.Node)
			if chosen != (c.eligible != "") || (e.Node == "") == chosen {
				t.Errorf("%q was chosen", e.Node)
			}
		})
	}
}

func (c choice) wantReason(eligible int) Reason {
	switch {
	case c.reason != "":
		return c.reason
	case eligible == 1:
		return ReasonOnlyNode
	}
	return ReasonChosen
}

// The control-plane VIP may be held by a node that does not announce Services.
func TestHolderWithoutServices(t *testing.T) {
	a := Address{Addr: vip, Holder: ptr("cp")}
	e := Explain(a, nodes("a"))
	if e.Node != "cp" || e.Link != "" || e.Reason != ReasonHolder || len(e.Eligible) != 0 {
		t.Errorf("%+v", e)
	}
	a.Holder = ptr("a")
	if e := Explain(a, nodes("a")); e.Node != "a" || e.Link != "eth0" {
		t.Errorf("%+v", e)
	}
}

func TestLink(t *testing.T) {
	named := Link{Name: "eth0", Names: []string{"lan0"}}
	for _, c := range []struct {
		name, addr, pattern string
		links               []Link
		want                string
	}{
		{"on the subnet", "192.0.2.1", "",
			[]Link{link("eth1", "10.0.0.0/8"), link("eth0", "192.0.2.0/24")}, "eth0"},
		{"the longest subnet", "192.0.2.1", "",
			[]Link{link("a", "192.0.0.0/16"), link("z", "192.0.2.0/24", "192.0.0.0/8")}, "z"},
		{"the first by name", "192.0.2.1", "",
			[]Link{link("b", "192.0.2.0/24"), link("a", "192.0.2.0/24")}, "a"},
		{"IPv6", "2001:db8::1", "",
			[]Link{link("a", "192.0.2.0/24"), link("b", "192.0.2.0/24", "2001:db8::/64")}, "b"},
		{"IPv4 in IPv6", "::ffff:192.0.2.1", "", []Link{link("a", "192.0.2.0/24")}, "a"},
		{"an on-link default route", "192.0.2.1", "", []Link{link("a", "0.0.0.0/0")}, "a"},
		{"not by its own presence", "192.0.2.1", "", []Link{link("a", "192.0.2.1/32")}, ""},
		{"not by IPv6 presence", "2001:db8::1", "", []Link{link("a", "2001:db8::1/128")}, ""},
		{"allowed and on a subnet", "192.0.2.1", "eth*",
			[]Link{link("eth0"), link("eth1", "192.0.2.0/24"), link("br0", "192.0.2.0/30")}, "eth1"},
		{"allowed, by name", "192.0.2.1", "eth*", []Link{link("eth2"), link("eth1")}, "eth1"},
		{"a name that is a malformed pattern", "192.0.2.1", "eth[",
			[]Link{link("eth0"), link("eth[")}, "eth["},
		{"by an alternative name", "192.0.2.1", "lan0", []Link{link("eth1"), named}, "eth0"},
		{"none by an alternative name", "192.0.2.1", "lan1", []Link{named}, ""},
		{"selected by its node", "198.51.100.1", "",
			[]Link{link("eth0"), selected(link("eth1"))}, "eth1"},
		{"not selected by its node", "192.0.2.1", "",
			[]Link{link("eth0", "192.0.2.0/24"), selected(link("eth1"))}, "eth1"},
		{"named, not selected", "192.0.2.1", "eth0",
			[]Link{link("eth0"), selected(link("eth1"))}, "eth0"},
		{"a VLAN", "192.0.2.1", "bond0.*", []Link{link("bond0"), link("bond0.7")}, "bond0.7"},
	} {
		n := Node{Name: "n", Alive: true, Links: c.links}
		n.Selected = slices.ContainsFunc(c.links, func(l Link) bool { return l.Selected })
		d := Choose(Address{Addr: netip.MustParseAddr(c.addr), Link: c.pattern}, []Node{n})
		if d.Link != c.want || (d.Node == "") != (c.want == "") {
			t.Errorf("%s: %+v, want %q", c.name, d, c.want)
		}
	}
}

// S2: an address that a node cannot carry goes to another one. If none is left, the decision has
// the reason.
func TestAnAddressThatANodeCannotCarry(t *testing.T) {
	const refused = "the kernel refuses it"
	list := nodes("a b")
	first := Choose(Address{Addr: vip}, list)
	for i := range list {
		if list[i].Name == first.Node {
			list[i].FailedAddresses = map[netip.Addr]string{vip: refused}
		}
	}
	second := Choose(Address{Addr: vip}, list)
	if second.Node == first.Node || second.Reason != ReasonOnlyNode {
		t.Errorf("%+v after %+v", second, first)
	}
	if other := Choose(Address{Addr: vip.Next()}, list); other.Reason != ReasonChosen {
		t.Errorf("another address: %+v", other)
	}
	for i := range list {
		list[i].FailedAddresses = map[netip.Addr]string{vip: refused}
	}
	d := Choose(Address{Addr: vip}, list)
	if d.Node != first.Node || d.Reason != ReasonCannotCarry || d.Announced() {
		t.Errorf("if both cannot: %+v", d)
	}
	mapped := netip.AddrFrom16(vip.As16())
	if list[0].FailureFor(vip) != refused || list[0].FailureFor(mapped) != refused {
		t.Errorf("the reasons are %q, %q", list[0].FailureFor(vip), list[0].FailureFor(mapped))
	}
}

// S2: a link for addresses in no subnet of its node takes no others, and leaves an address that is
// in a subnet of another node to that node.
func TestALinkForAddressesInNoSubnet(t *testing.T) {
	n := Node{Name: "n", Alive: true, Links: []Link{
		link("eth0", "192.0.2.0/24"), selected(link("eth1", "10.0.0.0/8")),
	}}
	for addr, want := range map[string]string{
		"203.0.113.5": "eth1", "192.0.2.7": "eth0", "10.0.0.7": "eth1", "2001:db8::7": "eth1",
	} {
		d := Choose(Address{Addr: netip.MustParseAddr(addr)}, []Node{n})
		if d.Link != want || d.Reason != ReasonOnlyNode || !d.Announced() {
			t.Errorf("%s: %+v, want %s", addr, d, want)
		}
	}
	other := node("m", "xc")
	other.Links = []Link{link("eth9", "198.51.100.0/24")}
	for i := range 32 {
		addr := netip.AddrFrom4([4]byte{198, 51, 100, byte(i + 1)})
		d := Choose(Address{Addr: addr}, []Node{n, other})
		if d.Node != "m" || d.Link != "eth9" {
			t.Errorf("%s: %+v, want the node whose subnet has it", addr, d)
		}
	}
	a := Address{Addr: netip.MustParseAddr("198.51.100.7")}
	if e := Explain(a, []Node{n, other}); e.Rejected["n"] != ReasonNoSubnet {
		t.Errorf("explained: %+v, want %s against n", e, ReasonNoSubnet)
	}
}

// S2: that no node has a subnet with the address does not hide why a node cannot carry it.
func TestAnAddressInNoSubnetThatANodeCannotCarry(t *testing.T) {
	n := Node{Name: "n", Alive: true, Links: []Link{selected(link("eth0"))}}
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

// A node that selects a link that it does not have carries nothing that names no link.
func TestNoLinkIsSelected(t *testing.T) {
	n := node("a", "")
	n.Selected = true
	if d := Choose(Address{Addr: vip}, []Node{n}); d.Node != "" || d.Reason != ReasonNoLink {
		t.Errorf("%+v", d)
	}
}

// Of more Services than a rank distinguishes the newer ones are ignored, and no level overflows
// into the next.
func TestMoreServicesThanRanked(t *testing.T) {
	everywhere := Endpoints{"a": ServingTerminating, "b": ServingTerminating}
	var services []Endpoints
	for range maxRanked {
		services = append(services, everywhere)
	}
	services = append(services, Endpoints{"a": Ready})
	if e := Explain(Address{Addr: vip, Local: services}, nodes("a b")); len(e.Eligible) != 2 {
		t.Errorf("the 17th Service decides: %+v", e)
	}
	if e := Explain(Address{Addr: vip, Local: services}, nodes("ar b")); e.Node != "b" {
		t.Errorf("terminating endpoints weigh more than a ready node: %+v", e)
	}
}
