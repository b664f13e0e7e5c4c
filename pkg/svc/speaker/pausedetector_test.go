package speaker

import (
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/link"
)

// E9: a process that was frozen announces nothing until its view is fresh.
func TestAFrozenProcessIsSilent(t *testing.T) {
	f := newFixture(t)
	f.ownVIP4()
	f.advance(pausedAfter + 1)
	f.expect("silence 10.0.0.100")
	if got := f.speaker.Report("").Addresses[0].State; got != "adopted" {
		t.Errorf("the state is %q", got)
	}
	f.expect("announce 10.0.0.100") // the Lease has not expired: no other node has taken over
	f.advance(time.Minute)
	f.expect("protect [10.0.0.100], silence 10.0.0.100")
	f.expect("")
	f.advance(pausedAfter + 1) // again, with a view that was stale before
	f.expect("")
	f.renew()
	f.expect("announce 10.0.0.100")
}

// E9: a short pause, as of a busy host, silences nothing.
func TestAShortPauseIsNoFreeze(t *testing.T) {
	f := newFixture(t)
	f.ownVIP4()
	f.advance(pausedAfter)
	f.expect("")
}

// duringReconcile has fn run in the middle of the next reconcile.
func (f *fixture) duringReconcile(fn func()) {
	f.speaker.linksChanged = true
	f.speaker.cfg.Networks = func() ([]link.Network, error) {
		fn()
		return f.links, nil
	}
}

// S3: a reconcile that takes long is no pause, as the process runs meanwhile. A pause in the middle
// of a reconcile is one: the next reconcile, which is due at once, silences the addresses.
func TestAPauseDuringAReconcile(t *testing.T) {
	const took = pausedAfter + signInterval // shorter than the Lease
	for _, paused := range []bool{false, true} {
		f := newFixture(t)
		f.ownVIP4()
		f.duringReconcile(func() {
			if paused {
				f.advance(took)
				return
			}
			for range took / signInterval {
				f.advance(signInterval)
				f.speaker.checkPause()
			}
		})
		f.expect("")
		for len(f.speaker.wake) > 0 {
			<-f.speaker.wake
		}
		if got := f.speaker.checkPause(); got != paused || len(f.speaker.wake) == 1 != paused {
			t.Errorf("after %v: paused %v, want %v", took, got, paused)
		}
		if !paused {
			f.expect("")
			continue
		}
		f.speaker.checkPause() // it counts until a reconcile has acted on it
		f.expect("silence 10.0.0.100")
		if f.speaker.checkPause() {
			t.Error("it counts twice")
		}
	}
}

// A call that was delayed between clock and lock neither hides a pause nor makes one.
func TestADelayedSign(t *testing.T) {
	p := pauseDetector{signAt: time.Hour}
	if p.check(time.Hour - time.Minute) {
		t.Error("a sign of before counts as a pause")
	}
	if !p.check(time.Hour + pausedAfter + 1) {
		t.Error("it hides a pause")
	}
}

// The goroutine of Run gives signs while a reconcile takes long.
func TestRunGivesSigns(t *testing.T) {
	f := newFixture(t)
	began, at := time.Now(), f.clock()
	f.speaker.cfg.Clock = func() time.Duration { return at + time.Since(began) }
	signAt := func() time.Duration {
		f.speaker.pauses.mu.Lock()
		defer f.speaker.pauses.mu.Unlock()
		return f.speaker.pauses.signAt
	}
	given := make(chan struct{}, 1)
	f.speaker.cfg.Networks = func() ([]link.Network, error) {
		for last := signAt(); signAt() == last; time.Sleep(time.Millisecond) {
			if time.Since(began) > 20*time.Second {
				return f.links, nil
			}
		}
		select {
		case given <- struct{}{}:
		default:
		}
		return f.links, nil
	}
	f.Run(f.speaker.Run)
	select {
	case <-given:
	case <-time.After(20 * time.Second):
		t.Fatal("no sign during a reconcile")
	}
}
