package health

import (
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/election"
)

// step is one observation at a time in milliseconds, with the wanted verdict and code.
type step struct {
	at      int
	outcome Outcome
	verdict election.Verdict
	code    string
}

// TestHysteresis proves the hysteresis of E7, each case from its first observation on.
func TestHysteresis(t *testing.T) {
	cases := map[string][]step{
		"healthy after five answers over 0.4 s": {
			{0, OutcomeOK, election.Unknown, CodeUnknown},
			{100, OutcomeOK, election.Unknown, CodeUnknown},
			{200, OutcomeOK, election.Unknown, CodeUnknown},
			{300, OutcomeOK, election.Unknown, CodeUnknown},
			{400, OutcomeOK, election.Healthy, CodeOK}, {500, OutcomeOK, election.Healthy, CodeOK},
		},
		"five answers within 4 ms are not enough": {
			{0, OutcomeOK, election.Unknown, CodeUnknown},
			{1, OutcomeOK, election.Unknown, CodeUnknown},
			{2, OutcomeOK, election.Unknown, CodeUnknown},
			{3, OutcomeOK, election.Unknown, CodeUnknown},
			{4, OutcomeOK, election.Unknown, CodeUnknown},
			{399, OutcomeOK, election.Unknown, CodeUnknown},
			{400, OutcomeOK, election.Healthy, CodeOK},
		},
		"refused is Dead at once": {
			{0, OutcomeRefused, election.Dead, CodeRefused},
			{100, OutcomeRefused, election.Dead, CodeRefused},
		},
		"a failure restarts the count": {
			{0, OutcomeRefused, election.Dead, CodeRefused},
			{100, OutcomeOK, election.Dead, CodeRefused},
			{200, OutcomeOK, election.Dead, CodeRefused},
			{300, OutcomeOK, election.Dead, CodeRefused},
			{400, OutcomeOK, election.Dead, CodeRefused},
			{450, OutcomeNotReady, election.Dead, CodeRefused},
			{500, OutcomeOK, election.Dead, CodeRefused},
			{600, OutcomeOK, election.Dead, CodeRefused},
			{700, OutcomeOK, election.Dead, CodeRefused},
			{800, OutcomeOK, election.Dead, CodeRefused},
			{900, OutcomeOK, election.Healthy, CodeOK},
		},
		"shutdown is final at once": {
			{0, OutcomeShutdown, election.Dead, CodeShutdown},
			{100, OutcomeRefused, election.Dead, CodeRefused},
		},
		"a stopped process is Dead at once": {{0, OutcomeHung, election.Dead, CodeHung}},
		"silence is NotReady at once, and Dead if the process is stopped": {
			{0, OutcomeSilent, election.NotReady, CodeSilent},
			{100, OutcomeHung, election.Dead, CodeHung},
			{200, OutcomeSilent, election.Dead, CodeHung},
		},
		"silence does not lift Dead": {{0, OutcomeRefused, election.Dead, CodeRefused},
			{100, OutcomeSilent, election.Dead, CodeRefused}},
		"not ready and slow with /livez/ping is slow": {
			{0, OutcomeSlow, election.NotReady, CodeSlow},
			{600, OutcomeOverloaded, election.NotReady, CodeSlow},
			{700, OutcomeOverloaded, election.NotReady, CodeSlow},
			{800, OutcomeNotReady, election.NotReady, CodeNotReady},
		},
		"one overloaded answer is not worth a move": {
			{0, OutcomeOverloaded, election.Unknown, CodeUnknown},
			{600, OutcomeOverloaded, election.NotReady, CodeSlow},
		},
		"one 500 is not worth a move, two 100 ms apart are": {
			{0, OutcomeNotReady, election.Unknown, CodeUnknown},
			{50, OutcomeNotReady, election.Unknown, CodeUnknown},
			{100, OutcomeNotReady, election.NotReady, CodeNotReady},
			{200, OutcomeShutdown, election.Dead, CodeShutdown},
		},
		"an answer between two 500s resets the first": {
			{0, OutcomeNotReady, election.Unknown, CodeUnknown},
			{100, OutcomeOK, election.Unknown, CodeUnknown},
			{200, OutcomeNotReady, election.Unknown, CodeUnknown},
			{300, OutcomeOK, election.Unknown, CodeUnknown},
		},
		"a new API server after a dead one lifts Dead to NotReady": {
			{0, OutcomeRefused, election.Dead, CodeRefused},
			{100, OutcomeNotReady, election.Dead, CodeRefused},
			{200, OutcomeNotReady, election.NotReady, CodeNotReady},
		},
		"slow is NotReady at once, and stays NotReady in silence": {
			{0, OutcomeSlow, election.NotReady, CodeSlow},
			{100, OutcomeSilent, election.NotReady, CodeSilent},
			{200, OutcomeSlow, election.NotReady, CodeSlow},
		},
		"a server that is not ready does not become slow": {
			{0, OutcomeSlow, election.NotReady, CodeSlow},
			{500, OutcomeNotReady, election.NotReady, CodeSlow},
			{600, OutcomeNotReady, election.NotReady, CodeNotReady},
			{2100, OutcomeSlow, election.NotReady, CodeNotReady},
			{2200, OutcomeSilent, election.NotReady, CodeSilent},
		},
		"broken connections are NotReady, then Dead, and not a sign of life": {
			{0, OutcomeBroken, election.Unknown, CodeUnknown},
			{100, OutcomeBroken, election.NotReady, CodeNotReady},
			{999, OutcomeBroken, election.NotReady, CodeNotReady},
			{1000, OutcomeBroken, election.Dead, CodeBroken},
			{1100, OutcomeRefused, election.Dead, CodeRefused},
			{1200, OutcomeBroken, election.Dead, CodeRefused},
			{1300, OutcomeBroken, election.Dead, CodeRefused},
			{1400, OutcomeNotReady, election.Dead, CodeRefused},
		},
		"other failures between broken connections restart their second": {
			{0, OutcomeBroken, election.Unknown, CodeUnknown},
			{500, OutcomeNotReady, election.NotReady, CodeNotReady},
			{1100, OutcomeBroken, election.NotReady, CodeNotReady},
			{2000, OutcomeBroken, election.NotReady, CodeNotReady},
			{2100, OutcomeBroken, election.Dead, CodeBroken},
		},
		"a certificate error is NotReady": {
			{0, OutcomeCertificate, election.Unknown, CodeUnknown},
			{500, OutcomeCertificate, election.NotReady, CodeCertificate},
			{1500, OutcomeCertificate, election.NotReady, CodeCertificate},
		},
		"unreadable own credentials are NotReady": {
			{0, OutcomeCannotProbe, election.Unknown, CodeUnknown},
			{100, OutcomeCannotProbe, election.NotReady, CodeUnknown},
		},
		"401 is alive and counts": {
			{0, OutcomeUnauthorized, election.Unknown, CodeUnknown},
			{100, OutcomeUnauthorized, election.Unknown, CodeUnknown},
			{200, OutcomeUnauthorized, election.Unknown, CodeUnknown},
			{300, OutcomeUnauthorized, election.Unknown, CodeUnknown},
			{400, OutcomeUnauthorized, election.Unknown, CodeUnknown},
			{1900, OutcomeUnauthorized, election.Unknown, CodeUnknown},
			{2000, OutcomeUnauthorized, election.Healthy, CodeUnauthorized},
			{2100, OutcomeOK, election.Healthy, CodeOK},
		},
		"403 during the start is not readiness": {
			{0, OutcomeRefused, election.Dead, CodeRefused},
			{100, OutcomeUnauthorized, election.Dead, CodeRefused},
			{600, OutcomeUnauthorized, election.Dead, CodeRefused},
			{700, OutcomeNotReady, election.Dead, CodeRefused},
			{800, OutcomeNotReady, election.NotReady, CodeNotReady},
		},
		"403 and then ready": {
			{0, OutcomeUnauthorized, election.Unknown, CodeUnknown},
			{100, OutcomeUnauthorized, election.Unknown, CodeUnknown},
			{200, OutcomeUnauthorized, election.Unknown, CodeUnknown},
			{300, OutcomeOK, election.Unknown, CodeUnknown},
			{400, OutcomeOK, election.Healthy, CodeOK},
		},
	}
	for name, steps := range cases {
		t.Run(name, func(t *testing.T) {
			var h Hysteresis
			for i, l := range steps {
				s := h.Step(Observation{l.outcome, "seen"},
					time.Hour+time.Duration(l.at)*time.Millisecond)
				if s.Verdict != l.verdict || s.Code != l.code || s.Reason == "" {
					t.Fatalf("step %d at %d ms: %+v, want %v %q", i, l.at, s, l.verdict, l.code)
				}
				if (s.Warning != "") != (l.code == CodeUnauthorized) {
					t.Fatalf("step %d: warning %q with code %q", i, s.Warning, s.Code)
				}
			}
		})
	}
}

