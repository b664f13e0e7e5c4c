package quorum

import (
	"slices"
	"time"
)

const (
	// outstanding is how many beats may be acknowledged: the last ones.
	outstanding = 512
	// LiveWithin is how lately an agent must have acknowledged to count as live, and steadyFor for
	// how long without a gap of gapAfter (F5, F7).
	LiveWithin = 200 * time.Millisecond
	steadyFor  = 2 * time.Second
	gapAfter   = 500 * time.Millisecond
	// SilentAfter is how long a voter may be silent until it is left out (F7).
	SilentAfter = 5 * time.Second
)

// Tally has the beats that a holder sent and the acknowledgements. The zero value is ready for use.
type Tally struct {
	seq       uint64
	sent      [outstanding]beat
	agents    map[string]*agent
	since     int           // beats since the last one that completed a majority
	firstOpen time.Duration // when the first of them was sent
	lastBeat  time.Duration
}

type beat struct {
	seq    uint64
	at     time.Duration
	window time.Duration
}

// agent is what is known of an agent by its acknowledgements.
type agent struct {
	beat   time.Duration // when the newest acknowledged beat was sent
	end    time.Duration // of the right that its acknowledgements give
	at     time.Duration // when the last acknowledgement came
	steady time.Duration // since when they have come without a gap
	fit    bool          // it could hold in mode fast itself
}

// Beat records a beat sent at now and returns its number.
func (t *Tally) Beat(now, window time.Duration) uint64 {
	t.seq++
	t.sent[t.seq%outstanding] = beat{t.seq, now, window}
	if t.since == 0 {
		t.firstOpen = now
	}
	t.since++
	t.lastBeat = now
	return t.seq
}

// LastBeat returns when the last beat was sent.
func (t *Tally) LastBeat() time.Duration { return t.lastBeat }

// Ack records the acknowledgement of a beat by an agent. It reports whether the beat is one that
// may still be acknowledged.
func (t *Tally) Ack(from string, seq uint64, fit bool, now time.Duration) bool {
	b := t.sent[seq%outstanding]
	if b.seq != seq || seq == 0 {
		return false
	}
	a := t.agents[from]
	if a == nil {
		if t.agents == nil {
			t.agents = map[string]*agent{}
		}
		a = &agent{}
		t.agents[from] = a
	}
	if a.at == 0 || now-a.at > gapAfter {
		a.steady = now
	}
	a.at, a.fit = now, fit
	a.beat = max(a.beat, b.at)
	a.end = max(a.end, b.at+Validity(b.window))
	return true
}

// Count notes whether a majority of the voters has acknowledged a beat that was not sent before the
// first open one. It reports whether that is so: then the count of beats without a majority begins
// again.
func (t *Tally) Count(voters []string) bool {
	m := t.Newest(voters)
	if m == 0 || m < t.firstOpen {
		return false
	}
	t.since, t.firstOpen = 0, t.lastBeat
	return true
}

// Unacknowledged returns how many beats were sent since the last majority, and when the first of
// them was.
func (t *Tally) Unacknowledged() (n int, first time.Duration) { return t.since, t.firstOpen }

// Until returns the end of the right that a majority of the voters gives, 0 if there is none (F1).
func (t *Tally) Until(voters []string) time.Duration {
	return t.completes(voters, func(a *agent) time.Duration { return a.end })
}

// Newest returns when the newest beat was sent that a majority of the voters has acknowledged, or
// a later one; 0 if there is none.
func (t *Tally) Newest(voters []string) time.Duration {
	return t.completes(voters, func(a *agent) time.Duration { return a.beat })
}

// completes returns the value of the voter that completes a majority, the largest value first.
func (t *Tally) completes(voters []string, value func(*agent) time.Duration) time.Duration {
	if len(voters) == 0 {
		return 0
	}
	values := make([]time.Duration, len(voters))
	for i, id := range voters {
		if a := t.agents[id]; a != nil {
			values[i] = value(a)
		}
	}
	slices.Sort(values)
	return values[(len(values)-1)/2]
}

// Steady returns the agents that have acknowledged for two seconds, the last time in time to give a
// right, and could hold in mode fast themselves, sorted (F5).
func (t *Tally) Steady(now time.Duration) (list []string) {
	for id, a := range t.agents {
		if a.fit && now-a.at < LiveWithin && now-a.steady >= steadyFor && now < a.end {
			list = append(list, id)
		}
	}
	slices.Sort(list)
	return list
}

// LastAck returns when the last acknowledgement of an agent came, 0 if none did.
func (t *Tally) LastAck(id string) time.Duration {
	if a := t.agents[id]; a != nil {
		return a.at
	}
	return 0
}

// Restart restarts the count of beats without a majority.
func (t *Tally) Restart() { t.since, t.firstOpen = 0, 0 }

// Forget drops all acknowledgements, not the numbers of beats: those of a new term count from here.
func (t *Tally) Forget() {
	clear(t.agents)
	t.sent = [outstanding]beat{}
	t.since, t.firstOpen = 0, 0
}
