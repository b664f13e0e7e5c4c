package controlplane

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kvip/kvip/pkg/arp"
	"github.com/kvip/kvip/pkg/election"
	"github.com/kvip/kvip/pkg/fence"
	"github.com/kvip/kvip/pkg/link"
	"github.com/kvip/kvip/pkg/quorum"
	"github.com/kvip/kvip/pkg/relay"
	"github.com/kvip/kvip/pkg/vip"
	"github.com/kvip/kvip/test/testutil"
)

const (
	otherMAC = "02:00:00:00:00:02"
	drainFor = 10 * time.Second
)

// fakeFence records what ends and serves the addresses.
type fakeFence struct {
	journal *journal
	broken  atomic.Bool  // nothing can be read back
	refuses atomic.Int32 // how many more Extends change nothing
}

func (f *fakeFence) Extend(time.Duration) error {
	if f.refuses.Add(-1) >= 0 {
		return fence.ErrDeferred
	}
	f.journal.add("extend")
	return nil
}

func (f *fakeFence) Shut() error                 { f.journal.add("shut"); return nil }
func (f *fakeFence) Cut(time.Duration) error     { return nil }
func (f *fakeFence) Silence(time.Duration) error { f.journal.add("silence"); return nil }
func (f *fakeFence) Serve() error                { f.journal.add("serve"); return nil }
func (f *fakeFence) Announced() error            { f.journal.add("announced"); return nil }

func (f *fakeFence) Attach(device string, lifetime time.Duration) error {
	if lifetime == 0 {
		f.journal.add("prepare " + device)
	}
	return nil
}

func (f *fakeFence) VerifyShut() error {
	if f.broken.Load() {
		return errors.New("nothing can be read")
	}
	return nil
}

func (f *fakeFence) SetRelays(relays []net.HardwareAddr, _ []netip.Addr) error {
	f.journal.add(fmt.Sprint("relays", relays))
	return nil
}

// fakeRelay records where packets are relayed to.
type fakeRelay struct {
	journal *journal
	hosts   []relay.Host
}

func (f *fakeRelay) To(on relay.Link, hosts []relay.Host) error {
	if fmt.Sprint(hosts) != fmt.Sprint(f.hosts) {
		f.journal.add(fmt.Sprintf("relay on %s to %v", on.Name, hosts))
	}
	f.hosts = hosts
	return nil
}

func (f *fakeRelay) End() error {
	if len(f.hosts) > 0 {
		f.journal.add("end relay")
	}
	f.hosts = nil
	return nil
}

// connectedOwner has a number of connections to the VIP.
type connectedOwner struct {
	*vip.Owner
	connections atomic.Int64
}

func (o *connectedOwner) Connections() ([]link.Socket, error) {
	return slices.Repeat([]link.Socket{{
		Local: netip.AddrPortFrom(vip4, 6443), Remote: netip.MustParseAddrPort("10.0.0.9:40000"),
	}}, int(o.connections.Load())), nil
}

// drainingLoop is a testLoop with a fence, which drains.
type drainingLoop struct {
	*testLoop
	fence *fakeFence
	relay *fakeRelay
	owner *connectedOwner
}

// withDrains runs a loop that holds and has a connection.
func withDrains(t *testing.T, test func(r *drainingLoop)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &drainingLoop{testLoop: newTestLoop(t)}
		r.fence, r.relay = &fakeFence{journal: r.journal}, &fakeRelay{journal: r.journal}
		r.owner = &connectedOwner{Owner: r.testLoop.owner}
		r.owner.connections.Store(1)
		r.owner.UseFence(r.fence)
		r.l.fence, r.l.relay, r.l.owner = r.fence, r.relay, r.owner
		r.lease.writing = func(election.Action) {} // released with the address on the host
		var err error
		if r.l.machine, err = election.New(election.Config{
			ID: self, Lease: lease, Renew: time.Second, FirstSeq: 1000, Drain: drainFor,
			ShutdownDrain: drainFor / 2, Window: 350 * time.Millisecond,
		}); err != nil {
			t.Fatal(err)
		}
		r.start()
		defer r.end()
		r.observe()
		r.pass(time.Second / 2)
		r.hold()
		test(r)
	})
}

// leaves makes the holder leave for another node, and that one hold.
func (r *drainingLoop) leaves() {
	r.t.Helper()
	r.send(election.Agents{IDs: []string{self, other}})
	r.edit(func(l *election.Record) { l.MoveTo = other })
	r.pass(10 * time.Millisecond)
}

// next makes another node hold.
func (r *drainingLoop) next() {
	r.edit(func(l *election.Record) {
		*l = election.Record{
			Exists: true, Version: l.Version, Holder: other, Term: l.Term + 1, Duration: lease, Seq: 7,
			MAC: otherMAC,
		}
	})
}

