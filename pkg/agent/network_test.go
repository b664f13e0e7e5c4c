package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/election"
	"github.com/kvip/kvip/pkg/link"
	"github.com/kvip/kvip/pkg/vip"
	"github.com/kvip/kvip/test/testutil"
)

// onHost is a network in a fresh host, without its goroutines.
func onHost(t *testing.T, flags ...func(*config.Config)) (*network, *fakeSpeaker, *testutil.Netns) {
	t.Helper()
	ns := newHost(t)
	cfg := config.Default()
	cfg.VIPs = []netip.Addr{vip4, vip6}
	for _, f := range flags {
		f(&cfg)
	}
	speaker := newFakeSpeaker(&journal{})
	return newNetwork(cfg, discard, speaker), speaker, ns
}

// drain returns what the machine was told since the last call.
func (n *network) drain() (events []election.Event) {
	for {
		select {
		case ev := <-n.events:
			events = append(events, ev)
		default:
			return events
		}
	}
}

// links returns the Link events among them as "up" and "down".
func links(events []election.Event) (words []string) {
	for _, ev := range events {
		if l, ok := ev.(election.Link); ok && l.Usable {
			words = append(words, "up "+l.MAC)
		} else if ok {
			words = append(words, "down")
		}
	}
	return words
}

// TestLook finds the link, and tells the machine and the speaker only of changes.
func TestLook(t *testing.T) {
	n, speaker, _ := onHost(t)
	if got := strings.Join(n.local(), " "); got != "127.0.0.1:6443" {
		t.Errorf("before the first look: %s", got)
	}
	n.look(t.Context())
	l := n.link()
	if l.Name != "eth0" || l.Index != 7 || !l.Usable {
		t.Fatalf("found %+v", l)
	}
	if got := strings.Join(n.local(), " "); got != "127.0.0.1:6443 10.0.0.1:6443 [fd00::1]:6443" {
		t.Errorf("its own API server may be at %s", got)
	}
	if got := baseURLs(n.local()); got[1] != "https://10.0.0.1:6443" {
		t.Errorf("URLs %v", got)
	}
	if got := links(n.drain()); len(got) != 1 || got[0] != "up "+l.MAC.String() {
		t.Errorf("told %v", got)
	}
	n.look(t.Context())
	if got := n.drain(); len(got) != 0 {
		t.Errorf("told again: %v", got)
	}
	testutil.IP(t, "link set eth0 address 02:00:00:00:00:77")
	n.look(t.Context())
	testutil.IP(t, "link set eth0 down")
	n.look(t.Context())
	if got := strings.Join(links(n.drain()), " "); got != "up 02:00:00:00:00:77 down" {
		t.Errorf("told %s", got)
	}
	if len(speaker.links) != 3 || speaker.links[0].Index != 7 || speaker.links[1].MAC.String() != "02:00:00:00:00:77" {
		t.Errorf("the speaker was told %v", speaker.links)
	}
}

// TestLookKeepsItsLink although another one would be chosen now, until it is gone.
func TestLookKeepsItsLink(t *testing.T) {
	n, _, _ := onHost(t)
	n.look(t.Context())
	testutil.IP(t, "link add better type veth peer name peer1")
	testutil.IP(t, "link set better up")
	testutil.IP(t, "link set peer1 up")
	testutil.IP(t, "addr add 10.0.0.3/28 dev better")
	testutil.IP(t, "addr del 10.0.0.1/24 dev eth0")
	n.look(t.Context())
	if n.link().Name != "eth0" {
		t.Errorf("moved to %s", n.link().Name)
	}
	testutil.IP(t, "link del eth0")
	testutil.IP(t, "addr add 10.0.0.3/24 dev better")
	n.look(t.Context())
	if n.link().Name != "better" {
		t.Errorf("stays on %q", n.link().Name)
	}
	testutil.IP(t, "link del better")
	n.look(t.Context())
	if l := n.link(); l.Index != 0 || l.Usable || l.Reason == "" {
		t.Errorf("without a link: %+v", l)
	}
}

