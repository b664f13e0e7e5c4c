package bfd

import (
	"encoding/binary"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

func newMachine(t testing.TB, timers Timers) *Machine {
	t.Helper()
	m, err := NewMachine(MachineConfig{Discriminator: 1, Timers: timers, Jitter: rand.Float64})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestNewMachineValidates(t *testing.T) {
	jitter := func() float64 { return 0 }
	for _, c := range []struct {
		name string
		cfg  MachineConfig
		want string
	}{
		{"defaults", MachineConfig{Discriminator: 1, Jitter: jitter}, ""},
		{"no discriminator", MachineConfig{Jitter: jitter}, "required"},
		{"no jitter", MachineConfig{Discriminator: 1}, "required"},
		{"transmit too short", MachineConfig{Discriminator: 1, Jitter: jitter,
			Timers: Timers{TransmitInterval: 9 * time.Millisecond}}, "transmit interval 9ms: give 10ms"},
		{"receive too long", MachineConfig{Discriminator: 1, Jitter: jitter,
			Timers: Timers{ReceiveInterval: time.Hour}}, "receive interval 1h0m0s: give 10ms to 1m0s"},
		{"a fraction", MachineConfig{Discriminator: 1, Jitter: jitter,
			Timers: Timers{ReceiveInterval: time.Second + 1}}, "whole microseconds"},
		{"multiplier 1", MachineConfig{Discriminator: 1, Jitter: jitter, Timers: Timers{Multiplier: 1}},
			""},
		{"multiplier 256", MachineConfig{Discriminator: 1, Jitter: jitter,
			Timers: Timers{Multiplier: 256}}, "detect multiplier 256: give 1 to 255"},
	} {
		_, err := NewMachine(c.cfg)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

// up takes a machine up at an instant, with a peer that agrees on its timers.
func up(t testing.TB, m *Machine, at time.Duration, timers Timers) {
	t.Helper()
	p := Packet{
		State: Init, MyDiscriminator: 7, YourDiscriminator: 1, Multiplier: 3,
		DesiredMinTx: timers.TransmitInterval, RequiredMinRx: timers.ReceiveInterval,
	}
	m.Step(at, Received{p})
	p.State, p.Final = Up, true
	m.Step(at, Received{p})
	if m.State() != Up {
		t.Fatalf("state %v", m.State())
	}
}

// TestB8Jitter: intervals are between 75 and 100 % of the negotiated one, and at most 90 % with a
// multiplier of 1.
func TestB8Jitter(t *testing.T) {
	const interval = 100 * time.Millisecond
	for multiplier, longest := range map[int]time.Duration{3: interval, 1: interval * 9 / 10} {
		timers := Timers{TransmitInterval: interval, ReceiveInterval: interval, Multiplier: multiplier}
		m := newMachine(t, timers)
		up(t, m, 0, timers)
		m.Step(m.Next(), SetTimers{timers}) // a step that changes nothing
		now, low, high := m.Next(), time.Hour, time.Duration(0)
		for range 2000 {
			m.Step(now, Received{Packet{State: Up, MyDiscriminator: 7, YourDiscriminator: 1, Multiplier: 9,
				DesiredMinTx: interval, RequiredMinRx: interval}})
			low, high = min(low, m.Next()-now), max(high, m.Next()-now)
			now = m.Next()
		}
		if low < interval*3/4 || high > longest || high-low < interval/10 {
			t.Errorf("multiplier %d: intervals of %v to %v", multiplier, low, high)
		}
	}
}

// TestB8MachinesMeet: two machines that lose no packet come up and stay up, whatever the timers.
func TestB8MachinesMeet(t *testing.T) {
	for range 200 {
		var pair [2]*Machine
		for i := range pair {
			m, err := NewMachine(MachineConfig{
				Discriminator: uint32(i + 1), Jitter: rand.Float64, Timers: randomTimers(),
			})
			if err != nil {
				t.Fatal(err)
			}
			pair[i] = m
		}
		now, ups := time.Duration(0), 0
		for now < 20*time.Minute {
			i := 0
			if pair[1].Next() < pair[0].Next() {
				i = 1
			}
			now = pair[i].Next()
			ups += deliver(t, pair, i, pair[i].Step(now, Tick{}), now)
			if rand.IntN(200) == 0 {
				ups += deliver(t, pair, i, pair[i].Step(now, SetTimers{randomTimers()}), now)
			}
		}
		if pair[0].State() != Up || pair[1].State() != Up || ups != 2 {
			t.Fatalf("%v and %v, %d times up", pair[0].State(), pair[1].State(), ups)
		}
	}
}

func randomTimers() Timers {
	interval := func() time.Duration {
		return time.Duration(10+rand.IntN(3000)) * time.Millisecond
	}
	return Timers{
		TransmitInterval: interval(), ReceiveInterval: interval(), Multiplier: 2 + rand.IntN(4),
	}
}

// deliver passes on what a machine sends, and counts changes to Up.
func deliver(t *testing.T, pair [2]*Machine, from int, actions []Action,
	now time.Duration) (ups int) {
	t.Helper()
	for _, a := range actions {
		switch a := a.(type) {
		case Changed:
			if a.From == Up {
				t.Fatalf("%v: machine %d: %v", now, from, a)
			}
			if a.To == Up {
				ups++
			}
		case Send:
			ups += deliver(t, pair, 1-from, pair[1-from].Step(now, Received(a)), now)
		}
	}
	return ups
}

// FuzzMachine: no events at any instants break what holds for each session.
func FuzzMachine(f *testing.F) {
	f.Add([]byte("0123456789abcdefghijklmnopqrstuvwxyz"))
	f.Add(append([]byte{0, 9, 1, 0}, bytesOf...))
	f.Fuzz(func(t *testing.T, b []byte) {
		m := newMachine(t, Timers{Multiplier: 3})
		now := time.Duration(0)
		for len(b) > 4 {
			ev := fuzzEvent(b)
			now += time.Duration(binary.BigEndian.Uint16(b[1:])) * 10 * time.Millisecond
			b = b[min(len(b), 4):]
			if _, packet := ev.(Received); packet {
				b = b[min(len(b), packetLength):]
			}
			before := m.State()
			checkActions(t, m, before, m.Step(now, ev))
			if _, tick := ev.(Tick); tick && !m.Ended() && m.Next() < now {
				t.Fatalf("a tick at %v is due at %v again", now, m.Next())
			}
		}
	})
}

// fuzzEvent makes an event from bytes.
func fuzzEvent(b []byte) Event {
	switch b[0] % 8 {
	case 0:
		return Stop{Diagnostic(b[3])}
	case 1:
		return Restart{Diagnostic(b[3])}
	case 2:
		return SetTimers{Timers{TransmitInterval: time.Duration(b[3]) * 10 * time.Millisecond}}
	case 3, 4, 5:
		if p, err := Parse(b[4:]); err == nil {
			return Received{p}
		}
		p := Packet{State: State(b[3] & 3), MyDiscriminator: 7, YourDiscriminator: 1, Multiplier: 2,
			RequiredMinRx: time.Duration(b[3]) * time.Millisecond, Poll: b[3]&4 != 0, Final: b[3]&8 != 0}
		if q, err := Parse(p.Append(nil)); err == nil {
			return Received{q}
		}
	}
	return Tick{}
}

// checkActions checks what holds for each step.
func checkActions(t *testing.T, m *Machine, before State, actions []Action) {
	t.Helper()
	if len(actions) > 3 {
		t.Fatalf("%d actions of one step", len(actions))
	}
	for _, a := range actions {
		switch a := a.(type) {
		case Changed:
			if a.From != before || a.To == a.From || a.To != m.State() {
				t.Fatalf("%v in a step from %v to %v", a, before, m.State())
			}
			before = a.To
		case Send:
			p := a.Packet
			if _, err := Parse(p.Append(nil)); err != nil {
				t.Fatalf("%v: %v", p, err)
			}
			slow := p.State == Up || p.DesiredMinTx >= slowInterval
			if p.Poll && p.Final || p.Demand || p.State != m.State() || !slow || p.MyDiscriminator != 1 {
				t.Fatalf("sends %v in state %v", p, m.State())
			}
		}
	}
	if before != m.State() {
		t.Fatalf("no action reports the change from %v to %v", before, m.State())
	}
}
