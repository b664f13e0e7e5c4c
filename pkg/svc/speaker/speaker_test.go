package speaker

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/arp"
	"github.com/kvip/kvip/pkg/assignment"
	"github.com/kvip/kvip/pkg/link"
)

const releaseVIP4 = "withdraw 10.0.0.100, protect [10.0.0.100], remove 10.0.0.100, protect []"

func TestNewChecksItsConfig(t *testing.T) {
	f := newFixture(t)
	for field, unset := range map[string]func(c *Config){
		"Node":      func(c *Config) { c.Node = "" },
		"Cache":     func(c *Config) { c.Cache = nil },
		"NodeLease": func(c *Config) { c.NodeLease = nil },
		"Addresses": func(c *Config) { c.Addresses = nil },
		"Filter":    func(c *Config) { c.Filter = nil },
		"Announcer": func(c *Config) { c.Announcer = nil },
		"Networks":  func(c *Config) { c.Networks = nil },
	} {
		c := f.config()
		unset(&c)
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), field+" is required") {
			t.Errorf("without %s: %v", field, err)
		}
	}
}

// Optional fields may be zero, and the Speaker works.
func TestNewSetsDefaults(t *testing.T) {
	f := newFixture(t)
	c := f.config()
	c.Clock, c.Log, c.Metrics, c.HostControlPlane, c.ForeignHolder = nil, nil, nil, nil, nil
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	if wait := s.reconcile(); wait <= 0 || wait > resyncInterval {
		t.Errorf("the next reconcile is due in %v", wait)
	}
	if s.pauses.signAt == 0 {
		t.Error("a reconcile is no sign that the process runs")
	}
}

// S5: protect, own, announce; and in reverse.
func TestOrderOfAcquireAndRelease(t *testing.T) {
	f := newFixture(t)
	f.assign(vip4, "a/web")
	f.expect("") // S2: without a fresh view nothing comes
	f.renew()
	f.expect("protect [10.0.0.100], add 10.0.0.100, announce 10.0.0.100")
	f.expect("")
	f.assign(vip6, "b/web")
	f.expect("protect [10.0.0.100 fd00::100], add fd00::100, announce fd00::100")
	port := assignment.Port{Protocol: "TCP", Port: 80}
	for _, a := range f.filter.want {
		if len(a.Ports) != 1 || a.Ports[0] != port {
			t.Errorf("S5: the filter allows %+v", a)
		}
	}
	f.assign(vip4)
	f.expect("withdraw 10.0.0.100, protect [10.0.0.100 fd00::100], " +
		"remove 10.0.0.100, protect [fd00::100]")
	f.advanceRunning(filterInterval)
	f.renew()
	f.expect("protect [fd00::100]") // S5: its elements would expire before the address
}

// S2: an outage of the API moves nothing, however long it lasts.
func TestAnOutageMovesNothing(t *testing.T) {
	f := newFixture(t)
	f.ownVIP4()
	f.Server.Close()
	for range 60 {
		f.advance(time.Second)
		f.lease.renew(t.Context())
		f.lease.refresh()
		if got := f.reconcile(); got != "" && got != "protect [10.0.0.100]" {
			t.Fatalf("actions during an outage: %s", got)
		}
	}
	if !f.kernel.Has(vip4) || f.announcer.announced[vip4].State == assignment.Silent {
		t.Errorf("has %v: %v, announcements %+v", vip4, f.kernel.Has(vip4), f.announcer.announced)
	}
	if f.lease.View().Fresh || f.notReady() == "" {
		t.Errorf("fresh %v, not ready %q", f.lease.View().Fresh, f.notReady())
	}
}

// S6: what an earlier process left stays unannounced until a fresh view decides who owns it.
func TestAdoption(t *testing.T) {
	f := newFixture(t)
	f.ownVIP4()
	f.restart()
	f.expect("silence 10.0.0.100")
	got := f.speaker.Report("").Addresses
	if len(got) != 1 || got[0].State != "adopted" || !got[0].Present {
		t.Errorf("report %+v", got)
	}
	if !strings.Contains(f.notReady(), "is stale") {
		t.Errorf("not ready: %q", f.notReady())
	}
	if f.logged("keeping addresses of an earlier process") != 1 {
		t.Errorf("the log does not tell of the adoption:\n%s", f.Log)
	}
	f.advance(time.Second)
	f.renew()
	f.expect("protect [10.0.0.100], announce 10.0.0.100")
	got = f.speaker.Report("").Addresses
	if got[0].State != "owned" || f.notReady() != "" {
		t.Errorf("report %+v, not ready %q", got, f.notReady())
	}
}

