package bgp

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// machineRun passes events to a Machine as a driver would, and checks what must hold.
type machineRun struct {
	t         *testing.T
	m         *Machine
	now       time.Duration
	open      bool // there is a connection, or an attempt
	dead      bool // an unpermitted Tick came since the last Dial
	permitted bool // at the last Tick
	stopped   bool
}

func newMachineRun(t *testing.T) *machineRun {
	cfg := validPeer(func(c *PeerConfig) { c.GracefulRestart = 10 * time.Second })
	return &machineRun{t: t, m: newMachine(cfg, retryJitter)}
}

// step passes one event and checks the actions.
func (r *machineRun) step(ev Event) {
	if tick, ok := ev.(Tick); ok {
		r.dead, r.permitted = r.dead || !tick.Permitted, tick.Permitted
	}
	before := r.m.state
	actions := r.m.Step(r.now, ev)
	for i, a := range actions {
		switch a := a.(type) {
		case Dial:
			if r.open || !r.permitted || r.stopped {
				r.t.Fatalf("dial with connection %v, permitted %v, stopped %v", r.open, r.permitted, r.stopped)
			}
			r.open, r.dead = true, false
		case Close:
			if !r.open || i == len(actions)-1 {
				r.t.Fatalf("close with connection %v in %v", r.open, actions)
			}
			r.open = false
		case Ended:
			if a.From != before || a.Why == "" || r.open {
				r.t.Fatalf("%v in %v", a, before)
			}
		case SendNotification:
			if _, ok := actions[i+1].(Close); !ok || before < OpenSent {
				r.t.Fatalf("%v in %v", actions, before)
			}
		}
		if _, closes := a.(Close); !closes && r.dead {
			if _, ended := a.(Ended); !ended {
				r.t.Fatalf("B6: %v after a Tick that does not permit it", a)
			}
		}
	}
	if (r.m.state != Idle) != r.open {
		r.t.Fatalf("state %v with connection %v", r.m.state, r.open)
	}
	_, stop := ev.(Stop)
	if r.stopped = r.stopped || stop; r.stopped && r.m.Next() != forever {
		r.t.Fatalf("a Tick is due after Stop")
	}
	if _, tick := ev.(Tick); tick {
		r.settle()
	}
}

// settle checks that Ticks at one instant come to an end: there is no busy loop.
func (r *machineRun) settle() {
	for n := 0; r.m.Next() <= r.now; n++ {
		if n == 3 {
			r.t.Fatalf("busy in state %v: next %v at %v", r.m.state, r.m.Next(), r.now)
		}
		before := r.open
		for _, a := range r.m.Step(r.now, Tick{r.permitted}) {
			_, dials := a.(Dial)
			r.open = r.open && a != Action(Close{}) || dials
			r.dead = r.dead && !dials
		}
		if before && r.open && r.m.state == Connect {
			r.t.Fatal("a second attempt without the end of the first one")
		}
	}
}

// FuzzMachine passes random events to a Machine.
func FuzzMachine(f *testing.F) {
	f.Add([]byte{0, 2, 4, 5, 0x30, 0, 5, 1, 0, 0})
	f.Add([]byte{0, 2, 4, 5, 12, 13, 0, 0x50, 0, 14})
	f.Fuzz(func(t *testing.T, script []byte) {
		open, _ := testOpen([]string{"hard-reset"})
		refused, _ := testOpen([]string{"as=1"})
		events := [...]Event{
			Tick{true}, Tick{false}, Connected{IPv4}, Lost{errors.New("refused")}, Received{open},
			Received{Keepalive{}}, Received{Update{}}, Received{RouteRefresh{IPv4}},
			Received{Notification{6, 2, nil}}, Received{Malformed{Notification{1, 1, nil}, "marker"}},
			Received{refused}, Received{Other{}}, PathUp{}, PathDown{"silence"},
			Stop{Notification{6, 2, nil}, "stops", false}, Stop{Notification{6, 2, nil}, "stops", true},
		}
		r := newMachineRun(t)
		for _, b := range script {
			r.now += time.Duration(b>>4) * 700 * time.Millisecond
			r.step(events[b&15])
		}
	})
}

// TestMachineAtRandom is FuzzMachine with random scripts in which sessions come up often.
func TestMachineAtRandom(t *testing.T) {
	for range 300 {
		r := newMachineRun(t)
		open, _ := testOpen(nil)
		usual := []Event{Tick{true}, Connected{IPv4}, Received{open}, Received{Keepalive{}},
			Received{Update{}}, Received{RouteRefresh{IPv4}}, PathUp{}, Tick{true}}
		rare := []Event{Tick{false}, Lost{errors.New("reset")}, PathDown{"silence"},
			Received{Notification{6, 4, nil}}}
		for range 200 {
			r.now += rand.N(3 * time.Second)
			events := usual
			if rand.IntN(20) == 0 {
				events = rare
			}
			r.step(events[rand.IntN(len(events))])
		}
	}
}

// TestB14JitterShortensPauses: pauses are random, and within the limits.
func TestB14JitterShortensPauses(t *testing.T) {
	m := newMachine(validPeer(nil), retryJitter)
	now, seen := time.Duration(0), []time.Duration{}
	for failures := range 10 {
		m.Step(now, Tick{true})
		m.Step(now, Lost{errors.New("refused")})
		longest := min(minRetry<<failures, DefaultMaxRetry)
		pause := m.Next() - now
		if pause > longest || pause < longest*3/4 {
			t.Errorf("pause %v after %d failures, want %v at most", pause, failures+1, longest)
		}
		seen = append(seen, pause)
		now = m.Next()
	}
	slices.Sort(seen)
	if len(slices.Compact(seen)) < 8 {
		t.Errorf("pauses %v are not random", seen)
	}
}

// TestNames: every state, event, message and action has a name.
func TestNames(t *testing.T) {
	for _, s := range []interface{ String() string }{
		Idle, Connect, OpenSent, OpenConfirm, Established, IPv4, IPv6, Tick{true}, Tick{false},
		Connected{IPv6}, Lost{errors.New("x")}, Received{Update{}}, Received{Other{}},
		Received{Notification{}}, Received{Malformed{}}, Received{Open{}}, Received{Keepalive{}},
		Received{RouteRefresh{}}, PathUp{}, PathDown{"x"}, Stop{Why: "x"}, Dial{}, SendOpen{},
		SendKeepalive{}, SendNotification{}, Close{}, Up{}, Resend{}, Ended{},
	} {
		if s.String() == "" {
			t.Errorf("%T has no name", s)
		}
	}
}
