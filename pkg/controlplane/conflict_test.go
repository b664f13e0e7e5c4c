package controlplane

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/arp"
	"github.com/kvip/kvip/pkg/election"
	"github.com/kvip/kvip/pkg/link"
)

// detect detects an announcement of vip4 by a machine that is not a nodeMAC, at an instant.
func (r *testLoop) detect(at time.Duration) { r.detectFrom(foreignMAC, at) }

func (r *testLoop) detectFrom(mac net.HardwareAddr, at time.Duration) {
	r.net.conflicts <- arp.Conflict{Addr: vip4, MAC: mac, At: at}
	r.pass(time.Millisecond)
}

// nodeMAC is the hardware address in the Lease of the last holder.
var nodeMAC = net.HardwareAddr{2, 0, 0, 0, 0, 2}

// TestE9ConflictBeforeOwnership: these announcements are the last holder's and have no effect.
func TestE9ConflictBeforeOwnership(t *testing.T) {
	withLoop(t, func(r *testLoop) {
		r.detect(r.l.now())
		r.did("")
		before := r.l.now()
		r.pass(time.Millisecond)
		r.hold()
		r.pass(time.Millisecond)
		r.detect(before) // in flight before
		r.did("")
	})
}

// TestE9ForeignMachine is answered at once, and costs nothing when the API server is slow.
func TestE9ForeignMachine(t *testing.T) {
	withLoop(t, func(r *testLoop) {
		r.hold()
		r.pass(time.Millisecond)
		r.lease.setDown(true)
		r.detect(r.l.now())
		r.pass(400 * time.Millisecond)
		r.did("defend read")
		r.want(election.Holding)
		r.lease.setDown(false)
	})
}

// TestE9ForeignAnnouncement is answered by a quorum read, and then by a defence.
func TestE9ForeignAnnouncement(t *testing.T) {
	withLoop(t, func(r *testLoop) {
		r.hold()
		r.pass(time.Millisecond)
		r.detectFrom(nodeMAC, r.l.now())
		r.pass(time.Second / 2)
		r.did("read defend")
		r.want(election.Holding)
		if !r.logged("another host announces the VIP", nodeMAC.String()) {
			t.Error("the log does not name the machine")
		}
		if page := scrape(t, r.metrics); !strings.Contains(page,
			`kvip_conflicts_total{vip="10.0.0.100"} 1`) {
			t.Error("the conflict is not counted")
		}
	})
}

// TestE9NoProof deletes the address when the quorum read says nothing, or another holder.
func TestE9NoProof(t *testing.T) {
	t.Run("NoAnswer", func(t *testing.T) {
		withLoop(t, func(r *testLoop) {
			r.hold()
			r.pass(time.Millisecond)
			r.lease.setDown(true)
			r.detectFrom(nodeMAC, r.l.now())
			r.pass(400 * time.Millisecond)
			if r.hasAddress() {
				t.Error("the address is kept without proof of the lease")
			}
			r.lease.setDown(false)
		})
	})
	t.Run("AnotherHolder", func(t *testing.T) {
		withLoop(t, func(r *testLoop) {
			r.hold()
			r.pass(time.Millisecond)
			// the watch is late
			r.lease.edit(func(l *election.Record) { l.Holder, l.Term, l.Seq = other, l.Term+1, 1 })
			r.detectFrom(nodeMAC, r.l.now())
			r.did("read stop delete")
			r.want(election.Standby)
		})
	})
}

// TestConflictIsLoggedOnce in 10 s, however often the machine announces.
func TestConflictIsLoggedOnce(t *testing.T) {
	withLoop(t, func(r *testLoop) {
		r.hold()
		logged := func() (n int) {
			r.log.mu.Lock()
			defer r.log.mu.Unlock()
			for _, line := range r.log.entries {
				if strings.Contains(line, "another host announces the VIP") {
					n++
				}
			}
			return n
		}
		for range 5 {
			r.pass(time.Second)
			r.detect(r.l.now())
		}
		if logged() != 1 {
			t.Errorf("logged %d times in 5 s", logged())
		}
		r.pass(problemLogPeriod)
		r.detect(r.l.now())
		if logged() != 2 {
			t.Errorf("logged %d times in 15 s", logged())
		}
	})
}

// TestE9ProbeOfTwoFamilies: of two answers the last holder's counts, in any order, and also if it
// is a port of the bond in the lease.
func TestE9ProbeOfTwoFamilies(t *testing.T) {
	withLoop(t, func(r *testLoop) {
		last := macsOf(link.Link{MAC: net.HardwareAddr{2, 0, 0, 0, 0, 7},
			PortMACs: []net.HardwareAddr{{2, 0, 0, 0, 0, 7}, nodeMAC}})
		if last != "02:00:00:00:00:07,02:00:00:00:00:02" {
			t.Fatalf("hardware addresses %q", last)
		}
		r.net.mu.Lock()
		r.net.answers = map[netip.Addr]net.HardwareAddr{vip4: foreignMAC, vip6: nodeMAC}
		r.net.mu.Unlock()
		for range 20 {
			a := election.Action{Kind: election.Probe, MAC: last, Deadline: r.l.now() + time.Second}
			if got := r.l.probe(t.Context(), a); got != (election.Probed{MAC: nodeMAC.String()}) {
				t.Fatalf("%+v, want the last holder's answer", got)
			}
		}
	})
}

// TestE9Probe probes for an address before taking it without a proven release.
func TestE9Probe(t *testing.T) {
	last, _ := net.ParseMAC("02:00:00:00:00:02")
	t.Run("TheVeryFirstClaim", func(t *testing.T) { // in use: not taken
		withLoop(t, func(r *testLoop) {
			r.net.answer(foreignMAC, nil)
			r.pass(lease + time.Second)
			r.want(election.Standby)
			r.did("claim probe stop release")
			if !r.logged("another host answers for the address", foreignMAC.String()) {
				t.Error("the log does not name the machine")
			}
		})
	})
	t.Run("TheLastHolderIsNotSilentYet", func(t *testing.T) {
		withLoop(t, func(r *testLoop) {
			r.edit(func(l *election.Record) { l.Holder, l.Term, l.Seq, l.MAC = other, 1, 1, last.String() })
			r.net.answer(last, nil)
			r.pass(lease + 300*time.Millisecond)
			r.want(election.Probing)
			r.net.answer(nil, nil)
			r.pass(300 * time.Millisecond)
			r.want(election.Holding)
			r.did("claim probe replace announce")
		})
	})
	t.Run("AnotherMachineLater", func(t *testing.T) { // taken, and defended
		withLoop(t, func(r *testLoop) {
			r.edit(func(l *election.Record) { l.Holder, l.Term, l.Seq, l.MAC = other, 1, 1, last.String() })
			r.net.answer(foreignMAC, nil)
			r.pass(lease + 300*time.Millisecond)
			r.want(election.Holding)
			r.did("claim probe replace announce defend")
		})
	})
}

// TestE6LeavesOnRequest: a holder with an API server that is not ready marks the lease at once and
// stays until a node that can take over requests it.
func TestE6LeavesOnRequest(t *testing.T) {
	withLoop(t, func(r *testLoop) {
		r.hold()
		r.send(election.Health{Verdict: election.NotReady})
		if r.lease.get().Degraded == "" {
			t.Error("the lease is not marked as degraded at once")
		}
		r.pass(time.Minute)
		r.want(election.Holding)
		r.lease.edit(func(l *election.Record) { l.RequestedBy = other }) // the watch delivers nothing
		r.pass(1100 * time.Millisecond)
		r.want(election.Standby)
	})
}