// TestF11DrainOrder: nothing is announced and answered for, and that was read back, before the
// Lease is released. The address remains until the last connection has ended.
func TestF11DrainOrder(t *testing.T) {
	withDrains(t, func(r *drainingLoop) {
		r.leaves()
		r.did("stop silence release", "replace", "relays[]", "serve") // at the same time
		r.next()
		r.did("replace relays[" + otherMAC + "] serve")
		if !r.hasAddress() || r.net.announcing() {
			t.Error("the address is not there, or announced")
		}
		mac := testutil.Must(net.ParseMAC(otherMAC))
		r.net.conflicts <- arp.Conflict{Addr: vip4, MAC: mac, At: r.l.now()}
		synctest.Wait()
		r.did("announced")
		again := []string{"replace", "relays[" + otherMAC + "]", "serve"}
		r.pass(3 * time.Second)
		r.did("", again...)
		r.owner.connections.Store(0)
		r.pass(1200 * time.Millisecond)
		r.did("stop shut delete", again...)
		if r.hasAddress() || r.sockets.Load() == 0 {
			t.Error("the address is left, or its connections are")
		}
	})
}

// TestF11DrainEnds: a drain has an end, and at a shutdown an earlier one.
func TestF11DrainEnds(t *testing.T) {
	withDrains(t, func(r *drainingLoop) {
		r.leaves()
		r.next()
		for range 9 {
			r.pass(time.Second)
			r.edit(func(l *election.Record) { l.Seq++ }) // a renewal
			if !r.hasAddress() {
				t.Error("the address is gone early")
			}
		}
		r.pass(2 * time.Second)
		if r.hasAddress() {
			t.Error("the address is left")
		}
	})
	withDrains(t, func(r *drainingLoop) {
		r.send(election.Agents{IDs: []string{self, other}})
		r.stop()
		r.pass(10 * time.Millisecond)
		r.next()
		r.pass(drainFor/2 - time.Second)
		if !r.hasAddress() || r.net.announcing() {
			t.Error("the address is gone early, or announced")
		}
		r.pass(2 * time.Second)
		select {
		case <-r.done:
		default:
			t.Error("the loop does not end")
		}
	})
}

// TestF11DrainFails: what is answered for, perhaps, is deleted before the release.
func TestF11DrainFails(t *testing.T) {
	withDrains(t, func(r *drainingLoop) {
		r.fence.broken.Store(true)
		r.lease.writing = r.checkRelease
		r.relay.hosts = []relay.Host{{}}
		r.leaves()
		r.did("stop silence end relay delete release")
	})
}

// TestF9ExtendAgain: an Extend that the kernel deferred is repeated at once, and nothing is
// announced before it worked.
func TestF9ExtendAgain(t *testing.T) {
	withDrains(t, func(r *drainingLoop) {
		r.journal.take()
		r.fence.refuses.Store(3)
		r.pass(time.Second + 100*time.Millisecond) // a renewal
		if n := r.fence.refuses.Load(); n >= 0 {
			t.Errorf("%d Extends were not repeated", n)
		}
		r.did("replace extend")
		r.fence.refuses.Store(1 << 30) // for good
		r.pass(2 * time.Second)
		if !r.logged("level=WARN", "cannot extend the fence; trying again") {
			t.Errorf("logged %s", r.log.take())
		}
	})
}

// TestF11DrainOnAnotherLink: a drain is for one link, the only one of the host in its subnet.
func TestF11DrainOnAnotherLink(t *testing.T) {
	withDrains(t, func(r *drainingLoop) {
		r.lease.writing = r.checkRelease
		r.addresses = []link.HostAddr{{Index: 8, Prefix: netip.MustParsePrefix("10.0.0.7/24")}}
		r.leaves()
		r.did("stop silence delete release")
	})
	for _, change := range []func(l *link.Link){
		func(l *link.Link) { l.Index++ }, func(l *link.Link) { l.Name += "x" },
		func(l *link.Link) { l.Usable = false }, func(l *link.Link) { l.MAC = foreignMAC },
	} {
		withDrains(t, func(r *drainingLoop) {
			r.addresses = []link.HostAddr{
				{Index: 7, Prefix: netip.MustParsePrefix("10.0.0.7/24")},
				{Index: 8, Prefix: netip.MustParsePrefix("10.0.1.7/24")},
				{Index: 1, Prefix: netip.PrefixFrom(vip4, 32)},
			}
			r.leaves()
			r.next()
			r.journal.take()
			r.l.links.mu.Lock()
			change(&r.l.links.current)
			r.l.links.mu.Unlock()
			r.pass(time.Second)
			r.did("stop shut delete")
			if r.hasAddress() {
				t.Error("the address is left")
			}
		})
	}
}

