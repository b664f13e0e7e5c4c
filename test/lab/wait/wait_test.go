package wait

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestUntil(t *testing.T) {
	failing := func() error { return io.ErrUnexpectedEOF }
	for name, c := range map[string]struct {
		check   func(calls int) error
		calls   int
		elapsed time.Duration
		is      []error
		text    string
	}{
		"at once": {check: func(int) error { return nil }, calls: 1},
		"later": {func(n int) error { return map[bool]error{false: io.EOF}[n == 3] }, 3,
			2 * time.Second, nil, ""},
		"permanent": {func(int) error { return Permanent(io.EOF) }, 1, 0, []error{io.EOF},
			"wait for the lab: EOF"},
		"timeout": {
			func(int) error { return failing() }, 11, 10 * time.Second,
			[]error{context.DeadlineExceeded, io.ErrUnexpectedEOF},
			"wait for the lab: context deadline exceeded (last: unexpected EOF)",
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second+time.Millisecond)
				defer cancel()
				began, calls := time.Now(), 0
				err := Until(ctx, "the lab", time.Second, func() error { calls++; return c.check(calls) })
				if calls != c.calls || time.Since(began).Truncate(time.Second) != c.elapsed {
					t.Errorf("%d calls in %v, want %d in %v", calls, time.Since(began), c.calls, c.elapsed)
				}
				if (err == nil) != (c.text == "") || err != nil && err.Error() != c.text {
					t.Errorf("%v, want %q", err, c.text)
				}
				for _, want := range c.is {
					if !errors.Is(err, want) {
						t.Errorf("%v is not %v", err, want)
					}
				}
			})
		})
	}
}

// recorder is a TB that records what fails.
type recorder struct {
	testing.TB
	failed string
}

func (r *recorder) Helper()           {}
func (r *recorder) Fatal(args ...any) { r.failed = args[0].(error).Error() }

func TestEventually(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{TB: t}
		began := time.Now()
		Eventually(r, time.Second, "a while", func() bool { return time.Since(began) > time.Second/2 })
		if r.failed != "" {
			t.Errorf("failed: %s", r.failed)
		}
		Eventually(r, time.Second, "a miracle", func() bool { return false })
		if !strings.HasPrefix(r.failed, "wait for a miracle: ") {
			t.Errorf("failed: %q", r.failed)
		}
	})
}

func TestUntilWithoutAName(t *testing.T) {
	err := Until(t.Context(), "", time.Second, func() error { return Permanent(io.EOF) })
	if err == nil || err.Error() != "EOF" || !errors.Is(err, io.EOF) {
		t.Errorf("%v, want EOF", err)
	}
}