// Without marks in the kernel the ledger shows what an earlier process left, once it is known (S6).
func TestAdoptionOnAKernelWithoutMarks(t *testing.T) {
	f := newFixture(t)
	f.kernel.DropMarks()
	f.ownVIP4()
	f.restart()
	f.expect("silence 10.0.0.100")
	f.advance(time.Second)
	f.renew()
	f.expect("protect [10.0.0.100], announce 10.0.0.100")
	if f.speaker.applier.have[vip4].phase != owned || !f.kernel.Has(vip4) {
		t.Errorf("assigned %+v", f.speaker.applier.have[vip4])
	}
}

// S6: nothing changes on a host that cannot be read.
func TestAHostThatCannotBeReadIsNotTouched(t *testing.T) {
	for name, set := range map[string]func(f *fixture, err error){
		"links":               func(f *fixture, err error) { f.linksErr = err },
		"addresses":           func(f *fixture, err error) { f.service.presentErr = err },
		"the control plane's": func(f *fixture, err error) { f.vipsErr = err },
	} {
		f := newFixture(t)
		f.ownVIP4()
		set(f, errTest)
		f.restart()
		f.expect("")
		problem := f.speaker.Report("").Problem
		if !f.kernel.Has(vip4) || !strings.Contains(problem, errTest.Error()) {
			t.Errorf("%s: has it: %v, problem %q", name, f.kernel.Has(vip4), problem)
		}
		set(f, nil)
		f.advance(resyncInterval)
		f.expect("silence 10.0.0.100")
		problem = f.speaker.Report("").Problem
		if !f.kernel.Has(vip4) || strings.Contains(problem, errTest.Error()) {
			t.Errorf("%s: has it: %v, problem %q", name, f.kernel.Has(vip4), problem)
		}
	}
}

// S3, S7: a cordon moves the address. The old owner keeps it unannounced until it hears the new
// one.
func TestAPlannedMove(t *testing.T) {
	for _, heard := range []bool{true, false} {
		f := newFixture(t)
		f.ownVIP4()
		f.addPeer("you", peerMAC)
		f.cordon("me", true)
		f.advance(time.Second)
		f.renew()
		f.expect("silence 10.0.0.100")
		if heard {
			if got := f.conflict(peerMAC); got != "" {
				t.Errorf("actions on the new owner's announcement: %q", got)
			}
		} else {
			f.advance(overlap - 1)
			f.expect("")
			f.advance(1)
		}
		f.expect(releaseVIP4)
	}
}

// S7: a cordoned node keeps its addresses if there is no other, also in a drain of all nodes.
func TestACordonWithoutAnotherNodeMovesNothing(t *testing.T) {
	f := newFixture(t)
	f.ownVIP4()
	f.cordon("me", true)
	f.expect("")
}

// S9: while another program holds the allocator's Lease, this node announces nothing.
func TestForeignProgram(t *testing.T) {
	f := newFixture(t)
	f.ownVIP4()
	f.foreign = "kube-vip"
	f.expect(releaseVIP4)
	f.foreign = ""
	f.expect("protect [10.0.0.100], add 10.0.0.100, announce 10.0.0.100")
	if f.logged("another program announces Services") != 1 {
		t.Errorf("not logged once:\n%s", f.Log)
	}
}

// The next reconcile is due when an address that is leaving has to go.
func TestAReconcileIsDueWhenAnAddressExpires(t *testing.T) {
	f := newFixture(t)
	f.ownVIP4()
	f.addPeer("you", peerMAC)
	f.cordon("me", true)
	f.renew()
	f.reconcile()
	f.advance(overlap - 300*time.Millisecond)
	if wait := f.speaker.reconcile(); wait != 300*time.Millisecond {
		t.Errorf("due in %v, want 300ms", wait)
	}
	f.advance(300*time.Millisecond - 1)
	if wait := f.speaker.reconcile(); wait != minPause {
		t.Errorf("due in %v, want %v at least", wait, minPause)
	}
}

func TestALinkThatGoesTakesItsAddresses(t *testing.T) {
	f := newFixture(t)
	f.ownVIP4()
	all := f.links
	f.links = nil
	f.speaker.handleLinkEvent(link.Event{Kind: link.LinkChanged})
	f.expect(releaseVIP4)
	f.renew()
	f.reconcile()
	f.links = all
	f.speaker.handleLinkEvent(link.Event{Kind: link.LinkChanged})
	f.reconcile() // the Lease has the links after that
	f.renew()
	f.reconcile()
	if !f.kernel.Has(vip4) {
		t.Errorf("the address did not come back\n%s", f.Log)
	}
}