// TestLookThatFailsKeepsTheLink in use: addresses that change all the time cannot be listed, which says
// nothing about the link, or the node's own addresses. Whether the link is up is still known.
func TestLookThatFailsKeepsTheLink(t *testing.T) {
	n, _, _ := onHost(t)
	n.look(t.Context())
	n.drain()
	n.candidates = func(string, []netip.Addr, bool) ([]link.Choice, error) {
		return nil, errors.New("list addresses: results may be incomplete or inconsistent")
	}
	n.addresses = func() ([]link.HostAddr, error) { return nil, errors.New("list addresses: still changing") }
	before := n.local()
	n.look(t.Context())
	if got := n.drain(); len(got) != 0 || n.link().Name != "eth0" {
		t.Errorf("told %v, and uses %+v", got, n.link())
	}
	if got := n.local(); !slices.Equal(got, before) {
		t.Errorf("its own API server may be at %v, want still %v", got, before)
	}
	n.addressEvent(t.Context(), link.Event{Kind: link.AddrRemoved, Addr: vip4})
	if got := n.drain(); len(got) != 1 || got[0] != (election.AddressLost{NodeAddress: true}) {
		t.Errorf("told %v of a lost address", got)
	}
	testutil.IP(t, "link set eth0 down")
	n.look(t.Context())
	if got := strings.Join(links(n.drain()), " "); got != "down" {
		t.Errorf("told %q of a link that is down", got)
	}
}

// TestNamedLink comes, goes and comes again under its name.
func TestNamedLink(t *testing.T) {
	n, _, _ := onHost(t, func(c *config.Config) { c.Interface = "late0" })
	n.look(t.Context())
	testutil.IP(t, "link add late0 type veth peer name peer1")
	n.look(t.Context())
	testutil.IP(t, "link set late0 up")
	testutil.IP(t, "link set peer1 up")
	n.look(t.Context())
	if got := links(n.drain()); len(got) != 3 || got[0] != "down" || got[1] != "down" || !strings.HasPrefix(got[2], "up ") {
		t.Errorf("told %v", got)
	}
}

// runOnHost runs the network and its watcher inside the namespace until the test ends.
func runOnHost(t *testing.T, n *network, ns *testutil.Netns) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	for _, part := range []func(context.Context) error{n.watcher.Run, n.run} {
		go func() { ended <- ns.Do(func() error { return part(ctx) }) }()
	}
	t.Cleanup(func() {
		cancel()
		for range 2 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	})
}

// await returns the next event that ok accepts.
func await[E election.Event](t *testing.T, n *network, ok func(E) bool) {
	t.Helper()
	for end := time.After(30 * time.Second); ; {
		select {
		case ev := <-n.events:
			if got, is := ev.(E); is && ok(got) {
				return
			}
		case <-end:
			t.Fatalf("waited in vain for %s", fmt.Sprintf("%T", *new(E)))
		}
	}
}

// TestE10Flush takes the virtual addresses alone, and then everything on the link: the
// machine hears whether the node's own address is there, and when it is back.
func TestE10Flush(t *testing.T) {
	n, _, ns := onHost(t)
	kernel := vip.Netlink(n.cfg.VIPs)
	own := func() {
		t.Helper()
		for _, a := range n.cfg.VIPs {
			if err := kernel.Replace(vip.Address{VIP: a, LinkIndex: 7, LinkName: "eth0"}, time.Minute); err != nil {
				t.Fatal(err)
			}
		}
	}
	own()
	runOnHost(t, n, ns)
	await(t, n, func(l election.Link) bool { return l.Usable })
	for _, a := range []string{"10.0.0.100/32", "fd00::100/128"} {
		testutil.IP(t, "addr del "+a+" dev eth0")
		await(t, n, func(l election.AddressLost) bool { return l.NodeAddress })
	}
	own()
	testutil.IP(t, "addr del 10.0.0.1/24 dev eth0")
	testutil.IP(t, "addr del 10.0.0.100/32 dev eth0")
	await(t, n, func(l election.AddressLost) bool { return !l.NodeAddress })
	testutil.IP(t, "addr add 10.0.0.1/24 dev eth0")
	await(t, n, func(election.NodeAddressRestored) bool { return true })
}

// TestLinkDownIsTold at once, and that it is up again (E5).
func TestLinkDownIsTold(t *testing.T) {
	n, _, ns := onHost(t)
	runOnHost(t, n, ns)
	await(t, n, func(l election.Link) bool { return l.Usable })
	for range 3 {
		testutil.IP(t, "link set peer0 down") // no carrier
		await(t, n, func(l election.Link) bool { return !l.Usable })
		testutil.IP(t, "link set peer0 up")
		await(t, n, func(l election.Link) bool { return l.Usable })
	}
}

