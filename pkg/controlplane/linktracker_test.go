package controlplane

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

// onHost is a linkTracker on a new host, without its goroutines.
func onHost(t *testing.T, flags ...func(*config.Config)) (*linkTracker, *fakeAnnouncer,
	*testutil.Netns) {
	t.Helper()
	ns := testutil.NewHost(t)
	cfg := config.Default()
	cfg.VIPs = []netip.Addr{vip4, vip6}
	for _, f := range flags {
		f(&cfg)
	}
	speaker := newFakeAnnouncer(&journal{})
	return newLinkTracker(cfg, discard, speaker), speaker, ns
}

// sent returns the events since the last call.
func (n *linkTracker) sent() (events []election.Event) {
	for {
		select {
		case ev := <-n.events:
			events = append(events, ev)
		default:
			return events
		}
	}
}

// linkEvents returns the Link events as "up" and "down".
func linkEvents(events []election.Event) (words []string) {
	for _, ev := range events {
		if l, ok := ev.(election.Link); ok && l.Usable {
			words = append(words, "up "+l.MAC)
		} else if ok {
			words = append(words, "down")
		}
	}
	return words
}

// TestRefresh finds the link, and reports only changes.
func TestRefresh(t *testing.T) {
	n, speaker, _ := onHost(t)
	if got := strings.Join(n.servers(), " "); got != "127.0.0.1:6443" {
		t.Errorf("before the first refresh: %s", got)
	}
	n.refresh(t.Context())
	l := n.link()
	if l.Name != "eth0" || l.Index != 7 || !l.Usable {
		t.Fatalf("found %+v", l)
	}
	if got := strings.Join(n.servers(), " "); got != "127.0.0.1:6443 10.0.0.1:6443 [fd00::1]:6443" {
		t.Errorf("servers %s", got)
	}
	c := &ControlPlane{links: n}
	if got := c.serverURLs(); got[1] != "https://10.0.0.1:6443" {
		t.Errorf("URLs %v", got)
	}
	if got := linkEvents(n.sent()); len(got) != 1 || got[0] != "up "+l.MAC.String() {
		t.Errorf("sent %v", got)
	}
	n.refresh(t.Context())
	if got := n.sent(); len(got) != 0 {
		t.Errorf("sent again: %v", got)
	}
	testutil.IP(t, "link set eth0 address 02:00:00:00:00:77")
	n.refresh(t.Context())
	testutil.IP(t, "link set eth0 down")
	n.refresh(t.Context())
	if got := strings.Join(linkEvents(n.sent()), " "); got != "up 02:00:00:00:00:77 down" {
		t.Errorf("sent %s", got)
	}
	if len(speaker.links) != 3 || speaker.links[0].Index != 7 ||
		speaker.links[1].MAC.String() != "02:00:00:00:00:77" {
		t.Errorf("the announcer got %v", speaker.links)
	}
}

// TestF9SharedLink: a link that comes into the subnet of an address, or goes, is reported.
func TestF9SharedLink(t *testing.T) {
	n, _, _ := onHost(t)
	var shared []bool
	n.onShared = func(err error) { shared = append(shared, err != nil) }
	unreadable := false
	n.addresses = func() ([]link.HostAddr, error) {
		if unreadable {
			return nil, errors.New("the list changes")
		}
		return link.Addresses()
	}
	for _, step := range []struct {
		command    string
		unreadable bool
		want       string
	}{
		{"link set lo up", true, "true"}, // unknown
		{"link set lo up", false, "false"},
		{"link add other type veth peer name far", false, ""},
		{"link set far up", false, ""},
		{"link set other up", false, ""},
		{"address add 10.0.0.9/24 dev other", false, "true"},
		{"link set lo up", true, ""},
		{"address del 10.0.0.9/24 dev other", false, "false"},
		{"address add fd00::9/64 dev other", false, "true"},
	} {
		testutil.IP(t, step.command)
		unreadable = step.unreadable
		n.refresh(t.Context())
		got := ""
		for _, ev := range n.sent() {
			got += fmt.Sprint(ev.(election.Link).Shared)
		}
		if got != step.want || n.sharedBy() != nil != shared[len(shared)-1] {
			t.Errorf("%s: sent %q, want %q; %v", step.command, got, step.want, shared)
		}
	}
}