// named returns the lists that were sent.
func (r *drainingLoop) named() (list []quorum.Message) {
	m := r.l.messages.(*fakeMessenger)
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, msg := range m.sent {
		if msg.Kind == quorum.KindFlows {
			list = append(list, msg)
		}
	}
	return list
}

// flowsOf is the list of a holder that drains.
func flowsOf(term int64, flows ...relay.Flow) quorum.Message {
	return quorum.Message{
		Kind: quorum.KindFlows, Term: quorum.Term{Number: term, Holder: other},
		Payload: relay.Encode(testutil.Must(net.ParseMAC(otherMAC)), flows)[0],
	}
}

var oneFlow = relay.Flow{
	VIP: vip4, Remote: netip.MustParseAddrPort("10.0.0.9:40001"), Port: 6443,
}

// TestF11Naming: a holder that drains names its connections before its goodbye, and each second.
func TestF11Naming(t *testing.T) {
	withDrains(t, func(r *drainingLoop) {
		term := r.lease.get().Term
		r.leaves()
		want := flowsOf(term, oneFlow)
		want.Term.Holder = self
		want.Payload = relay.Encode(ownMAC, []relay.Flow{{
			VIP: vip4, Remote: netip.MustParseAddrPort("10.0.0.9:40000"), Port: 6443,
		}})[0]
		before := len(r.named())
		if before == 0 {
			t.Error("nothing was named")
		}
		r.next()
		r.pass(5 * time.Second)
		list := r.named()
		if len(list) < before+4 {
			t.Errorf("%d lists, %d before", len(list), before)
		}
		for _, got := range list {
			if got != want {
				t.Errorf("sent %+v, want %+v", got, want)
			}
		}
	})
}

// TestF11Relaying: the next holder of one that drains relays before it owns, as long as that one
// names its connections. One that drains itself relays while it has packets that are not relayed.
func TestF11Relaying(t *testing.T) {
	withDrains(t, func(r *drainingLoop) {
		r.leaves()
		r.next()
		r.journal.take()
		term := r.lease.get().Term
		r.send(election.Received{From: other, Message: flowsOf(term, oneFlow)})
		r.edit(func(l *election.Record) {
			l.Holder, l.Seq = "", 8
			l.Released = election.Proof{Holder: other, Term: l.Term, Reason: election.ReasonShutdown}
		})
		r.pass(2 * time.Second)
		r.want(election.Holding)
		relays := fmt.Sprintf("relay on eth0 to [{%s [%v]}]", otherMAC, oneFlow)
		r.did("claim "+relays+" extend announce", "relays["+otherMAC+"]", "serve", "replace")
		for range 3 {
			r.send(election.Received{From: other, Message: flowsOf(term, oneFlow)})
			r.pass(time.Second)
		}
		r.did("", "extend", "replace")
		r.send(election.Received{From: other, Message: flowsOf(term)})
		r.pass(3*time.Second + time.Second/2)
		r.did("relay on eth0 to [{"+otherMAC+" []}] relay on eth0 to []", "extend", "replace")
		r.send(election.Received{From: other, Message: flowsOf(term, oneFlow)})
		r.pass(0)
		r.did(relays, "extend", "replace") // at once
		r.leaves()
		r.next()
		r.did("stop silence release", "replace", "relays[]", "relays["+otherMAC+"]", "serve")
		r.pass(time.Second)
		r.did("end relay", "replace", "relays[]", "relays["+otherMAC+"]", "serve")
	})
}

// TestF11ForeignAnnouncement: it does not end the service of packets that are not relayed.
func TestF11ForeignAnnouncement(t *testing.T) {
	withDrains(t, func(r *drainingLoop) {
		r.leaves()
		r.next()
		r.journal.take()
		r.net.conflicts <- arp.Conflict{Addr: vip4, MAC: foreignMAC, At: r.l.now()}
		synctest.Wait()
		r.did("", "replace", "relays["+otherMAC+"]", "serve")
	})
}

// TestFenceIsPreparedOnce: the fence is built with the first usable link, before the Lease is held.
func TestFenceIsPreparedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newTestLoop(t)
		r.owner.UseFence(&fakeFence{journal: r.journal})
		r.l.prepares = true
		r.start()
		defer r.end()
		for range 2 {
			r.send(election.Link{Usable: true, MAC: ownMAC.String()})
			r.pass(time.Second)
			r.journal.add("sent")
		}
		did := r.journal.take()
		first := slices.Index(did, "prepare eth0")
		if first < 0 || slices.Contains(did[first+1:], "prepare eth0") || r.hasAddress() {
			t.Errorf("did %q", did)
		}
	})
}
