package controlplane

import (
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/election"
	"github.com/kvip/kvip/pkg/link"
	"github.com/kvip/kvip/test/testutil"
)

// TestChooser has every reason to change the link, and every reason to keep it.
func TestChooser(t *testing.T) {
	eth := func(index int, basis link.Basis, bits int) link.Choice {
		return link.Choice{Link: link.Link{Index: index, Name: "eth" + string(rune('0'+index)),
			Usable: true}, Basis: basis, Bits: bits}
	}
	down := func(c link.Choice) link.Choice {
		c.Usable, c.Reason = false, "no carrier"
		return c
	}
	port := func(c link.Choice) link.Choice {
		c.Usable, c.Master, c.Reason = false, 9, "is a port"
		return c
	}
	one := eth(1, link.ByAddress, 24)
	for _, row := range []struct {
		name       string
		before     link.Choice
		now        link.Choice // the link in use, as it is now
		candidates []link.Choice
		want       int           // index, at once
		later      int           // index, after a while
		holding    string        // part of the reason to leave while holding; "": it stays
		wait       time.Duration // before later
	}{
		{name: "Same", before: one, now: one, candidates: []link.Choice{one}, want: 1, later: 1},
		{name: "AnotherAsGood", before: one, now: one,
			candidates: []link.Choice{eth(0, link.ByAddress, 24), one}, want: 1, later: 1},
		{name: "LongerPrefix", before: one, now: one,
			candidates: []link.Choice{eth(2, link.ByAddress, 28), one}, want: 2, later: 2, holding: "eth2"},
		{name: "FromDefaultRoute", before: eth(1, link.ByDefaultRoute, 0), now: one,
			candidates: []link.Choice{eth(2, link.ByAddress, 24)}, want: 2, later: 2,
			holding: "leaving it for eth2: chosen by the prefix of an own address, and eth1 by the " +
				"default route"},
		{name: "FromRoute", before: eth(1, link.ByRoute, 24), now: one,
			candidates: []link.Choice{eth(2, link.ByAddress, 8)}, want: 2, later: 2, holding: "eth2"},
		{name: "BecamePort", before: one, now: port(one),
			candidates: []link.Choice{eth(9, link.ByDefaultRoute, 0)}, want: 9, later: 9,
			holding: "leaving it for eth9: eth1 became a port of it"},
		{name: "DownAndAnotherUp", before: one, now: down(one),
			candidates: []link.Choice{eth(2, link.ByAddress, 24), down(one)}, want: 2, later: 2,
			holding: "eth1 is not usable: no carrier"},
		{name: "DownAlone", before: one, now: down(one), candidates: []link.Choice{down(one)}, want: 1,
			later: 1},
		{name: "Flushed", before: one, now: one,
			candidates: []link.Choice{eth(2, link.ByDefaultRoute, 0)}, want: 1, later: 2,
			holding: "which is gone"},
		{name: "FlushedEverywhere", before: one, now: one, candidates: nil, want: 1, later: 1},
		{name: "OnlyWeaker", before: one, now: one,
			candidates: []link.Choice{eth(1, link.ByDefaultRoute, 0)}, want: 1, later: 1},
		{name: "LessThanOnce", before: one, now: one,
			candidates: []link.Choice{eth(2, link.ByAddress, 20), eth(1, link.ByAddress, 16)}, want: 1,
			later: 2, holding: "which is gone"},
	} {
		t.Run(row.name, func(t *testing.T) {
			start := time.Now()
			begin := func() *linkChooser {
				c := &linkChooser{}
				c.next(start, nil, []link.Choice{row.before}, false)
				if row.before.Basis == link.ByDefaultRoute {
					c.next(start.Add(defaultRouteWait), nil, []link.Choice{row.before}, false)
				}
				return c
			}
			c := begin()
			at := start.Add(time.Minute)
			current := row.now.Link
			got := c.next(at, &current, row.candidates, false)
			if got.Index != row.want {
				t.Fatalf("at once: %+v", got)
			}
			if got.Index == row.now.Index {
				got = c.next(at.Add(lostBasisWait), &current, row.candidates, false)
			}
			if got.Index != row.later {
				t.Errorf("later: %+v", got)
			}
			c = begin()
			c.next(at, &current, row.candidates, true)
			got = c.next(at.Add(lostBasisWait), &current, row.candidates, true)
			if got.Index != row.now.Index || got.Usable != (row.holding == "" && row.now.Usable) ||
				c.pending != (row.holding != "") || !strings.Contains(got.Reason, row.holding) {
				t.Errorf("while holding: %+v, pending %v", got, c.pending)
			}
			if got = c.next(at.Add(lostBasisWait+time.Millisecond), &current, row.candidates,
				false); row.holding != "" && (got.Index != row.later || c.pending) {
				t.Errorf("after it left: %+v", got)
			}
		})
	}
}

