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