func TestSinceIsTheStartOfTheVerdict(t *testing.T) {
	var h Hysteresis
	for _, c := range []struct {
		outcome   Outcome
		at, since time.Duration
	}{
		{OutcomeRefused, 10 * time.Second, 10 * time.Second},
		{OutcomeHung, 11 * time.Second, 10 * time.Second}, // another reason, still Dead
		{OutcomeSlow, 12 * time.Second, 12 * time.Second},
		{OutcomeSlow, 13 * time.Second, 12 * time.Second},
		{OutcomeShutdown, 14 * time.Second, 14 * time.Second},
	} {
		if s := h.Step(Observation{Outcome: c.outcome}, c.at); s.Since != c.since {
			t.Errorf("at %v: since %v, want %v", c.at, s.Since, c.since)
		}
	}
}

func TestNewDetailIsNotAChange(t *testing.T) {
	var h Hysteresis
	first := h.Step(Observation{OutcomeRefused, "port 1"}, time.Second)
	if again := h.Step(Observation{OutcomeRefused, "port 2"}, 2*time.Second); again != first {
		t.Errorf("%+v became %+v", first, again)
	}
}

// TestLastProbeFailed: one failure of a healthy API server sets it, the next answer clears it (E6:
// such a node does not ask for a lease).
func TestLastProbeFailed(t *testing.T) {
	var h Hysteresis
	for _, step := range []struct {
		at      int
		outcome Outcome
		failed  bool
	}{
		{0, OutcomeNotReady, false}, // no verdict yet
		{100, OutcomeOK, false}, {200, OutcomeOK, false}, {300, OutcomeOK, false},
		{400, OutcomeOK, false}, {500, OutcomeOK, false}, // healthy
		{600, OutcomeNotReady, true}, {650, OutcomeNotReady, true}, {660, OutcomeOK, false},
		{700, OutcomeOverloaded, true}, {800, OutcomeNotReady, false}, // not ready
	} {
		state := h.Step(Observation{Outcome: step.outcome}, time.Duration(step.at)*time.Millisecond)
		if state.LastProbeFailed != step.failed {
			t.Errorf("%d ms: %v (%s), want %v", step.at, state.LastProbeFailed, state.Verdict,
				step.failed)
		}
	}
}

