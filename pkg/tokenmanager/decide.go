package tokenmanager

import "time"

const (
	// asked is the lifetime that is asked for: a node may be off for that long and find its
	// token still valid. An API server may give less.
	asked = 30 * 24 * time.Hour
	// renewAfter is the age at which a token is renewed, or a third of its lifetime.
	renewAfter = 24 * time.Hour
	// firstPause and maxPause bound the time between attempts that fail; where nobody answers,
	// which costs nobody anything, maxPauseUnheard does.
	firstPause      = time.Second
	maxPause        = time.Minute
	maxPauseUnheard = 5 * time.Second
)

// situation is all that the next step depends on. Times are those of the wall clock, by which
// tokens expire.
type situation struct {
	now       time.Time
	token     bool      // there is one
	issued    time.Time // zero: unknown
	expires   time.Time // zero: unknown
	verified  bool      // an API server granted it all rights, in answer to the last doubt
	denied    bool      // an API server that is ready refused it, or some right
	stored    bool      // it is in the directory
	bootstrap bool      // there are bootstrap credentials
	failed    int       // attempts in a row
	unheard   bool      // nobody answered the last one
	tried     time.Time // end of the last attempt
	jitter    float64   // 0 to 1, one for each process
}

// step is what to do next.
type step int

// The steps.
const (
	wait   step = iota // until a time, or until something changes
	look               // read the directory: somebody may have put a token there
	verify             // ask whether the token has all rights
	mint               // apply RBAC and get a token, with bootstrap credentials
	renew              // get a new token with the present one
	save               // write the token into the directory
)

// next returns the step that is due and, for wait, until when; the zero time means until
// something changes.
func next(s situation) (step, time.Time) {
	if again := s.again(); s.now.Before(again) {
		return wait, again
	}
	switch {
	case !s.token || s.expired():
		if s.bootstrap {
			return mint, time.Time{}
		}
		return look, time.Time{}
	case s.denied && s.bootstrap:
		return mint, time.Time{}
	case !s.verified:
		return verify, time.Time{}
	case !s.now.Before(s.renewAt()):
		return renew, time.Time{}
	case !s.stored:
		return save, time.Time{}
	}
	return wait, s.renewAt()
}

// again is when the next attempt may be made after one that failed.
func (s situation) again() time.Time {
	if s.failed == 0 {
		return time.Time{}
	}
	limit := maxPause
	if s.unheard {
		limit = maxPauseUnheard
	}
	pause := firstPause
	for n := 1; n < s.failed && pause < limit; n++ {
		pause *= 2
	}
	pause = min(pause, limit)
	return s.tried.Add(pause + time.Duration(s.jitter*float64(pause)/4))
}

func (s situation) expired() bool { return !s.expires.IsZero() && !s.now.Before(s.expires) }

// renewAt is when the token is old enough. One whose age is unknown is renewed at once.
func (s situation) renewAt() time.Time {
	if s.issued.IsZero() || s.expires.IsZero() {
		return s.now
	}
	age := min(renewAfter, s.expires.Sub(s.issued)/3)
	return s.issued.Add(age - time.Duration(s.jitter*float64(age)/10))
}
