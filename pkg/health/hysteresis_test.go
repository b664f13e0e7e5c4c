package health

import (
	"testing"
	"time"
)

// look is one observation at a time in milliseconds and the verdict and code wanted.
type look struct {
	at      int
	outcome Outcome
	verdict Verdict
	code    string
}

// TestHysteresis proves the hysteresis of E7, each story from its first observation on.
func TestHysteresis(t *testing.T) {
	stories := map[string][]look{
		"healthy after five answers over 0.4 s": {
			{0, OutcomeOK, Unknown, CodeUnknown}, {100, OutcomeOK, Unknown, CodeUnknown},
			{200, OutcomeOK, Unknown, CodeUnknown}, {300, OutcomeOK, Unknown, CodeUnknown},
			{400, OutcomeOK, Healthy, CodeOK}, {500, OutcomeOK, Healthy, CodeOK},
		},
		"five answers in a hurry are not enough": {
			{0, OutcomeOK, Unknown, CodeUnknown}, {1, OutcomeOK, Unknown, CodeUnknown},
			{2, OutcomeOK, Unknown, CodeUnknown}, {3, OutcomeOK, Unknown, CodeUnknown},
			{4, OutcomeOK, Unknown, CodeUnknown}, {399, OutcomeOK, Unknown, CodeUnknown},
			{400, OutcomeOK, Healthy, CodeOK},
		},
		"refused is death at once": {
			{0, OutcomeRefused, Dead, CodeRefused}, {100, OutcomeRefused, Dead, CodeRefused},
		},
		"a failure starts the count again": {
			{0, OutcomeRefused, Dead, CodeRefused}, {100, OutcomeOK, Dead, CodeRefused},
			{200, OutcomeOK, Dead, CodeRefused}, {300, OutcomeOK, Dead, CodeRefused},
			{400, OutcomeOK, Dead, CodeRefused}, {450, OutcomeNotReady, Dead, CodeRefused},
			{500, OutcomeOK, Dead, CodeRefused}, {600, OutcomeOK, Dead, CodeRefused},
			{700, OutcomeOK, Dead, CodeRefused}, {800, OutcomeOK, Dead, CodeRefused},
			{900, OutcomeOK, Healthy, CodeOK},
		},
		"shutdown is final at once": {
			{0, OutcomeShutdown, Dead, CodeShutdown}, {100, OutcomeRefused, Dead, CodeRefused},
		},
		"a process that stands still is dead at once": {{0, OutcomeHung, Dead, CodeHung}},
		"silence is soft at once, and death if the process stands still": {
			{0, OutcomeSilent, Soft, CodeSilent}, {100, OutcomeHung, Dead, CodeHung}, {200, OutcomeSilent, Dead, CodeHung},
		},
		"silence lifts no death": {{0, OutcomeRefused, Dead, CodeRefused}, {100, OutcomeSilent, Dead, CodeRefused}},
		"not ready and slow with everything is slow": {
			{0, OutcomeSlow, Soft, CodeSlow}, {600, OutcomeLate, Soft, CodeSlow}, {700, OutcomeLate, Soft, CodeSlow},
			{800, OutcomeNotReady, Soft, CodeNotReady},
		},
		"not ready and late once is not worth a move": {
			{0, OutcomeLate, Unknown, CodeUnknown}, {600, OutcomeLate, Soft, CodeSlow},
		},
		"one 500 is not worth a move, two 100 ms apart are": {
			{0, OutcomeNotReady, Unknown, CodeUnknown}, {50, OutcomeNotReady, Unknown, CodeUnknown},
			{100, OutcomeNotReady, Soft, CodeNotReady}, {200, OutcomeShutdown, Dead, CodeShutdown},
		},
		"an answer between two 500s forgets the first": {
			{0, OutcomeNotReady, Unknown, CodeUnknown}, {100, OutcomeOK, Unknown, CodeUnknown},
			{200, OutcomeNotReady, Unknown, CodeUnknown}, {300, OutcomeOK, Unknown, CodeUnknown},
		},
		"a new API server behind a dead one lifts death to soft": {
			{0, OutcomeRefused, Dead, CodeRefused}, {100, OutcomeNotReady, Dead, CodeRefused},
			{200, OutcomeNotReady, Soft, CodeNotReady},
		},
		"slow is soft at once, and stays so if it falls silent": {
			{0, OutcomeSlow, Soft, CodeSlow}, {100, OutcomeSilent, Soft, CodeSilent},
			{200, OutcomeSlow, Soft, CodeSlow},
		},
		"who is not ready does not become merely slow": {
			{0, OutcomeSlow, Soft, CodeSlow}, {500, OutcomeNotReady, Soft, CodeSlow}, {600, OutcomeNotReady, Soft, CodeNotReady},
			{2100, OutcomeSlow, Soft, CodeNotReady}, {2200, OutcomeSilent, Soft, CodeSilent},
		},
		"broken connections are soft, then death, and no proof of life": {
			{0, OutcomeBroken, Unknown, CodeUnknown}, {100, OutcomeBroken, Soft, CodeNotReady},
			{999, OutcomeBroken, Soft, CodeNotReady}, {1000, OutcomeBroken, Dead, CodeBroken},
			{1100, OutcomeRefused, Dead, CodeRefused}, {1200, OutcomeBroken, Dead, CodeRefused},
			{1300, OutcomeBroken, Dead, CodeRefused}, {1400, OutcomeNotReady, Dead, CodeRefused},
		},
		"broken connections among others start their second again": {
			{0, OutcomeBroken, Unknown, CodeUnknown}, {500, OutcomeNotReady, Soft, CodeNotReady},
			{1100, OutcomeBroken, Soft, CodeNotReady}, {2000, OutcomeBroken, Soft, CodeNotReady},
			{2100, OutcomeBroken, Dead, CodeBroken},
		},
		"certificate trouble is soft": {
			{0, OutcomeCertificate, Unknown, CodeUnknown}, {500, OutcomeCertificate, Soft, CodeCertificate},
			{1500, OutcomeCertificate, Soft, CodeCertificate},
		},
		"unreadable credentials of our own are soft": {
			{0, OutcomeBlind, Unknown, CodeUnknown}, {100, OutcomeBlind, Soft, CodeUnknown},
		},
		"401 is alive and counts": {
			{0, OutcomeUnauthorized, Unknown, CodeUnknown}, {100, OutcomeUnauthorized, Unknown, CodeUnknown},
			{200, OutcomeUnauthorized, Unknown, CodeUnknown}, {300, OutcomeUnauthorized, Unknown, CodeUnknown},
			{400, OutcomeUnauthorized, Unknown, CodeUnknown}, {1900, OutcomeUnauthorized, Unknown, CodeUnknown},
			{2000, OutcomeUnauthorized, Healthy, CodeUnauthorized}, {2100, OutcomeOK, Healthy, CodeOK},
		},
		"403 while it starts is not readiness": {
			{0, OutcomeRefused, Dead, CodeRefused}, {100, OutcomeUnauthorized, Dead, CodeRefused},
			{600, OutcomeUnauthorized, Dead, CodeRefused}, {700, OutcomeNotReady, Dead, CodeRefused},
			{800, OutcomeNotReady, Soft, CodeNotReady},
		},
		"403 and then ready": {
			{0, OutcomeUnauthorized, Unknown, CodeUnknown}, {100, OutcomeUnauthorized, Unknown, CodeUnknown},
			{200, OutcomeUnauthorized, Unknown, CodeUnknown}, {300, OutcomeOK, Unknown, CodeUnknown},
			{400, OutcomeOK, Healthy, CodeOK},
		},
	}
	for name, story := range stories {
		t.Run(name, func(t *testing.T) {
			var h Hysteresis
			for i, l := range story {
				s := h.Step(Observation{l.outcome, "seen"}, time.Hour+time.Duration(l.at)*time.Millisecond)
				if s.Verdict != l.verdict || s.Code != l.code || s.Reason == "" {
					t.Fatalf("look %d at %d ms: %+v, want %v %q", i, l.at, s, l.verdict, l.code)
				}
				if (s.Warning != "") != (l.code == CodeUnauthorized) {
					t.Fatalf("look %d: warning %q with code %q", i, s.Warning, s.Code)
				}
				if s != h.State() {
					t.Fatalf("State returns %+v after %+v", h.State(), s)
				}
			}
		})
	}
}