// TestChooserForgetsAShortLoss of the reason for a link.
func TestChooserForgetsAShortLoss(t *testing.T) {
	one := link.Choice{Link: link.Link{Index: 1, Usable: true}, Basis: link.ByAddress, Bits: 24}
	two := link.Choice{Link: link.Link{Index: 2, Usable: true}, Basis: link.ByDefaultRoute}
	c, at := &linkChooser{}, time.Now()
	c.next(at, nil, []link.Choice{one}, false)
	for range 10 { // each flush is shorter than the wait, all together are not
		at = at.Add(lostBasisWait / 2)
		if got := c.next(at, &one.Link, []link.Choice{two}, false); got.Index != 1 {
			t.Fatalf("moved to %d", got.Index)
		}
		if got := c.next(at.Add(time.Second), &one.Link, []link.Choice{one, two}, false); got.Index != 1 {
			t.Fatalf("moved to %d", got.Index)
		}
	}
}

// TestChooserWaitsBeforeTheDefaultRoute at the start alone.
func TestChooserWaitsBeforeTheDefaultRoute(t *testing.T) {
	byDefault := link.Choice{Link: link.Link{Index: 1, Name: "eth1", Usable: true},
		Basis: link.ByDefaultRoute}
	c, at := &linkChooser{}, time.Now()
	for _, after := range []time.Duration{0, defaultRouteWait - time.Millisecond} {
		if got := c.next(at.Add(after), nil, []link.Choice{byDefault}, false); got.Index != 0 ||
			!strings.Contains(got.Reason, "default route selects a link, eth1") {
			t.Errorf("after %v: %+v", after, got)
		}
	}
	if got := c.next(at.Add(defaultRouteWait), nil, []link.Choice{byDefault}, false); got.Index != 1 {
		t.Errorf("afterwards: %+v", got)
	}
	if got := c.next(at.Add(time.Hour), nil, nil, false); got.Index != 0 {
		t.Errorf("gone: %+v", got)
	}
	if got := c.next(at.Add(time.Hour+time.Second), nil, []link.Choice{byDefault},
		false); got.Index != 1 {
		t.Errorf("back: %+v", got)
	}
}

// TestRestartByTheDefaultRoute: an agent with an address on the link of the default route does not
// wait for a better reason: without a link it would give the address up (E8).
func TestRestartByTheDefaultRoute(t *testing.T) {
	for _, left := range []bool{false, true} {
		n, _, _ := onHost(t)
		testutil.IP(t, "addr flush dev eth0 scope global")
		testutil.IP(t, "route add default dev eth0")
		if left {
			testutil.IP(t, "addr add 10.0.0.100/32 dev eth0 scope host")
		}
		n.refresh(t.Context())
		if l := n.link(); l.Usable != left {
			t.Errorf("with an address left %v: %+v", left, l)
		}
	}
}

// addLink adds a link and sets it up.
func addLink(t *testing.T, name, address string) {
	t.Helper()
	for _, args := range []string{"link add " + name + " type veth peer name p" + name, "link set " +
		name + " up", "link set p" + name + " up"} {
		testutil.IP(t, args)
	}
	if address != "" {
		testutil.IP(t, "addr add "+address+" dev "+name+" nodad")
	}
}

// TestBetterLinkAtBoot: one link has an on-link route, then another one gets its address.
func TestBetterLinkAtBoot(t *testing.T) {
	n, _, ns := onHost(t)
	testutil.IP(t, "addr flush dev eth0 scope global")
	testutil.IP(t, "route add 10.0.0.0/16 dev eth0")
	runOnHost(t, n, ns)
	await(t, n, func(l election.Link) bool { return l.Usable && n.link().Name == "eth0" })
	addLink(t, "eth5", "10.0.0.2/24")
	await(t, n, func(l election.Link) bool { return l.Usable && n.link().Name == "eth5" })
}