// TestRefreshKeepsTheLink although another one would be chosen now, until it is gone.
func TestRefreshKeepsTheLink(t *testing.T) {
	n, _, _ := onHost(t)
	n.refresh(t.Context())
	testutil.IP(t, "link add better type veth peer name peer1")
	testutil.IP(t, "link set better up")
	testutil.IP(t, "link set peer1 up")
	testutil.IP(t, "addr add 10.0.0.3/28 dev better")
	testutil.IP(t, "addr del 10.0.0.1/24 dev eth0")
	n.refresh(t.Context())
	if n.link().Name != "eth0" {
		t.Errorf("moved to %s", n.link().Name)
	}
	testutil.IP(t, "link del eth0")
	testutil.IP(t, "addr add 10.0.0.3/24 dev better")
	n.refresh(t.Context())
	if n.link().Name != "better" {
		t.Errorf("stays on %q", n.link().Name)
	}
	testutil.IP(t, "link del better")
	n.refresh(t.Context())
	if l := n.link(); l.Index != 0 || l.Usable || l.Reason == "" {
		t.Errorf("without a link: %+v", l)
	}
}

// TestFailedRefreshKeepsTheLink: addresses that change all the time cannot be listed. That proves
// nothing about the link and the node's own addresses. The link's state is still known.
func TestFailedRefreshKeepsTheLink(t *testing.T) {
	n, _, _ := onHost(t)
	n.refresh(t.Context())
	n.sent()
	n.candidates = func(string, []netip.Addr, bool) ([]link.Choice, error) {
		return nil, errors.New("list addresses: results may be incomplete or inconsistent")
	}
	n.addresses = func() ([]link.HostAddr, error) {
		return nil,
			errors.New("list addresses: still changing")
	}
	before := n.servers()
	n.refresh(t.Context())
	if got := n.sent(); len(got) != 0 || n.link().Name != "eth0" {
		t.Errorf("sent %v, and uses %+v", got, n.link())
	}
	if got := n.servers(); !slices.Equal(got, before) {
		t.Errorf("servers %v, want still %v", got, before)
	}
	n.handleLinkEvent(t.Context(), link.Event{Kind: link.AddrRemoved, Addr: vip4})
	if got := n.sent(); len(got) != 1 || got[0] != (election.AddressLost{NodeAddress: true}) {
		t.Errorf("sent %v for a lost address", got)
	}
	testutil.IP(t, "link set eth0 down")
	n.refresh(t.Context())
	if got := strings.Join(linkEvents(n.sent()), " "); got != "down" {
		t.Errorf("sent %q for a link that is down", got)
	}
}

// TestNamedLink is added and set up after the start.
func TestNamedLink(t *testing.T) {
	n, _, _ := onHost(t, func(c *config.Config) { c.Interface = "late0" })
	n.refresh(t.Context())
	testutil.IP(t, "link add late0 type veth peer name peer1")
	n.refresh(t.Context())
	testutil.IP(t, "link set late0 up")
	testutil.IP(t, "link set peer1 up")
	n.refresh(t.Context())
	if got := linkEvents(n.sent()); len(got) != 3 || got[0] != "down" || got[1] != "down" ||
		!strings.HasPrefix(got[2], "up ") {
		t.Errorf("sent %v", got)
	}
}