func TestSinceIsTheBeginningOfTheVerdict(t *testing.T) {
	var h Hysteresis
	for _, c := range []struct {
		outcome   Outcome
		at, since time.Duration
	}{
		{OutcomeRefused, 10 * time.Second, 10 * time.Second},
		{OutcomeHung, 11 * time.Second, 10 * time.Second}, // another reason, still dead
		{OutcomeSlow, 12 * time.Second, 12 * time.Second},
		{OutcomeSlow, 13 * time.Second, 12 * time.Second},
		{OutcomeShutdown, 14 * time.Second, 14 * time.Second},
	} {
		if s := h.Step(Observation{Outcome: c.outcome}, c.at); s.Since != c.since {
			t.Errorf("at %v: since %v, want %v", c.at, s.Since, c.since)
		}
	}
}

func TestDetailsThatFlickerAreNoChange(t *testing.T) {
	var h Hysteresis
	first := h.Step(Observation{OutcomeRefused, "port 1"}, time.Second)
	if again := h.Step(Observation{OutcomeRefused, "port 2"}, 2*time.Second); again != first {
		t.Errorf("%+v became %+v", first, again)
	}
}

func TestVerdictStrings(t *testing.T) {
	for v, want := range map[Verdict]string{Unknown: "unknown", Healthy: "healthy", Soft: "not-ready", Dead: "dead", 99: "unknown"} {
		if got := v.String(); got != want {
			t.Errorf("Verdict %d is %q, want %q", v, got, want)
		}
	}
}

// TestDoubtful: one failure of a healthy API server raises a doubt, which the next answer ends one
// way or the other (E6: who is in doubt asks for no lease).
func TestDoubtful(t *testing.T) {
	var h Hysteresis
	for _, step := range []struct {
		at      int
		outcome Outcome
		doubt   bool
	}{
		{0, OutcomeNotReady, false}, // not judged yet
		{100, OutcomeOK, false}, {200, OutcomeOK, false}, {300, OutcomeOK, false},
		{400, OutcomeOK, false}, {500, OutcomeOK, false}, // healthy
		{600, OutcomeNotReady, true}, {650, OutcomeNotReady, true}, {660, OutcomeOK, false},
		{700, OutcomeLate, true}, {800, OutcomeNotReady, false}, // soft
	} {
		state := h.Step(Observation{Outcome: step.outcome}, time.Duration(step.at)*time.Millisecond)
		if state.Doubtful != step.doubt {
			t.Errorf("%d ms: doubtful %v (%s); want %v", step.at, state.Doubtful, state.Verdict, step.doubt)
		}
	}
}
