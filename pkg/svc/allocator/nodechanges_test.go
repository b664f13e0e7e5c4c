package allocator

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/ipam"
	"github.com/kvip/kvip/pkg/placement"
	"github.com/kvip/kvip/pkg/svc"
)

// announcedFixture is an allocator whose Services are announced where the test says.
type announcedFixture struct {
	*fixture
	a     *Allocator
	place map[netip.Addr]placement.Decision
	count uint64
}

func newAnnouncedFixture(t *testing.T) *announcedFixture {
	r := newFixture(t)
	s := &announcedFixture{fixture: r, place: map[netip.Addr]placement.Decision{}, count: 1}
	s.a, _ = r.allocator("n1_boot")
	s.a.cfg.Placement = func(addr netip.Addr) (placement.Decision, string) { return s.place[addr], "" }
	s.a.cfg.PlacementVersion = func() uint64 { return s.count }
	return s
}

// at has an address announced by a node, or by none for a reason, and the allocator look.
func (s *announcedFixture) at(addr netip.Addr, node string, leader bool) {
	d := placement.Decision{Node: node, Reason: placement.ReasonChosen}
	if node == "" {
		d.Reason = placement.ReasonNotAlive
	}
	s.place[addr] = d
	s.observe(leader)
}

func (s *announcedFixture) observe(leader bool) {
	s.count++
	s.a.observeNodeChanges(leader)
}

// has gives an address to a Service that says of itself what its status shows.
func (s *announcedFixture) has(key string, addr netip.Addr) {
	s.T.Helper()
	l := s.cache.Ledger()
	l[addr] = []ipam.Entry{{Service: ipam.ServiceKey(key)}}
	s.PutLedger("0", l)
	s.Eventually("the ledger is seen", func() bool { return s.cache.Ledger()[addr] != nil })
}

func (s *announcedFixture) service(key string) {
	s.T.Helper()
	s.PutService(key)
	s.Eventually("the Service is seen", func() bool {
		for _, one := range s.cache.Services() {
			if string(one.Key()) == key {
				return true
			}
		}
		return false
	})
}

// pending removes and returns the changes that need an Event, the oldest change first.
func (s *announcedFixture) pending() string {
	var all []string
	for next, ok := s.a.nodeChanges.next(); ok; next, ok = s.a.nodeChanges.next() {
		all = append(all, string(next.service.Key())+": "+next.text)
	}
	return strings.Join(all, "; ")
}

func (s *announcedFixture) expectEvents(want string) {
	s.T.Helper()
	if got := s.pending(); got != want {
		s.T.Errorf("Events %q, want %q", got, want)
	}
}

// Each change of node has an Event, also a change back. No node is a matter of the condition, and
// the change after that has an Event again.
func TestEachChangeOfNodeHasAnEvent(t *testing.T) {
	s := newAnnouncedFixture(t)
	addr := netip.MustParseAddr("10.0.0.100")
	s.service("a/web")
	s.observe(true)
	s.expectEvents("")
	s.has("a/web", addr)
	s.observe(true) // unknown yet
	s.expectEvents("")
	for _, node := range []string{"n1", "n2", "n1"} {
		s.at(addr, node, true)
		s.expectEvents("a/web: 10.0.0.100 is announced by node " + node)
		s.observe(true)
		s.expectEvents("")
	}
	s.at(addr, "", true)
	s.expectEvents("")
	s.at(addr, "n1", true)
	s.expectEvents("a/web: 10.0.0.100 is announced by node n1")
	s.at(addr, "n2", true)
	s.at(addr, "n1", true)
	s.at(addr, "n2", true)
	s.expectEvents("a/web: 10.0.0.100 is announced by node n2")
	s.place[addr] = placement.Decision{} // the view is not fresh
	s.observe(true)
	s.at(addr, "n2", true)
	s.expectEvents("")
}

// A new leader posts changes that it saw recently, as the former leader may have failed with the
// node whose addresses moved. It posts no older ones.
func TestTheNextLeaderPostsPendingEvents(t *testing.T) {
	s := newAnnouncedFixture(t)
	first, second := netip.MustParseAddr("10.0.0.100"), netip.MustParseAddr("10.0.0.101")
	s.service("a/web")
	s.service("b/web")
	s.observe(false)
	s.has("a/web", first)
	s.has("b/web", second)
	s.at(first, "n1", false)
	s.at(second, "n1", false)
	s.advance(nodeChangeMaxAge + time.Second)
	s.at(first, "n2", false)
	s.expectEvents("")
	s.observe(true)
	s.expectEvents("a/web: 10.0.0.100 is announced by node n2")
}

