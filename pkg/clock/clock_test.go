package clock

import (
	"testing"
	"time"
)

func TestBoottimeAdvances(t *testing.T) {
	before := Boottime()
	time.Sleep(2 * time.Millisecond)
	if after := Boottime(); before <= 0 || after-before < 2*time.Millisecond {
		t.Fatalf("Boottime went from %v to %v over a sleep of 2ms", before, after)
	}
}
