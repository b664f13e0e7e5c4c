package controlplane

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/election"
	"github.com/kvip/kvip/pkg/vip"
)

var errNetlink = errors.New("netlink does not work")

// TestE4AnnouncementsEndWithTheFence tests what is called before each frame.
func TestE4AnnouncementsEndWithTheFence(t *testing.T) {
	withLoop(t, func(r *testLoop) {
		if r.l.mayAnnounce() {
			t.Error("announces before it owns")
		}
		r.hold()
		deadline := r.l.status.Load().Deadline
		if !r.l.mayAnnounce() || time.Duration(r.l.announceUntil.Load()) != deadline {
			t.Errorf("announces until %v, want until the deadline %v",
				time.Duration(r.l.announceUntil.Load()), deadline)
		}
		r.l.announceUntil.Store(int64(r.l.now()))
		if r.l.mayAnnounce() {
			t.Error("announces at the deadline")
		}
		r.pass(time.Second + 200*time.Millisecond)
		if !r.l.mayAnnounce() {
			t.Error("does not announce after a refresh")
		}
		r.send(election.Health{Verdict: election.Dead})
		if r.l.mayAnnounce() {
			t.Error("announces after the address was deleted")
		}
	})
}

// TestE1ExpiryWithoutTheAPI: the API server is silent after a renewal. The address is gone at the
// deadline and does not come back.
func TestE1ExpiryWithoutTheAPI(t *testing.T) {
	withLoop(t, func(r *testLoop) {
		r.hold()
		r.lease.setDown(true)
		deadline := r.l.status.Load().Deadline
		for range 200 {
			r.pass(50 * time.Millisecond)
			if r.l.now() >= deadline+election.TickPeriod && r.hasAddress() {
				t.Fatal("the address outlives its deadline")
			}
		}
		r.lease.setDown(false)
	})
}

// TestE4FrozenBetweenCheckAndWrite stops the process right before a write, for longer than the
// lease lasts. Meanwhile another node takes over. When the process continues, the write adds the
// address with its old lifetime, and it must be deleted at once.
func TestE4FrozenBetweenCheckAndWrite(t *testing.T) {
	for _, c := range []struct {
		name  string
		ready func(r *testLoop)
		write func(r *testLoop)
	}{
		{"TheFirst", func(*testLoop) {}, func(r *testLoop) { r.released() }},
		{"ARefresh", (*testLoop).hold,
			func(r *testLoop) { r.send(election.AddressLost{NodeAddress: true}) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			withLoop(t, func(r *testLoop) {
				c.ready(r)
				r.write = func(vip.Op) {
					r.write = nil
					r.freeze(10 * time.Second)
					r.lease.edit(func(l *election.Record) { l.Holder, l.Term, l.Seq = other, l.Term+1, 1 })
				}
				c.write(r)
				r.pass(12 * time.Second)
				if r.hasAddress() || r.net.announcing() {
					t.Error("the address of another holder is present after a freeze")
				}
				r.observe()
				r.want(election.Standby)
				r.pass(time.Minute / 2)
				if slices.Contains(r.journal.take(), "release") {
					t.Error("released the lease of another holder")
				}
			})
		})
	}
}

// TestE5WinnerThatCannotOwn: the kernel rejects the address. The winner releases within its limit,
// backs off, and takes the address when the kernel works.
func TestE5WinnerThatCannotOwn(t *testing.T) {
	withLoop(t, func(r *testLoop) {
		r.kernel.Fail(vip.OpReplace, errNetlink)
		r.released()
		r.want(election.Holding)
		r.pass(1500 * time.Millisecond)
		if s := r.l.status.Load(); s.State != election.Standby || s.Reason != election.ReasonBackingOff {
			t.Fatalf("state %s (%s), want to back off", s.State, s.Reason)
		}
		did := r.journal.take("replace", "renew")
		if want := []string{"claim", "stop", "delete", "release"}; !slices.Equal(did, want) {
			t.Errorf("did %v, want %v", did, want)
		}
		if !r.logged("cannot own the address", errNetlink.Error()) {
			t.Error("the reason is not logged")
		}
		r.kernel.Fail(vip.OpReplace, nil)
		r.pass(2 * lease)
		r.want(election.Holding)
	})
}

