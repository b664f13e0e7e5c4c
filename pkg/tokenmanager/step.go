package tokenmanager

import (
	"time"

	"github.com/kvip/kvip/pkg/backoff"
)

const (
	// requestedLifetime is the lifetime to request: a node may be off for that long and find its
	// token still valid. An API server may grant less.
	requestedLifetime = 30 * 24 * time.Hour
	// renewAfter is the age at which a token is renewed, or a third of its lifetime if that is
	// less.
	renewAfter = 24 * time.Hour
	// minPause and maxPause limit the pause between failed attempts. If no server listens, an
	// attempt costs nothing, and maxPauseUnreachable applies.
	minPause            = time.Second
	maxPause            = time.Minute
	maxPauseUnreachable = 5 * time.Second
)

// snapshot is the input of next. Times are wall-clock times, by which tokens expire.
type snapshot struct {
	now         time.Time
	token       bool      // there is one
	issued      time.Time // zero: unknown
	expires     time.Time // zero: unknown
	verified    bool      // an API server confirmed all permissions after the last denial
	stored      bool      // it is in the directory
	bootstrap   bool      // there are bootstrap credentials
	failures    int       // failed attempts in a row
	unreachable bool      // the last attempt reached no server
	attempted   time.Time // end of the last attempt
	jitter      float64   // 0 to 1, constant per process
}

// step is the next action.
type step int

// The steps.
const (
	wait   step = iota // until an instant, or until a file or the token's state changes
	load               // read the directory: a token may have been put there
	verify             // ask an API server for the token's permissions
	issue              // apply RBAC and request a token, with bootstrap credentials
	renew              // request a new token with the present one
	save               // write the token into the directory
)

// next returns the step that is due and, for wait, until when. The zero time means until something
// changes.
func next(s snapshot) (step, time.Time) {
	if retry := s.retryAt(); s.now.Before(retry) {
		return wait, retry
	}
	switch {
	case !s.token || s.expired():
		if s.bootstrap {
			return issue, time.Time{}
		}
		return load, time.Time{}
	case !s.verified:
		return verify, time.Time{}
	case !s.now.Before(s.renewAt()):
		return renew, time.Time{}
	case !s.stored:
		return save, time.Time{}
	}
	return wait, s.renewAt()
}

// retryAt returns when the next attempt may follow a failed one: the pause doubles with each
// failure, and up to a quarter of it is added as jitter.
func (s snapshot) retryAt() time.Time {
	if s.failures == 0 {
		return time.Time{}
	}
	limit := maxPause
	if s.unreachable {
		limit = maxPauseUnreachable
	}
	pause := backoff.Backoff{Min: minPause, Max: limit}.After(s.failures)
	return s.attempted.Add(pause + time.Duration(s.jitter*float64(pause)/4))
}

func (s snapshot) expired() bool { return !s.expires.IsZero() && !s.now.Before(s.expires) }

// renewAt returns when the token is due for renewal: at once if its age is unknown.
func (s snapshot) renewAt() time.Time {
	if s.issued.IsZero() || s.expires.IsZero() {
		return s.now
	}
	age := min(renewAfter, s.expires.Sub(s.issued)/3)
	return s.issued.Add(age - time.Duration(s.jitter*float64(age)/10))
}