// TestAddressEventsOfNoConcern tell the machine nothing.
func TestAddressEventsOfNoConcern(t *testing.T) {
	n, _, _ := onHost(t)
	n.look(t.Context())
	n.drain()
	for _, ev := range []link.Event{
		{Kind: link.Resync}, {Kind: link.LinkChanged, Index: 7}, {Kind: link.AddrAdded, Index: 7, Addr: vip4},
		{Kind: link.AddrRemoved, Index: 7, Addr: netip.MustParseAddr("10.0.0.9")},
	} {
		n.addressEvent(t.Context(), ev)
		if got := n.drain(); len(got) != 0 {
			t.Errorf("%v: told %v", ev, got)
		}
	}
}

// TestSendEndsWithItsContext when nobody listens any more.
func TestSendEndsWithItsContext(t *testing.T) {
	n := &network{events: make(chan election.Event)}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	n.send(ctx, election.Tick{})
}

func TestWaitForLink(t *testing.T) {
	ns := newHost(t)
	cfg := config.Default()
	cfg.VIPs, cfg.Interface = []netip.Addr{vip4}, "late0"
	if err := waitForLink(t.Context(), cfg); err != nil {
		t.Errorf("it need not be there, it is waited for later: %v", err)
	}
	cfg.InterfaceWait = 0
	if err := waitForLink(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "--interface-wait") || !strings.Contains(err.Error(), "late0") {
		t.Errorf("without patience: %v", err)
	}
	cfg.InterfaceWait = time.Hour
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := waitForLink(ended, cfg); err != nil {
		t.Errorf("told to end: %v", err)
	}
	found := make(chan error)
	go func() { found <- ns.Do(func() error { return waitForLink(t.Context(), cfg) }) }()
	testutil.IP(t, "link add late0 type veth peer name peer1")
	if err := <-found; err != nil {
		t.Errorf("the link has come: %v", err)
	}
}

// TestSameLink compares all that the machine or the speaker must know.
func TestSameLink(t *testing.T) {
	base := selected{Index: 7, Name: "eth0", Usable: true, MAC: stranger}
	for _, change := range []func(*selected){
		func(l *selected) { l.Index++ }, func(l *selected) { l.Name = "eth1" }, func(l *selected) { l.Usable = false },
		func(l *selected) { l.Reason = "no carrier" }, func(l *selected) { l.MAC = slices.Clone(stranger); l.MAC[5]++ },
	} {
		next := base
		change(&next)
		if sameLink(base, next) {
			t.Errorf("%+v passes for %+v", next, base)
		}
	}
	if again := base; !sameLink(base, again) {
		t.Error("a link is not the same as itself")
	}
}

// TestManyEventsAreOneLook: what came during a look leads to one more, not to one for each.
func TestManyEventsAreOneLook(t *testing.T) {
	const many = 100
	n, _, ns := onHost(t)
	var looks atomic.Int64
	var hold sync.RWMutex
	n.candidates = func(name string, vips []netip.Addr, routes bool) ([]link.Choice, error) {
		looks.Add(1)
		hold.RLock()
		defer hold.RUnlock()
		return link.Candidates(name, vips, routes)
	}
	runOnHost(t, n, ns)
	await(t, n, func(l election.Link) bool { return l.Usable })
	hold.Lock()
	before := looks.Load()
	for i := range many {
		testutil.IP(t, fmt.Sprintf("addr add 10.9.0.%d/32 dev eth0", i+1))
	}
	for len(n.watcher.Events()) < many/2 { // the first of them led to the look that waits
		time.Sleep(time.Millisecond)
	}
	testutil.IP(t, "link set eth0 address 02:00:00:00:00:78")
	hold.Unlock()
	await(t, n, func(l election.Link) bool { return l.MAC == "02:00:00:00:00:78" })
	for len(n.watcher.Events()) > 0 {
		time.Sleep(time.Millisecond)
	}
	if got := looks.Load() - before; got > many/5 {
		t.Errorf("%d looks for %d events", got, many)
	}
}
