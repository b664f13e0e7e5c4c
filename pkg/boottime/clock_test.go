package boottime

import (
	"testing"
	"time"
)

func TestBoottimeAdvances(t *testing.T) {
	before := Now()
	time.Sleep(2 * time.Millisecond)
	if after := Now(); before <= 0 || after-before < 2*time.Millisecond {
		t.Fatalf("Boottime went from %v to %v over a sleep of 2ms", before, after)
	}
}

// TestE12Beat: a loop that has not begun is told from one that stands still.
func TestE12Beat(t *testing.T) {
	var b Heartbeat
	if b.At() != 0 {
		t.Errorf("before the first turn: %v", b.At())
	}
	b.Mark(3 * time.Second)
	b.Mark(5 * time.Second)
	if b.At() != 5*time.Second {
		t.Errorf("after two turns: %v", b.At())
	}
}