// TestE5UnconfirmedDeletion: if it cannot delete or read back, it keeps the lease until the kernel
// lifetime has ended, and then releases it.
func TestE5UnconfirmedDeletion(t *testing.T) {
	for _, op := range []vip.Op{vip.OpDelete, vip.OpList} {
		t.Run(string(op), func(t *testing.T) {
			withLoop(t, func(r *testLoop) {
				r.hold()
				r.kernel.Fail(op, errNetlink)
				r.write = func(op vip.Op) {
					if r.net.announcing() {
						t.Error("announces an address that it deletes")
					}
				}
				r.send(election.Health{Verdict: election.Dead})
				for r.hasAddress() { // testLoop checks each release
					if r.l.status.Load().State != election.Leaving || r.lease.get().Holder != self {
						t.Fatal("not leaving with the lease")
					}
					r.pass(election.TickPeriod)
				}
				r.pass(lease) // if it cannot read back, until the lifetime has ended for certain
				if got := r.lease.get(); got.Holder != "" || got.Released.Holder != self {
					t.Errorf("not released when it was safe: %+v", got)
				}
				r.kernel.Fail(op, nil)
			})
		})
	}
}

// TestE5DeletionWithALostAnswer is confirmed by reading back.
func TestE5DeletionWithALostAnswer(t *testing.T) {
	withLoop(t, func(r *testLoop) {
		r.hold()
		r.kernel.FailApplied(vip.OpDelete, errNetlink)
		r.send(election.Link{})
		r.did("stop delete release")
	})
}

// TestShutdown ends within a limit in every case, and releases if it can.
func TestShutdown(t *testing.T) {
	for _, c := range []struct {
		name     string
		breaks   func(r *testLoop)
		released bool
	}{
		{"Orderly", func(*testLoop) {}, true},
		{"WithoutAPI", func(r *testLoop) { r.lease.setDown(true) }, false},
		{"WithoutNetlink", func(r *testLoop) { r.kernel.Fail(vip.OpDelete, errNetlink) }, false},
		{"WithoutBoth", func(r *testLoop) {
			r.lease.setDown(true)
			r.kernel.Fail(vip.OpList,
				errNetlink)
		},
			false},
	} {
		t.Run(c.name, func(t *testing.T) {
			withLoop(t, func(r *testLoop) {
				r.hold()
				c.breaks(r)
				began := r.l.now()
				r.end()
				if took := r.l.now() - began; took > 2*lease {
					t.Errorf("it took %v", took)
				}
				if got := r.lease.get().Released.Holder == self; c.released && !got {
					t.Error("the lease is not released")
				}
			})
		})
	}
}

// TestShutdownOfAFollower has nothing to release.
func TestShutdownOfAFollower(t *testing.T) {
	withLoop(t, func(r *testLoop) {
		r.edit(func(l *election.Record) { l.Holder, l.Term, l.Duration = other, 3, lease })
		r.journal.take()
		r.end()
		if did := strings.Join(r.journal.take(), " "); did != "" {
			t.Errorf("did %q", did)
		}
	})
}

// TestE4LateAndFailedWrite: what the kernel did is unknown, so the address is deleted although this
// node has the lease. When it is back, it is announced again.
func TestE4LateAndFailedWrite(t *testing.T) {
	withLoop(t, func(r *testLoop) {
		r.hold()
		r.write = func(vip.Op) {
			r.write, r.ownDelete = nil, true
			r.kernel.Fail(vip.OpReplace, errNetlink)
			time.Sleep(1500 * time.Millisecond)
		}
		r.send(election.AddressLost{NodeAddress: true})
		r.pass(1600 * time.Millisecond)
		if r.hasAddress() || r.net.announcing() {
			t.Error("announces an address that was deleted")
		}
		r.kernel.Fail(vip.OpReplace, nil)
		r.ownDelete = false
		r.journal.take()
		r.pass(time.Second / 2)
		r.want(election.Holding)
		r.did("replace announce")
	})
}
