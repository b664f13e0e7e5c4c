package health

import (
	"testing"

	"github.com/kvip/kvip/pkg/election"
)

func TestLatest(t *testing.T) {
	for verdict, alive := range map[election.Verdict]bool{
		election.Unknown: false, election.Dead: false, election.Healthy: true, election.NotReady: true,
	} {
		var l Latest
		if l.Load() != nil || l.Seen() {
			t.Fatalf("before the first state: %+v, seen %v", l.Load(), l.Seen())
		}
		l.Store(State{Verdict: verdict, Reason: "r"})
		if s := l.Load(); s == nil || *s != (State{Verdict: verdict, Reason: "r"}) || l.Seen() != alive {
			t.Errorf("%v: %+v, seen %v, want %v", verdict, s, l.Seen(), alive)
		}
		if l.Store(State{Verdict: election.Dead}); l.Seen() != alive {
			t.Errorf("dead after %v: seen %v, want %v", verdict, l.Seen(), alive)
		}
	}
}
