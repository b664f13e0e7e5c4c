package agent

import (
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/election"
	"github.com/kvip/kvip/pkg/vip"
)

// TestTake is the first half of the ordering contract: the lease, then the address, then
// the announcement; the network is asked unless the last holder proved its release (E3).
func TestTake(t *testing.T) {
	t.Run("AfterAProvenRelease", func(t *testing.T) {
		play(t, func(r *rig) {
			r.released()
			r.want(election.Holding)
			r.did("claim replace announce")
		})
	})
	t.Run("AfterExpiry", func(t *testing.T) {
		play(t, func(r *rig) {
			r.pass(lease + time.Second)
			r.want(election.Holding)
			r.did("claim probe replace announce replace")
		})
	})
	t.Run("WhenTheProbeFails", func(t *testing.T) { // it proves nothing and stops nothing
		play(t, func(r *rig) {
			r.net.answer(nil, net.ErrClosed)
			r.pass(lease + time.Second)
			r.want(election.Holding)
		})
	})
}

// TestKeep refreshes the address with every confirmed renewal and announces it once (E1).
func TestKeep(t *testing.T) {
	play(t, func(r *rig) {
		r.hold()
		for range 60 {
			r.pass(time.Second)
			if !r.kernel.Has(vip4) || !r.kernel.Has(vip6) || !r.net.announcing() {
				t.Fatal("the address is not kept")
			}
		}
		r.did("replace")
	})
}

// TestLose is the second half of the ordering contract, for every cause: stop announcing,
// delete the address, and only then release the lease, if at all. The connections are destroyed beside.
// What must hold at every single deletion and release, the rig asserts.
func TestLose(t *testing.T) {
	for _, c := range []struct {
		name, did string
		cause     func(r *rig)
	}{
		{"Shutdown", "hush delete release", func(r *rig) { r.send(election.Shutdown{}) }},
		{"LinkDown", "hush delete release", func(r *rig) { r.send(election.Link{}) }},
		{"APIServerDead", "hush delete release", func(r *rig) { r.send(election.Health{Verdict: election.Dead}) }},
		{"APIServerNotReady", "hush delete release", func(r *rig) { // E6
			r.send(election.Health{Verdict: election.NotReady})
			r.pass(time.Second)
			if r.lease.get().Degraded == "" {
				r.t.Fatal("the holder does not say that it is degraded")
			}
			r.journal.take()
			r.edit(func(l *election.Record) { l.RequestedBy = other })
		}},
		{"LeaseLost", "hush delete", func(r *rig) {
			r.edit(func(l *election.Record) { l.Holder, l.Term, l.Seq = other, l.Term+1, 1 })
		}},
		{"FenceExpired", "replace hush delete read", func(r *rig) {
			r.send(election.AddressLost{NodeAddress: true})
			r.lease.setDown(true)
			r.pass(lease)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			play(t, func(r *rig) {
				r.hold()
				c.cause(r)
				r.did(c.did)
				if r.has() {
					t.Error("the address is still there")
				}
				if r.sockets.Load() == 0 {
					t.Error("no connections were destroyed")
				}
				released := r.lease.get().Holder == "" && r.lease.get().Released.Holder == self
				if want := strings.HasSuffix(c.did, "release"); released != want {
					t.Errorf("released: %v, want %v", released, want)
				}
				r.lease.setDown(false)
			})
		})
	}
}

// TestReleaseDoesNotWaitForConnections that take long to destroy, as many do.
func TestReleaseDoesNotWaitForConnections(t *testing.T) {
	play(t, func(r *rig) {
		r.destroying = make(chan struct{})
		defer close(r.destroying)
		r.hold()
		r.send(election.Link{})
		r.did("hush delete release")
		if r.sockets.Load() == 0 || r.lease.get().Released.Holder != self {
			t.Errorf("destroying %d, lease %+v", r.sockets.Load(), r.lease.get())
		}
	})
}

// TestPause jumps over two renew intervals, as a suspended machine does: the address goes
// first, and comes back after a quorum read and a confirmed renewal (E9).
func TestPause(t *testing.T) {
	play(t, func(r *rig) {
		r.hold()
		r.write = func(op vip.Op) { // while the loop is in the kernel, all else goes on
			r.write = nil
			time.Sleep(2100 * time.Millisecond)
		}
		r.send(election.AddressLost{NodeAddress: true})
		r.pass(4 * time.Second)
		r.want(election.Holding)
		got := r.journal.take("replace")
		if want := []string{"hush", "delete", "read", "renew", "announce", "renew"}; !slices.Equal(got, want) {
			t.Errorf("did %v, want %v", got, want)
		}
	})
}

// TestRegain owns again, and announces again, when the lease is confirmed after all.
func TestRegain(t *testing.T) {
	play(t, func(r *rig) {
		r.hold()
		r.lease.setDown(true)
		r.pass(lease)
		r.want(election.Confirming)
		r.lease.setDown(false)
		r.pass(4 * time.Second)
		r.want(election.Holding)
		if !r.has() || !r.net.announcing() {
			t.Error("the address is not back")
		}
	})
}
