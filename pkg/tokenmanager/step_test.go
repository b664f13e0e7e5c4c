package tokenmanager

import (
	"testing"
	"time"
)

var began = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// idle is a snapshot without a due step: the token is an hour old and valid for 30 days.
func idle() snapshot {
	return snapshot{
		now: began.Add(time.Hour), token: true, issued: began, expires: began.Add(requestedLifetime),
		verified: true, stored: true, bootstrap: true,
	}
}

// TestNext lists the step for each snapshot that a node can have.
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
		{"first start, with a kubeconfig", func(s *snapshot) {
			*s = snapshot{now: began, bootstrap: true}
		}, issue, 0},
		{"restart with a token", func(s *snapshot) { s.verified = false }, verify, 0},
		{"restart with a token, hardened", func(s *snapshot) {
			s.verified, s.bootstrap = false, false
		}, verify, 0},
		{"a day old", func(s *snapshot) { s.now = began.Add(day) }, renew, 0},
		{"a day old, hardened", func(s *snapshot) {
			s.now, s.bootstrap = began.Add(day), false
		}, renew, 0},
		{"a little younger, and jitter", func(s *snapshot) {
			s.now, s.jitter = began.Add(day*19/20), 0.6
		}, renew, 0},
		{"age unknown", func(s *snapshot) { s.issued = time.Time{} }, renew, 0},
		{"expiry unknown", func(s *snapshot) { s.expires = time.Time{} }, renew, 0},
		{"granted for an hour only", func(s *snapshot) {
			s.expires, s.now = began.Add(time.Hour), began.Add(20*time.Minute)
		}, renew, 0},
		{"granted for an hour, too young", func(s *snapshot) {
			s.expires, s.now = began.Add(time.Hour), began.Add(19*time.Minute)
		}, wait, time.Minute},
		{"off for 29 days", func(s *snapshot) {
			s.now, s.verified = began.Add(29*day), false
		}, verify, 0},
		{"off for 29 days, verified", func(s *snapshot) { s.now = began.Add(29 * day) }, renew, 0},
		{"off for 30 days", func(s *snapshot) { s.now = began.Add(30 * day) }, issue, 0},
		{"off for 30 days, hardened", func(s *snapshot) {
			s.now, s.bootstrap = began.Add(30*day), false
		}, load, 0},
		{"clock set back", func(s *snapshot) { s.now = began.Add(-day) }, wait, 2 * day},
		{"not stored", func(s *snapshot) { s.stored = false }, save, 0},
		{"not stored and old", func(s *snapshot) {
			s.stored, s.now = false, began.Add(day)
		}, renew, 0},
		{"not stored and not verified", func(s *snapshot) {
			s.stored, s.verified = false, false
		}, verify, 0},
	} {
		s := idle()
		c.change(&s)
		got, until := next(s)
		if got != c.want || got == wait && until.Sub(s.now) != c.wait {
			t.Errorf("%s: step %d until %v, want %d for %v", c.name, got, until, c.want, c.wait)
		}
	}
}

// TestRetryAt: the pause doubles with each failure, up to a limit, and jitter adds a quarter.
func TestRetryAt(t *testing.T) {
	for _, c := range []struct {
		failures    int
		unreachable bool
		jitter      float64
		want        time.Duration
	}{
		{1, false, 0, time.Second},
		{2, false, 0, 2 * time.Second},
		{3, false, 0, 4 * time.Second},
		{3, false, 1, 5 * time.Second},
		{7, false, 0, time.Minute},
		{1000, false, 0, time.Minute},
		{1000, false, 1, 75 * time.Second},
		{3, true, 0, 4 * time.Second},
		{1000, true, 0, 5 * time.Second},
	} {
		s := idle()
		s.stored, s.failures, s.unreachable, s.jitter = false, c.failures, c.unreachable, c.jitter
		s.attempted = s.now
		if got, until := next(s); got != wait || until.Sub(s.now) != c.want {
			t.Errorf("%+v: step %d after %v", c, got, until.Sub(s.now))
		}
		if s.now = s.now.Add(c.want); c.jitter == 0 {
			if got, _ := next(s); got != save {
				t.Errorf("%+v: step %d after the pause", c, got)
			}
		}
	}
}

// TestRenewalsComeEarlyEnough: two thirds of each lifetime remain for attempts.
func TestRenewalsComeEarlyEnough(t *testing.T) {
	for _, lifetime := range []time.Duration{
		10 * time.Minute, time.Hour, 24 * time.Hour, requestedLifetime, 365 * 24 * time.Hour,
	} {
		for _, jitter := range []float64{0, 0.5, 1} {
			s := idle()
			s.expires, s.jitter = began.Add(lifetime), jitter
			age := s.renewAt().Sub(began)
			early := age < lifetime/4 && age < 21*time.Hour
			if age > lifetime/3 || age > 24*time.Hour || early {
				t.Errorf("lifetime %v, jitter %v: renewed after %v", lifetime, jitter, age)
			}
		}
	}
}

// FuzzNext: whatever the snapshot, an expired token is never renewed or stored, and no step is
// taken during a pause.
func FuzzNext(f *testing.F) {
	f.Add(int64(3600), int64(86400), true, true, true, 0, int64(0), 0.5)
	f.Add(int64(-5), int64(1), false, false, false, 9, int64(3), 1.0)
	f.Fuzz(func(t *testing.T, age, lifetime int64, verified, stored, bootstrap bool,
		failures int, ago int64, jitter float64) {
		const year = 365 * 24 * 3600
		now := began.Add(time.Duration(age%year) * time.Second)
		s := snapshot{
			now: now, token: true, issued: began, verified: verified, stored: stored,
			expires:   began.Add(time.Duration(lifetime%year) * time.Second),
			bootstrap: bootstrap, failures: max(0, failures),
			attempted: now.Add(-time.Duration(ago%year) * time.Second),
			jitter:    max(0, min(1, jitter)),
		}
		got, until := next(s)
		if s.expired() && got != wait && got != issue && got != load {
			t.Errorf("step %d with an expired token: %+v", got, s)
		}
		if got == wait && !until.After(s.now) {
			t.Errorf("wait until the past: %v, %+v", until, s)
		}
		if s.now.Before(s.retryAt()) && got != wait {
			t.Errorf("step %d during a pause: %+v", got, s)
		}
	})
}
