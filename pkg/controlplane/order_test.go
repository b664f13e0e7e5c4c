package controlplane

import (
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/election"
	"github.com/kvip/kvip/pkg/vip"
	"github.com/kvip/kvip/test/testutil"
)

// TestAcquireOrder is the first half of the ordering contract: the lease, then the address, then
// the announcement. The address is probed for unless the last holder proved its release (E3).
func TestAcquireOrder(t *testing.T) {
	t.Run("AfterAProvenRelease", func(t *testing.T) {
		withLoop(t, func(r *testLoop) {
			r.released()
			r.want(election.Holding)
			r.did("claim replace announce")
		})
	})
	t.Run("AfterExpiry", func(t *testing.T) {
		withLoop(t, func(r *testLoop) {
			r.pass(lease + time.Second)
			r.want(election.Holding)
			r.did("claim probe replace announce replace")
		})
	})
	t.Run("WhenTheProbeFails", func(t *testing.T) { // it proves nothing
		withLoop(t, func(r *testLoop) {
			r.net.answer(nil, net.ErrClosed)
			r.pass(lease + time.Second)
			r.want(election.Holding)
		})
	})
}

// TestE1Refresh refreshes the address with every confirmed renewal and announces it once.
func TestE1Refresh(t *testing.T) {
	withLoop(t, func(r *testLoop) {
		r.hold()
		for range 60 {
			r.pass(time.Second)
			if !r.kernel.Has(vip4) || !r.kernel.Has(vip6) || !r.net.announcing() {
				t.Fatal("the address is not refreshed")
			}
		}
		r.did("replace")
	})
}

// TestReleaseOrder is the second half of the ordering contract, for every cause: stop announcing,
// delete the address, and only then release the lease, if at all. Connections are destroyed in the
// background. testLoop checks each deletion and release.
func TestReleaseOrder(t *testing.T) {
	for _, c := range []struct {
		name, did string
		cause     func(r *testLoop)
	}{
		{"Shutdown", "stop delete release", func(r *testLoop) { r.send(election.Shutdown{}) }},
		{"LinkDown", "stop delete release", func(r *testLoop) { r.send(election.Link{}) }},
		{"APIServerDead", "stop delete release",
			func(r *testLoop) { r.send(election.Health{Verdict: election.Dead}) }},
		{"APIServerNotReady", "stop delete release", func(r *testLoop) { // E6
			r.send(election.Health{Verdict: election.NotReady})
			r.pass(time.Second)
			if r.lease.get().Degraded == "" {
				r.t.Fatal("the lease is not marked as degraded")
			}
			r.journal.take()
			r.edit(func(l *election.Record) { l.RequestedBy = other })
		}},
		{"LeaseLost", "stop delete", func(r *testLoop) {
			r.edit(func(l *election.Record) { l.Holder, l.Term, l.Seq = other, l.Term+1, 1 })
		}},
		{"FenceExpired", "replace stop delete", func(r *testLoop) {
			r.send(election.AddressLost{NodeAddress: true})
			r.lease.setDown(true)
			r.pass(lease)
			if r.sockets.Load() != 0 {
				r.t.Error("connections were destroyed at once")
			}
			r.pass(regainWithin)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			withLoop(t, func(r *testLoop) {
				r.hold()
				c.cause(r)
				r.did(c.did, "read") // which may overtake the deletion
				if r.hasAddress() {
					t.Error("the address is still present")
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

// TestReleaseDoesNotWaitForConnections: many connections take long to destroy.
func TestReleaseDoesNotWaitForConnections(t *testing.T) {
	withLoop(t, func(r *testLoop) {
		r.destroying = make(chan struct{})
		defer close(r.destroying)
		r.hold()
		r.send(election.Link{})
		r.did("stop delete release")
		if r.sockets.Load() == 0 || r.lease.get().Released.Holder != self {
			t.Errorf("destroying %d, lease %+v", r.sockets.Load(), r.lease.get())
		}
	})
}

// TestE9Pause skips two renew intervals, as a suspended machine does: the address is deleted first,
// and comes back after a quorum read and a confirmed renewal.
func TestE9Pause(t *testing.T) {
	withLoop(t, func(r *testLoop) {
		r.hold()
		r.write = func(op vip.Op) { // the loop waits for the kernel, all else goes on
			r.write = nil
			r.freeze(2100 * time.Millisecond)
		}
		r.send(election.AddressLost{NodeAddress: true})
		r.pass(4 * time.Second)
		r.want(election.Holding)
		got := r.journal.take("replace")
		if deleted := slices.Index(got, "delete"); deleted < slices.Index(got, "stop") ||
			deleted > slices.Index(got, "announce") {
			t.Errorf("did %v, want to delete before the address is back", got)
		}
		got = slices.DeleteFunc(got, func(did string) bool { return did == "delete" })
		if want := []string{"stop", "read", "renew", "announce", "renew"}; !slices.Equal(got, want) {
			t.Errorf("did %v, want %v", got, want)
		}
	})
}

// TestRegain owns and announces again when the lease is confirmed late.
func TestRegain(t *testing.T) {
	withLoop(t, func(r *testLoop) {
		r.hold()
		r.lease.setDown(true)
		r.pass(lease)
		r.want(election.Confirming)
		r.lease.setDown(false)
		r.pass(4 * time.Second)
		r.want(election.Holding)
		if !r.hasAddress() || !r.net.announcing() {
			t.Error("the address is not back")
		}
	})
}

// TestRegainKeepsConnections regains the addresses in less than a second after the deadline, and
// after a pause: open connections go on (E1, E9).
func TestRegainKeepsConnections(t *testing.T) {
	for name, lose := range map[string]func(r *testLoop){
		"FenceExpired": func(r *testLoop) {
			r.lease.setDown(true)
			testutil.Eventually(r.t, "the deadline", func() bool { return !r.hasAddress() })
			r.lease.setDown(false)
		},
		"Paused": func(r *testLoop) {
			r.write = func(vip.Op) {
				r.write = nil
				r.freeze(2100 * time.Millisecond)
			}
			r.send(election.AddressLost{NodeAddress: true})
		},
	} {
		t.Run(name, func(t *testing.T) {
			withLoop(t, func(r *testLoop) {
				r.hold()
				lose(r)
				testutil.Eventually(t, "the address", r.hasAddress)
				r.pass(4 * time.Second)
				if did := r.journal.take(); !slices.Contains(did, "delete") {
					t.Errorf("did %v, want a delete", did)
				}
				if n := r.sockets.Load(); n != 0 {
					t.Errorf("connections were destroyed %d times", n)
				}
			})
		})
	}
}
