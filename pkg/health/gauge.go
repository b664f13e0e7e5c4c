package health

import "time"

// Bounds of a latency. 0 stands for one that is not known.
const (
	gaugeSpan  = time.Second
	minLatency = time.Millisecond
	// MaxLatency is the largest latency that is told apart.
	MaxLatency = time.Minute
)

// gauge measures how long the server takes to answer. It is pure; the zero value is ready
// for use.
type gauge struct {
	since   time.Time // of the first answer
	answers []answered
}

// answered is one answer: when it came, and how long after it was asked for.
type answered struct {
	at   time.Time
	took time.Duration
}

// add notes an answer that came at now after took.
func (g *gauge) add(now time.Time, took time.Duration) {
	if g.since.IsZero() {
		g.since = now
	}
	g.drop(now)
	g.answers = append(g.answers, answered{now, took})
}

// drop forgets the answers that are older than gaugeSpan.
func (g *gauge) drop(now time.Time) {
	kept := g.answers[:0]
	for _, a := range g.answers {
		if now.Sub(a.at) <= gaugeSpan {
			kept = append(kept, a)
		}
	}
	g.answers = kept
}

// worst returns the largest latency of the last second. owed is since when an answer has
// been owed, the zero time if none is: a silent server counts as being at least that slow.
// A server that has not been asked for a second has no latency yet, unless it is slow
// already.
func (g *gauge) worst(now, owed time.Time) time.Duration {
	g.drop(now)
	var worst time.Duration
	for _, a := range g.answers {
		worst = max(worst, a.took)
	}
	if !owed.IsZero() {
		worst = max(worst, now.Sub(owed))
	}
	if worst < gaugeSpan && (len(g.answers) == 0 || now.Sub(g.since) < gaugeSpan) {
		return 0
	}
	return min(max(worst, minLatency), MaxLatency)
}