func TestLatencyWindow(t *testing.T) {
	begin := time.Unix(1000, 0)
	at := func(d time.Duration) time.Time { return begin.Add(d) }
	var w latencyWindow
	want := func(now, unanswered, worst time.Duration) {
		t.Helper()
		since := time.Time{}
		if unanswered >= 0 {
			since = at(unanswered)
		}
		if got := w.worst(at(now), since); got != worst {
			t.Errorf("at %v, unanswered since %v: %v, want %v", now, unanswered, got, worst)
		}
	}
	want(0, -1, 0)
	want(100*ms, 0, 0)
	want(1100*ms, 0, 1100*ms) // unanswered, and slow already
	w = latencyWindow{}
	w.add(at(100*ms), 40*ms)
	w.add(at(600*ms), 0)
	want(1000*ms, -1, 0) // less than a second
	want(1100*ms, -1, 40*ms)
	want(1101*ms, -1, ms) // the slow answer is too old
	want(1400*ms, 1200*ms, 200*ms)
	want(1601*ms, -1, 0) // no answer for a second
	w.add(at(5000*ms), 3*time.Second)
	want(5500*ms, -1, 3*time.Second)
	want(6001*ms, 5100*ms, 0)
	want(6101*ms, 5100*ms, 1001*ms)
	want(time.Hour, 5100*ms, maxLatency)
	for i := range 1000 {
		w.add(at(time.Hour+time.Duration(i)*10*ms), ms)
	}
	if len(w.answers) > 102 {
		t.Errorf("%d answers are kept", len(w.answers))
	}
}
