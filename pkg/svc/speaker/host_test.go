package speaker

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/link"
)

func network(index int, name string, subnets ...netip.Prefix) link.Network {
	return link.Network{Link: link.Link{Index: index, Name: name, MAC: foreignMAC}, Subnets: subnets}
}

func TestWhichEventsAreRelevant(t *testing.T) {
	h := newHost(&Config{}, nil)
	h.controlPlane = []netip.Addr{vip6}
	other, linkLocal := netip.MustParseAddr("10.0.0.7"), netip.MustParseAddr("fe80::1")
	for _, row := range []struct {
		name string
		ev   link.Event
		have bool
		want bool
	}{
		{"refresh of an own address", link.Event{Kind: link.AddrAdded, Addr: vip4}, true, false},
		{"refresh of the control plane's", link.Event{Kind: link.AddrAdded, Addr: vip6}, false, false},
		{"a new address", link.Event{Kind: link.AddrAdded, Addr: other}, false, true},
		{"an own address went", link.Event{Kind: link.AddrRemoved, Addr: vip4}, true, true},
		{"the control plane's went", link.Event{Kind: link.AddrRemoved, Addr: vip6}, false, true},
		{"another address went", link.Event{Kind: link.AddrRemoved, Addr: other}, false, true},
		{"a link-local one went", link.Event{Kind: link.AddrRemoved, Addr: linkLocal}, false, false},
		{"a link changed", link.Event{Kind: link.LinkChanged}, false, true},
	} {
		if got := h.relevant(row.ev, row.have); got != row.want {
			t.Errorf("%s: %v, want %v", row.name, got, row.want)
		}
	}
}

// S2: a node's Lease lists which links carry its Services, and all nodes read it there. A node
// with another setting decides alike.
func TestLinksAreSelectedByTheirOwnNode(t *testing.T) {
	f := newFixture(t)
	f.speaker.cfg.Interface = "lan*"
	vlan, pod := network(3, "vlan7"), network(4, "veth1")
	vlan.Names, pod.Pod = []string{"lan0"}, true
	f.links = append(f.links, pod, vlan)
	f.links[0].Addresses = []netip.Addr{netip.MustParseAddr("10.0.0.1")}
	f.assign(vip4, "a/web")
	f.reconcile()
	f.renew()
	own := f.ownLease()
	if !own.Selected || len(own.Links) != 2 || own.Links[0].Name != "vlan7" ||
		!own.Links[0].Selected || own.Links[1].Selected ||
		!slices.Equal(own.Addresses, f.links[0].Addresses) {
		t.Fatalf("the Lease has %+v", own)
	}
	f.reconcile()
	if d, _ := f.speaker.Placement(vip4); d.Link != "vlan7" {
		t.Errorf("on this node: %+v", d)
	}
	f.addPeer("you", peerMAC) // without the setting
	f.cordon("me", true)
	f.advance(time.Second)
	f.renew()
	f.reconcile()
	if d, _ := f.speaker.Placement(vip4); d.Node != "you" || d.Link != "eth0" {
		t.Errorf("on another node, which selects no link: %+v", d)
	}
}

func TestAMissingLinkIsLoggedOnce(t *testing.T) {
	f := newFixture(t)
	f.speaker.cfg.Interface = "nosuch*"
	const message = "no usable link matches --services-interface"
	for range 3 {
		f.speaker.readLinks()
	}
	if f.logged(message) != 1 || f.logged("nosuch*") != 1 {
		t.Errorf("not logged once:\n%s", f.Log)
	}
	f.links = append(f.links, network(3, "nosuch1"))
	f.speaker.readLinks()
	f.links = f.links[:1]
	f.speaker.readLinks()
	if n := f.logged(message); n != 2 {
		t.Errorf("logged %d times after the link came and went", n)
	}
}

// S2: the link for addresses in no subnet may be that of the default route, which changes without a
// link event. It is read again at intervals.
func TestAFallbackFollowsTheDefaultRoute(t *testing.T) {
	f := newFixture(t)
	f.speaker.cfg.Fallback = func(n link.Network) bool { return n.Default }
	f.links = append(f.links, network(3, "eth1"))
	outside := netip.MustParseAddr("203.0.113.5")
	f.assign(outside, "a/web")
	placed := func(want string) {
		t.Helper()
		f.advance(routesInterval)
		f.start()
		if d, _ := f.speaker.Placement(outside); d.Link != want {
			t.Errorf("placed %+v, want link %q", d, want)
		}
	}
	placed("")
	f.links[1].Default = true
	placed("eth1")
	f.links[0].Default, f.links[1].Default = true, false
	placed("eth0")
	if f.ownLease().Selected {
		t.Error("the node selects links for all addresses")
	}
}

// A Lease has room for a limited number of links: selected ones come first, then those with a
// subnet.
func TestMoreLinksThanALeaseHolds(t *testing.T) {
	f := newFixture(t)
	f.speaker.cfg.Interface = "z1"
	f.links = nil
	for i := range 100 {
		f.links = append(f.links, network(10+i, fmt.Sprintf("vlan%d", i)))
	}
	f.links = append(f.links, network(2, "eth0", subnet), network(3, "z1"))
	f.reconcile()
	f.renew()
	got := f.ownLease().Links
	if len(got) != 64 || got[0].Name != "z1" || got[1].Name != "eth0" {
		t.Errorf("%d links, the first %+v", len(got), got[:2])
	}
}

// Links that cannot be read stay as they were.
func TestLinksThatCannotBeRead(t *testing.T) {
	f := newFixture(t)
	f.speaker.readLinks()
	f.linksErr = errTest
	f.speaker.readLinks()
	if l, ok := f.speaker.host.link("eth0"); !ok || l.Index != 2 {
		t.Errorf("eth0 is %+v", l)
	}
	if _, ok := f.speaker.host.link("eth7"); ok || !f.speaker.host.unread {
		t.Error("a link that does not exist is known, or the links count as read")
	}
}

// Addresses of the control plane that cannot be read stay as they were, too. The error is logged,
// and the reading is repeated.
func TestControlPlaneAddressesThatCannotBeRead(t *testing.T) {
	f := newFixture(t)
	f.control = []netip.Addr{vip4}
	f.reconcile()
	f.vipsErr, f.control = errTest, nil
	f.speaker.readLinks()
	f.reconcile()
	if got := f.speaker.host.controlPlane; len(got) != 1 || f.speaker.retryAt == 0 {
		t.Errorf("the control plane's are %v, the retry is due at %v", got, f.speaker.retryAt)
	}
	if f.logged("read the control plane's addresses of this host: "+errTest.Error()) != 1 {
		t.Errorf("not logged:\n%s", f.Log)
	}
	f.vipsErr = nil
	f.advance(resyncInterval)
	f.reconcile()
	if got := f.speaker.host.controlPlane; len(got) != 0 || f.speaker.host.unread {
		t.Errorf("after a second: %v", got)
	}
}
