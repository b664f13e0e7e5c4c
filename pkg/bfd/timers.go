package bfd

import (
	"fmt"
	"time"
)

// Limits of Timers. The intervals and the multipliers of a SessionConfig are those that MetalLB
// documents for its BFDProfile (10 to 60000 ms, 2 to 255); a Machine takes a multiplier of 1 too.
const (
	MinInterval   = 10 * time.Millisecond
	MaxInterval   = time.Minute
	MinMultiplier = 2
	MaxMultiplier = 255
)

// Defaults of Timers, as MetalLB's: the peer is down after 0.9 s without a packet.
const (
	DefaultInterval   = 300 * time.Millisecond
	DefaultMultiplier = 3
)

// slowInterval is the least interval of packets while a session is not Up (RFC 5880 section 6.8.3).
const slowInterval = time.Second

// Timers are what a session asks its peer for.
type Timers struct {
	// TransmitInterval is the least interval at which this node sends while the session is Up. A peer
	// that requires a longer one gets that. 0 is DefaultInterval.
	TransmitInterval time.Duration
	// ReceiveInterval is the least interval at which this node receives. 0 is DefaultInterval.
	ReceiveInterval time.Duration
	// Multiplier is how many intervals without a packet of this node end the session at the peer.
	// 0 is DefaultMultiplier.
	Multiplier int
}

// withDefaults returns the timers with the default of each field that is 0.
func (t Timers) withDefaults() Timers {
	if t.TransmitInterval == 0 {
		t.TransmitInterval = DefaultInterval
	}
	if t.ReceiveInterval == 0 {
		t.ReceiveInterval = DefaultInterval
	}
	if t.Multiplier == 0 {
		t.Multiplier = DefaultMultiplier
	}
	return t
}

// check returns an error if a value is outside of its limits.
func (t Timers) check(minMultiplier int) error {
	for _, f := range []struct {
		name  string
		value time.Duration
	}{{"transmit interval", t.TransmitInterval}, {"receive interval", t.ReceiveInterval}} {
		if f.value < MinInterval || f.value > MaxInterval {
			return fmt.Errorf("%s %v: give %v to %v", f.name, f.value, MinInterval, MaxInterval)
		}
		if f.value%time.Microsecond != 0 {
			return fmt.Errorf("%s %v: give whole microseconds", f.name, f.value)
		}
	}
	if t.Multiplier < minMultiplier || t.Multiplier > MaxMultiplier {
		return fmt.Errorf("detect multiplier %d: give %d to %d", t.Multiplier, minMultiplier,
			MaxMultiplier)
	}
	return nil
}
