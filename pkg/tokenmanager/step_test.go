package tokenmanager

import (
	"testing"
	"time"
)

var began = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// well is a snapshot in which there is nothing to do: a token of an hour, good for 30 days.
func well() snapshot {
	return snapshot{
		now: began.Add(time.Hour), token: true, issued: began, expires: began.Add(requestedLifetime), verified: true, stored: true, bootstrap: true,
	}
}

// TestNext is the decision, in every snapshot that a node can be in.
func TestNext(t *testing.T) {
	const day = 24 * time.Hour
	for _, c := range []struct {
		name   string
		change func(s *snapshot)
		want   step
		wait   time.Duration // from now, for wait
	}{
		{"nothing to do", func(*snapshot) {}, wait, 23 * time.Hour},
		{"first start, before kubeadm", func(s *snapshot) { *s = snapshot{now: began} }, load, 0},
		{"first start, with a kubeconfig", func(s *snapshot) { *s = snapshot{now: began, bootstrap: true} }, issue, 0},
		{"restart with a token", func(s *snapshot) { s.verified = false }, verify, 0},
		{"restart with a token, hardened", func(s *snapshot) { s.verified, s.bootstrap = false, false }, verify, 0},
		{"a day old", func(s *snapshot) { s.now = began.Add(day) }, renew, 0},
		{"a day old, hardened", func(s *snapshot) { s.now, s.bootstrap = began.Add(day), false }, renew, 0},
		{"a little younger, and jitter", func(s *snapshot) { s.now, s.jitter = began.Add(day*19/20), 0.6 }, renew, 0},
		{"age unknown", func(s *snapshot) { s.issued = time.Time{} }, renew, 0},
		{"end unknown", func(s *snapshot) { s.expires = time.Time{} }, renew, 0},
		{"given for an hour only", func(s *snapshot) { s.expires, s.now = began.Add(time.Hour), began.Add(20*time.Minute) }, renew, 0},
		{"given for an hour, too young", func(s *snapshot) { s.expires, s.now = began.Add(time.Hour), began.Add(19*time.Minute) }, wait, time.Minute},
		{"off for 29 days", func(s *snapshot) { s.now, s.verified = began.Add(29*day), false }, verify, 0},
		{"off for 29 days, accepted", func(s *snapshot) { s.now = began.Add(29 * day) }, renew, 0},
		{"off for 30 days", func(s *snapshot) { s.now = began.Add(30 * day) }, issue, 0},
		{"off for 30 days, hardened", func(s *snapshot) { s.now, s.bootstrap = began.Add(30*day), false }, load, 0},
		{"clock set back", func(s *snapshot) { s.now = began.Add(-day) }, wait, 2 * day},
		{"denied", func(s *snapshot) { s.verified = false }, verify, 0},
		{"denied, hardened", func(s *snapshot) { s.verified, s.bootstrap = false, false }, verify, 0},
		{"not stored", func(s *snapshot) { s.stored = false }, save, 0},
		{"not stored and old", func(s *snapshot) { s.stored, s.now = false, began.Add(day) }, renew, 0},
		{"failed once", func(s *snapshot) { s.stored, s.failures, s.attempted = false, 1, s.now }, wait, time.Second},
		{"failed three times", func(s *snapshot) { s.stored, s.failures, s.attempted = false, 3, s.now }, wait, 4 * time.Second},
		{"failed for long", func(s *snapshot) { s.stored, s.failures, s.attempted = false, 1000, s.now }, wait, time.Minute},
		{"failed for long, with jitter", func(s *snapshot) { s.stored, s.failures, s.attempted, s.jitter = false, 1000, s.now, 1 }, wait, 75 * time.Second},
		{"nobody has answered for long", func(s *snapshot) { s.token, s.failures, s.attempted, s.unreachable = false, 1000, s.now, true }, wait, 5 * time.Second},
		{"failed, and waited", func(s *snapshot) { s.token, s.failures, s.attempted = false, 1, s.now.Add(-time.Second) }, issue, 0},
	} {
		s := well()
		c.change(&s)
		got, until := next(s)
		if got != c.want || got == wait && until.Sub(s.now) != c.wait {
			t.Errorf("%s: step %d until %v, want %d for %v", c.name, got, until, c.want, c.wait)
		}
	}
}

// TestRenewalsComeEarlyEnough: whatever the lifetime, two thirds of it are left for attempts.
func TestRenewalsComeEarlyEnough(t *testing.T) {
	for _, lifetime := range []time.Duration{10 * time.Minute, time.Hour, 24 * time.Hour, requestedLifetime, 365 * 24 * time.Hour} {
		for _, jitter := range []float64{0, 0.5, 1} {
			s := well()
			s.expires, s.jitter = began.Add(lifetime), jitter
			age := s.renewAt().Sub(began)
			if age > lifetime/3 || age > 24*time.Hour || age < lifetime/4 && age < 21*time.Hour {
				t.Errorf("lifetime %v, jitter %v: renewed after %v", lifetime, jitter, age)
			}
		}
	}
}
