// Package wait waits for what labs cause: it repeats a check until the check succeeds or the time
// is over. It does not change anything itself.
package wait

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Interval is the pause between two checks.
const Interval = 20 * time.Millisecond

// For returns nil once ok reports true. If ctx ends before, it returns an error that names what
// and wraps ctx's error.
func For(ctx context.Context, what string, ok func() bool) error {
	return Until(ctx, what, Interval, func() error {
		if ok() {
			return nil
		}
		return errNotYet
	})
}

var errNotYet = errors.New("not yet")

// permanentError ends Until.
type permanentError struct{ error }

func (e permanentError) Unwrap() error { return e.error }

// Permanent returns an error with which a check ends Until at once.
func Permanent(err error) error { return permanentError{err} }

// Until calls check, with pauses, and returns nil once check does. If ctx ends before, it returns
// an error that names what, unless that is empty, and wraps ctx's error and the last one of check.
func Until(ctx context.Context, what string, pause time.Duration, check func() error) error {
	if what != "" {
		what = "wait for " + what + ": "
	}
	for {
		err := check()
		if err == nil {
			return nil
		}
		if permanent := (permanentError{}); errors.As(err, &permanent) {
			return fmt.Errorf("%s%w", what, permanent.error)
		}
		select {
		case <-ctx.Done():
			if errors.Is(err, errNotYet) {
				return fmt.Errorf("%s%w", what, ctx.Err())
			}
			return fmt.Errorf("%s%w (last: %w)", what, ctx.Err(), err)
		case <-time.After(pause):
		}
	}
}

// Pause pauses for d. It returns ctx's error if ctx ends before.
func Pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// TB is the part of a testing.TB that Eventually needs.
type TB interface {
	Helper()
	Fatal(args ...any)
}

// Eventually fails the test unless ok reports true within the timeout. It may be called in a bubble
// of synctest.
func Eventually(t TB, timeout time.Duration, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	if err := For(ctx, what, ok); err != nil {
		t.Fatal(err)
	}
}