// Many events that arrive together cost one reading of the links, which does not wait.
func TestLinkEventsAreBatched(t *testing.T) {
	f := newFixture(t)
	reads := 0
	f.speaker.cfg.Networks = func() ([]link.Network, error) {
		reads++
		return f.links, nil
	}
	f.ownVIP4()
	reads = 0
	for range 1000 {
		f.speaker.handleLinkEvent(link.Event{Kind: link.LinkChanged})
	}
	if reads != 0 || len(f.speaker.wake) != 1 {
		t.Errorf("%d readings, the next reconcile is due: %v", reads, len(f.speaker.wake) == 1)
	}
	f.expect("")
	f.expect("")
	if reads != 1 {
		t.Errorf("the links were read %d times", reads)
	}
	<-f.speaker.wake
	f.speaker.handleLinkEvent(link.Event{Kind: link.AddrAdded, Addr: vip4})
	if len(f.speaker.wake) != 0 || f.speaker.linksChanged {
		t.Error("a refresh of an own address is relevant")
	}
}

// An address moves to another link of this node with a new burst of announcements.
func TestAnAddressFollowsItsSubnet(t *testing.T) {
	f := newFixture(t)
	f.ownVIP4()
	second := link.Network{
		Link:    link.Link{Index: 3, Name: "eth1", MAC: foreignMAC},
		Subnets: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/25")}, // longer than eth0's
	}
	f.links = append(f.links, second)
	f.speaker.handleLinkEvent(link.Event{Kind: link.LinkChanged})
	f.reconcile() // the Lease has the links after that
	f.renew()
	f.reconcile()
	if got := f.announcer.announced[vip4].Link; got.Index != 3 || got.Name != "eth1" {
		t.Errorf("announced on %+v", got)
	}
	if got := f.speaker.applier.have[vip4].since; got != f.clock() {
		t.Errorf("assigned since %v, want now", got)
	}
}

// The control plane owns and announces its address. Services do not filter it, as what the host
// serves there does not depend on them.
func TestSharedWithTheControlPlane(t *testing.T) {
	f := newFixture(t)
	f.control = []netip.Addr{vip4}
	f.assign(vip4, "a/web")
	f.start()
	f.advance(time.Second)
	f.renew()
	f.reconcile()
	if f.kernel.Has(vip4) || len(f.announcer.announced) > 0 || len(f.filter.want) != 0 {
		t.Errorf("S5: owned %v, announced %v, filtered %v",
			f.kernel.Has(vip4), f.announcer.announced, f.filter.want)
	}
	if a := f.speaker.applier.have[vip4]; a.phase != shared {
		t.Errorf("assigned %+v", a)
	}
	if err := f.speaker.Release(t.Context()); err != nil {
		t.Error(err)
	}
	if got := f.journal.drain(); got != "remove addresses, remove filter" {
		t.Errorf("S6: actions of the release: %q", got)
	}
}

// Run reconciles on changes, link events and conflicts, with a real clock.
func TestRun(t *testing.T) {
	f := newFixture(t)
	began, at := time.Now(), f.clock()
	running := func() time.Duration { return at + time.Since(began) }
	f.lease.cfg.Clock, f.speaker.cfg.Clock = running, running
	events := make(chan link.Event, 4)
	f.speaker.cfg.LinkEvents = events
	f.assign(vip4, "a/web")
	stopLease, stopSpeaker := f.Run(f.lease.Run), f.Run(f.speaker.Run)
	f.Eventually("it owns the address", func() bool {
		all := f.speaker.Report("a/web").Addresses
		return len(all) == 1 && all[0].State == "owned" && all[0].Node == "me" &&
			len(all[0].Eligible) == 1 && all[0].Eligible[0] == "me"
	})
	if interval, duration := f.lease.Timing(); interval != time.Second || duration != 5*time.Second {
		t.Errorf("timing %v and %v", interval, duration)
	}
	if f.heartbeat("Services") == 0 || f.heartbeat("node Lease") == 0 || f.notReady() != "" {
		t.Errorf("heartbeats %v and %v, not ready %q",
			f.heartbeat("Services"), f.heartbeat("node Lease"), f.notReady())
	}
	f.announcer.conflicts <- arp.Conflict{Addr: vip4, MAC: foreignMAC, At: running()}
	f.Eventually("it defends", func() bool { return strings.Contains(f.journal.drain(), "defend") })
	events <- link.Event{Kind: link.LinkChanged}
	f.Eventually("the event is handled", func() bool { return len(events) == 0 })
	stopSpeaker()
	stopLease()
	if !f.kernel.Has(vip4) { // S6: a restart leaves it
		t.Error("the address went with the process")
	}
}