// runOnHost runs the tracker and its watcher in the namespace until the test ends.
func runOnHost(t *testing.T, n *linkTracker, ns *testutil.Netns) {
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
func await[E election.Event](t *testing.T, n *linkTracker, ok func(E) bool) {
	t.Helper()
	for end := time.After(30 * time.Second); ; {
		select {
		case ev := <-n.events:
			if got, is := ev.(E); is && ok(got) {
				return
			}
		case <-end:
			t.Fatalf("timed out waiting for %s", fmt.Sprintf("%T", *new(E)))
		}
	}
}

// TestE10Flush removes the virtual addresses alone, then all addresses of the link: the events
// report whether the node's own address is present, and when it is back.
func TestE10Flush(t *testing.T) {
	n, _, ns := onHost(t)
	own := func() {
		t.Helper()
		for _, a := range n.cfg.VIPs {
			c := vip.Change{Address: vip.Address{Addr: a, LinkIndex: 7, LinkName: "eth0"},
				Valid: time.Minute, Proto: vip.ControlPlaneProto}
			if err := vip.Netlink().Apply([]vip.Change{c})[0]; err != nil {
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

// TestE5LinkDown is reported at once, and so is its end.
func TestE5LinkDown(t *testing.T) {
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

// TestIrrelevantAddressEvents have no effect.
func TestIrrelevantAddressEvents(t *testing.T) {
	n, _, _ := onHost(t)
	n.refresh(t.Context())
	n.sent()
	for _, ev := range []link.Event{
		{Kind: link.Resync}, {Kind: link.LinkChanged, Index: 7},
		{Kind: link.AddrAdded, Index: 7, Addr: vip4},
		{Kind: link.AddrRemoved, Index: 7, Addr: netip.MustParseAddr("10.0.0.9")},
	} {
		n.handleLinkEvent(t.Context(), ev)
		if got := n.sent(); len(got) != 0 {
			t.Errorf("%v: sent %v", ev, got)
		}
	}
}

// TestSendEndsWithItsContext without a receiver.
func TestSendEndsWithItsContext(t *testing.T) {
	n := &linkTracker{events: make(chan election.Event)}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	n.send(ctx, election.Tick{})
}

func TestWaitForLink(t *testing.T) {
	ns := testutil.NewHost(t)
	cfg := config.Default()
	cfg.VIPs, cfg.Interface = []netip.Addr{vip4}, "late0"
	if err := waitForLink(t.Context(), cfg); err != nil {
		t.Errorf("by default the loop waits for it: %v", err)
	}
	cfg.InterfaceWait = 0
	if err := waitForLink(t.Context(), cfg); err == nil ||
		!strings.Contains(err.Error(), "--interface-wait") || !strings.Contains(err.Error(), "late0") {
		t.Errorf("without a wait: %v", err)
	}
	cfg.InterfaceWait = time.Hour
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := waitForLink(ended, cfg); err != nil {
		t.Errorf("after the context ended: %v", err)
	}
	found := make(chan error)
	go func() { found <- ns.Do(func() error { return waitForLink(t.Context(), cfg) }) }()
	testutil.IP(t, "link add late0 type veth peer name peer1")
	if err := <-found; err != nil {
		t.Errorf("the link was added: %v", err)
	}
}

// TestSameLink compares all that the machine or the announcer uses.
func TestSameLink(t *testing.T) {
	base := link.Link{Index: 7, Name: "eth0", Usable: true, MAC: foreignMAC}
	for _, change := range []func(*link.Link){
		func(l *link.Link) { l.Index++ }, func(l *link.Link) { l.Name = "eth1" },
		func(l *link.Link) { l.Usable = false },
		func(l *link.Link) { l.Reason = "no carrier" },
		func(l *link.Link) { l.MAC = slices.Clone(foreignMAC); l.MAC[5]++ },
	} {
		next := base
		change(&next)
		if sameLink(base, next) {
			t.Errorf("%+v equals %+v", next, base)
		}
	}
	if again := base; !sameLink(base, again) {
		t.Error("a link is not the same as itself")
	}
}

// TestManyEventsAreOneRefresh: events during a refresh lead to one more, not to one for each.
func TestManyEventsAreOneRefresh(t *testing.T) {
	const many = 100
	n, _, ns := onHost(t)
	var refreshes atomic.Int64
	var hold sync.RWMutex
	n.candidates = func(name string, vips []netip.Addr, routes bool) ([]link.Choice, error) {
		refreshes.Add(1)
		hold.RLock()
		defer hold.RUnlock()
		return link.Candidates(name, vips, routes)
	}
	runOnHost(t, n, ns)
	await(t, n, func(l election.Link) bool { return l.Usable })
	hold.Lock()
	before := refreshes.Load()
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
	if got := refreshes.Load() - before; got > many/5 {
		t.Errorf("%d looks for %d events", got, many)
	}
}
