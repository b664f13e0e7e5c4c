package agent

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

// TestE4AnnouncementsEndWithTheFence asks the gate itself, which is asked before each frame.
func TestE4AnnouncementsEndWithTheFence(t *testing.T) {
	play(t, func(r *rig) {
		if r.l.mayAnnounce() {
			t.Error("announces before it owns")
		}
		r.hold()
		deadline := r.l.status.Load().Deadline
		if !r.l.mayAnnounce() || time.Duration(r.l.fence.Load()) != deadline {
			t.Errorf("the gate is open until %v, want until the deadline %v", time.Duration(r.l.fence.Load()), deadline)
		}
		r.l.fence.Store(int64(r.l.now()))
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

// TestE1ExpiryWithoutTheAPI lets the API server be silent from a renewal on: the address is
// gone at the deadline, and nothing puts it back.
func TestE1ExpiryWithoutTheAPI(t *testing.T) {
	play(t, func(r *rig) {
		r.hold()
		r.lease.setDown(true)
		deadline := r.l.status.Load().Deadline
		for range 200 {
			r.pass(50 * time.Millisecond)
			if r.l.now() >= deadline+tickEvery && r.has() {
				t.Fatal("the address outlives its deadline")
			}
		}
		r.lease.setDown(false)
	})
}

// TestE4FrozenBetweenCheckAndWrite stops the process right before a write, for longer than
// the lease lasts. Meanwhile another node takes over. When the process thaws, the write
// puts the address there with its old lifetime, and it has to go at once.
func TestE4FrozenBetweenCheckAndWrite(t *testing.T) {
	for _, c := range []struct {
		name  string
		ready func(r *rig)
		write func(r *rig)
	}{
		{"TheFirst", func(*rig) {}, func(r *rig) { r.released() }},
		{"ARefresh", (*rig).hold, func(r *rig) { r.send(election.AddressLost{NodeAddress: true}) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			play(t, func(r *rig) {
				c.ready(r)
				r.write = func(vip.Op) {
					r.write = nil
					time.Sleep(10 * time.Second)
					r.lease.edit(func(l *election.Record) { l.Holder, l.Term, l.Seq = other, l.Term+1, 1 })
				}
				c.write(r)
				r.pass(12 * time.Second)
				if r.has() || r.net.announcing() {
					t.Error("a thawed process holds an address that is another's")
				}
				r.observe()
				r.want(election.Standby)
				r.pass(time.Minute / 2)
				if slices.Contains(r.journal.take(), "release") {
					t.Error("released a lease that is another's")
				}
			})
		})
	}
}

// TestE5WinnerThatCannotOwn has a kernel that refuses the address: the winner releases
// within its limit, stays back, and goes on; it takes the address when the kernel works.
func TestE5WinnerThatCannotOwn(t *testing.T) {
	play(t, func(r *rig) {
		r.kernel.Fail(vip.OpReplace, errNetlink)
		r.released()
		r.want(election.Holding)
		r.pass(1500 * time.Millisecond)
		if s := r.l.status.Load(); s.State != election.Standby || s.Reason != election.ReasonBackoff {
			t.Fatalf("state %s (%s), want to stay back", s.State, s.Reason)
		}
		did := r.journal.take("replace", "renew")
		if want := []string{"claim", "hush", "delete", "release"}; !slices.Equal(did, want) {
			t.Errorf("did %v, want %v", did, want)
		}
		if !r.logged("cannot own the address", errNetlink.Error()) {
			t.Error("nobody is told why")
		}
		r.kernel.Fail(vip.OpReplace, nil)
		r.pass(2 * lease)
		r.want(election.Holding)
	})
}

// TestE5UnconfirmedDeletion cannot delete, or cannot read back: the lease is kept until the
// kernel lifetime has ended, and released then.
func TestE5UnconfirmedDeletion(t *testing.T) {
	for _, op := range []vip.Op{vip.OpDelete, vip.OpList} {
		t.Run(string(op), func(t *testing.T) {
			play(t, func(r *rig) {
				r.hold()
				r.kernel.Fail(op, errNetlink)
				r.write = func(op vip.Op) {
					if r.net.announcing() {
						t.Error("announces what it gives up")
					}
				}
				r.send(election.Health{Verdict: election.Dead})
				for r.has() { // the rig looks at every release
					if r.l.status.Load().State != election.Leaving || r.lease.get().Holder != self {
						t.Fatal("not leaving with the lease still its own")
					}
					r.pass(tickEvery)
				}
				r.pass(lease) // where nothing can be read back, until the lifetime has certainly ended
				if got := r.lease.get(); got.Holder != "" || got.Released.Holder != self {
					t.Errorf("not released when it was safe: %+v", got)
				}
				r.kernel.Fail(op, nil)
			})
		})
	}
}

// TestE5DeletionWhoseAnswerIsLost is confirmed by reading back.
func TestE5DeletionWhoseAnswerIsLost(t *testing.T) {
	play(t, func(r *rig) {
		r.hold()
		r.kernel.FailApplied(vip.OpDelete, errNetlink)
		r.send(election.Link{})
		r.did("hush delete release")
	})
}

// TestShutdown ends within a bound whatever works, and releases where it can.
func TestShutdown(t *testing.T) {
	for _, c := range []struct {
		name     string
		breaks   func(r *rig)
		released bool
	}{
		{"Orderly", func(*rig) {}, true},
		{"WithoutAPI", func(r *rig) { r.lease.setDown(true) }, false},
		{"WithoutNetlink", func(r *rig) { r.kernel.Fail(vip.OpDelete, errNetlink) }, false},
		{"WithoutBoth", func(r *rig) { r.lease.setDown(true); r.kernel.Fail(vip.OpList, errNetlink) }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			play(t, func(r *rig) {
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

// TestShutdownOfAFollower has nothing to leave.
func TestShutdownOfAFollower(t *testing.T) {
	play(t, func(r *rig) {
		r.edit(func(l *election.Record) { l.Holder, l.Term, l.Duration = other, 3, lease })
		r.journal.take()
		r.end()
		if did := strings.Join(r.journal.take(), " "); did != "" {
			t.Errorf("did %q", did)
		}
	})
}

// TestE4LateAndFailedWrite cannot know what the kernel did, so the address goes although the
// lease is this node's; when it is back the network is told anew.
func TestE4LateAndFailedWrite(t *testing.T) {
	play(t, func(r *rig) {
		r.hold()
		r.write = func(vip.Op) {
			r.write, r.atOnce = nil, true
			r.kernel.Fail(vip.OpReplace, errNetlink)
			time.Sleep(1500 * time.Millisecond)
		}
		r.send(election.AddressLost{NodeAddress: true})
		r.pass(1600 * time.Millisecond)
		if r.has() || r.net.announcing() {
			t.Error("announces an address that was deleted")
		}
		r.kernel.Fail(vip.OpReplace, nil)
		r.atOnce = false
		r.journal.take()
		r.pass(time.Second / 2)
		r.want(election.Holding)
		r.did("replace announce")
	})
}
