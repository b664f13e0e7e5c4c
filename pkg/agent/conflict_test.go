package agent

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/arp"
	"github.com/kvip/kvip/pkg/election"
)

// hear has a stranger announce vip4, heard by the speaker at instant at.
func (r *rig) hear(at time.Duration) { r.hearFrom(stranger, at) }

func (r *rig) hearFrom(mac net.HardwareAddr, at time.Duration) {
	r.net.conflicts <- arp.Conflict{VIP: vip4, MAC: mac, At: at}
	r.pass(time.Millisecond)
}

// node is the hardware address that the lease named before.
var node = net.HardwareAddr{2, 0, 0, 0, 0, 2}

// TestE9SightingsBeforeOwnership are the last holder's announcements: they start nothing.
func TestE9SightingsBeforeOwnership(t *testing.T) {
	play(t, func(r *rig) {
		r.hear(r.l.now())
		r.did("")
		before := r.l.now()
		r.pass(time.Millisecond)
		r.hold()
		r.pass(time.Millisecond)
		r.hear(before) // was on its way
		r.did("")
	})
}

// TestE9Stranger is answered at once, and costs nothing when the API server is slow.
func TestE9Stranger(t *testing.T) {
	play(t, func(r *rig) {
		r.hold()
		r.pass(time.Millisecond)
		r.lease.setDown(true)
		r.hear(r.l.now())
		r.pass(400 * time.Millisecond)
		r.did("defend read")
		r.want(election.Holding)
		r.lease.setDown(false)
	})
}

// TestE9ForeignAnnouncement is answered by a quorum read, and then by a defence.
func TestE9ForeignAnnouncement(t *testing.T) {
	play(t, func(r *rig) {
		r.hold()
		r.pass(time.Millisecond)
		r.hearFrom(node, r.l.now())
		r.pass(time.Second / 2)
		r.did("read defend")
		r.want(election.Holding)
		if !r.logged("another machine announces the address", node.String()) {
			t.Error("nobody is told who")
		}
		if page := scrape(t, r.metrics); !strings.Contains(page, `kvip_conflicts_total{vip="10.0.0.100"} 1`) {
			t.Error("the conflict is not counted")
		}
	})
}

// TestE9NoProof deletes the address when the quorum read says nothing, or another holder.
func TestE9NoProof(t *testing.T) {
	t.Run("NoAnswer", func(t *testing.T) {
		play(t, func(r *rig) {
			r.hold()
			r.pass(time.Millisecond)
			r.lease.setDown(true)
			r.hearFrom(node, r.l.now())
			r.pass(400 * time.Millisecond)
			if r.has() {
				t.Error("the address is kept without proof of the lease")
			}
			r.lease.setDown(false)
		})
	})
	t.Run("AnotherHolder", func(t *testing.T) {
		play(t, func(r *rig) {
			r.hold()
			r.pass(time.Millisecond)
			r.lease.edit(func(l *election.Record) { l.Holder, l.Term, l.Seq = other, l.Term+1, 1 }) // the watch is late
			r.hearFrom(node, r.l.now())
			r.did("read hush delete")
			r.want(election.Standby)
		})
	})
}

// TestConflictIsToldOnce in a while, however often the stranger announces.
func TestConflictIsToldOnce(t *testing.T) {
	play(t, func(r *rig) {
		r.hold()
		told := func() (n int) {
			r.log.mu.Lock()
			defer r.log.mu.Unlock()
			for _, line := range r.log.words {
				if strings.Contains(line, "another machine announces the address") {
					n++
				}
			}
			return n
		}
		for range 5 {
			r.pass(time.Second)
			r.hear(r.l.now())
		}
		if told() != 1 {
			t.Errorf("told %d times in 5 s", told())
		}
		r.pass(quiet)
		r.hear(r.l.now())
		if told() != 2 {
			t.Errorf("told %d times in 15 s", told())
		}
	})
}

// TestE9ProbeOfTwoFamilies: of two answers the last holder's counts, in whatever order they
// are found, also where it is a port of the bond that the lease names.
func TestE9ProbeOfTwoFamilies(t *testing.T) {
	play(t, func(r *rig) {
		last := macs(selected{MAC: net.HardwareAddr{2, 0, 0, 0, 0, 7}, PortMACs: []net.HardwareAddr{{2, 0, 0, 0, 0, 7}, node}})
		if last != "02:00:00:00:00:07,02:00:00:00:00:02" {
			t.Fatalf("the lease would name %q", last)
		}
		r.net.mu.Lock()
		r.net.answers = map[netip.Addr]net.HardwareAddr{vip4: stranger, vip6: node}
		r.net.mu.Unlock()
		for range 20 {
			a := election.Action{Kind: election.Probe, MAC: last, Deadline: r.l.now() + time.Second}
			if got := r.l.probe(t.Context(), a); got != (election.Probed{MAC: node.String()}) {
				t.Fatalf("the probe says %+v, want the last holder's answer", got)
			}
		}
	})
}

// TestE9Probe asks the network before it takes an address without a proven release.
func TestE9Probe(t *testing.T) {
	last, _ := net.ParseMAC("02:00:00:00:00:02")
	t.Run("TheVeryFirstClaim", func(t *testing.T) { // it is somebody's: not taken
		play(t, func(r *rig) {
			r.net.answer(stranger, nil)
			r.pass(lease + time.Second)
			r.want(election.Standby)
			r.did("claim probe hush release")
			if !r.logged("somebody answers for the address", stranger.String()) {
				t.Error("nobody is told who")
			}
		})
	})
	t.Run("TheLastHolderIsNotSilentYet", func(t *testing.T) {
		play(t, func(r *rig) {
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
	t.Run("AStrangerLater", func(t *testing.T) { // taken, and defended
		play(t, func(r *rig) {
			r.edit(func(l *election.Record) { l.Holder, l.Term, l.Seq, l.MAC = other, 1, 1, last.String() })
			r.net.answer(stranger, nil)
			r.pass(lease + 300*time.Millisecond)
			r.want(election.Holding)
			r.did("claim probe replace announce defend")
		})
	})
}

// TestLeavesOnAWish is E6: a holder whose API server is not ready marks the lease at once and
// stays, until somebody who can take asks for it.
func TestLeavesOnAWish(t *testing.T) {
	play(t, func(r *rig) {
		r.hold()
		r.send(election.Health{Verdict: election.NotReady})
		if r.lease.get().Degraded == "" {
			t.Error("the holder does not say at once that it is degraded")
		}
		r.pass(time.Minute)
		r.want(election.Holding)
		r.lease.edit(func(l *election.Record) { l.RequestedBy = other }) // the watch stands still
		r.pass(1100 * time.Millisecond)
		r.want(election.Standby)
	})
}