// After a start, announcements from before are no changes.
func TestNoEventAfterAStart(t *testing.T) {
	s := newAnnouncedFixture(t)
	a, _ := s.leader("n1_boot")
	s.PutService("a/web")
	s.until(a, "the Service has its condition",
		func() bool { return s.ServiceStatus("a/web") == "10.0.0.100 Allocated" })
	s.Eventually("the condition is seen",
		func() bool { return s.cache.Services()[0].Condition != nil })
	s.at(netip.MustParseAddr("10.0.0.100"), "n1", true)
	s.expectEvents("")
	s.at(netip.MustParseAddr("10.0.0.100"), "n2", true)
	s.expectEvents("a/web: 10.0.0.100 is announced by node n2")
}

// The last Event of a Service has the present state, although equal ones were posted recently.
func TestTheLastEventIsTrue(t *testing.T) {
	r := newFixture(t)
	a, _ := r.allocator("x")
	s := &svc.Service{}
	s.Namespace, s.Name = "a", "web"
	for i, want := range []desiredStatus{{isReady: true, reason: ReasonAllocated},
		{reason: "NotAlive"}, {isReady: true, reason: ReasonAllocated}} {
		a.queue.client.recordEvent(t.Context(), s, want)
		if got := r.Server.RequestCount(http.MethodPost, "/namespaces/a/events"); got != i+1 {
			t.Errorf("after %s there are %d Events", want.reason, got)
		}
	}
}

// The leader posts the Events at a pace.
func TestAnnouncementsArePosted(t *testing.T) {
	s := newAnnouncedFixture(t)
	s.service("a/web")
	s.observe(true)
	s.has("a/web", netip.MustParseAddr("10.0.0.100"))
	s.at(netip.MustParseAddr("10.0.0.100"), "n1", true)
	s.runWriters(s.a)
	s.Eventually("the Event is posted",
		func() bool { return s.Server.RequestCount(http.MethodPost, "/namespaces/a/events") == 1 })
}

// No Service gets an address that a node publishes and its Node object does not list.
func TestAddressesThatANodePublishesAreReserved(t *testing.T) {
	r := newFixture(t)
	a, _ := r.leader("n1_boot")
	r.showNodeLease(svc.NodeInfo{Node: "n1",
		Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.100")}}, "n1_boot")
	r.PutService("a/web")
	r.until(a, "the Service has the next address",
		func() bool { return strings.HasPrefix(r.ServiceStatus("a/web"), "10.0.0.101") })
}

func BenchmarkCompareAnnouncements(b *testing.B) {
	n := newNodeChanges()
	placement := func(netip.Addr) (placement.Decision, string) {
		return placement.Decision{Node: "n1", Reason: placement.ReasonChosen}, ""
	}
	services := make([]*svc.Service, 5000)
	for i := range services {
		services[i] = &svc.Service{Request: ipam.Request{Service: ipam.ServiceKey(fmt.Sprintf("a/web-%d",
			i))}}
	}
	for b.Loop() {
		next := make(map[ipam.ServiceKey]string, len(services))
		for i, s := range services {
			addresses := []netip.Addr{netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})}
			text, _ := describe(addresses, placement)
			n.compare(s, text, 0)
			next[s.Key()] = text
		}
		n.replace(next, 0)
	}
}

// The first node of a new Service has an Event, even if the condition was seen before the node.
func TestTheFirstNodeHasAnEventAfterTheCondition(t *testing.T) {
	s := newAnnouncedFixture(t)
	addr := netip.MustParseAddr("10.0.0.100")
	s.place[addr] = placement.Decision{} // unknown yet
	s.elect(s.a.cfg.Elector)
	s.runWriters(s.a)
	s.PutService("a/web")
	s.expect(s.a, "a/web", "10.0.0.100 Allocated")
	s.Eventually("the condition is seen", func() bool {
		all := s.cache.Services()
		return len(all) == 1 && all[0].Condition != nil && s.cache.Ledger()[addr] != nil
	})
	posted := func() int { return s.Server.RequestCount(http.MethodPost, "/namespaces/a/events") }
	before := posted()
	s.at(addr, "n1", true)
	s.Eventually("an Event names the node", func() bool { return posted() > before })
}