// TestBetterLinkWhileHolding makes the machine leave in order before the address changes its link.
func TestBetterLinkWhileHolding(t *testing.T) {
	n, _, ns := onHost(t, func(c *config.Config) { c.VIPs = c.VIPs[:1] })
	var holds = make(chan bool, 1)
	holds <- true
	n.status = func() *election.Status {
		now := <-holds
		holds <- now
		if now {
			return &election.Status{State: election.Holding}
		}
		return &election.Status{State: election.Standby}
	}
	runOnHost(t, n, ns)
	await(t, n, func(l election.Link) bool { return l.Usable && n.link().Name == "eth0" })
	addLink(t, "eth5", "10.0.0.97/28")
	await(t, n, func(l election.Link) bool {
		now := n.link()
		return !l.Usable && now.Name == "eth0" && strings.Contains(now.Reason, "leaving it for eth5")
	})
	<-holds
	holds <- false
	await(t, n, func(l election.Link) bool { return l.Usable && n.link().Name == "eth5" })
}

// TestLinkBecomesAPort of a bridge, and the node's address moves there: the bridge carries the VIP,
// with --interface and without.
func TestLinkBecomesAPort(t *testing.T) {
	for _, named := range []string{"", "eth0"} {
		n, _, ns := onHost(t, func(c *config.Config) { c.Interface = named })
		runOnHost(t, n, ns)
		await(t, n, func(l election.Link) bool { return l.Usable && n.link().Name == "eth0" })
		for _, args := range []string{
			"link add br0 type bridge", "link set br0 up", "link set eth0 master br0",
			"addr flush dev eth0 scope global",
			"addr add 10.0.0.1/24 dev br0", "addr add fd00::1/64 dev br0 nodad",
		} {
			testutil.IP(t, args)
		}
		await(t, n, func(l election.Link) bool { return l.Usable && n.link().Name == "br0" })
		if named != "" {
			testutil.IP(t, "link del br0")
			await(t, n, func(l election.Link) bool { return l.Usable && n.link().Name == "eth0" })
		}
	}
}

// TestResyncFindsALostAddress only where this node owns one.
func TestResyncFindsALostAddress(t *testing.T) {
	n, _, _ := onHost(t)
	now := &election.Status{State: election.Holding}
	n.status = func() *election.Status { return now }
	n.refresh(t.Context())
	n.sent()
	resync := func() (lost int) {
		n.handleLinkEvent(t.Context(), link.Event{Kind: link.Resync})
		for _, ev := range n.sent() {
			if l, ok := ev.(election.AddressLost); ok && l.NodeAddress {
				lost++
			}
		}
		return lost
	}
	if resync() != 0 {
		t.Error("reported before it owns")
	}
	now = &election.Status{State: election.Holding, Owned: true}
	if resync() != 1 {
		t.Error("missing addresses are not reported")
	}
	testutil.IP(t, "addr add 10.0.0.100/32 dev eth0")
	if resync() != 1 {
		t.Error("one missing address is not reported")
	}
	testutil.IP(t, "addr add fd00::100/128 dev eth0 nodad")
	if resync() != 0 {
		t.Error("reported although both are present")
	}
}

// TestE10FamilyWithoutAnOwnAddress: a flush did not remove an address that was not there.
func TestE10FamilyWithoutAnOwnAddress(t *testing.T) {
	n, _, _ := onHost(t)
	testutil.IP(t, "addr del fd00::1/64 dev eth0")
	n.refresh(t.Context())
	n.sent()
	n.handleLinkEvent(t.Context(), link.Event{Kind: link.AddrRemoved, Addr: vip4})
	if got := n.sent(); len(got) != 1 || got[0] != (election.AddressLost{NodeAddress: true}) {
		t.Errorf("sent %v", got)
	}
}

// TestReplacedAddress is not lost: when the node's own address goes, the owner replaces the virtual
// one with another scope. Waiting for the node's address would stop its renewals.
func TestReplacedAddress(t *testing.T) {
	n, _, _ := onHost(t)
	n.refresh(t.Context())
	n.sent()
	testutil.IP(t, "addr add 10.0.0.100/32 dev eth0")
	testutil.IP(t, "addr del 10.0.0.1/24 dev eth0")
	for _, want := range []int{0, 1} {
		n.handleLinkEvent(t.Context(), link.Event{Kind: link.AddrRemoved, Addr: vip4})
		if got := n.sent(); len(got) != want {
			t.Errorf("sent %v, want %d events", got, want)
		}
		if want == 0 {
			testutil.IP(t, "addr del 10.0.0.100/32 dev eth0")
		}
	}
}
