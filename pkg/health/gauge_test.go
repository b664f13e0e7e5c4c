package health

import (
	"testing"
	"time"
)

func TestGauge(t *testing.T) {
	begin := time.Unix(1000, 0)
	at := func(d time.Duration) time.Time { return begin.Add(d) }
	var g gauge
	want := func(now, owed, worst time.Duration) {
		t.Helper()
		since := time.Time{}
		if owed >= 0 {
			since = at(owed)
		}
		if got := g.worst(at(now), since); got != worst {
			t.Errorf("at %v, owed since %v: %v, want %v", now, owed, got, worst)
		}
	}
	want(0, -1, 0)
	want(100*ms, 0, 0)
	want(1100*ms, 0, 1100*ms) // never answered, and slow already
	g = gauge{}
	g.add(at(100*ms), 40*ms)
	g.add(at(600*ms), 0)
	want(1000*ms, -1, 0) // not a second yet
	want(1100*ms, -1, 40*ms)
	want(1101*ms, -1, ms) // the slow answer is too old
	want(1400*ms, 1200*ms, 200*ms)
	want(1601*ms, -1, 0) // not asked for a second
	g.add(at(5000*ms), 3*time.Second)
	want(5500*ms, -1, 3*time.Second)
	want(6001*ms, 5100*ms, 0)
	want(6101*ms, 5100*ms, 1001*ms)
	want(time.Hour, 5100*ms, MaxLatency)
	for i := range 1000 {
		g.add(at(time.Hour+time.Duration(i)*10*ms), ms)
	}
	if len(g.answers) > 102 {
		t.Errorf("%d answers are kept", len(g.answers))
	}
}
